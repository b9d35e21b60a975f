//! Putting a userfaultfd on the RAM of a QEMU, from outside, with nothing there.
//!
//! The order matters. QEMU is given its copy of the userfaultfd first, while it cannot have to wait
//! for a page yet: it makes every descriptor it receives a blocking one, which this one must not
//! stay. The memory is registered before its file is emptied: what QEMU touches in
//! between waits, and is not found to be there later. COPY puts pages there, never a write to
//! the file: where it has huge pages, a write would bring zeros for the neighbours along.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use faultless_uffd::attach::{Attachment, attach};
use faultless_uffd::{Features, Modes, Wanted};
use faultless_wire::{Claim, Layout};

use super::error::VmError;
use super::manifest::Manifest;
use super::ram::Ram;
use crate::serve::keeper::Charge;

/// Takes the RAM of a QEMU over: every page of it is missing afterwards. `give` hands QEMU a copy
/// of the userfaultfd.
pub(super) fn take_over(
    pid: u32,
    ram: &[Ram],
    manifest: &Manifest,
    give: impl FnOnce(BorrowedFd<'_>) -> Result<(), VmError>,
) -> Result<Charge, VmError> {
    let layout = layout(ram, manifest)?;
    let Attachment { uffd, pidfd, .. } = attach(pid)?;
    let huge = ram.iter().any(|ram| ram.page_size != faultless_uffd::base_page_size());
    let mut required = Features::MISSING_SHMEM | Features::EVENT_REMOVE | Features::EVENT_UNMAP;
    required.set(Features::MISSING_HUGETLBFS, huge);
    let wanted = Wanted { required, optional: Features::empty() };
    let uffd = uffd.handshake(wanted).map_err(|error| VmError::Handshake(error.to_string()))?;
    give(uffd.as_fd())?;
    uffd.as_uffd().set_nonblocking(true).map_err(|errno| VmError::Handshake(errno.to_string()))?;
    for ram in ram {
        uffd.register_range(ram.memory, Modes::MISSING)?;
    }
    ram.iter().try_for_each(Ram::empty)?;
    let uffd: OwnedFd = uffd.into_uffd().into_fd();
    Ok(Charge { pid: pid.cast_signed(), uffd, process: pidfd, layout })
}

/// Says which memory shows which bytes of the image.
fn layout(ram: &[Ram], manifest: &Manifest) -> Result<Layout, VmError> {
    let claim = |ram: &Ram| {
        let part = manifest.part(&ram.id)?;
        Some(Claim {
            address: ram.memory.start().0,
            len: ram.memory.len().0,
            offset: part.offset,
            page_size: ram.page_size.bytes().0,
        })
    };
    let claims: Vec<Claim> = ram.iter().filter_map(claim).collect();
    Layout::new(&claims).map_err(|refusal| VmError::Layout(refusal.to_string()))
}
