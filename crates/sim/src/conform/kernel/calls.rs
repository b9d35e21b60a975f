//! Each [`Call`] as system calls of a puppet.
//!
//! Most are one system call, a [`Raw`], which may block and is left alone. The rest never block
//! and are over when [`start`] returns.

use faultless_uapi::ioctl::PAGEMAP_SCAN;
use faultless_uapi::syscall::SYS_USERFAULTFD;
use faultless_uapi::{PageRegion, PmScanArg};
use faultless_uffd::puppet::{Request, TRANSFER_MAX};

use super::writeback::wait_for_disk;
use super::{Ending, KernelWorld, State, broken, done_of, looks};
use crate::conform::call::{Call, SCAN_ROOM};
use crate::conform::errno::EIO;
use crate::conform::linux::advice;
use crate::conform::verdict::{Failure, Verdict};
use crate::conform::world::{Done, Fd, Stop, Thread};

/// Where regular files are made.
const FILE_FOLDERS: [&str; 3] = ["/var/tmp\0", "/tmp\0", ".\0"];
const CURRENT_FOLDER: u64 = (libc::AT_FDCWD as i64).cast_unsigned();
const NO_FD: u64 = u64::MAX;

/// Begins a call; one that takes several system calls is over when this returns.
pub(super) fn start(world: &mut KernelWorld, who: Thread, call: Call) -> Verdict<State> {
    if let Call::Advise { at, len, advice: advice::PAGEOUT } = call {
        let (pid, page) = (world.actor(who)?.hand.pid(), world.profile.page_size);
        let pages = bound(len.div_ceil(page));
        wait_for_disk(pid, at / page, pages).map_err(|e| broken(&e))?;
    }
    let scratch = world.actor(who)?.hand.scratch();
    let raw = access(world, &call, scratch)
        .or_else(|| memory(&call))
        .or_else(|| object(&call, scratch))
        .or_else(|| descriptor(&call, scratch));
    match raw {
        Some(raw) => raw.ask(world, who),
        None => special(world, who, call),
    }
}

/// One system call of a puppet, and what to make of its reply.
struct Raw {
    nr: i64,
    args: [u64; 6],
    input: Vec<u8>,
    output_len: u64,
    ending: Ending,
}

impl Raw {
    fn new<const N: usize>(nr: i64, given: [u64; N]) -> Raw {
        let mut args = [0; 6];
        args[..N].copy_from_slice(&given);
        Raw { nr, args, input: Vec::new(), output_len: 0, ending: Ending::Plain }
    }

    /// Puts these bytes at the start of the scratch area first.
    fn input(self, bytes: &[u8]) -> Raw {
        Raw { input: bytes.to_vec(), ..self }
    }

    /// Brings this many bytes of the scratch area back.
    fn output(self, output_len: u64, ending: Ending) -> Raw {
        Raw { output_len, ending, ..self }
    }

    fn request(&self) -> Request<'_> {
        Request::Syscall {
            nr: self.nr.cast_unsigned(),
            args: self.args,
            input: &self.input,
            output_len: bound(self.output_len),
        }
    }

    fn ask(self, world: &mut KernelWorld, who: Thread) -> Verdict<State> {
        world.actor(who)?.hand.ask(&self.request())?;
        Ok(State::Asked(self.ending))
    }

    /// Makes the call, which cannot block, and waits for it.
    fn make(&self, world: &mut KernelWorld, who: Thread) -> Verdict<Done> {
        done_of(world.quick(who, &self.request())?)
    }
}

/// Memory of another process; accesses to the own are no system calls.
fn access(world: &KernelWorld, call: &Call, scratch: u64) -> Option<Raw> {
    let Call::RemoteLoad { of, at, len } = *call else { return None };
    let pid = world.cast.get(bound(of.0.into())).map_or(0, |member| member.puppet.pid());
    let raw = Raw::new(libc::SYS_process_vm_readv, [pid.into(), scratch, 1, scratch + 16, 1, 0]);
    let iovecs = remote_iovecs(scratch, at, len);
    Some(raw.input(&iovecs).output(len + 32, Ending::CountedFrom(32)))
}

