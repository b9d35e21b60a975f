//! What this host is: kernel, architecture, page size, container, and its settings for memory.
//!
//! Everything is read from `/proc` and `/sys`; only KVM is tried, by opening it.

use std::fs;
use std::path::Path;

use faultless_pages::Bytes;
use faultless_uffd::Described;
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use serde::Serialize;

use super::rights::{number, text};

/// The inode number of the initial process namespace, fixed by the kernel's ABI.
const INITIAL_PID_NAMESPACE: &str = "pid:[4026531836]";

/// The host.
#[derive(Debug, Serialize)]
pub(crate) struct Host {
    pub(crate) kernel: String,
    pub(crate) architecture: &'static str,
    pub(crate) page_bytes: u64,
    /// What kind of container this is, `None` where nothing points to one.
    pub(crate) container: Option<String>,
    pub(crate) transparent_huge_pages: HugePages,
    pub(crate) hugetlb: Vec<Pool>,
    pub(crate) max_map_count: Option<u64>,
    /// `None` is no limit.
    pub(crate) memlock_bytes: Option<u64>,
    /// `None` is no limit.
    pub(crate) open_files: Option<u64>,
    pub(crate) kvm: Access,
}

/// The settings of transparent huge pages, `None` where the kernel has none.
#[derive(Debug, Serialize)]
pub(crate) struct HugePages {
    pub(crate) anonymous: Option<String>,
    pub(crate) shmem: Option<String>,
}

/// One pool of huge pages.
#[derive(Debug, Serialize)]
pub(crate) struct Pool {
    pub(crate) page_bytes: u64,
    pub(crate) pages: u64,
    pub(crate) free: u64,
    pub(crate) overcommit: u64,
}

/// Whether a device can be used.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", content = "cause", rename_all = "snake_case")]
pub(crate) enum Access {
    /// It opens.
    Usable,
    /// It is there and refuses.
    Refused(String),
    /// It is not there.
    Absent,
}

impl Pool {
    /// Says whether a program that asks for a page gets none.
    pub(super) fn is_empty(&self) -> bool {
        self.free + self.overcommit == 0
    }
}

impl Host {
    /// Looks around.
    pub(crate) fn read() -> Host {
        let name = rustix::system::uname();
        Host {
            kernel: name.release().to_string_lossy().into_owned(),
            architecture: std::env::consts::ARCH,
            page_bytes: rustix::param::page_size() as u64,
            container: container(),
            transparent_huge_pages: HugePages {
                anonymous: chosen("/sys/kernel/mm/transparent_hugepage/enabled"),
                shmem: chosen("/sys/kernel/mm/transparent_hugepage/shmem_enabled"),
            },
            hugetlb: pools(Path::new("/sys/kernel/mm/hugepages")),
            max_map_count: number("/proc/sys/vm/max_map_count"),
            memlock_bytes: rustix::process::getrlimit(rustix::process::Resource::Memlock).current,
            open_files: rustix::process::getrlimit(rustix::process::Resource::Nofile).current,
            kvm: kvm(),
        }
    }
}

/// Names the container this process runs in, from the marks the common ones leave.
fn container() -> Option<String> {
    let marks = [
        ("/run/.containerenv", "podman"),
        ("/.dockerenv", "docker"),
        ("/run/systemd/container", "systemd-nspawn"),
        ("/dev/lxd/sock", "lxd"),
    ];
    if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() {
        return Some("kubernetes".to_owned());
    }
    if let Some((_, name)) = marks.iter().find(|(mark, _)| Path::new(mark).exists()) {
        return Some((*name).to_owned());
    }
    if let Ok(name) = std::env::var("container") {
        return Some(name);
    }
    let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
    (namespace.to_str()? != INITIAL_PID_NAMESPACE)
        .then(|| "a process namespace of its own".to_owned())
}

/// Reads a setting the kernel prints as `always [madvise] never`.
fn chosen(path: &str) -> Option<String> {
    bracketed(&text(path)?)
}

fn bracketed(choices: &str) -> Option<String> {
    let (_, rest) = choices.split_once('[')?;
    Some(rest.split_once(']')?.0.to_owned())
}

/// Lists the pools of huge pages, smallest pages first.
fn pools(folder: &Path) -> Vec<Pool> {
    let mut pools: Vec<Pool> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let name = entry.file_name();
            let kib = name.to_str()?.strip_prefix("hugepages-")?.strip_suffix("kB")?;
            let count = |file: &str| {
                let path = entry.path().join(file);
                number(path.to_str()?)
            };
            Some(Pool {
                page_bytes: Bytes::kib(kib.parse().ok()?).0,
                pages: count("nr_hugepages")?,
                free: count("free_hugepages")?,
                overcommit: count("nr_overcommit_hugepages").unwrap_or(0),
            })
        })
        .collect();
    pools.sort_by_key(|pool| pool.page_bytes);
    pools
}

fn kvm() -> Access {
    match open("/dev/kvm", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) {
        Ok(_) => Access::Usable,
        Err(Errno::NOENT) => Access::Absent,
        Err(errno) => Access::Refused(Described(errno).to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bracketed_choice_is_the_one_in_force() {
        assert_eq!(bracketed("always [madvise] never").as_deref(), Some("madvise"));
        assert_eq!(bracketed("never"), None);
    }
}
