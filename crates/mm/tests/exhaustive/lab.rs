//! A laboratory: one process with a handler and threads that race, on memory whose pages hold
//! words.
//!
//! Used by the searches; requests go through the bytes of the ABI.

use std::fmt::Write as _;
use std::future::Future;

use faultless_mm::{
    Advice, Argument, Behind, Call, Choice, Kernel, MapRequest, NewObject, OpenFlags, Profile,
    Runner, ThreadId,
};
use faultless_pages::{Bytes, Va};
use faultless_uapi::ioctl::{UFFDIO_API, UFFDIO_REGISTER, UFFDIO_WRITEPROTECT};
use faultless_uapi::mode::{register, writeprotect};
use faultless_uapi::{UFFD_API, UffdioApi, UffdioRange, UffdioRegister, UffdioWriteprotect};

use crate::ops::{Ending, Op, Site};

/// A page.
pub(crate) const PAGE: u64 = 4096;
/// How many pages the racing memory has.
pub(crate) const PAGES: u64 = 2;
/// How often the handler looks for faults before it is called a hang.
const PATIENCE: usize = 20;

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
    /// The yard is registered for write-protection, and protected.
    pub(crate) yard_protected: bool,
    /// The first page of the yard is in swap.
    pub(crate) yard_swapped: bool,
    /// The handler does not wake who waits for a page that is there already.
    pub(crate) forgets_to_wake: bool,
}

/// What came of a race: every ending, and the words of the memory and of the yard afterwards.
pub(crate) type Outcome = (Vec<Ending>, Vec<u64>);

/// A process whose memory is raced for.
pub(crate) struct Lab {
    /// The kernel.
    pub(crate) kernel: Kernel,
    /// Its runner.
    pub(crate) runner: Runner,
    before: Before,
    site: Site,
    sources: Va,
    racers: Vec<(Vec<Op>, Site)>,
    running: Vec<(usize, Call<Ending>)>,
    /// How the pages of operations ended that are done page by page.
    pages: Vec<Vec<Ending>>,
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
        let mut lab = Lab {
            kernel,
            runner,
            before,
            site,
            sources,
            racers: Vec::new(),
            running: Vec::new(),
            pages: Vec::new(),
        };
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
        if self.before.yard_swapped {
            let (kernel, who) = (self.kernel.clone(), self.site.who);
            self.now(kernel.advise(who, yard, Bytes(PAGE), Advice::PageOut)).expect("room in swap");
        }
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

    /// Makes a thread for an operation, and what it copies from.
    pub(crate) fn prepare(&mut self, op: Op) {
        self.prepare_many(&[op]);
    }

    /// Makes a thread for several operations, one after the other.
    pub(crate) fn prepare_many(&mut self, ops: &[Op]) {
        let number = self.racers.len() as u64;
        let src = self.sources.add(Bytes(number * PAGES * PAGE));
        for page in 0..PAGES {
            self.put(src.add(Bytes(page * PAGE)), 0x100 + 16 * number + page);
        }
        let who = self.kernel.spawn_thread(self.site.who);
        let site = Site { who, src, word: 0x200 + number, ..self.site.clone() };
        self.racers.push((ops.to_vec(), site));
        self.pages.push(Vec::new());
    }

    /// Begins what was prepared; nothing of it is done yet. The last operation tells the ending.
    pub(crate) fn begin(&mut self, number: usize) {
        let (ops, site) = self.racers[number].clone();
        let call = self.runner.start(site.who, async move {
            let mut ending = Ending::Done;
            for op in ops {
                ending = site.clone().act(op).await;
            }
            ending
        });
        self.running.push((number, call));
    }

    /// Does the next step of an operation that was prepared, alone; nothing more once a step of it
    /// was refused.
    pub(crate) fn step(&mut self, number: usize) {
        let (ops, site) = self.racers[number].clone();
        let steps: Vec<Op> = ops.into_iter().flat_map(Op::steps).collect();
        if let [only] = steps.as_slice() {
            let call = self.runner.start(site.who, site.act(*only));
            self.running.push((number, call));
            return self.runner.run();
        }
        let pages = &self.pages[number];
        if pages.iter().all(|page| *page == Ending::Done) {
            let next = steps[pages.len()];
            let ending = self.runner.now(site.who, site.act(next)).expect("nothing to wait for");
            self.pages[number].push(ending);
            // Who was woken goes on before the next step.
            self.runner.run();
        }
    }

    /// Answers every fault with zeros until nobody waits, and tells what came of the race.
    ///
    /// # Errors
    /// A thread that never goes on, or a contradiction in the kernel's books.
    pub(crate) fn finish(mut self) -> Result<Outcome, String> {
        self.kernel.audit()?;
        let mut endings: Vec<Option<Ending>> = vec![None; self.racers.len()];
        for _ in 0..PATIENCE {
            self.runner.run();
            for (number, call) in &self.running {
                let ending = &mut endings[*number];
                *ending = ending.take().or_else(|| call.take());
            }
            for (ending, pages) in endings.iter_mut().zip(&self.pages) {
                if !pages.is_empty() {
                    *ending = Some(Ending::of_pages(pages));
                }
            }
            if endings.iter().all(Option::is_some) {
                return self.conclude(endings.into_iter().flatten().collect());
            }
            let site = self.site.clone();
            let serving = site.serve(!self.before.forgets_to_wake);
            if !self.runner.now(site.who, serving).unwrap_or(false) {
                break;
            }
        }
        let mut text = String::from("never ends:");
        for (number, ending) in endings.iter().enumerate() {
            let _ = write!(text, " {number}: {ending:?}");
        }
        Err(text)
    }

    fn conclude(mut self, endings: Vec<Ending>) -> Result<Outcome, String> {
        let mut told = Vec::new();
        for (number, ending) in endings.into_iter().enumerate() {
            let moves = self.racers[number].0.iter().any(|op| op.moves());
            told.push(match ending {
                Ending::Forked(child) => Ending::Child(self.words(ThreadId(child))),
                // MOVE looks at the destination, then at the source, each under its own lock: which
                // of two reasons it gives depends on what comes in between.
                Ending::Refused(_, out) if moves && out <= 0 => Ending::Refused(0, 0),
                other => other,
            });
        }
        self.kernel.audit()?;
        let words = self.words(self.site.who);
        self.kernel.audit()?;
        Ok((told, words))
    }

    /// The words of memory and yard. Where a missing page is one of zeros (in plain memory, and a
    /// child has no other) there is no difference to see.
    fn words(&mut self, who: ThreadId) -> Vec<u64> {
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