/// Calls that change the address space.
fn memory(call: &Call) -> Option<Raw> {
    Some(match *call {
        Call::Map { at, len, prot, flags, fd, offset } => {
            let fd = fd.map_or(NO_FD, |fd| fd.0.into());
            Raw::new(libc::SYS_mmap, [at, len, prot.into(), flags.into(), fd, offset])
        }
        Call::Unmap { at, len } => Raw::new(libc::SYS_munmap, [at, len]),
        Call::Remap { from, len, new_len, flags, to } => {
            Raw::new(libc::SYS_mremap, [from, len, new_len, flags.into(), to])
        }
        Call::Protect { at, len, prot } => Raw::new(libc::SYS_mprotect, [at, len, prot.into()]),
        Call::Advise { at, len, advice } => Raw::new(libc::SYS_madvise, [at, len, advice.into()]),
        Call::Brk { end } => Raw::new(libc::SYS_brk, [end]),
        Call::Lock { at, len } => Raw::new(libc::SYS_mlock, [at, len]),
        Call::Unlock { at, len } => Raw::new(libc::SYS_munlock, [at, len]),
        _ => return None,
    })
}

/// Calls that change an object behind mappings.
fn object(call: &Call, scratch: u64) -> Option<Raw> {
    const PUNCH: i32 = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    Some(match call {
        Call::Resize { fd, len } => Raw::new(libc::SYS_ftruncate, [fd.0.into(), *len]),
        Call::Punch { fd, offset, len } => {
            let mode = u64::from(PUNCH.cast_unsigned());
            Raw::new(libc::SYS_fallocate, [fd.0.into(), mode, *offset, *len])
        }
        Call::WriteObject { fd, offset, bytes } => {
            let args = [fd.0.into(), scratch, bytes.len() as u64, *offset];
            Raw::new(libc::SYS_pwrite64, args).input(bytes)
        }
        Call::ReadObject { fd, offset, len } => {
            let args = [fd.0.into(), scratch, *len, *offset];
            Raw::new(libc::SYS_pread64, args).output(*len, Ending::Counted)
        }
        _ => return None,
    })
}

/// Calls on descriptors, userfaultfds first of all.
fn descriptor(call: &Call, scratch: u64) -> Option<Raw> {
    Some(match call {
        Call::Userfaultfd { flags } => Raw::new(SYS_USERFAULTFD.into(), [(*flags).into()]),
        Call::OpenDevice => open("/dev/userfaultfd\0", scratch, libc::O_RDWR),
        Call::ReopenReadOnly { fd } => {
            open(&format!("/proc/self/fd/{}\0", fd.0), scratch, libc::O_RDONLY)
        }
        Call::Ioctl { fd, request, argument } => {
            Raw::new(libc::SYS_ioctl, [fd.0.into(), (*request).into(), scratch])
                .input(argument)
                .output(argument.len() as u64, Ending::Plain)
        }
        Call::IoctlWord { fd, request, word } => {
            Raw::new(libc::SYS_ioctl, [fd.0.into(), (*request).into(), *word])
        }
        Call::Read { fd, len } => {
            Raw::new(libc::SYS_read, [fd.0.into(), scratch, *len]).output(*len, Ending::Counted)
        }
        Call::ReadTo { fd, at, len } => Raw::new(libc::SYS_read, [fd.0.into(), *at, *len]),
        Call::Write { fd } => Raw::new(libc::SYS_write, [fd.0.into(), scratch, 8]),
        Call::Seek { fd, offset } => Raw::new(libc::SYS_lseek, [fd.0.into(), *offset, 0]),
        // The timeout behind the pollfd is zero; without one poll waits.
        Call::Poll { fd } => poll(*fd, scratch, scratch + 8),
        Call::PollWait { fd } => poll(*fd, scratch, 0),
        Call::Close { fd } => Raw::new(libc::SYS_close, [fd.0.into()]),
        Call::Seal { fd } => {
            let [add, seal] = [libc::F_ADD_SEALS, libc::F_SEAL_WRITE].map(i32::unsigned_abs);
            Raw::new(libc::SYS_fcntl, [fd.0.into(), add.into(), seal.into()])
        }
        Call::Duplicate { fd } => Raw::new(libc::SYS_dup, [fd.0.into()]),
        _ => return None,
    })
}

