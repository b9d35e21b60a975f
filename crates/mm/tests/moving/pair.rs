//! One page, a place it moves to, and threads that get in the way.

use faultless_mm::{
    Advice, Argument, Choice, Errno, Kernel, MapRequest, OpenFlags, Profile, Runner, ThreadId,
};
use faultless_pages::{Bytes, Va};
use faultless_uapi::feature::{FEATURE_MOVE, FEATURE_SIGBUS};
use faultless_uapi::ioctl::{UFFDIO_API, UFFDIO_MOVE, UFFDIO_REGISTER};
use faultless_uapi::mode::register;
use faultless_uapi::{UFFD_API, UffdioApi, UffdioMove, UffdioRange, UffdioRegister};

use crate::town::PAGE;

/// What the page holds.
pub(crate) const WORD: u64 = 0x50;

/// A page at `src` that holds [`WORD`], and an empty place at `dst`, registered.
pub(crate) struct Pair {
    pub(crate) kernel: Kernel,
    pub(crate) runner: Runner,
    pub(crate) who: ThreadId,
    pub(crate) fd: u32,
    pub(crate) src: Va,
    pub(crate) dst: Va,
}

impl Pair {
    pub(crate) fn new(profile: &Profile) -> Pair {
        let kernel = Kernel::new(Profile { identities: true, ..profile.clone() });
        let mut runner = Runner::new(kernel.clone(), Choice::Straight);
        let who = kernel.spawn();
        let [src, _hole, dst] = [0, 1, 2].map(|_| {
            let request = MapRequest::anonymous(Bytes(PAGE));
            runner.now(who, kernel.map(who, request)).expect("no waiting").expect("room")
        });
        let fd = kernel.userfaultfd(who, OpenFlags::NONBLOCK).expect("a descriptor");
        let mut pair = Pair { kernel, runner, who, fd, src, dst };
        pair.keep_apart();
        pair.store(src, WORD);
        let features = FEATURE_SIGBUS | FEATURE_MOVE;
        let api = UffdioApi { api: UFFD_API, features, ioctls: 0 };
        pair.request(UFFDIO_API, &mut api.to_bytes()).expect("a handshake");
        let range = UffdioRange { start: dst.0, len: PAGE };
        let register = UffdioRegister { range, mode: register::MISSING, ioctls: 0 };
        pair.request(UFFDIO_REGISTER, &mut register.to_bytes()).expect("a registration");
        pair
    }

    /// Makes two areas of what was mapped in one piece.
    fn keep_apart(&mut self) {
        let hole = Va(self.src.0.min(self.dst.0) + PAGE);
        let gone = self.kernel.unmap(self.who, hole, Bytes(PAGE));
        self.runner.now(self.who, gone).expect("no waiting").expect("a page between");
    }

    pub(crate) fn request(&mut self, request: u32, argument: &mut [u8]) -> Result<u64, Errno> {
        let asked = self.kernel.ioctl(self.who, self.fd, request, Argument::Bytes(argument));
        self.runner.now(self.who, asked).expect("no request waits")
    }

    pub(crate) fn store(&mut self, at: Va, word: u64) {
        let raw = word.to_ne_bytes();
        let store = self.kernel.store(self.who, at, &raw);
        self.runner.now(self.who, store).expect("no waiting").expect("plain memory");
    }

    /// The word at an address; `None` where a load is a bus error.
    pub(crate) fn load(&mut self, at: Va) -> Option<u64> {
        let mut out = [0; 8];
        let load = self.kernel.load(self.who, at, &mut out);
        let loaded = self.runner.now(self.who, load).expect("no waiting");
        loaded.is_ok().then(|| u64::from_ne_bytes(out))
    }

    pub(crate) fn advise(&mut self, at: Va, advice: Advice) {
        let advised = self.kernel.advise(self.who, at, Bytes(PAGE), advice);
        self.runner.now(self.who, advised).expect("no waiting").expect("advice that is taken");
    }

    /// Moves the page, with nothing in the way.
    pub(crate) fn move_page(&mut self) -> Result<u64, Errno> {
        let mut bytes = self.request_bytes();
        self.request(UFFDIO_MOVE, &mut bytes)
    }

    fn request_bytes(&self) -> [u8; 40] {
        let (dst, src) = (self.dst.0, self.src.0);
        UffdioMove { dst, src, len: PAGE, mode: 0, move_: 0 }.to_bytes()
    }

    /// Begins to move the page.
    pub(crate) fn begin_move(&mut self) {
        let who = self.kernel.spawn_thread(self.who);
        let (kernel, fd, mut bytes) = (self.kernel.clone(), self.fd, self.request_bytes());
        let _call = self.runner.start(who, async move {
            kernel.ioctl(who, fd, UFFDIO_MOVE, Argument::Bytes(&mut bytes)).await
        });
    }
}
