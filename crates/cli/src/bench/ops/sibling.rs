//! A thread that makes changes to page tables dear.
//!
//! While [`Sibling`] is busy it writes to memory of its own, all over it, so that another processor
//! has this process's translations loaded: an operation that takes a translation away must then
//! interrupt that processor (a TLB shoot-down). While it is idle it sleeps, and the kernel leaves
//! its processor out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use faultless_pages::{Bytes, PageSize};
use faultless_uffd::Mapping;

use crate::exit::{Exit, Failure};

/// Enough pages to keep a first-level TLB turning over.
const MEMORY: Bytes = Bytes::mib(1);

/// The thread; ends with this handle.
pub(super) struct Sibling {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    busy: AtomicBool,
    quit: AtomicBool,
    /// Set by the thread: whether it sleeps.
    asleep: AtomicBool,
    /// Sweeps over its memory.
    sweeps: AtomicU64,
}

impl Sibling {
    /// Starts the thread, asleep.
    ///
    /// # Errors
    /// [`Exit::Host`] if the host has no room for a thread or a mebibyte.
    pub(super) fn start() -> Result<Sibling, Failure> {
        let memory = Mapping::anonymous(MEMORY)
            .map_err(|error| Failure::new(Exit::Host, format_args!("sibling's memory: {error}")))?;
        let shared = Arc::new(Shared::default());
        let body = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("sibling".to_owned())
            .spawn(move || body.run(&memory))
            .map_err(|error| Failure::new(Exit::Host, format_args!("sibling thread: {error}")))?;
        Ok(Sibling { shared, thread: Some(thread) })
    }

    /// Makes the thread busy or idle, and waits until it is.
    pub(super) fn set_busy(&self, busy: bool) {
        if self.shared.busy.swap(busy, Ordering::SeqCst) == busy {
            return;
        }
        self.wake();
        let before = self.shared.sweeps.load(Ordering::SeqCst);
        let reached = || match busy {
            true => self.shared.sweeps.load(Ordering::SeqCst) != before,
            false => self.shared.asleep.load(Ordering::SeqCst),
        };
        while !reached() {
            thread::sleep(Duration::from_micros(100));
        }
    }

    fn wake(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Drop for Sibling {
    fn drop(&mut self) {
        self.shared.quit.store(true, Ordering::SeqCst);
        self.wake();
        if let Some(thread) = self.thread.take() {
            // It has nothing to panic over; if it did, the bench has already been told.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn run(&self, memory: &Mapping) {
        while !self.quit.load(Ordering::SeqCst) {
            if self.busy.load(Ordering::SeqCst) {
                self.sweep(memory);
            } else {
                self.asleep.store(true, Ordering::SeqCst);
                thread::park();
                self.asleep.store(false, Ordering::SeqCst);
            }
        }
    }

    fn sweep(&self, memory: &Mapping) {
        let step = PageSize::KIB4.bytes().as_usize();
        for offset in (0..memory.len().0).step_by(step) {
            memory.store_u64(Bytes(offset), offset);
        }
        self.sweeps.fetch_add(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sibling_sweeps_only_while_it_is_busy() {
        let sibling = Sibling::start().expect("a thread");
        sibling.set_busy(true);
        sibling.set_busy(false);
        let sweeps = sibling.shared.sweeps.load(Ordering::SeqCst);
        assert!(sweeps > 0);
        assert!(sibling.shared.asleep.load(Ordering::SeqCst));
        sibling.set_busy(true);
        assert!(sibling.shared.sweeps.load(Ordering::SeqCst) > sweeps);
    }
}
