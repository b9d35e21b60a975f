//! What the threads of a crew share, whatever address space they are at.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::buffers::Rooms;
use super::queue::Queue;
use super::space::Seat;
use crate::port::{Clock, Time};

/// The most zeros a request puts: a huge page of them.
const ZEROS: usize = 2 << 20;

/// What carrying out actions needs besides the address space.
pub(super) struct Tools {
    pub(super) clock: Arc<dyn Clock + Send + Sync>,
    pub(super) rooms: Rooms,
    pub(super) queue: Queue,
    pub(super) zeros: Box<[u8]>,
    /// What readers are to look at.
    pub(super) news: News,
    numbers: AtomicU64,
}

/// What readers are to look at, and what gets them to.
pub(super) struct News {
    /// Children of forks, to be taken in.
    pub(super) born: Mutex<Vec<Arc<Seat>>>,
    /// Address spaces that are over.
    pub(super) over: Mutex<Vec<u64>>,
    /// Which address space is to be ticked when.
    pub(super) timers: Mutex<BTreeSet<(Time, u64)>>,
    pub(super) bell: OwnedFd,
}

impl News {
    /// Gets a reader out of its sleep.
    pub(super) fn ring(&self) {
        // EAGAIN: it rings already.
        let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
    }
}

impl Tools {
    pub(super) fn new(clock: Arc<dyn Clock + Send + Sync>, bell: OwnedFd) -> Tools {
        let news =
            News { born: Mutex::default(), over: Mutex::default(), timers: Mutex::default(), bell };
        Tools {
            clock,
            rooms: Rooms::default(),
            queue: Queue::default(),
            zeros: vec![0; ZEROS].into_boxed_slice(),
            news,
            numbers: AtomicU64::new(1),
        }
    }

    pub(super) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }
}

/// Takes a lock that nobody holds for long.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A step that panicked is a bug; who goes on finds the words as they are.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
