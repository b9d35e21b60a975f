//! userfaultfd: contexts, and every request of the descriptor as bytes in, bytes and errno out.
//!
//! | file | holds |
//! |---|---|
//! | `open` | making one: flags and permission |
//! | `request` | from a request number to its operation; the caller's argument |
//! | `handshake` | API |
//! | `register`, `unregister`, `accept` | REGISTER, UNREGISTER; which areas each mode takes |
//! | `queue` | faults unread and read, events; reading, polling, waking |
//! | `wait` | a fault that waits for its resolution |
//! | `events` | FORK, REMAP, REMOVE, UNMAP: telling and waiting until told |
//! | `fill` | what COPY, ZEROPAGE, CONTINUE and POISON have in common |
//! | `copy`, `zeropage`, `continue_`, `poison`, `move_`, `wake` | a request each |
//! | `write_protect`, `read_protect`, `set_mode` | WRITEPROTECT; RWPROTECT, SET_MODE |
//! | `protect_pages` | putting protection on pages, taking it off |
//! | `copy_hugetlb` | COPY of huge pages of the pool |
//! | `move_areas`, `move_step`, `move_page`, `move_swapped`, `move_huge` | the parts of MOVE |
//! | `close` | the end of the last descriptor |
//!
//! # Locking
//! A request that fills holds, in this order: the destination's area, shared; the context's
//! *changing* lock, shared; per page the table. REGISTER and UNREGISTER hold the map and the
//! areas they change exclusively. Queues need no lock: they change between two awaits.

mod accept;
mod close;
mod continue_;
mod copy;
mod copy_hugetlb;
mod events;
mod fill;
mod handshake;
mod move_;
mod move_areas;
mod move_huge;
mod move_page;
mod move_step;
mod move_swapped;
mod open;
mod poison;
mod protect_pages;
mod queue;
mod read_protect;
mod register;
mod request;
mod set_mode;
mod unregister;
mod wait;
mod wake;
mod write_protect;
mod zeropage;

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use faultless_uapi::UFFD_USER_MODE_ONLY;
use faultless_uapi::feature::{FEATURE_RWP_ASYNC, FEATURE_WP_ASYNC, FEATURE_WP_UNPOPULATED};

pub(crate) use events::Announcement;
pub use open::OpenFlags;
pub(crate) use queue::{Event, Waiter};
pub use request::Argument;
pub(crate) use request::User;
pub(crate) use wait::Reason;

use crate::id::SpaceId;

/// A userfaultfd. Its number is never used again: areas and sleepers may name it to the end.
#[derive(Debug)]
pub(crate) struct Userfaultfd {
    /// The memory it is for: that of the process that made it.
    pub(crate) space: SpaceId,
    /// What it was opened with; a child's descriptor is opened with the same.
    pub(crate) flags: u32,
    /// What the handshake enabled; `None` before it.
    pub(crate) features: Option<u64>,
    /// The last descriptor is closed.
    pub(crate) released: bool,
    /// It is closed, and no area names it any more.
    pub(crate) let_go: bool,
    /// Events that were raised and whose threads have not gone on.
    pub(crate) changing: u32,
    /// Threads in a fault that is reported here.
    pub(crate) faulting: u32,
    /// Faults nobody has read, oldest first.
    pub(crate) pending: VecDeque<Waiter>,
    /// Faults that were read and still wait.
    pub(crate) delivered: Vec<Waiter>,
    /// Events nobody has read, oldest first.
    pub(crate) events: VecDeque<Event>,
}

impl Userfaultfd {
    fn new(space: SpaceId, flags: u32) -> Userfaultfd {
        Userfaultfd {
            space,
            flags,
            features: None,
            released: false,
            let_go: false,
            changing: 0,
            faulting: 0,
            pending: VecDeque::new(),
            delivered: Vec::new(),
            events: VecDeque::new(),
        }
    }

    /// Says whether the handshake enabled any of these features.
    pub(crate) fn has(&self, features: u64) -> bool {
        self.features.unwrap_or(0) & features != 0
    }

    /// Faults of system calls are refused.
    pub(crate) fn is_user_mode_only(&self) -> bool {
        self.flags & UFFD_USER_MODE_ONLY != 0
    }

    /// Stores to protected pages are let through and recorded.
    pub(crate) fn wp_is_async(&self) -> bool {
        self.has(FEATURE_WP_ASYNC)
    }

    /// Accesses to closed pages are let through and recorded.
    pub(crate) fn rwp_is_async(&self) -> bool {
        self.has(FEATURE_RWP_ASYNC)
    }

    /// Enables some features and disables others.
    fn switch(&mut self, enable: u64, disable: u64) {
        self.features = self.features.map(|features| (features | enable) & !disable);
    }

    /// Anonymous memory is protected where no page is yet.
    pub(crate) fn wp_unpopulated(&self) -> bool {
        self.has(FEATURE_WP_UNPOPULATED | FEATURE_WP_ASYNC)
    }
}
