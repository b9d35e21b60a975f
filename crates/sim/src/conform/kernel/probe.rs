//! What this kernel can do, found out by trying.

use std::fs;
use std::path::Path;

use faultless_uapi::ioctl::UFFDIO_API;
use faultless_uapi::{KernelVersion, PmScanArg, UFFD_API, UFFD_USER_MODE_ONLY, UffdioApi};

use super::KernelWorld;
use crate::conform::call::Call;
use crate::conform::errno::EINVAL;
use crate::conform::linux::open;
use crate::conform::profile::Profile;
use crate::conform::verdict::{Failure, Verdict};
use crate::conform::world::{Done, Fd, Stop, Thread, World};

/// Hugetlb pages a body may use at once.
pub(super) const HUGETLB_PAGES: u64 = 8;

/// Probes the running kernel, with what the machine lends at this moment.
///
/// # Errors
/// [`Failure::Broken`] when no puppet can be started or `/proc` is missing.
pub fn probe(patience: u32) -> Verdict<Profile> {
    let mut world = KernelWorld::new(blank(), patience);
    let who = world.spawn()?;
    let mut profile = blank();
    probe_userfaultfd(&mut world, who, &mut profile)?;
    profile.has_scan = probe_scan(&mut world, who)?;
    profile.has_regular_files = probe_regular_file(&mut world, who)?;
    let page =
        Call::Map { at: 0, len: profile.page_size, prot: 3, flags: 0x22, fd: None, offset: 0 };
    if let Ok(at) = call(&mut world, who, page)?.result {
        let pin = Call::Pin { at, len: profile.page_size };
        profile.has_pinning = call(&mut world, who, pin)?.result.is_ok();
        let place = Call::PlaceHeap { at: at + 16 * profile.page_size };
        profile.places_heap = call(&mut world, who, place)?.result.is_ok();
    }
    Ok(profile)
}

/// What files tell, and nothing that needs a process.
fn blank() -> Profile {
    Profile {
        version: version(),
        page_size: page_size(),
        closed: None,
        features: 0,
        api_ioctls: 0,
        privileged: has_ptrace_capability(),
        unprivileged_allowed: word("/proc/sys/vm/unprivileged_userfaultfd") != Some(0),
        has_device: Path::new("/dev/userfaultfd").exists(),
        transparent_huge_page: transparent_huge_page(),
        hugetlb_page: hugetlb_page(),
        has_swap: has_swap(),
        has_regular_files: false,
        has_memory_failure: Path::new("/proc/sys/vm/memory_failure_early_kill").exists(),
        has_scan: false,
        has_pinning: false,
        places_heap: false,
    }
}

fn call(world: &mut KernelWorld, who: Thread, call: Call) -> Verdict<Done> {
    world.start(who, call)?;
    let done = world.settle(who)?;
    done.ok_or_else(|| Failure::Broken(format!("a probe blocks: {}", world.describe(who))))
}

fn probe_userfaultfd(world: &mut KernelWorld, who: Thread, profile: &mut Profile) -> Verdict {
    let flags = open::CLOEXEC | open::NONBLOCK;
    let mut opened = call(world, who, Call::Userfaultfd { flags })?;
    if opened.result.is_err() {
        let flags = flags | UFFD_USER_MODE_ONLY;
        opened = call(world, who, Call::Userfaultfd { flags })?;
    }
    let fd = match opened.result {
        Ok(fd) => Fd(u32::try_from(fd).unwrap_or(u32::MAX)),
        Err(stop) => {
            profile.closed = Some(format!("userfaultfd(2) is refused: {stop:?}"));
            return Ok(());
        }
    };
    let argument = UffdioApi { api: UFFD_API, ..UffdioApi::default() }.to_bytes().to_vec();
    let done = call(world, who, Call::Ioctl { fd, request: UFFDIO_API, argument })?;
    if let Ok(bytes) = <[u8; 24]>::try_from(done.bytes) {
        let api = UffdioApi::from_bytes(bytes);
        profile.features = api.features;
        profile.api_ioctls = api.ioctls;
    }
    Ok(())
}

/// A size of zero is refused where the request exists; elsewhere the request is unknown.
fn probe_scan(world: &mut KernelWorld, who: Thread) -> Verdict<bool> {
    let argument = PmScanArg::default().to_bytes().to_vec();
    let done = call(world, who, Call::Scan { argument })?;
    Ok(done.result == Err(Stop::Refused(EINVAL)))
}

fn probe_regular_file(world: &mut KernelWorld, who: Thread) -> Verdict<bool> {
    let made = call(world, who, Call::RegularFile { len: 4096 })?;
    let Ok(fd) = made.result else { return Ok(false) };
    let pid = world.actor(who)?.hand.pid();
    Ok(file_system(pid, fd).is_some_and(|kind| !IN_MEMORY.contains(&kind.as_str())))
}

/// File systems whose files are shared memory: not what a body means by a regular file.
const IN_MEMORY: [&str; 3] = ["tmpfs", "ramfs", "rootfs"];

/// The kind of file system an open file lies on.
fn file_system(pid: u32, fd: u64) -> Option<String> {
    let fdinfo = read(&format!("/proc/{pid}/fdinfo/{fd}"))?;
    let mount = fdinfo.lines().find_map(|line| line.strip_prefix("mnt_id:"))?.trim().to_owned();
    let mounts = read(&format!("/proc/{pid}/mountinfo"))?;
    let line = mounts.lines().find(|line| line.split(' ').next() == Some(mount.as_str()))?;
    Some(line.split_once(" - ")?.1.split(' ').next()?.to_owned())
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

pub(super) fn word(path: &str) -> Option<u64> {
    read(path)?.parse().ok()
}

fn version() -> KernelVersion {
    let release = read("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
    KernelVersion::new(numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn page_size() -> u64 {
    let smaps = read("/proc/self/smaps").unwrap_or_default();
    let line = smaps.lines().find_map(|line| line.strip_prefix("KernelPageSize:"));
    let kib: Option<u64> = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
    kib.map_or(4096, |kib| kib << 10)
}

/// CAP_SYS_PTRACE, in the effective set of this process, which puppets inherit.
fn has_ptrace_capability() -> bool {
    const CAP_SYS_PTRACE: u64 = 1 << 19;
    let status = read("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let set = line.and_then(|line| u64::from_str_radix(line.trim(), 16).ok());
    set.is_some_and(|set| set & CAP_SYS_PTRACE != 0)
}

fn transparent_huge_page() -> Option<u64> {
    let folder = "/sys/kernel/mm/transparent_hugepage";
    let enabled = read(&format!("{folder}/enabled"))?;
    if enabled.contains("[never]") { None } else { word(&format!("{folder}/hpage_pmd_size")) }
}

fn hugetlb_page() -> Option<u64> {
    let meminfo = read("/proc/meminfo")?;
    let field = |name: &str| -> Option<u64> {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    let free = field("HugePages_Free:")?.saturating_sub(field("HugePages_Rsvd:")?);
    if free >= HUGETLB_PAGES { Some(field("Hugepagesize:")? << 10) } else { None }
}

fn has_swap() -> bool {
    read("/proc/swaps").is_some_and(|swaps| swaps.lines().count() > 1)
}
