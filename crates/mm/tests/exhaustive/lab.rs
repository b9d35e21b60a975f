//! A laboratory: one process with a handler and threads that race, on memory whose pages hold
//! words.
//!
//! Used by the searches; requests go through the bytes of the ABI.

use std::fmt::Write as _;

use faultless_mm::{
    Advice, Argument, Call, Choice, Errno, Kernel, MapRequest, OpenFlags, Profile, Runner, Stop,
    ThreadId,
};
use faultless_pages::{Bytes, Va};
use faultless_uapi::ioctl::{
    UFFDIO_API, UFFDIO_COPY, UFFDIO_REGISTER, UFFDIO_WAKE, UFFDIO_ZEROPAGE,
};
use faultless_uapi::mode::register;
use faultless_uapi::{
    UFFD_API, UffdMsg, UffdioApi, UffdioCopy, UffdioRange, UffdioRegister, UffdioZeropage, event,
};

/// A page.
pub(crate) const PAGE: u64 = 4096;
/// How many pages the racing memory has.
pub(crate) const PAGES: u64 = 2;
/// How often the handler looks for faults before it is called a hang.
const PATIENCE: usize = 20;

/// What a thread does in a race, to one page of the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Op {
    /// Loads a word.
    Load(u64),
    /// Stores a word of its own.
    Store(u64),
    /// Fills from a page of its own.
    Copy(u64),
    /// Fills with zeros.
    Zero(u64),
    /// Drops the page.
    Drop(u64),
    /// Forks; the child's memory is looked at afterwards.
    Fork,
}

/// What came of an operation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Result {
    /// This word was loaded.
    Loaded(u64),
    /// It went well.
    Done,
    /// It was refused with this number.
    Refused(i32),
    /// A signal came.
    Signal,
    /// A child whose memory holds these words.
    Child(Vec<u64>),
}

/// What came of a race: every result, and the words of the memory afterwards.
pub(crate) type Outcome = (Vec<Result>, Vec<u64>);

enum Running {
    Access(Call<std::result::Result<u64, Stop>>),
    Request(Call<std::result::Result<u64, Errno>>),
    Fork(Call<std::result::Result<ThreadId, Errno>>),
}

/// A process whose memory is raced for.
pub(crate) struct Lab {
    /// The kernel.
    pub(crate) kernel: Kernel,
    /// Its runner.
    pub(crate) runner: Runner,
    /// The handler does not wake who waits for a page that is there already.
    pub(crate) forgets_to_wake: bool,
    handler: ThreadId,
    fd: u32,
    memory: Va,
    sources: Va,
    racers: Vec<Racer>,
    running: Vec<(usize, Running)>,
}

/// An operation and the thread that is to do it.
#[derive(Clone, Copy)]
struct Racer {
    op: Op,
    who: ThreadId,
    src: Va,
}

impl Lab {
    /// Makes the process, its userfaultfd, and memory registered for missing pages.
    pub(crate) fn new(profile: &Profile) -> Lab {
        let kernel = Kernel::new(Profile { identities: true, ..profile.clone() });
        let mut runner = Runner::new(kernel.clone(), Choice::Straight);
        let handler = kernel.spawn();
        let fd = kernel.userfaultfd(handler, OpenFlags::NONBLOCK).expect("a descriptor");
        let memory = map(&kernel, &mut runner, handler, PAGES);
        let sources = map(&kernel, &mut runner, handler, 16);
        let mut lab = Lab {
            kernel,
            runner,
            forgets_to_wake: false,
            handler,
            fd,
            memory,
            sources,
            racers: Vec::new(),
            running: Vec::new(),
        };
        let api = UffdioApi { api: UFFD_API, ..UffdioApi::default() };
        lab.request(UFFDIO_API, &mut api.to_bytes()).expect("a handshake");
        let range = UffdioRange { start: memory.0, len: PAGES * PAGE };
        let register = UffdioRegister { range, mode: register::MISSING, ioctls: 0 };
        lab.request(UFFDIO_REGISTER, &mut register.to_bytes()).expect("a registration");
        lab
    }