/// Accesses, and calls that take more than one system call.
fn special(world: &mut KernelWorld, who: Thread, call: Call) -> Verdict<State> {
    let hand = &mut world.actor(who)?.hand;
    match call {
        Call::Load { at, len } => {
            hand.ask(&Request::Load { at, len: bound(len) })?;
            Ok(State::Asked(Ending::Plain))
        }
        Call::Store { at, bytes } => {
            hand.ask(&Request::Store { at, bytes: &bytes })?;
            Ok(State::Asked(Ending::Plain))
        }
        Call::KernelLoad { at, len } => {
            hand.ask(&Request::KernelLoad { at, len: bound(len) })?;
            Ok(State::Asked(Ending::Counted))
        }
        Call::KernelStore { at, bytes } => {
            hand.ask(&Request::KernelStore { at, bytes: &bytes })?;
            Ok(State::Asked(Ending::Plain))
        }
        Call::Exec => {
            hand.ask(&Request::Exec)?;
            Ok(State::Asked(Ending::Replaced))
        }
        Call::Fork => Ok(State::Asked(Ending::Forked(hand.ask_fork()?))),
        Call::Memfd { len, huge } => memfd(world, who, len, huge),
        Call::RegularFile { len } => regular_file(world, who, len),
        Call::DropPrivileges => drop_privileges(world, who),
        Call::Pagemap { at, pages } => looks::pagemap(world, who, at, pages),
        Call::HugeBytes { at } => looks::huge_bytes(world, who, at),
        Call::Fdinfo { fd } => looks::fdinfo(world, who, fd),
        Call::Scan { argument } => scan(world, who, &argument),
        Call::PlaceHeap { at } => place_heap(world, who, at),
        Call::LimitDescriptors { count } => limit_descriptors(world, who, count),
        Call::SpecialMemory => looks::special_memory(world, who),
        Call::Pin { at, len } => pin(world, who, at, len),
        other => Err(Failure::Broken(format!("the kernel's world cannot do {other:?}"))),
    }
}

pub(super) fn bound(len: u64) -> usize {
    usize::try_from(len).unwrap_or(TRANSFER_MAX).min(TRANSFER_MAX)
}

fn open(path: &str, scratch: u64, flags: i32) -> Raw {
    let flags = u64::from((flags | libc::O_CLOEXEC).cast_unsigned());
    Raw::new(libc::SYS_openat, [CURRENT_FOLDER, scratch, flags, 0o600]).input(path.as_bytes())
}

fn poll(fd: Fd, scratch: u64, timeout: u64) -> Raw {
    Raw::new(libc::SYS_ppoll, [scratch, 1, timeout])
        .input(&poll_input(fd))
        .output(8, Ending::Polled)
}

/// A pollfd that waits for input, and a timeout of zero behind it.
fn poll_input(fd: Fd) -> [u8; 24] {
    let mut input = [0; 24];
    input[..4].copy_from_slice(&fd.0.to_ne_bytes());
    input[4..6].copy_from_slice(&libc::POLLIN.to_ne_bytes());
    input
}

