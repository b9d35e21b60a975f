//! A laboratory: one process with a handler and threads that race, on memory whose pages hold
//! words.
//!
//! Used by the searches; requests go through the bytes of the ABI.

use std::future::Future;

use faultless_mm::{
    Advice, Argument, Behind, Choice, Kernel, MapRequest, NewObject, OpenFlags, Profile, Runner,
    ThreadId,
};
use faultless_pages::{Bytes, Va};
use faultless_uapi::ioctl::{UFFDIO_API, UFFDIO_REGISTER, UFFDIO_WRITEPROTECT};
use faultless_uapi::mode::{register, writeprotect};
use faultless_uapi::{UFFD_API, UffdioApi, UffdioRange, UffdioRegister, UffdioWriteprotect};

use crate::ops::{Op, Site};
use crate::racer::Racer;

/// A page.
pub(crate) const PAGE: u64 = 4096;
/// How many pages the racing memory has.
pub(crate) const PAGES: u64 = 2;

/// How things are before a race.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Before {
    /// The memory shows an object.
    pub(crate) object: bool,
    /// The first page is there.
    pub(crate) filled: bool,
    /// Features of the userfaultfd.
    pub(crate) features: u64,
    /// Modes of registration.
    pub(crate) modes: u64,
    /// The memory is write-protected.
    pub(crate) protected: bool,
    /// The first page is in swap.
    pub(crate) swapped: bool,
    /// The yard is registered for write-protection, and protected.
    pub(crate) yard_protected: bool,
    /// The first page of the yard is in swap.
    pub(crate) yard_swapped: bool,
    /// The handler does not wake who waits for a page that is there already.
    pub(crate) forgets_to_wake: bool,
}

/// A process whose memory is raced for.
pub(crate) struct Lab {
    /// The kernel.
    pub(crate) kernel: Kernel,
    /// Its runner.
    pub(crate) runner: Runner,
    before: Before,
    site: Site,
    sources: Va,
    pub(crate) racers: Vec<Racer>,
}

impl Lab {
    /// Makes the process, its userfaultfd, and memory registered for missing pages.
    pub(crate) fn new(profile: &Profile, before: Before) -> Lab {
        let kernel = Kernel::new(Profile { identities: true, ..profile.clone() });
        let mut runner = Runner::new(kernel.clone(), Choice::Straight);
        let who = kernel.spawn();
        let fd = kernel.userfaultfd(who, OpenFlags::NONBLOCK).expect("a descriptor");
        let object = kernel.make_object(who, NewObject::Shmem, PAGES * PAGE).expect("an object");
        let mut map = |pages: u64, shared: bool| {
            let plain = MapRequest::anonymous(Bytes(pages * PAGE));
            let behind = Behind::Descriptor { fd: object, offset: 0 };
            let request = if shared { MapRequest { shared, behind, ..plain } } else { plain };
            runner.now(who, kernel.map(who, request)).expect("no waiting").expect("room")
        };
        let memory = map(PAGES, before.object);
        let (_hole, yard, sources) = (map(1, false), map(PAGES, false), map(16, false));
        let kernel_of_site = kernel.clone();
        let site =
            Site { kernel: kernel_of_site, who, fd, object, memory, yard, src: sources, word: 0 };
        let mut lab = Lab { kernel, runner, before, site, sources, racers: Vec::new() };
        lab.furnish();
        lab
    }

    fn furnish(&mut self) {
        let Before { filled, features, modes: mode, protected, .. } = self.before;
        for page in 0..PAGES {
            self.put(self.site.yard.add(Bytes(page * PAGE)), 0x600 + page);
        }
        if filled {
            self.put(self.site.memory, 0x50);
        }
        let api = UffdioApi { api: UFFD_API, features, ..UffdioApi::default() };
        self.request(UFFDIO_API, &mut api.to_bytes());
        let range = UffdioRange { start: self.site.memory.0, len: PAGES * PAGE };
        let register = UffdioRegister { range, mode, ioctls: 0 };
        self.request(UFFDIO_REGISTER, &mut register.to_bytes());
        if protected {
            self.protect(range);
        }
        let yard = self.site.yard;
        if self.before.yard_protected {
            let range = UffdioRange { start: yard.0, len: PAGES * PAGE };
            let register = UffdioRegister { range, mode: register::WP, ioctls: 0 };
            self.request(UFFDIO_REGISTER, &mut register.to_bytes());
            self.protect(range);
        }
        if self.before.swapped {
            self.swap_out(self.site.memory);
        }
        if self.before.yard_swapped {
            self.swap_out(yard);
        }
    }