    /// Address of a page of the memory.
    pub(crate) fn at(&self, page: u64) -> Va {
        self.memory.add(Bytes(page * PAGE))
    }

    fn request(&mut self, request: u32, argument: &mut [u8]) -> std::result::Result<u64, Errno> {
        let argument = Argument::Bytes(argument);
        let operation = self.kernel.ioctl(self.handler, self.fd, request, argument);
        self.runner.now(self.handler, operation).expect("the handler never waits")
    }

    /// Fills a page beforehand.
    pub(crate) fn fill(&mut self, page: u64, word: u64) {
        let source = self.source(15, word);
        let copy = UffdioCopy { dst: self.at(page).0, src: source.0, len: PAGE, mode: 0, copy: 0 };
        self.request(UFFDIO_COPY, &mut copy.to_bytes()).expect("an empty page");
    }

    /// A page of a racer's own that holds a word.
    fn source(&mut self, index: u64, word: u64) -> Va {
        let at = self.sources.add(Bytes(index * PAGE));
        let kernel = self.kernel.clone();
        let word = word.to_ne_bytes();
        let store = kernel.store(self.handler, at, &word);
        self.runner.now(self.handler, store).expect("plain memory").expect("plain memory");
        at
    }

    /// Makes a thread for an operation, and what it copies from.
    pub(crate) fn prepare(&mut self, op: Op) {
        let number = self.racers.len() as u64;
        let who = self.kernel.spawn_thread(self.handler);
        let src = self.source(number, 0x100 + number);
        self.racers.push(Racer { op, who, src });
    }

    /// Begins an operation that was prepared; nothing of it is done yet.
    pub(crate) fn begin(&mut self, number: usize) {
        let Racer { op, who, src } = self.racers[number];
        let src = src.0;
        let stored = 0x200 + number as u64;
        let (kernel, fd) = (self.kernel.clone(), self.fd);
        let running = match op {
            Op::Load(page) => {
                let at = self.at(page);
                Running::Access(self.runner.start(who, async move {
                    let mut out = [0; 8];
                    kernel.load(who, at, &mut out).await?;
                    Ok(u64::from_ne_bytes(out))
                }))
            }
            Op::Store(page) => {
                let at = self.at(page);
                Running::Access(self.runner.start(who, async move {
                    kernel.store(who, at, &stored.to_ne_bytes()).await.map(|()| 0)
                }))
            }
            Op::Copy(page) => {
                let dst = self.at(page).0;
                let copy = UffdioCopy { dst, src, len: PAGE, mode: 0, copy: 0 };
                Running::Request(self.runner.start(who, async move {
                    let mut bytes = copy.to_bytes();
                    kernel.ioctl(who, fd, UFFDIO_COPY, Argument::Bytes(&mut bytes)).await
                }))
            }
            Op::Zero(page) => {
                let range = UffdioRange { start: self.at(page).0, len: PAGE };
                let zero = UffdioZeropage { range, mode: 0, zeropage: 0 };
                Running::Request(self.runner.start(who, async move {
                    let mut bytes = zero.to_bytes();
                    kernel.ioctl(who, fd, UFFDIO_ZEROPAGE, Argument::Bytes(&mut bytes)).await
                }))
            }
            Op::Drop(page) => {
                let at = self.at(page);
                Running::Request(self.runner.start(who, async move {
                    kernel.advise(who, at, Bytes(PAGE), Advice::DontNeed).await.map(|()| 0)
                }))
            }
            Op::Fork => {
                Running::Fork(self.runner.start(who, async move { kernel.fork(who).await }))
            }
        };
        self.running.push((number, running));
    }

