//! A userfaultfd of another process, before and after its handshake.

use std::os::fd::{AsFd, BorrowedFd};

use faultless_pages::{Va, VaRange};
use rustix::io::Errno;

use crate::{
    HandshakeError, MessageBatch, MoveMode, OpenOptions, Situation, Uffd, UnboundUffd, Wanted,
    base_page_size,
};

/// A userfaultfd of another process before its handshake, as [`crate::attach`] yields it.
#[derive(Debug)]
pub struct UnboundForeignUffd(UnboundUffd);

impl UnboundForeignUffd {
    /// Declares a userfaultfd to be another process's.
    ///
    /// # Safety
    /// As for [`ForeignUffd::assume_foreign`].
    #[must_use]
    pub unsafe fn assume_foreign(unbound: UnboundUffd) -> UnboundForeignUffd {
        UnboundForeignUffd(unbound)
    }

    /// Switches features on; see [`UnboundUffd::handshake`].
    ///
    /// # Errors
    /// Those of [`UnboundUffd::handshake`].
    pub fn handshake(self, wanted: Wanted) -> Result<ForeignUffd, HandshakeError> {
        self.0.handshake(wanted).map(ForeignUffd)
    }
}

/// A userfaultfd whose address space is not that of this process.
///
/// All operations are safe on raw ranges: whatever they do to the other process, no object of
/// this one changes. COPY reads its source from *this* process. MOVE does not exist here: the
/// kernel moves pages only within the caller's own address space.
#[derive(Debug)]
pub struct ForeignUffd(pub(crate) Uffd);

impl ForeignUffd {
    /// Declares a userfaultfd to be another process's.
    ///
    /// # Safety
    /// The process that made the descriptor, by opening it or by the fork that a FORK event
    /// announced, is not this one. The kernel offers no way to check that.
    #[must_use]
    pub unsafe fn assume_foreign(uffd: Uffd) -> ForeignUffd {
        ForeignUffd(uffd)
    }

    /// Returns the userfaultfd, for everything that takes no addresses.
    #[must_use]
    pub fn as_uffd(&self) -> &Uffd {
        &self.0
    }

    /// Gives the userfaultfd back.
    #[must_use]
    pub fn into_uffd(self) -> Uffd {
        self.0
    }

    /// Reads the messages that wait; see [`Uffd::read_events`].
    ///
    /// # Errors
    /// Those of [`Uffd::read_events`].
    pub fn read_events(&self, batch: &mut MessageBatch) -> Result<usize, Errno> {
        self.0.read_events(batch)
    }
}

impl AsFd for ForeignUffd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Why a userfaultfd is not taken for another process's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotForeign {
    /// It is this process's.
    #[error("the userfaultfd belongs to this process")]
    Own,
    /// The kernel has no request that tells; it needs MOVE (Linux 6.8).
    #[error("this kernel cannot tell whose a userfaultfd is; Linux 6.8 can")]
    Untold,
    /// An event is under way, which hides the answer: read its messages, then ask again.
    #[error("an event of the process is unread; read it, then ask again")]
    EventPending,
}

impl ForeignUffd {
    /// Takes a userfaultfd that somebody passed, after making sure that it is not this process's.
    ///
    /// MOVE tells: the kernel refuses it for another process's memory before it looks at
    /// addresses, while here it finds nothing at these. That it knows MOVE at all is seen on a
    /// descriptor of our own.
    ///
    /// # Errors
    /// See [`NotForeign`]; the userfaultfd is given back with it.
    pub fn check(uffd: Uffd) -> Result<ForeignUffd, (NotForeign, Uffd)> {
        let options = OpenOptions { user_mode_only: true, ..OpenOptions::default() };
        let own = Uffd::open(&options).ok().and_then(|own| own.handshake(Wanted::default()).ok());
        let knows_move = own.is_some_and(|own| look(&own) == Some(Situation::NotMapped));
        match look(&uffd) {
            _ if !knows_move => Err((NotForeign::Untold, uffd)),
            Some(Situation::Refused(Errno::INVAL)) => Ok(ForeignUffd(uffd)),
            Some(Situation::Retry(_)) => Err((NotForeign::EventPending, uffd)),
            Some(Situation::NotMapped) => Err((NotForeign::Own, uffd)),
            _ => Err((NotForeign::Untold, uffd)),
        }
    }
}

/// What a MOVE comes to where no memory can be.
fn look(uffd: &Uffd) -> Option<Situation> {
    let size = base_page_size().bytes();
    // Below what any process may map.
    let range = VaRange::of(Va(size.0), size);
    // SAFETY: no memory of anybody is at the lowest page but one: nothing is moved.
    unsafe { uffd.move_pages(range, Va(size.0), MoveMode::default()) }.stopped
}
