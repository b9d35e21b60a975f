//! Handlers on the running kernel. A process has one action a signal, so every test is a
//! process of its own.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize};

use faultless_pages::Bytes;

use super::*;
use crate::testing::{in_child, this_test};
use crate::{Mapping, Protection};

const PAGE: Bytes = Bytes::kib(4);

/// Installs a handler that is async-signal-safe: those below use atomics and system calls only.
fn install_safe(signal: FaultSignal, callback: Callback) -> SignalHandler {
    // SAFETY: see above.
    unsafe { install(signal, callback) }.unwrap()
}

fn assert_succeeds(status: ExitStatus) {
    assert!(status.success(), "{status}");
}

fn assert_dies_of(signal: libc::c_int, status: ExitStatus) {
    assert_eq!(status.signal(), Some(signal), "{status}");
}

static FAULTS: AtomicUsize = AtomicUsize::new(0);

/// A page without permission, which the handlers below permit.
static FORBIDDEN: OnceLock<Mapping> = OnceLock::new();

fn forbidden() -> &'static Mapping {
    FORBIDDEN
        .get_or_init(|| Mapping::builder(PAGE).protection(Protection::None).anonymous().unwrap())
}

fn permit() {
    FAULTS.fetch_add(1, Ordering::Relaxed);
    let page = FORBIDDEN.get().unwrap();
    page.protect(page.range(), Protection::ReadWrite).unwrap();
}

fn decline(_: &FaultInfo) -> Handled {
    FAULTS.fetch_add(1, Ordering::Relaxed);
    Handled::No
}

#[test]
fn a_handled_fault_is_tried_again_and_tells_address_and_direction() {
    static ADDRESS: AtomicU64 = AtomicU64::new(0);
    static WRITES: AtomicUsize = AtomicUsize::new(0);
    fn callback(fault: &FaultInfo) -> Handled {
        permit();
        assert_eq!(fault.signal, FaultSignal::Segv);
        ADDRESS.store(fault.address.0, Ordering::Relaxed);
        let known = cfg!(any(target_arch = "x86_64", target_arch = "aarch64"));
        assert_eq!(fault.write.is_some(), known);
        WRITES.fetch_add(usize::from(fault.write == Some(true)), Ordering::Relaxed);
        Handled::Yes
    }
    assert_succeeds(in_child(
        this_test!(a_handled_fault_is_tried_again_and_tells_address_and_direction),
        || {
            let page = forbidden();
            let known = usize::from(cfg!(any(target_arch = "x86_64", target_arch = "aarch64")));
            let _handler = install_safe(FaultSignal::Segv, callback);
            assert_eq!(page.load_u8(Bytes(123)), 0);
            assert_eq!(ADDRESS.load(Ordering::Relaxed), page.range().start().0 + 123);
            assert_eq!(WRITES.load(Ordering::Relaxed), 0);

            page.protect(page.range(), Protection::Read).unwrap();
            page.store_u8(Bytes(7), 1);
            assert_eq!(WRITES.load(Ordering::Relaxed), known);
            assert_eq!(page.load_u8(Bytes(7)), 1);
            assert_eq!(FAULTS.load(Ordering::Relaxed), 2);
        },
    ));
}

#[test]
fn a_declined_fault_ends_the_process_by_the_default_action() {
    let status =
        in_child(this_test!(a_declined_fault_ends_the_process_by_the_default_action), || {
            set_action(FaultSignal::Segv, &chain::default_action());
            let _handler = install_safe(FaultSignal::Segv, decline);
            let _ = forbidden().load_u8(Bytes(0));
        });
    assert_dies_of(libc::SIGSEGV, status);
}

#[test]
fn a_declined_fault_reaches_the_handler_of_the_language() {
    let status = in_child(this_test!(a_declined_fault_reaches_the_handler_of_the_language), || {
        let _handler = install_safe(FaultSignal::Segv, decline);
        let _ = forbidden().load_u8(Bytes(0));
    });
    assert_dies_of(libc::SIGSEGV, status);
}

#[test]
fn an_ignored_signal_is_ignored_when_sent_but_not_when_raised_by_an_access() {
    let status = in_child(
        this_test!(an_ignored_signal_is_ignored_when_sent_but_not_when_raised_by_an_access),
        || {
            ignore(FaultSignal::Segv);
            let _handler = install_safe(FaultSignal::Segv, decline);
            raise(FaultSignal::Segv);
            assert_eq!(FAULTS.load(Ordering::Relaxed), 0, "not a fault");
            let _ = forbidden().load_u8(Bytes(0));
        },
    );
    assert_dies_of(libc::SIGSEGV, status);
}

