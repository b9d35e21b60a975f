//! A stack of its own for the handlers of a thread.

use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr;

use faultless_pages::{Bytes, VaRange};
use rustix::io::Errno;

use super::SignalError;
use crate::sys::last_errno;
use crate::{Mapping, Protection, base_page_size};

/// What a handler may use beside the frame the kernel pushes.
// A fault handler that resolves by itself keeps a message batch and a scan buffer on the stack;
// Rust gives its threads an alternate stack of some 8 KiB, which is for reporting overflows.
const ROOM: Bytes = Bytes::kib(128);

/// The alternate signal stack of the calling thread, until dropped.
///
/// Without one, a handler runs on the stack of the code that faulted, which may have none left,
/// or be waiting for pages itself. The lowest page is forbidden, so that running over ends in
/// `SIGSEGV` rather than in other memory.
#[derive(Debug)]
#[must_use = "dropping it takes the stack away"]
pub struct AlternateStack {
    /// Unmapped only when the thread no longer uses it.
    memory: ManuallyDrop<Mapping>,
    before: libc::stack_t,
    /// It is the thread's, so it stays there.
    _thread: PhantomData<*const ()>,
}

impl AlternateStack {
    /// Gives the calling thread an alternate stack in place of the one it may have.
    ///
    /// # Errors
    /// | error | errno | meaning |
    /// |---|---|---|
    /// | [`SignalError::Memory`] | `NOMEM` | no memory for it |
    /// | [`SignalError::Stack`] | `PERM` | the thread is on its alternate stack right now |
    pub fn new() -> Result<AlternateStack, SignalError> {
        let guard = base_page_size().bytes();
        let len = Bytes(guard.0 + frame_bytes().0 + ROOM.0);
        // A handler is no place to wait for memory.
        let memory = Mapping::builder(len).huge_pages(false).populate().anonymous()?;
        memory.protect(memory.range_of(Bytes::ZERO, guard), Protection::None)?;
        let stack = libc::stack_t {
            ss_sp: memory.as_ptr().wrapping_add(guard.as_usize()).cast(),
            ss_flags: 0,
            ss_size: (memory.len().0 - guard.0).try_into().expect("a mapped length"),
        };
        let before = exchange(&stack).map_err(SignalError::Stack)?;
        Ok(AlternateStack { memory: ManuallyDrop::new(memory), before, _thread: PhantomData })
    }

    /// Returns the addresses handlers have for their frames.
    #[must_use]
    pub fn range(&self) -> VaRange {
        let guard = base_page_size().bytes();
        self.memory.range_of(guard, Bytes(self.memory.len().0 - guard.0))
    }
}

impl Drop for AlternateStack {
    fn drop(&mut self) {
        // It fails only while the thread runs on this stack; the memory then has to stay.
        if exchange(&self.before).is_ok() {
            // SAFETY: dropped here and nowhere else.
            unsafe { ManuallyDrop::drop(&mut self.memory) };
        }
    }
}

/// Sets the alternate stack of the calling thread and returns the one before.
fn exchange(stack: &libc::stack_t) -> Result<libc::stack_t, Errno> {
    let mut before = libc::stack_t { ss_sp: ptr::null_mut(), ss_flags: 0, ss_size: 0 };
    // SAFETY: `stack` is memory owned by its keeper until it is exchanged again, or what the
    // kernel answered before; `before` is written to only [K1].
    match unsafe { libc::sigaltstack(stack, &raw mut before) } {
        0 => Ok(before),
        _ => Err(last_errno()),
    }
}

/// Returns the size of the frame the kernel pushes at most, with all vector registers.
fn frame_bytes() -> Bytes {
    // SAFETY: only looks the value up; 0 if the kernel does not give it.
    let asked = unsafe { libc::getauxval(libc::AT_MINSIGSTKSZ) };
    Bytes(asked).max(Bytes::from(libc::MINSIGSTKSZ))
}
