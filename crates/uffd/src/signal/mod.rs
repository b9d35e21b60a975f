//! `SIGBUS` and `SIGSEGV` raised by memory accesses, handled where they happen.
//!
//! A userfaultfd with the SIGBUS feature sends no messages: the access itself raises the signal,
//! and the handler may resolve the fault on the spot and let the access be made again.
//! [`install`] puts a handler in front of whatever handled the signal before; what it declines
//! goes on to that. [`AlternateStack`] gives a thread a stack to handle on, [`bus_cause`] tells
//! a poisoned page from a fault that waits to be resolved.
//!
//! # Invariants
//! - What runs in a handler makes no allocation, takes no lock and leaves `errno` alone.
//! - A signal that nobody handles ends the process as it would have without us: same signal,
//!   same place, core dump and all.

mod cause;
mod chain;
mod context;
mod stack;
mod write_trap;

use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use faultless_pages::Va;
use rustix::io::Errno;

use self::chain::Previous;
use crate::errno::Described;
use crate::sys::last_errno;

pub use cause::{BusCause, bus_cause};
pub use stack::AlternateStack;
pub use write_trap::WriteTrap;

/// A signal that a memory access raises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultSignal {
    /// `SIGBUS`: the page cannot be had.
    Bus,
    /// `SIGSEGV`: there is no page, or the access is forbidden.
    Segv,
}

impl FaultSignal {
    fn number(self) -> libc::c_int {
        match self {
            FaultSignal::Bus => libc::SIGBUS,
            FaultSignal::Segv => libc::SIGSEGV,
        }
    }

    fn from_number(number: libc::c_int) -> Option<FaultSignal> {
        [FaultSignal::Bus, FaultSignal::Segv].into_iter().find(|signal| signal.number() == number)
    }
}

/// An access that raised a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultInfo {
    /// Which signal.
    pub signal: FaultSignal,
    /// The address accessed, to the byte.
    pub address: Va,
    /// The kernel's reason, `si_code`: `BUS_ADRERR` (2) for a userfaultfd in SIGBUS mode.
    pub code: i32,
    /// Whether the access was a write; `None` where the machine does not tell.
    pub write: Option<bool>,
}

/// What a handler made of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handled {
    /// The access is made again.
    Yes,
    /// The fault is somebody else's: the previous handler gets it.
    No,
}

/// Why a handler was not installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignalError {
    /// There is one already for this signal.
    #[error("cannot handle {0:?} faults: a handler is installed already; drop it first")]
    AlreadyInstalled(FaultSignal),
    /// An earlier handler of ours was dropped while another one lay over it, which may still
    /// pass faults down: going on top as well would pass them in a circle.
    #[error(
        "cannot handle {0:?} faults: a foreign handler covers an earlier one of ours; \
         remove the foreign handler first"
    )]
    Covered(FaultSignal),
    /// The kernel refused an alternate stack.
    #[error("cannot set an alternate signal stack: {}", Described(*.0))]
    Stack(#[source] Errno),
    /// No memory for an alternate stack.
    #[error("cannot set an alternate signal stack: {0}")]
    Memory(#[from] crate::MapError),
}

/// What the handler of one signal needs to know. It may be read on any thread at any time.
struct Slot {
    /// A `Callback`, or null.
    callback: AtomicPtr<()>,
    /// The action found at installation; null as long as there was none.
    previous: AtomicPtr<Previous>,
}

type Callback = fn(&FaultInfo) -> Handled;

impl Slot {
    const fn new() -> Slot {
        Slot {
            callback: AtomicPtr::new(ptr::null_mut()),
            previous: AtomicPtr::new(ptr::null_mut()),
        }
    }
}

static BUS: Slot = Slot::new();
static SEGV: Slot = Slot::new();

/// Held while actions are looked at and changed.
static INSTALL: Mutex<()> = Mutex::new(());

fn slot(signal: FaultSignal) -> &'static Slot {
    match signal {
        FaultSignal::Bus => &BUS,
        FaultSignal::Segv => &SEGV,
    }
}

/// Keeps a handler installed until dropped.
///
/// Dropping it puts the previous action back, unless another handler was installed on top
/// meanwhile: then ours stays below it and passes everything on.
#[derive(Debug)]
#[must_use = "dropping it takes the handler out"]
pub struct SignalHandler {
    signal: FaultSignal,
}

