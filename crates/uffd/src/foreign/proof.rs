//! Proof that a userfaultfd is another process's.
//!
//! A descriptor does not say whose memory it is about; the kernel has no request that tells. But
//! it refuses to register memory that can never be written, and says so with an error of its own.
//! So a page of that kind is mapped here, and the descriptor asked to register its address: if it
//! is this process's, it must say EPERM. Any other answer comes from another address space.

use std::os::fd::AsFd;
use std::ptr;

use faultless_pages::{Bytes, Va, VaRange};
use faultless_uapi::{UffdioRegister, ioctl, mode};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use crate::register::raw;
use crate::{ForeignUffd, Uffd, base_page_size, call};

/// Where the page is mapped first: below everything the kernel places by itself, so that the
/// other process most likely has nothing there either.
const FIRST_HINT: usize = 0x1357_0000;
const HINT_STEP: usize = 0x0246_0000;
/// Another process may by chance have unwritable shared memory at one address, not at all.
const TRIES: usize = 4;

/// Why a userfaultfd is not taken for another process's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotForeign {
    /// It is this process's, or behaves so.
    #[error("the userfaultfd belongs to this process")]
    Own,
    /// The question could not be asked.
    #[error("cannot make the page that tells whose a userfaultfd is: {0}")]
    NoPage(#[source] Errno),
}

impl ForeignUffd {
    /// Takes a userfaultfd that somebody passed, if it proves to be another process's.
    ///
    /// Changes nothing in either process, but in the one case that the other has memory of its own
    /// at the address asked for: that page is registered and let go again at once.
    ///
    /// # Errors
    /// See [`NotForeign`]; the userfaultfd is given back with it.
    ///
    /// # Kernel
    /// REGISTER says EPERM for mappings that may never be written (5.0, a sealed memfd: 5.1).
    pub fn check(uffd: Uffd) -> Result<ForeignUffd, (NotForeign, Uffd)> {
        for attempt in 0..TRIES {
            match Unwritable::map(FIRST_HINT + attempt * HINT_STEP) {
                Ok(page) if answers_from_elsewhere(&uffd, page.range) => {
                    return Ok(ForeignUffd(uffd));
                }
                Ok(_) => {}
                Err(errno) => return Err((NotForeign::NoPage(errno), uffd)),
            }
        }
        Err((NotForeign::Own, uffd))
    }
}

/// Says whether the answer about a page only this process has shows another address space.
fn answers_from_elsewhere(uffd: &Uffd, page: VaRange) -> bool {
    let mut arg = UffdioRegister { range: raw(page), mode: mode::register::MISSING, ioctls: 0 };
    // SAFETY: UffdioRegister is the struct of REGISTER. In this process the page can only be
    // refused, and nothing of ours lies in it; in another no object of ours does.
    match unsafe { call::request::<{ ioctl::UFFDIO_REGISTER }, _>(uffd.as_fd(), &mut arg) } {
        Err(Errno::PERM) => false,
        Err(_) => true,
        Ok(()) => {
            let mut arg = raw(page);
            // SAFETY: the struct of UNREGISTER; it undoes what was just done.
            let _ =
                unsafe { call::request::<{ ioctl::UFFDIO_UNREGISTER }, _>(uffd.as_fd(), &mut arg) };
            true
        }
    }
}

/// A shared page that may never be written, not even after mprotect.
struct Unwritable {
    range: VaRange,
}

impl Unwritable {
    fn map(hint: usize) -> Result<Unwritable, Errno> {
        let len = base_page_size().bytes();
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = memfd_create("faultless proof", flags)?;
        ftruncate(&file, len.0)?;
        fcntl_add_seals(&file, SealFlags::FUTURE_WRITE)?;
        // SAFETY: without MAP_FIXED the hint displaces nothing, and nobody knows the new page.
        let at = unsafe {
            mmap(
                ptr::without_provenance_mut(hint),
                len.as_usize(),
                ProtFlags::READ,
                MapFlags::SHARED,
                &file,
                0,
            )
        };
        Ok(Unwritable { range: VaRange::of(Va(at?.addr() as u64), Bytes(len.0)) })
    }
}

impl Drop for Unwritable {
    fn drop(&mut self) {
        let at = usize::try_from(self.range.start().0).expect("an address of this process");
        // SAFETY: the page was mapped by `map` and is known to nobody else.
        let _ = unsafe { munmap(ptr::without_provenance_mut(at), self.range.len().as_usize()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Victim, skip};
    use crate::{OpenOptions, Wanted, attach};

    #[test]
    fn the_own_userfaultfd_is_refused() {
        let options = OpenOptions { user_mode_only: true, ..OpenOptions::default() };
        let unbound = match Uffd::open(&options) {
            Ok(unbound) => unbound,
            Err(error) => return skip(error),
        };
        let uffd = unbound.handshake(Wanted::default()).unwrap();
        assert!(matches!(ForeignUffd::check(uffd), Err((NotForeign::Own, _))));
    }

    #[test]
    fn another_processs_userfaultfd_is_taken() {
        let victim = Victim::start();
        let pid = u32::try_from(victim.pid().as_raw_nonzero().get()).unwrap();
        let attachment = match attach::attach(pid) {
            Ok(attachment) => attachment,
            Err(error) => return skip(error),
        };
        let foreign = attachment.uffd.handshake(Wanted::default()).unwrap();
        assert!(ForeignUffd::check(foreign.into_uffd()).is_ok());
    }
}