#[test]
fn a_sent_signal_ends_the_process_by_the_default_action() {
    let status = in_child(this_test!(a_sent_signal_ends_the_process_by_the_default_action), || {
        set_action(FaultSignal::Bus, &chain::default_action());
        let _handler = install_safe(FaultSignal::Bus, decline);
        raise(FaultSignal::Bus);
    });
    assert_dies_of(libc::SIGBUS, status);
}

fn ignore(signal: FaultSignal) {
    let mut action = chain::default_action();
    action.sa_sigaction = libc::SIG_IGN;
    set_action(signal, &action);
}

fn raise(signal: FaultSignal) {
    // SAFETY: sends a signal, nothing more.
    assert_eq!(unsafe { libc::raise(signal.number()) }, 0);
}

/// The signals blocked in the handler called last, and the address it was given.
static SEEN_MASK: AtomicU64 = AtomicU64::new(0);
static SEEN_ADDRESS: AtomicU64 = AtomicU64::new(0);

extern "C" fn previous_with_info(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: called as a handler with SA_SIGINFO.
    let info = unsafe { &*info };
    // SAFETY: raised by an access, so there is an address.
    let address = unsafe { info.si_addr() };
    SEEN_ADDRESS.store(address.addr() as u64, Ordering::Relaxed);
    SEEN_MASK.store(blocked(), Ordering::Relaxed);
    permit();
}

extern "C" fn previous_plain(number: libc::c_int) {
    SEEN_ADDRESS.store(number.cast_unsigned().into(), Ordering::Relaxed);
    permit();
}

/// Returns the signals blocked in this thread; signal n is bit n - 1.
fn blocked() -> u64 {
    let mut mask = chain::default_action().sa_mask;
    // SAFETY: asks only.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, ptr::null(), &raw mut mask) };
    (1..=64)
        // SAFETY: an initialised set and a valid signal.
        .filter(|&signal| unsafe { libc::sigismember(&raw const mask, signal) } == 1)
        .fold(0, |bits, signal| bits | 1 << (signal - 1))
}

fn bit(signal: libc::c_int) -> u64 {
    1 << (signal - 1)
}

/// Installs a handler as some other library would.
fn install_previous(handler: libc::sighandler_t, flags: libc::c_int, mask: libc::c_int) {
    let mut action = chain::default_action();
    action.sa_sigaction = handler;
    action.sa_flags = flags;
    // SAFETY: an initialised set and a valid signal.
    unsafe { libc::sigaddset(&raw mut action.sa_mask, mask) };
    set_action(FaultSignal::Segv, &action);
}

fn address_of_previous_with_info() -> libc::sighandler_t {
    let handler: extern "C" fn(_, _, _) = previous_with_info;
    handler as *const () as usize
}

#[test]
fn a_previous_handler_gets_what_it_was_installed_with() {
    let status = in_child(this_test!(a_previous_handler_gets_what_it_was_installed_with), || {
        let page = forbidden();
        install_previous(address_of_previous_with_info(), libc::SA_SIGINFO, libc::SIGUSR1);
        let _handler = install_safe(FaultSignal::Segv, decline);
        let before = blocked();
        page.store_u8(Bytes(9), 1);
        assert_eq!(SEEN_ADDRESS.load(Ordering::Relaxed), page.range().start().0 + 9);
        let seen = SEEN_MASK.load(Ordering::Relaxed);
        assert_eq!(seen, before | bit(libc::SIGUSR1) | bit(libc::SIGSEGV));
        assert_eq!(blocked(), before);
    });
    assert_succeeds(status);
}

#[test]
fn a_previous_handler_without_deferral_may_fault_itself() {
    let status = in_child(this_test!(a_previous_handler_without_deferral_may_fault_itself), || {
        let page = forbidden();
        let flags = libc::SA_SIGINFO | libc::SA_NODEFER;
        install_previous(address_of_previous_with_info(), flags, libc::SIGUSR2);
        let _handler = install_safe(FaultSignal::Segv, decline);
        page.store_u8(Bytes(0), 1);
        assert_eq!(SEEN_MASK.load(Ordering::Relaxed) & bit(libc::SIGSEGV), 0);
    });
    assert_succeeds(status);
}

#[test]
fn a_previous_handler_of_one_argument_is_called_with_one() {
    let status =
        in_child(this_test!(a_previous_handler_of_one_argument_is_called_with_one), || {
            let handler: extern "C" fn(_) = previous_plain;
            install_previous(handler as *const () as usize, 0, libc::SIGUSR1);
            let page = forbidden();
            let _handler = install_safe(FaultSignal::Segv, decline);
            page.store_u8(Bytes(0), 1);
            assert_eq!(
                SEEN_ADDRESS.load(Ordering::Relaxed),
                u64::from(libc::SIGSEGV.cast_unsigned())
            );
        });
    assert_succeeds(status);
}