    /// Answers every fault with zeros until nobody waits, and tells what came of the race.
    ///
    /// # Errors
    /// A thread that never goes on, or a contradiction in the kernel's books.
    pub(crate) fn finish(mut self) -> std::result::Result<Outcome, String> {
        self.kernel.audit()?;
        let mut results: Vec<Option<Result>> = vec![None; self.racers.len()];
        for _ in 0..PATIENCE {
            self.runner.run();
            for (number, running) in &self.running {
                if results[*number].is_none() {
                    results[*number] = running.result();
                }
            }
            if results.iter().all(Option::is_some) {
                return self.conclude(results.into_iter().flatten().collect());
            }
            if !self.serve() {
                break;
            }
        }
        let mut text = String::from("never ends:");
        for (number, result) in results.iter().enumerate() {
            let _ = write!(text, " {number}: {result:?}");
        }
        Err(text)
    }

    /// Reads what there is and answers faults; says whether there was anything.
    fn serve(&mut self) -> bool {
        let read = self.kernel.read(self.handler, self.fd, 32 * 16);
        let Some(Ok(bytes)) = self.runner.now(self.handler, read) else { return false };
        for raw in bytes.as_chunks::<32>().0 {
            let message = UffdMsg::from_bytes(*raw);
            if message.event != event::PAGEFAULT {
                continue;
            }
            let range = UffdioRange { start: message.pagefault().address, len: PAGE };
            let zero = UffdioZeropage { range, mode: 0, zeropage: 0 };
            let filled = self.request(UFFDIO_ZEROPAGE, &mut zero.to_bytes());
            if filled.is_err() && !self.forgets_to_wake {
                self.request(UFFDIO_WAKE, &mut range.to_bytes()).expect("a wake");
            }
        }
        true
    }

    fn conclude(mut self, results: Vec<Result>) -> std::result::Result<Outcome, String> {
        let mut told = Vec::new();
        for (number, result) in results.into_iter().enumerate() {
            let child = self.child_of(number, &result);
            told.push(match child {
                Some(child) => Result::Child(self.words(child)),
                None => result,
            });
        }
        self.kernel.audit()?;
        let words = self.words(self.handler);
        Ok((told, words))
    }

    fn child_of(&self, number: usize, result: &Result) -> Option<ThreadId> {
        match result {
            Result::Loaded(thread) if self.racers[number].op == Op::Fork => {
                Some(ThreadId(usize::try_from(*thread).ok()?))
            }
            _ => None,
        }
    }

    /// The words of the memory as a process sees them that faults nothing in.
    fn words(&mut self, who: ThreadId) -> Vec<u64> {
        const PRESENT: u64 = 1 << 63;
        const NOTHING: u64 = u64::MAX;
        let entries = self.kernel.pagemap(who, self.memory, PAGES);
        let mut words = Vec::new();
        for (page, entry) in (0..).zip(entries) {
            if entry & PRESENT == 0 {
                words.push(NOTHING);
                continue;
            }
            let mut out = [0; 8];
            let at = self.at(page);
            let kernel = self.kernel.clone();
            let load = kernel.load(who, at, &mut out);
            self.runner.now(who, load).expect("a page that is there").expect("readable");
            words.push(u64::from_ne_bytes(out));
        }
        words
    }
}

impl Running {
    /// The result, once the operation is over. A fork's child is told by its number.
    fn result(&self) -> Option<Result> {
        match self {
            Running::Access(call) => Some(match call.take()? {
                Ok(word) => Result::Loaded(word),
                Err(_) => Result::Signal,
            }),
            Running::Request(call) => Some(match call.take()? {
                Ok(_) => Result::Done,
                Err(errno) => Result::Refused(errno.0),
            }),
            Running::Fork(call) => Some(match call.take()? {
                Ok(child) => Result::Loaded(child.0 as u64),
                Err(errno) => Result::Refused(errno.0),
            }),
        }
    }
}

fn map(kernel: &Kernel, runner: &mut Runner, who: ThreadId, pages: u64) -> Va {
    let request = MapRequest::anonymous(Bytes(pages * PAGE));
    runner.now(who, kernel.map(who, request)).expect("no waiting").expect("room")
}
