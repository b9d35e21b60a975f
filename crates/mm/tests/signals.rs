//! Signals that come when a thread has decided to sleep and does not sleep yet.

#![forbid(unsafe_code)]

use faultless_mm::{
    Argument, Behind, Call, Choice, Kernel, MapRequest, OpenFlags, Point, Profile, Protection,
    Runner, Stop, ThreadId,
};
use faultless_pages::{Bytes, Va};
use faultless_uapi::ioctl::{UFFDIO_API, UFFDIO_REGISTER};
use faultless_uapi::mode::register::MISSING;
use faultless_uapi::{UFFD_API, UffdioApi, UffdioRange, UffdioRegister};

const PAGE: u64 = 4096;

/// A thread that loads from a missing page, stopped where it has queued its fault and is about to
/// look whether it must sleep.
fn about_to_sleep() -> (Kernel, Runner, ThreadId, Call<Result<(), Stop>>) {
    let kernel = Kernel::new(Profile::linux_6_18());
    let mut runner = Runner::new(kernel.clone(), Choice::seed(1));
    let who = kernel.spawn();
    let at = registered(&kernel, &mut runner, who);
    runner.record();
    let faulting = kernel.clone();
    let load = runner.start(who, async move { faulting.load(who, at, &mut [0]).await });
    while runner
        .trace()
        .is_none_or(|trace| trace.steps.last().is_none_or(|step| step.point != Point::Recheck))
    {
        assert!(runner.advance(), "the load sleeps or has ended");
    }
    (kernel, runner, who, load)
}

/// Maps a page and registers it for missing faults.
fn registered(kernel: &Kernel, runner: &mut Runner, who: ThreadId) -> Va {
    let request = MapRequest {
        at: Va(0),
        fixed: false,
        len: Bytes(PAGE),
        protection: Protection::READ_WRITE,
        shared: false,
        droppable: false,
        grows_down: false,
        behind: Behind::Anonymous,
    };
    let at = runner.now(who, kernel.map(who, request)).unwrap().unwrap();
    let fd = kernel.userfaultfd(who, OpenFlags::NONBLOCK).unwrap();
    let api = UffdioApi { api: UFFD_API, features: 0, ioctls: 0 }.to_bytes();
    let range = UffdioRange { start: at.0, len: PAGE };
    let register = UffdioRegister { range, mode: MISSING, ioctls: 0 }.to_bytes();
    for (request, mut bytes) in [(UFFDIO_API, api.to_vec()), (UFFDIO_REGISTER, register.to_vec())] {
        let asked = kernel.ioctl(who, fd, request, Argument::Bytes(&mut bytes));
        assert!(runner.now(who, asked).unwrap().is_ok());
    }
    at
}

#[test]
fn a_thread_killed_before_it_sleeps_does_not_sleep() {
    let (kernel, mut runner, who, load) = about_to_sleep();
    kernel.kill(kernel.process_of(who));
    runner.run();
    assert_eq!(load.take(), Some(Err(Stop::Killed)));
    assert_eq!(kernel.usage().waiting, 0);
}

#[test]
fn a_thread_interrupted_before_it_sleeps_faults_again() {
    let (kernel, mut runner, who, load) = about_to_sleep();
    kernel.interrupt(who);
    runner.run();
    assert_eq!(load.take(), None, "it sleeps in its second fault");
    let queued = runner
        .trace()
        .map_or(0, |trace| trace.steps.iter().filter(|step| step.point == Point::Recheck).count());
    assert_eq!(queued, 2);
    assert_eq!(kernel.usage().waiting, 1, "the first fault left the queue");
}