#[test]
fn a_previous_handler_that_resets_is_called_once() {
    let status = in_child(this_test!(a_previous_handler_that_resets_is_called_once), || {
        let page = forbidden();
        let flags = libc::SA_SIGINFO | libc::SA_RESETHAND;
        install_previous(address_of_previous_with_info(), flags, libc::SIGUSR1);
        let _handler = install_safe(FaultSignal::Segv, decline);
        page.store_u8(Bytes(0), 1);
        page.protect(page.range(), Protection::None).unwrap();
        page.store_u8(Bytes(0), 1);
    });
    assert_dies_of(libc::SIGSEGV, status);
}

#[test]
fn dropping_the_handler_puts_the_previous_action_back() {
    let status = in_child(this_test!(dropping_the_handler_puts_the_previous_action_back), || {
        install_previous(address_of_previous_with_info(), libc::SA_SIGINFO, libc::SIGUSR1);
        for _ in 0..3 {
            let handler = install_safe(FaultSignal::Segv, decline);
            assert!(is_ours(&current_action(FaultSignal::Segv)));
            drop(handler);
            let action = current_action(FaultSignal::Segv);
            assert_eq!(action.sa_sigaction, address_of_previous_with_info());
            assert_eq!(action.sa_flags & libc::SA_SIGINFO, libc::SA_SIGINFO);
        }
        forbidden().store_u8(Bytes(0), 1);
        assert_eq!(FAULTS.load(Ordering::Relaxed), 1, "the previous handler alone");
    });
    assert_succeeds(status);
}

#[test]
fn a_second_handler_is_refused_and_a_covered_one_not_put_on_top() {
    let status =
        in_child(this_test!(a_second_handler_is_refused_and_a_covered_one_not_put_on_top), || {
            let handler = install_safe(FaultSignal::Segv, decline);
            // SAFETY: the handler is async-signal-safe.
            let second = unsafe { install(FaultSignal::Segv, decline) };
            assert_eq!(second.unwrap_err(), SignalError::AlreadyInstalled(FaultSignal::Segv));
            // A handler of the other signal is another matter.
            drop(install_safe(FaultSignal::Bus, decline));

            let ours = current_action(FaultSignal::Segv);
            install_previous(address_of_previous_with_info(), libc::SA_SIGINFO, libc::SIGUSR1);
            drop(handler);
            // SAFETY: the handler is async-signal-safe.
            let covered = unsafe { install(FaultSignal::Segv, decline) };
            assert_eq!(covered.unwrap_err(), SignalError::Covered(FaultSignal::Segv));
            set_action(FaultSignal::Segv, &ours);
            drop(install_safe(FaultSignal::Segv, decline));
            assert!(!is_ours(&current_action(FaultSignal::Segv)));
        });
    assert_succeeds(status);
}

#[test]
fn a_handler_runs_on_the_alternate_stack_and_leaves_errno_alone() {
    static STACK: AtomicU64 = AtomicU64::new(0);
    fn callback(_: &FaultInfo) -> Handled {
        let local = 0u8;
        STACK.store((&raw const local).addr() as u64, Ordering::Relaxed);
        // SAFETY: closes nothing, and so sets errno.
        assert_eq!(unsafe { libc::close(-1) }, -1);
        permit();
        Handled::Yes
    }
    let status =
        in_child(this_test!(a_handler_runs_on_the_alternate_stack_and_leaves_errno_alone), || {
            let _handler = install_safe(FaultSignal::Segv, callback);
            let stack = AlternateStack::new().unwrap();
            let range = stack.range();
            keeps_errno(|| forbidden().store_u8(Bytes(0), 1));
            assert!(range.contains(Va(STACK.load(Ordering::Relaxed))));

            drop(stack);
            let page = forbidden();
            page.protect(page.range(), Protection::None).unwrap();
            page.store_u8(Bytes(0), 1);
            assert!(!range.contains(Va(STACK.load(Ordering::Relaxed))));
        });
    assert_succeeds(status);
}

/// Sets `errno`, runs `body`, and checks that it is as it was.
fn keeps_errno(body: impl FnOnce()) {
    // Mapped before, so that nothing but the fault happens between.
    forbidden();
    // SAFETY: only asks for the address of a variable of this thread.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: valid for as long as the thread lives.
    unsafe { *errno = 77 };
    body();
    // SAFETY: as above.
    assert_eq!(unsafe { *errno }, 77);
}
