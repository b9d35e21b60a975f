//! Writes caught by page protection and `SIGSEGV`: what there was before userfaultfd could protect.
//!
//! [`WriteTrap`] owns memory. A write to a part that [`WriteTrap::arm`] protected raises the
//! signal; the handler takes the protection off that page and the write is made again. Nothing
//! above needs more of the method: it serves as the yardstick for WRITEPROTECT, and where that is
//! missing.
//!
//! # Invariants
//! - While the handler is installed, the range it knows is that of a mapping that lives: the trap
//!   owns both, and there is one trap at a time in a process, since there is one handler.

use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

use faultless_pages::Bytes;
use rustix::mm::{MprotectFlags, mprotect};

use super::{FaultInfo, FaultSignal, Handled, SignalError, SignalHandler, install};
use crate::{MapError, Mapping, Protection, base_page_size};

/// The trap's range and count, where a handler can read them.
struct Trapped {
    start: AtomicU64,
    end: AtomicU64,
    caught: AtomicU64,
}

static TRAPPED: Trapped =
    Trapped { start: AtomicU64::new(0), end: AtomicU64::new(0), caught: AtomicU64::new(0) };

/// Memory whose first writes are caught, page by page.
#[derive(Debug)]
#[must_use = "dropping it unmaps the memory"]
pub struct WriteTrap {
    /// First, so that it goes before the memory.
    _handler: SignalHandler,
    memory: Mapping,
}

impl WriteTrap {
    /// Installs the handler for `memory`, of which nothing is armed yet.
    ///
    /// # Errors
    /// [`SignalError::AlreadyInstalled`] while another handler of ours takes `SIGSEGV`, another
    /// trap's among them; [`SignalError::Covered`].
    pub fn new(memory: Mapping) -> Result<WriteTrap, SignalError> {
        // SAFETY: `disarm` reads atomics and makes one system call; it neither allocates, locks
        // nor panics.
        let handler = unsafe { install(FaultSignal::Segv, disarm) }?;
        // After the installation, which fails while another trap still needs its range.
        TRAPPED.start.store(memory.range().start().0, Ordering::SeqCst);
        TRAPPED.end.store(memory.range().end().0, Ordering::SeqCst);
        TRAPPED.caught.store(0, Ordering::SeqCst);
        Ok(WriteTrap { _handler: handler, memory })
    }

    /// Catches the next write to each page of `len` bytes from `offset` on, both multiples of the
    /// page size.
    ///
    /// # Errors
    /// Those of [`Mapping::protect`].
    ///
    /// # Panics
    /// If they leave the memory.
    pub fn arm(&self, offset: Bytes, len: Bytes) -> Result<(), MapError> {
        self.memory.protect(self.memory.range_of(offset, len), Protection::Read)
    }

    /// Returns the memory.
    #[must_use]
    pub fn memory(&self) -> &Mapping {
        &self.memory
    }

    /// Returns how many writes were caught since the trap was made.
    #[must_use]
    pub fn caught(&self) -> u64 {
        TRAPPED.caught.load(Ordering::SeqCst)
    }
}

/// Takes the protection off the page a write met.
fn disarm(fault: &FaultInfo) -> Handled {
    let start = TRAPPED.start.load(Ordering::SeqCst);
    let end = TRAPPED.end.load(Ordering::SeqCst);
    if !(start..end).contains(&fault.address.0) {
        return Handled::No;
    }
    let size = base_page_size();
    let page = fault.address.align_down(size).0;
    let page = ptr::with_exposed_provenance_mut(usize::try_from(page).unwrap_or(0));
    let flags = MprotectFlags::READ | MprotectFlags::WRITE;
    // SAFETY: the page is one of the trap's mapping (invariant), into which no references exist.
    let unprotected = unsafe { mprotect(page, size.bytes().as_usize(), flags) };
    if unprotected.is_err() {
        // The limit on the number of mappings; the signal then ends the process, as it would have.
        return Handled::No;
    }
    TRAPPED.caught.fetch_add(1, Ordering::SeqCst);
    Handled::Yes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{in_child, this_test};

    #[test]
    fn each_armed_page_catches_one_write() {
        // In a process of its own: there is one handler for all tests of this one.
        let status = in_child(this_test!(each_armed_page_catches_one_write), catch_writes);
        assert!(status.success(), "{status}");
    }

    fn catch_writes() {
        let page = base_page_size().bytes();
        let memory = Mapping::anonymous(Bytes(page.0 * 4)).expect("a few pages");
        let trap = WriteTrap::new(memory).expect("no other handler in this test");
        trap.memory().store_u64(Bytes::ZERO, 1);
        assert_eq!(trap.caught(), 0, "nothing is armed");

        trap.arm(page, Bytes(page.0 * 2)).expect("inside");
        for value in [7, 8] {
            for index in 0..4 {
                trap.memory().store_u64(Bytes(page.0 * index), value);
            }
        }
        assert_eq!(trap.caught(), 2);
        assert_eq!(trap.memory().load_u64(page), 8);

        let other = Mapping::anonymous(page).expect("a page");
        assert!(matches!(WriteTrap::new(other), Err(SignalError::AlreadyInstalled(_))));
        trap.arm(Bytes::ZERO, page).expect("inside");
        trap.memory().store_u64(Bytes::ZERO, 9);
        assert_eq!(trap.caught(), 3, "a refused trap leaves the first one working");
    }
}
