//! What historic bugs look like from outside: each is found with its switch on, and not with it
//! off. Bugs that need a race to show are found by the searches in `exhaustive`.

#![forbid(unsafe_code)]

use faultless_mm::{
    Argument, Bugs, Choice, Errno, Kernel, MapRequest, OpenFlags, Profile, Runner, Stop, ThreadId,
};
use faultless_pages::{Bytes, Va};
use faultless_uapi::feature::FEATURE_PAGEFAULT_FLAG_WP;
use faultless_uapi::ioctl::{
    UFFDIO_API, UFFDIO_COPY, UFFDIO_POISON, UFFDIO_REGISTER, UFFDIO_UNREGISTER, UFFDIO_WRITEPROTECT,
};
use faultless_uapi::mode::{register, writeprotect};
use faultless_uapi::{
    UFFD_API, UffdioApi, UffdioCopy, UffdioPoison, UffdioRange, UffdioRegister, UffdioWriteprotect,
};

const PAGE: u64 = 4096;

/// A process with a page that its userfaultfd watches, and a page to copy from.
struct Watched {
    kernel: Kernel,
    runner: Runner,
    who: ThreadId,
    fd: u32,
    page: UffdioRange,
    source: Va,
}

impl Watched {
    fn new(bugs: Bugs, modes: u64) -> Watched {
        let kernel = Kernel::new(Profile { bugs, ..Profile::linux_7_3() });
        let mut runner = Runner::new(kernel.clone(), Choice::Straight);
        let who = kernel.spawn();
        let mut map = || {
            let request = MapRequest::anonymous(Bytes(PAGE));
            runner.now(who, kernel.map(who, request)).expect("no waiting").expect("room")
        };
        let (page, source) = (map(), map());
        let fd = kernel.userfaultfd(who, OpenFlags::NONBLOCK).expect("a descriptor");
        let page = UffdioRange { start: page.0, len: PAGE };
        let mut watched = Watched { kernel, runner, who, fd, page, source };
        watched.store(source).expect("plain memory").expect("plain memory");
        let api = UffdioApi { api: UFFD_API, features: FEATURE_PAGEFAULT_FLAG_WP, ioctls: 0 };
        watched.request(UFFDIO_API, &mut api.to_bytes()).expect("a handshake");
        let register = UffdioRegister { range: page, mode: modes, ioctls: 0 };
        watched.request(UFFDIO_REGISTER, &mut register.to_bytes()).expect("a registration");
        watched
    }

    fn request(&mut self, request: u32, argument: &mut [u8]) -> Result<u64, Errno> {
        let asked = self.kernel.ioctl(self.who, self.fd, request, Argument::Bytes(argument));
        self.runner.now(self.who, asked).expect("no request waits")
    }

    /// Stores a byte; `None` when that waits.
    fn store(&mut self, at: Va) -> Option<Result<(), Stop>> {
        let kernel = self.kernel.clone();
        let who = self.who;
        let call = self.runner.start(who, async move { kernel.store(who, at, &[1]).await });
        self.runner.run();
        call.take()
    }
}

fn copy_overwrites_poison(bugs: Bugs) -> bool {
    let mut watched = Watched::new(bugs, register::MISSING);
    let poison = UffdioPoison { range: watched.page, mode: 0, updated: 0 };
    watched.request(UFFDIO_POISON, &mut poison.to_bytes()).expect("an empty page");
    let copy = UffdioCopy {
        dst: watched.page.start,
        src: watched.source.0,
        len: PAGE,
        ..UffdioCopy::default()
    };
    watched.request(UFFDIO_COPY, &mut copy.to_bytes()).is_ok()
}

#[test]
fn copy_over_poison_is_found() {
    assert!(!copy_overwrites_poison(Bugs::default()));
    assert!(copy_overwrites_poison(Bugs { copy_over_poison: true, ..Bugs::default() }));
}

/// A thread waits to store to protected memory; says whether it still does after UNREGISTER.
fn unregister_leaves_a_writer_asleep(bugs: Bugs) -> bool {
    let mut watched = Watched::new(bugs, register::WP);
    let at = Va(watched.page.start);
    watched.store(at).expect("no protection yet").expect("plain memory");
    let protect = UffdioWriteprotect { range: watched.page, mode: writeprotect::WP };
    watched.request(UFFDIO_WRITEPROTECT, &mut protect.to_bytes()).expect("registered memory");
    let (kernel, who) = (watched.kernel.clone(), watched.kernel.spawn_thread(watched.who));
    let call = watched.runner.start(who, async move { kernel.store(who, at, &[2]).await });
    watched.runner.run();
    assert!(call.take().is_none(), "protected memory was written");
    let range = watched.page;
    watched.request(UFFDIO_UNREGISTER, &mut range.to_bytes()).expect("registered memory");
    watched.runner.run();
    call.take().is_none()
}

#[test]
fn a_writer_that_unregister_forgets_is_found() {
    assert!(!unregister_leaves_a_writer_asleep(Bugs::default()));
    let forgets = Bugs { unregister_leaves_wp_waiters: true, ..Bugs::default() };
    assert!(unregister_leaves_a_writer_asleep(forgets));
}