/// Calls `callback` for every fault of this process that raises `signal`.
///
/// It runs on the thread that faulted, on that thread's alternate stack if it has one. If it
/// answers [`Handled::No`], and for signals sent by `kill` and the like, the action found at
/// installation is taken: a handler is called with what it asked for (`SA_SIGINFO`, its mask,
/// `SA_RESETHAND`), the default and (for a fault, as the kernel would) an ignored signal end
/// the process.
///
/// # Errors
/// [`SignalError::AlreadyInstalled`], [`SignalError::Covered`].
///
/// # Safety
/// `callback` is async-signal-safe. It may be called between any two instructions that access
/// memory which can fault: it makes no allocation, takes no lock that the code interrupted may
/// hold, and does not panic.
pub unsafe fn install(
    signal: FaultSignal,
    callback: Callback,
) -> Result<SignalHandler, SignalError> {
    let _alone = lock();
    let slot = slot(signal);
    if !slot.callback.load(Ordering::Relaxed).is_null() {
        return Err(SignalError::AlreadyInstalled(signal));
    }
    let found = current_action(signal);
    let in_place = is_ours(&found);
    if !in_place {
        if !slot.previous.load(Ordering::Relaxed).is_null() {
            return Err(SignalError::Covered(signal));
        }
        // Never freed: a handler on another thread may be about to read it. It is small, and
        // installations are few.
        let previous = Box::leak(Box::new(Previous::new(found)));
        slot.previous.store(previous, Ordering::Release);
    }
    slot.callback.store(callback as *mut (), Ordering::Release);
    if !in_place {
        set_action(signal, &our_action());
    }
    Ok(SignalHandler { signal })
}

impl Drop for SignalHandler {
    fn drop(&mut self) {
        let _alone = lock();
        let slot = slot(self.signal);
        slot.callback.store(ptr::null_mut(), Ordering::Release);
        if !is_ours(&current_action(self.signal)) {
            return;
        }
        let previous = slot.previous.swap(ptr::null_mut(), Ordering::AcqRel);
        // SAFETY: set before our action was, to a leaked box.
        let previous = unsafe { previous.as_ref() }.expect("ours was put over something");
        set_action(self.signal, previous.action());
    }
}

fn lock() -> MutexGuard<'static, ()> {
    INSTALL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes every signal there is a slot for, on whatever thread.
extern "C" fn on_signal(
    number: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    let _errno = context::KeepErrno::new();
    let Some(signal) = FaultSignal::from_number(number) else {
        return;
    };
    let slot = slot(signal);
    let callback = slot.callback.load(Ordering::Acquire);
    // SAFETY: the kernel passes both pointers to an action with SA_SIGINFO, valid until we return.
    let fault = unsafe { context::fault(signal, info, context) };
    if let Some(fault) = fault
        && !callback.is_null()
    {
        // SAFETY: only `install` stores here, and it stores a `Callback`.
        let callback = unsafe { std::mem::transmute::<*mut (), Callback>(callback) };
        if callback(&fault) == Handled::Yes {
            return;
        }
    }
    // SAFETY: `install` has stored a leaked box here; null if our action was taken out since.
    let previous = unsafe { slot.previous.load(Ordering::Acquire).as_ref() };
    // SAFETY: the pointers are those the kernel passed, see above.
    unsafe { chain::pass_on(previous, signal, info, context) };
}

fn our_action() -> libc::sigaction {
    let mut action = chain::default_action();
    let handler: extern "C" fn(_, _, _) = on_signal;
    action.sa_sigaction = handler as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
    action
}

fn is_ours(action: &libc::sigaction) -> bool {
    action.sa_sigaction == our_action().sa_sigaction
}

fn current_action(signal: FaultSignal) -> libc::sigaction {
    let mut action = chain::default_action();
    // SAFETY: asks only; `action` is a sigaction to write to [K1].
    let answer = unsafe { libc::sigaction(signal.number(), ptr::null(), &raw mut action) };
    assert!(answer == 0, "asking for an action cannot fail: {}", last_errno());
    action
}

fn set_action(signal: FaultSignal, action: &libc::sigaction) {
    // SAFETY: `action` is ours, whose handler has the signature its flags promise, or was the
    // kernel's answer for this signal.
    let answer = unsafe { libc::sigaction(signal.number(), action, ptr::null_mut()) };
    assert!(answer == 0, "setting an action of a fault signal cannot fail: {}", last_errno());
}

#[cfg(test)]
mod tests;
