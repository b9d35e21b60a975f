//! The userfaultfd after its handshake.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::fdinfo::{self, Queue};
use crate::{Features, Ioctls, Route};

/// A userfaultfd, ready for use.
///
/// It belongs to the address space of the process that made it, whoever holds the descriptor.
/// Dropping the last descriptor unregisters everything and lets the waiting threads go on: they
/// find *zero pages* where content was still to come. A pager that must not lose data keeps the
/// descriptor open until every range is complete.
///
/// # Raw ranges
///
/// Operations that take addresses are `unsafe` here, because the userfaultfd may be that of this
/// process. Who calls them answers for two facts:
///
/// 1. Pages that an operation fills, moves, poisons or drops belong to the caller: no reference
///    and no allocation of anyone else relies on their content.
/// 2. Nobody else relies on faults in the range to be answered by another party: protecting,
///    registering and unregistering change which accesses wait and what they find afterwards.
///
/// Neither question arises for an owned mapping or for a [`ForeignUffd`](crate::ForeignUffd).
#[derive(Debug)]
pub struct Uffd {
    pub(crate) fd: OwnedFd,
    pub(crate) route: Route,
    pub(crate) granted: Features,
    pub(crate) supported: Features,
    pub(crate) missing: Features,
    pub(crate) api_ioctls: Ioctls,
}

impl Uffd {
    /// Returns the features that are on.
    #[must_use]
    pub fn features(&self) -> Features {
        self.granted
    }

    /// Returns every feature the kernel supports. Empty for an adopted descriptor.
    #[must_use]
    pub fn supported(&self) -> Features {
        self.supported
    }

    /// Returns the optional features that were wanted and are off.
    #[must_use]
    pub fn missing(&self) -> Features {
        self.missing
    }

    /// Returns the requests the descriptor takes besides those of registered ranges.
    #[must_use]
    pub fn api_ioctls(&self) -> Ioctls {
        self.api_ioctls
    }

    /// Returns where the descriptor came from.
    #[must_use]
    pub fn route(&self) -> Route {
        self.route
    }

    /// Gives the descriptor up. The handshake stays done: its next owner uses
    /// [`UnboundUffd::adopt`](crate::UnboundUffd::adopt).
    #[must_use]
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// Says whether operations can be held back by unread events.
    pub(crate) fn has_events(&self) -> bool {
        self.granted.intersects(Features::EVENTS)
    }

    /// Chooses between returning at once and waiting when an empty queue is read.
    ///
    /// # Errors
    /// That of `fcntl(2)`; none is known to occur.
    pub fn set_nonblocking(&self, nonblocking: bool) -> Result<(), Errno> {
        let mut flags = rustix::fs::fcntl_getfl(&self.fd)?;
        flags.set(OFlags::NONBLOCK, nonblocking);
        rustix::fs::fcntl_setfl(&self.fd, flags)
    }

    /// Waits until a message can be read, at most for `timeout`; says whether there is one.
    ///
    /// The end of the process is never announced: watch a pidfd for it. A message seen here may
    /// be gone when it is read, if its fault was resolved in between.
    ///
    /// # Errors
    /// | errno | meaning |
    /// |---|---|
    /// | EINVAL | the descriptor is blocking; the kernel does not poll those |
    /// | EINTR | a signal arrived |
    pub fn wait(&self, timeout: Option<Duration>) -> Result<bool, Errno> {
        let timeout = timeout.map(timespec);
        let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
        if poll(&mut fds, timeout.as_ref())? == 0 {
            return Ok(false);
        }
        if fds[0].revents().contains(PollFlags::ERR) {
            return Err(Errno::INVAL);
        }
        Ok(fds[0].revents().contains(PollFlags::IN))
    }

    /// Counts the faults that wait, as `/proc/self/fdinfo` reports them.
    ///
    /// # Errors
    /// That of reading the file, as when `/proc` is not mounted.
    pub fn queue(&self) -> std::io::Result<Queue> {
        fdinfo::read(self.as_fd()).map(|info| info.queue)
    }
}

/// Converts a duration; one beyond the range of the kernel's clock is as good as forever.
fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}

impl AsFd for Uffd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
