//! What is used beside userfaultfd, by a snapshot or by other users of the crates, each really
//! tried: on this process, and attaching on a child.

use std::os::fd::AsRawFd as _;

use faultless_pages::{Bytes, Va, VaRange};
use faultless_uffd::attach::{AttachError, attach};
use faultless_uffd::{Category, Pagemap, PagemapScan, read_memory};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use serde::Serialize;

use super::child::Idler;
use super::probe::Probe;
use super::rights::Seccomp;
use super::tried::Tried;

/// What came of each try.
#[derive(Debug, Serialize)]
pub(crate) struct Tools {
    /// Opening a userfaultfd on another process.
    pub(crate) attach: Tried,
    /// A whole snapshot of a child.
    pub(crate) snapshot: Tried,
    pub(crate) pidfd_open: Tried,
    pub(crate) pidfd_getfd: Tried,
    pub(crate) process_vm_readv: Tried,
    pub(crate) pagemap_scan: Tried,
}

/// Tries everything.
pub(super) fn try_all(seccomp: Seccomp) -> Tools {
    let attach = Probe::Attach.attempt(seccomp);
    Tools {
        snapshot: match attach.works() {
            true => Probe::Snapshot.attempt(seccomp),
            false => Tried::untried("needs attaching"),
        },
        attach,
        pidfd_open: Probe::PidfdOpen.attempt(seccomp),
        pidfd_getfd: Probe::PidfdGetfd.attempt(seccomp),
        process_vm_readv: Probe::ProcessVmReadv.attempt(seccomp),
        pagemap_scan: Probe::PagemapScan.attempt(seccomp),
    }
}

/// Opens a userfaultfd on a child.
pub(super) fn attach_to_child() -> Tried {
    let child = match Idler::start() {
        Ok(child) => child,
        Err(error) => return Tried::untried(format!("no child to try it on: {error}")),
    };
    match attach(child.pid()) {
        Ok(_) => Tried::Works,
        // The errno of the call itself tells it from everything else that may be in the way.
        Err(error @ AttachError::Refused { syscall, .. }) => {
            Tried::fails(syscall, error.to_string())
        }
        Err(error) => Tried::Fails { errno: None, cause: error.to_string() },
    }
}

/// Opens a descriptor of this process.
pub(super) fn pidfd_open_self() -> Tried {
    Tried::from_errno(pidfd_open(getpid(), PidfdFlags::empty()).map(drop))
}

/// Fetches a descriptor through a descriptor of this process.
pub(super) fn pidfd_getfd_self() -> Tried {
    Tried::from_errno(pidfd_open(getpid(), PidfdFlags::empty()).and_then(|pidfd| {
        pidfd_getfd(&pidfd, pidfd.as_raw_fd(), PidfdGetfdFlags::empty()).map(drop)
    }))
}

/// Reads memory of this process as if it were another's.
pub(super) fn process_vm_readv_self() -> Tried {
    let mut copy = [0; OWN.len()];
    let read = read_memory(getpid(), &[own_memory()], &mut copy);
    Tried::from_errno(read.map(drop).map_err(|error| error.errno))
}

/// Any memory of ours will do.
static OWN: [u8; 8] = *b"readable";

fn own_memory() -> VaRange {
    VaRange::of(Va(OWN.as_ptr().addr() as u64), Bytes::from(OWN.len()))
}

/// Scans the page table of this process.
pub(super) fn pagemap_scan_self() -> Tried {
    let pagemap = match Pagemap::of_self() {
        Ok(pagemap) => pagemap,
        Err(error) => return Tried::fails(error.errno, error.to_string()),
    };
    match PagemapScan::new().required(Category::PRESENT).scan(
        &pagemap,
        own_memory(),
        &mut Vec::new(),
    ) {
        Ok(_) => Tried::Works,
        Err(error) => Tried::Fails { errno: None, cause: error.to_string() },
    }
}