/// The local vector (into scratch, behind the vectors) and the remote one.
fn remote_iovecs(scratch: u64, at: u64, len: u64) -> Vec<u8> {
    [scratch + 32, len, at, len].iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// Gives a new object its size; the descriptor stays the value.
fn sized(world: &mut KernelWorld, who: Thread, made: Done, len: u64) -> Verdict<State> {
    let Ok(fd) = made.result else { return Ok(State::Over(made)) };
    let resized = Raw::new(libc::SYS_ftruncate, [fd, len]).make(world, who)?;
    Ok(State::Over(if resized.result.is_ok() { made } else { resized }))
}

fn memfd(world: &mut KernelWorld, who: Thread, len: u64, huge: bool) -> Verdict<State> {
    let scratch = world.actor(who)?.hand.scratch();
    let flags = libc::MFD_CLOEXEC | if huge { libc::MFD_HUGETLB } else { libc::MFD_ALLOW_SEALING };
    let create = Raw::new(libc::SYS_memfd_create, [scratch, flags.into()]).input(b"conform\0");
    let made = create.make(world, who)?;
    sized(world, who, made, len)
}

fn regular_file(world: &mut KernelWorld, who: Thread, len: u64) -> Verdict<State> {
    let scratch = world.actor(who)?.hand.scratch();
    let mut last = Done { result: Err(Stop::Refused(EIO)), bytes: Vec::new() };
    for folder in FILE_FOLDERS {
        last = open(folder, scratch, libc::O_TMPFILE | libc::O_RDWR).make(world, who)?;
        if last.result.is_ok() {
            break;
        }
    }
    sized(world, who, last, len)
}

fn drop_privileges(world: &mut KernelWorld, who: Thread) -> Verdict<State> {
    const NOBODY: u64 = 65534;
    let kill = u64::from(libc::SIGKILL.unsigned_abs());
    let pdeathsig = u64::from(libc::PR_SET_PDEATHSIG.unsigned_abs());
    Raw::new(libc::SYS_setgroups, [0, 0]).make(world, who)?;
    Raw::new(libc::SYS_setresgid, [NOBODY; 3]).make(world, who)?;
    Raw::new(libc::SYS_setresuid, [NOBODY; 3]).make(world, who)?;
    // Changing the user disarms the signal that ties a puppet to its driver.
    Raw::new(libc::SYS_prctl, [pdeathsig, kill]).make(world, who).map(State::Over)
}

/// The heap must never end before it begins: which of the two moves first depends on where to.
fn place_heap(world: &mut KernelWorld, who: Thread, at: u64) -> Verdict<State> {
    let [set, begin, end] = [libc::PR_SET_MM, libc::PR_SET_MM_START_BRK, libc::PR_SET_MM_BRK]
        .map(|number| u64::from(number.unsigned_abs()));
    let down = Raw::new(libc::SYS_prctl, [set, begin, at]).make(world, who)?.result.is_ok();
    let moved = Raw::new(libc::SYS_prctl, [set, end, at]).make(world, who)?;
    if down {
        return Ok(State::Over(moved));
    }
    Raw::new(libc::SYS_prctl, [set, begin, at]).make(world, who).map(State::Over)
}

/// Changes the soft limit and keeps the hard one, which only goes down without privileges.
fn limit_descriptors(world: &mut KernelWorld, who: Thread, count: u64) -> Verdict<State> {
    let scratch = world.actor(who)?.hand.scratch();
    let nofile = u64::from(libc::RLIMIT_NOFILE);
    let read = Raw::new(libc::SYS_prlimit64, [0, nofile, 0, scratch]).output(16, Ending::Plain);
    let mut limits = read.make(world, who)?.bytes;
    limits.splice(..8.min(limits.len()), count.to_ne_bytes());
    let write = Raw::new(libc::SYS_prlimit64, [0, nofile, scratch, 0]).input(&limits);
    write.make(world, who).map(State::Over)
}

fn scan(world: &mut KernelWorld, who: Thread, argument: &[u8]) -> Verdict<State> {
    const ARG_LEN: usize = size_of::<PmScanArg>();
    const REGION_LEN: u64 = size_of::<PageRegion>() as u64;
    let scratch = world.actor(who)?.hand.scratch();
    let raw: [u8; ARG_LEN] = argument.try_into().map_err(|e| broken(&e))?;
    let mut arg = PmScanArg::from_bytes(raw);
    if arg.vec == SCAN_ROOM {
        arg.vec = scratch + ARG_LEN as u64;
    }
    let opened = open("/proc/self/pagemap\0", scratch, libc::O_RDONLY).make(world, who)?;
    let Ok(fd) = opened.result else { return Ok(State::Over(opened)) };
    let room = ARG_LEN as u64 + arg.vec_len.min(1000) * REGION_LEN;
    let done = Raw::new(libc::SYS_ioctl, [fd, PAGEMAP_SCAN.into(), scratch])
        .input(&arg.to_bytes())
        .output(room, Ending::Plain)
        .make(world, who)?;
    Raw::new(libc::SYS_close, [fd]).make(world, who)?;
    Ok(State::Over(done))
}

/// An io_uring's registered buffers are pinned for as long as the ring lives.
fn pin(world: &mut KernelWorld, who: Thread, at: u64, len: u64) -> Verdict<State> {
    const PARAMS_LEN: usize = 120;
    const REGISTER_BUFFERS: u64 = 0;
    let scratch = world.actor(who)?.hand.scratch();
    let setup = Raw::new(libc::SYS_io_uring_setup, [1, scratch]).input(&[0; PARAMS_LEN]);
    let ring = setup.make(world, who)?;
    let Ok(fd) = ring.result else { return Ok(State::Over(ring)) };
    let iovec: Vec<u8> = [at, len].iter().flat_map(|word| word.to_ne_bytes()).collect();
    let register = Raw::new(libc::SYS_io_uring_register, [fd, REGISTER_BUFFERS, scratch, 1]);
    // Bringing the pages may wait for a userfaultfd.
    Raw { ending: Ending::Standing(fd), ..register.input(&iovec) }.ask(world, who)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pollfd_has_a_zero_timeout_behind_it() {
        let input = poll_input(Fd(7));
        assert_eq!(input[..4], 7u32.to_ne_bytes());
        assert_eq!(input[8..], [0; 16]);
    }
}
