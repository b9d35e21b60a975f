//! A kernel that runs for long keeps nothing of what is gone: processes, their address spaces,
//! families, userfaultfds.

#![forbid(unsafe_code)]

use std::future::Future;

use faultless_mm::errno::ESRCH;
use faultless_mm::{
    Argument, Choice, Kernel, MapRequest, OpenFlags, Profile, Runner, ThreadId, Usage,
};
use faultless_pages::{Bytes, Va};
use faultless_uapi::feature::FEATURE_EVENT_FORK;
use faultless_uapi::ioctl::{UFFDIO_API, UFFDIO_REGISTER, UFFDIO_ZEROPAGE};
use faultless_uapi::mode::register::MISSING;
use faultless_uapi::{UFFD_API, UffdioApi, UffdioRange, UffdioRegister, UffdioZeropage};

const PAGE: u64 = 4096;

struct Host {
    kernel: Kernel,
    runner: Runner,
}

impl Host {
    fn new() -> Host {
        let kernel = Kernel::new(Profile::linux_6_18());
        let runner = Runner::new(kernel.clone(), Choice::Straight);
        Host { kernel, runner }
    }

    fn now<T>(&mut self, who: ThreadId, operation: impl Future<Output = T>) -> T {
        self.runner.now(who, operation).expect("nothing to wait for")
    }

    /// Maps a page, and stores to it with `used`.
    fn map(&mut self, who: ThreadId, used: bool) -> Va {
        let kernel = self.kernel.clone();
        let request = MapRequest::anonymous(Bytes(PAGE));
        let at = self.now(who, kernel.map(who, request)).expect("room");
        if used {
            self.now(who, kernel.store(who, at, &[1])).expect("plain memory");
        }
        at
    }

    fn exit(&mut self, who: ThreadId) {
        let kernel = self.kernel.clone();
        self.now(who, kernel.exit(kernel.process_of(who)));
    }

    fn request(&mut self, who: ThreadId, fd: u32, request: u32, bytes: &mut [u8]) -> Option<i32> {
        let kernel = self.kernel.clone();
        let asked = kernel.ioctl(who, fd, request, Argument::Bytes(bytes));
        self.now(who, asked).err().map(|errno| errno.0)
    }

    /// A page registered for missing faults, with EVENT_FORK.
    fn register(&mut self, who: ThreadId) -> (u32, UffdioRange) {
        let start = self.map(who, false).0;
        let range = UffdioRange { start, len: PAGE };
        let fd = self.kernel.userfaultfd(who, OpenFlags::NONBLOCK).expect("a descriptor");
        let features = FEATURE_EVENT_FORK;
        let api = UffdioApi { api: UFFD_API, features, ioctls: 0 };
        assert_eq!(self.request(who, fd, UFFDIO_API, &mut api.to_bytes()), None);
        let register = UffdioRegister { range, mode: MISSING, ioctls: 0 };
        assert_eq!(self.request(who, fd, UFFDIO_REGISTER, &mut register.to_bytes()), None);
        (fd, range)
    }
}

#[test]
fn processes_that_come_and_go_leave_nothing() {
    let mut host = Host::new();
    let parent = host.kernel.spawn();
    host.map(parent, true);
    let before = host.kernel.usage();
    for _ in 0..50 {
        let kernel = host.kernel.clone();
        let child = host.now(parent, kernel.fork(parent)).expect("room");
        let beside = kernel.spawn_thread(child);
        host.map(child, true);
        host.now(beside, kernel.exec(beside));
        host.map(beside, true);
        host.exit(beside);
    }
    assert_eq!(host.kernel.usage(), before);
    host.exit(parent);
    assert_eq!(host.kernel.usage(), Usage::default());
}

#[test]
fn memory_that_comes_and_goes_leaves_few_families() {
    let mut host = Host::new();
    let who = host.kernel.spawn();
    for _ in 0..500 {
        let at = host.map(who, true);
        let kernel = host.kernel.clone();
        host.now(who, kernel.unmap(who, at, Bytes(PAGE))).expect("a page");
    }
    let families = host.kernel.usage().families;
    assert!(families < 50, "{families} families of memory that is gone");
}

#[test]
fn a_userfaultfd_keeps_a_dead_address_space_and_no_longer() {
    let mut host = Host::new();
    let stranger = host.kernel.spawn();
    let before = host.kernel.usage();
    let who = host.kernel.spawn();
    let (fd, range) = host.register(who);
    let theirs = host.kernel.pass(who, fd, stranger).expect("a descriptor");
    host.exit(who);
    assert_eq!(host.kernel.usage().spaces, before.spaces + 1);
    let mut zero = UffdioZeropage { range, mode: 0, zeropage: 0 }.to_bytes();
    assert_eq!(host.request(stranger, theirs, UFFDIO_ZEROPAGE, &mut zero), Some(ESRCH.0));
    let kernel = host.kernel.clone();
    host.now(stranger, kernel.close(stranger, theirs)).expect("a descriptor");
    assert_eq!(host.kernel.usage(), before);
}

#[test]
fn a_userfaultfd_goes_when_its_last_sleeper_has_gone_on() {
    let mut host = Host::new();
    let who = host.kernel.spawn();
    let (fd, range) = host.register(who);
    let sleeper = host.kernel.spawn_thread(who);
    let kernel = host.kernel.clone();
    let load = host.runner.start(sleeper, async move {
        kernel.load(sleeper, Va(range.start), &mut [0]).await.is_ok()
    });
    host.runner.run();
    assert_eq!(host.kernel.usage().userfaultfds, 1);
    let kernel = host.kernel.clone();
    host.now(who, kernel.close(who, fd)).expect("a descriptor");
    host.runner.run();
    assert_eq!(load.take(), Some(true));
    assert_eq!(host.kernel.usage().userfaultfds, 0);
    host.exit(who);
    assert_eq!(host.kernel.usage(), Usage::default());
}

#[test]
fn a_fork_nobody_was_told_of_leaves_no_userfaultfd() {
    let mut host = Host::new();
    let who = host.kernel.spawn();
    host.register(who);
    let forker = host.kernel.spawn_thread(who);
    let kernel = host.kernel.clone();
    let fork = host.runner.start(forker, async move { kernel.fork(forker).await });
    host.runner.run();
    // The child's, which nobody has yet.
    assert_eq!(host.kernel.usage().userfaultfds, 2);
    host.kernel.kill(host.kernel.process_of(who));
    host.runner.run();
    let child = fork.take().expect("it is over").expect("room");
    assert_eq!(host.kernel.usage().userfaultfds, 1);
    host.exit(who);
    host.exit(child);
    assert_eq!(host.kernel.usage(), Usage::default());
}
