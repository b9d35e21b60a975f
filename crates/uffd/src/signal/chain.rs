//! What was installed before us, called as the kernel would have called it.

use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

use super::FaultSignal;
use super::context::is_raised_by_access;

/// The action of a signal that ours was put over.
pub(super) struct Previous {
    action: libc::sigaction,
    /// Set once a `SA_RESETHAND` handler has been called: it is the default from then on.
    spent: AtomicBool,
}

impl Previous {
    pub(super) fn new(action: libc::sigaction) -> Previous {
        Previous { action, spent: AtomicBool::new(false) }
    }

    pub(super) fn action(&self) -> &libc::sigaction {
        &self.action
    }

    /// Returns the handler to call, or one of `SIG_DFL` and `SIG_IGN`.
    fn handler(&self) -> libc::sighandler_t {
        let reset = self.action.sa_flags & libc::SA_RESETHAND != 0;
        if reset && self.spent.swap(true, Ordering::Relaxed) {
            return libc::SIG_DFL;
        }
        self.action.sa_sigaction
    }
}

/// Returns the default action: no handler, no flags, nothing blocked.
pub(super) fn default_action() -> libc::sigaction {
    // SAFETY: a struct of integers and an optional function, for all of which zero is a value.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

/// Hands a signal to the previous action; `None` if ours has been taken out since it came.
///
/// # Safety
/// The pointers are those the kernel passed to our handler, which is still running.
pub(super) unsafe fn pass_on(
    previous: Option<&Previous>,
    signal: FaultSignal,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    let number = signal.number();
    // SAFETY: passed by the kernel, says the caller.
    let raised_by_access = is_raised_by_access(signal, unsafe { &*info }.si_code);
    let Some(previous) = previous else {
        // The action now in place is the one that was before ours.
        return deliver_again(number, raised_by_access);
    };
    match previous.handler() {
        // The kernel does not let an access that cannot be made be ignored either.
        libc::SIG_IGN if !raised_by_access => {}
        libc::SIG_DFL | libc::SIG_IGN => {
            set_default(number);
            deliver_again(number, raised_by_access);
        }
        handler => {
            let _blocked = Blocked::as_asked(&previous.action, number);
            // SAFETY: `handler` was installed with these flags by whoever came before us, and
            // gets what the kernel passes.
            unsafe { call(handler, previous.action.sa_flags, number, info, context) };
        }
    }
}

/// Calls a handler in the way its flags say.
///
/// # Safety
/// `handler` is the address of a handler that was installed with `flags`.
unsafe fn call(
    handler: libc::sighandler_t,
    flags: libc::c_int,
    number: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    type Plain = extern "C" fn(libc::c_int);
    type WithInfo = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);
    if flags & libc::SA_SIGINFO != 0 {
        // SAFETY: with this flag it is a handler of three arguments, says the caller.
        let handler = unsafe { std::mem::transmute::<usize, WithInfo>(handler) };
        handler(number, info, context);
    } else {
        // SAFETY: without the flag it is a handler of one argument, says the caller.
        let handler = unsafe { std::mem::transmute::<usize, Plain>(handler) };
        handler(number);
    }
}

/// Makes the action in place get the signal, once the handler running now has returned.
fn deliver_again(number: libc::c_int, raised_by_access: bool) {
    if raised_by_access {
        // Returning makes the access again, which raises the signal again, at its own place.
        return;
    }
    let process = rustix::process::getpid().as_raw_nonzero().get();
    let thread = rustix::thread::gettid().as_raw_nonzero().get();
    // SAFETY: sends a signal to the calling thread; it waits, being blocked, until we return.
    let sent = unsafe { libc::syscall(libc::SYS_tgkill, process, thread, number) };
    debug_assert_eq!(sent, 0);
}

fn set_default(number: libc::c_int) {
    let action = default_action();
    // SAFETY: the default action needs no handler; sigaction is async-signal-safe.
    let answer = unsafe { libc::sigaction(number, &raw const action, ptr::null_mut()) };
    debug_assert_eq!(answer, 0);
}

/// Signals blocked for as long as a previous handler runs, as its action asks.
struct Blocked {
    before: libc::sigset_t,
}

impl Blocked {
    fn as_asked(action: &libc::sigaction, number: libc::c_int) -> Blocked {
        let mut before = default_action().sa_mask;
        // SAFETY: both sets are initialised; changing the mask is async-signal-safe.
        unsafe {
            libc::pthread_sigmask(libc::SIG_BLOCK, &raw const action.sa_mask, &raw mut before)
        };
        if action.sa_flags & libc::SA_NODEFER != 0 {
            let mut own = default_action().sa_mask;
            // SAFETY: an initialised set and a valid signal.
            unsafe { libc::sigaddset(&raw mut own, number) };
            // SAFETY: as above.
            unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const own, ptr::null_mut()) };
        }
        Blocked { before }
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // SAFETY: `before` is what the kernel has written.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, ptr::null_mut())
        };
    }
}