    fn swap_out(&mut self, at: Va) {
        let (kernel, who) = (self.kernel.clone(), self.site.who);
        self.now(kernel.advise(who, at, Bytes(PAGE), Advice::PageOut)).expect("room in swap");
    }

    fn protect(&mut self, range: UffdioRange) {
        let protect = UffdioWriteprotect { range, mode: writeprotect::WP };
        self.request(UFFDIO_WRITEPROTECT, &mut protect.to_bytes());
    }

    fn request(&mut self, request: u32, argument: &mut [u8]) {
        let Site { who, fd, .. } = self.site;
        let kernel = self.kernel.clone();
        let done = self.now(kernel.ioctl(who, fd, request, Argument::Bytes(argument)));
        done.expect("what the laboratory needs");
    }

    fn now<T>(&mut self, operation: impl Future<Output = T>) -> T {
        self.runner.now(self.site.who, operation).expect("nothing to wait for")
    }

    /// Puts a word into plain memory.
    fn put(&mut self, at: Va, word: u64) {
        let (kernel, who) = (self.kernel.clone(), self.site.who);
        self.now(kernel.store(who, at, &word.to_ne_bytes())).expect("plain memory");
    }

    /// Makes a thread for operations, done one after the other, and what it copies from.
    pub(crate) fn prepare(&mut self, ops: &[Op]) {
        let number = self.racers.len() as u64;
        let src = self.sources.add(Bytes(number * PAGES * PAGE));
        for page in 0..PAGES {
            self.put(src.add(Bytes(page * PAGE)), 0x100 + 16 * number + page);
        }
        let who = self.kernel.spawn_thread(self.site.who);
        let site = Site { who, src, word: 0x200 + number, ..self.site.clone() };
        self.racers.push(Racer::new(ops, site));
    }

    /// Reads what there is and answers faults; says whether there was anything.
    pub(crate) fn serve(&mut self) -> bool {
        let site = self.site.clone();
        let serving = site.serve(!self.before.forgets_to_wake);
        self.runner.now(site.who, serving).unwrap_or(false)
    }

    /// Says whether there is a fault or an event to read.
    pub(crate) fn is_asked(&self) -> bool {
        const IN: u64 = 1;
        self.kernel.poll(self.site.who, self.site.fd).is_ok_and(|events| events == IN)
    }

    /// The words of memory and yard, as the process sees them.
    pub(crate) fn own_words(&mut self) -> Vec<u64> {
        self.words(self.site.who)
    }

    /// The words of memory and yard. Where a missing page is one of zeros (in plain memory, and a
    /// child has no other) there is no difference to see.
    pub(crate) fn words(&mut self, who: ThreadId) -> Vec<u64> {
        const MISSING: u64 = u64::MAX;
        const SIGNAL: u64 = u64::MAX - 1;
        const PROTECTED: u64 = 1 << 57;
        let mut words = Vec::new();
        for start in [self.site.memory, self.site.yard] {
            for page in 0..PAGES {
                let mut out = [0; 8];
                let at = start.add(Bytes(page * PAGE));
                let protected = self.kernel.pagemap(who, at, 1)[0] & PROTECTED;
                let load = self.kernel.load(who, at, &mut out);
                // Who would have to wait finds a missing page; nobody is left to answer.
                words.push(match self.runner.now(who, load) {
                    Some(Ok(())) => u64::from_ne_bytes(out) | protected,
                    Some(Err(_)) => SIGNAL,
                    None => MISSING,
                });
            }
        }
        words
    }
}
