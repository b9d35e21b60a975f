//! A userfaultfd of another process, before and after its handshake.

mod proof;

use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;

use crate::{HandshakeError, MessageBatch, Uffd, UnboundUffd, Wanted};

pub use proof::NotForeign;

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
    /// announced, is not this one. [`ForeignUffd::check`] finds that out.
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
