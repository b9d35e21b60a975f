//! Opening and the handshake, with and without privileges.

use std::fs;
use std::os::fd::OwnedFd;

use crate::common::{Worker, open, skipped, uffd};
use faultless_uffd::{
    Errno, Features, OpenOptions, Refusal, Route, Step, Uffd, UnboundUffd, Wanted, probe,
};

/// A bit no kernel has.
const FUTURE: Features = Features::from_bits_retain(1 << 62);

#[test]
fn a_probe_tells_what_a_handshake_grants() {
    let Ok(capabilities) = probe().map_err(skipped) else { return };
    let Some(unbound) = open() else { return };
    let wanted = Wanted {
        required: capabilities.features - Features::EVENT_FORK - Features::RWP_ASYNC,
        optional: FUTURE,
    };
    let uffd = unbound.handshake(wanted).unwrap();
    assert_eq!(uffd.supported(), capabilities.features);
    assert_eq!(uffd.missing(), FUTURE);
    assert!(uffd.features().contains(wanted.required));
    assert!(!uffd.features().contains(FUTURE));
}

#[test]
fn a_refused_handshake_leaves_the_descriptor_usable() {
    let Some(unbound) = open() else { return };
    let wanted = Wanted { required: FUTURE, ..Wanted::default() };
    let error = unbound.handshake(wanted).unwrap_err();
    assert_eq!(error.refusal, Refusal::Lacking(FUTURE));
    assert!(error.to_string().contains("0x4000000000000000"), "{error}");
    error.unbound.handshake(Wanted::default()).unwrap();
}

#[test]
fn a_second_handshake_is_refused_and_adoption_learns_the_first() {
    let Some(first) = uffd(Features::SIGBUS | Features::THREAD_ID) else { return };
    let granted = first.features();
    let error = UnboundUffd::from_fd(first.into_fd()).handshake(Wanted::default()).unwrap_err();
    assert_eq!(error.refusal, Refusal::AlreadyDone);
    let adopted = error.unbound.adopt().unwrap();
    assert_eq!(adopted.features(), granted);
    assert_eq!(adopted.route(), Route::Received);
}

#[test]
fn features_that_come_along_are_counted_as_granted() {
    let Some(first) = uffd(Features::WP_ASYNC) else { return };
    assert!(first.features().contains(Features::WP_UNPOPULATED));
    let granted = first.features();
    let adopted = UnboundUffd::from_fd(first.into_fd()).adopt().unwrap();
    assert_eq!(adopted.features(), granted, "the kernel's own record agrees");
}

#[test]
fn adoption_before_the_handshake_is_refused() {
    let Some(unbound) = open() else { return };
    let error = unbound.adopt().unwrap_err();
    assert_eq!(error.refusal, Refusal::NotDone);
    error.unbound.handshake(Wanted::default()).unwrap();
}

#[test]
fn another_kind_of_descriptor_is_named_as_such() {
    let other = || UnboundUffd::from_fd(OwnedFd::from(fs::File::open("/dev/null").unwrap()));
    let error = other().handshake(Wanted::default()).unwrap_err();
    assert_eq!(error.refusal, Refusal::NotUserfaultfd);
    assert_eq!(other().adopt().unwrap_err().refusal, Refusal::NotUserfaultfd);
}

/// Runs `work` on a thread without any privilege, or says why that cannot be done.
///
/// The raw system call changes one thread only, and a uid other than 0 loses all capabilities.
fn unprivileged<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    const NOBODY: u32 = 65534;
    if !rustix::process::geteuid().is_root() {
        return Some(work());
    }
    let result = Worker::start(|| {
        // SAFETY: changes the ids of this thread alone, which runs nothing but `work`.
        let changed = unsafe { libc::syscall(libc::SYS_setresuid, NOBODY, NOBODY, NOBODY) };
        (changed == 0).then(work)
    });
    let result = result.finish();
    if result.is_none() {
        skipped("this thread cannot change its uid");
    }
    result
}

/// Says whether the system lets nobody without privileges have a full userfaultfd.
fn closed_to_others() -> bool {
    let sysctl = fs::read_to_string("/proc/sys/vm/unprivileged_userfaultfd").unwrap_or_default();
    let closed = sysctl.trim() == "0";
    if !closed {
        skipped("vm.unprivileged_userfaultfd does not forbid anything here");
    }
    closed
}

#[test]
fn without_privileges_each_closed_route_is_named_with_its_remedy() {
    if !closed_to_others() {
        return;
    }
    let Some(opened) = unprivileged(|| Uffd::open(&OpenOptions::default())) else { return };
    let Err(error) = opened else {
        skipped("this user may open the device");
        return;
    };
    let steps: Vec<_> = error.attempts.iter().map(|attempt| attempt.step).collect();
    assert_eq!(steps, [Step::OpenDevice, Step::Syscall], "{error}");
    assert_eq!(error.attempts[1].errno, Errno::PERM);
    assert!(error.to_string().contains("sysctl vm.unprivileged_userfaultfd=1"), "{error}");
}

#[test]
fn without_privileges_user_mode_faults_can_still_be_had() {
    if !closed_to_others() {
        return;
    }
    let opened = unprivileged(|| {
        let options = OpenOptions { user_mode_only: true, ..OpenOptions::default() };
        let probed = probe();
        (Uffd::open(&options), probed)
    });
    match opened {
        Some((Ok(unbound), probed)) => {
            let routes = [Route::SyscallUserModeOnly, Route::Device];
            assert!(routes.contains(&unbound.route()));
            assert_eq!(probed.unwrap().route, unbound.route());
        }
        Some((Err(error), _)) => skipped(error),
        None => {}
    }
}

#[test]
fn without_the_capability_fork_events_are_left_out_or_named() {
    let Some(unbound) = open() else { return };
    let refused = unprivileged(|| {
        let wanted = Wanted { required: Features::EVENT_FORK, ..Wanted::default() };
        let Err(error) = unbound.handshake(wanted) else { return None };
        let wanted = Wanted { optional: Features::EVENT_FORK, ..Wanted::default() };
        Some((error.refusal, error.unbound.handshake(wanted)))
    });
    match refused {
        Some(Some((refusal, granted))) => {
            assert_eq!(refusal, Refusal::ForkNotPermitted);
            assert_eq!(granted.unwrap().missing(), Features::EVENT_FORK);
        }
        Some(None) => skipped("this user has CAP_SYS_PTRACE"),
        None => {}
    }
}
