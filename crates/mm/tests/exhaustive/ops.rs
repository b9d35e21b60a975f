//! What threads do in a race.

use faultless_mm::{Advice, Argument, Errno, Kernel, Stop, ThreadId};
use faultless_pages::{Bytes, Va};
use faultless_uapi::ioctl::{
    UFFDIO_CONTINUE, UFFDIO_COPY, UFFDIO_MOVE, UFFDIO_POISON, UFFDIO_UNREGISTER, UFFDIO_WAKE,
    UFFDIO_WRITEPROTECT, UFFDIO_ZEROPAGE,
};
use faultless_uapi::{
    UffdMsg, UffdioContinue, UffdioCopy, UffdioMove, UffdioPoison, UffdioRange, UffdioWriteprotect,
    UffdioZeropage, event, event::fault_flag,
};

use crate::lab::{PAGE, PAGES};

/// What a thread does, to pages of the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Op {
    /// Loads a word.
    Load(u64),
    /// Stores a word of its own.
    Store(u64),
    /// Fills from a page of its own.
    Copy(u64),
    /// Fills every page, each from a page of its own.
    CopyAll,
    /// Fills with zeros.
    Zero(u64),
    /// Poisons the page.
    Poison(u64),
    /// Moves a page of the yard here.
    Move(u64),
    /// Moves every page of the yard here.
    MoveAll,
    /// Write-protects, or takes it off.
    Protect(u64, bool),
    /// Drops the page.
    Drop(u64),
    /// Swaps the page out.
    PageOut(u64),
    /// Swaps the page of the yard out.
    PageOutYard(u64),
    /// Drops the page of the yard.
    DropYard(u64),
    /// Stores to the page of the yard.
    StoreYard(u64),
    /// Loads a word of the yard.
    LoadYard(u64),
    /// Faults the page of the yard in, for a store or only a load, and does neither.
    TouchYard(u64, bool),
    /// Punches the page out of the object.
    Punch(u64),
    /// Writes a word of its own to the object, through its descriptor.
    Write(u64),
    /// Reads a word of the object, through its descriptor.
    Read(u64),
    /// Unmaps the page.
    Unmap(u64),
    /// Unregisters the memory.
    Unregister,
    /// Closes the userfaultfd.
    Close,
    /// Reads what there is and answers faults, once.
    Serve,
    /// Forks; the child's memory is looked at afterwards.
    Fork,
}

impl Op {
    /// Says whether it is MOVE.
    pub(crate) fn moves(self) -> bool {
        matches!(self, Op::Move(_) | Op::MoveAll)
    }

    /// Says whether it does one page after the other, and tells how many.
    fn is_paged(self) -> bool {
        matches!(self, Op::CopyAll | Op::MoveAll)
    }

    /// Says whether it takes so many locks that all its interleavings are too many.
    pub(crate) fn is_long(self) -> bool {
        self.moves() || matches!(self, Op::PageOut(_) | Op::PageOutYard(_))
    }

    /// What it does one after the other, for others to come in between: page by page, and first
    /// the fault, then the access.
    pub(crate) fn steps(self) -> Vec<Op> {
        let pages = 0..PAGES;
        match self {
            Op::StoreYard(page) => vec![Op::TouchYard(page, true), self],
            Op::LoadYard(page) => vec![Op::TouchYard(page, false), self],
            Op::CopyAll => pages.map(Op::Copy).collect(),
            Op::MoveAll => pages.map(Op::Move).collect(),
            op => vec![op],
        }
    }
}

/// What came of an operation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ending {
    /// This word was loaded.
    Loaded(u64),
    /// It went well.
    Done,
    /// It was refused with this number, after so many bytes.
    Refused(i32, i64),
    /// A signal came.
    Signal,
    /// A child, whose first thread has this number.
    Forked(usize),
    /// A child whose memory holds these words.
    Child(Vec<u64>),
}

impl Ending {
    /// What an operation comes to whose steps ended like this, one after the other.
    pub(crate) fn of_steps(op: Op, steps: &[Ending]) -> Ending {
        const EAGAIN: i32 = 11;
        let done = steps.iter().take_while(|step| **step == Ending::Done).count();
        match steps.get(done) {
            None => Ending::Done,
            Some(stopped) if done == 0 || !op.is_paged() => stopped.clone(),
            Some(_) => Ending::Refused(EAGAIN, i64::try_from(done as u64 * PAGE).unwrap_or(0)),
        }
    }
}

/// Where a thread acts.
#[derive(Clone)]
pub(crate) struct Site {
    pub(crate) kernel: Kernel,
    pub(crate) who: ThreadId,
    pub(crate) fd: u32,
    /// A descriptor of the object that the memory may show.
    pub(crate) object: u32,
    /// The memory that is raced for.
    pub(crate) memory: Va,
    /// Plain memory whose pages MOVE may take.
    pub(crate) yard: Va,
    /// Pages of the thread's own, to copy from.
    pub(crate) src: Va,
    /// A word of the thread's own.
    pub(crate) word: u64,
}

impl Site {
    /// Does one thing.
    pub(crate) async fn act(self, op: Op) -> Ending {
        let range = self.range(0, PAGES);
        match op {
            Op::Load(page) => self.load(self.at(page)).await,
            Op::LoadYard(page) => self.load(self.in_yard(page)).await,
            Op::Store(page) => self.store(self.at(page)).await,
            Op::TouchYard(page, write) => {
                self.advise(self.in_yard(page), Advice::Populate { write }).await
            }
            Op::StoreYard(page) => self.store(self.in_yard(page)).await,
            Op::Copy(page) => self.copy(page, 1).await,
            Op::CopyAll => self.copy(0, PAGES).await,
            Op::Zero(page) => {
                let zero = UffdioZeropage { range: self.range(page, 1), mode: 0, zeropage: 0 };
                self.request(UFFDIO_ZEROPAGE, zero.to_bytes(), Some(24)).await
            }
            Op::Poison(page) => {
                let poison = UffdioPoison { range: self.range(page, 1), mode: 0, updated: 0 };
                self.request(UFFDIO_POISON, poison.to_bytes(), Some(24)).await
            }
            Op::Move(page) => self.move_pages(page, 1).await,
            Op::MoveAll => self.move_pages(0, PAGES).await,
            Op::Protect(page, on) => {
                let mode = u64::from(on);
                let protect = UffdioWriteprotect { range: self.range(page, 1), mode };
                self.request(UFFDIO_WRITEPROTECT, protect.to_bytes(), None).await
            }
            Op::Drop(page) => self.advise(self.at(page), Advice::DontNeed).await,
            Op::DropYard(page) => self.advise(self.in_yard(page), Advice::DontNeed).await,
            Op::PageOut(page) => self.advise(self.at(page), Advice::PageOut).await,
            Op::PageOutYard(page) => self.advise(self.in_yard(page), Advice::PageOut).await,
            Op::Punch(page) => {
                let punched = self.kernel.punch(self.who, self.object, page * PAGE, PAGE);
                ending(punched.await, 0)
            }
            Op::Write(page) => {
                let word = self.word.to_ne_bytes();
                let written = self.kernel.write_object(self.who, self.object, page * PAGE, &word);
                ending(written.await.map(|_| ()), 0)
            }
            Op::Read(page) => self.read(page).await,
            Op::Unmap(page) => {
                ending(self.kernel.unmap(self.who, self.at(page), Bytes(PAGE)).await, 0)
            }
            Op::Unregister => self.request(UFFDIO_UNREGISTER, range.to_bytes(), None).await,
            Op::Close => ending(self.kernel.close(self.who, self.fd).await, 0),
            Op::Serve => {
                self.serve(true).await;
                Ending::Done
            }
            Op::Fork => match self.kernel.fork(self.who).await {
                Ok(child) => Ending::Forked(child.0),
                Err(errno) => Ending::Refused(errno.0, 0),
            },
        }
    }

    fn at(&self, page: u64) -> Va {
        self.memory.add(Bytes(page * PAGE))
    }

    fn in_yard(&self, page: u64) -> Va {
        self.yard.add(Bytes(page * PAGE))
    }

    fn range(&self, page: u64, count: u64) -> UffdioRange {
        UffdioRange { start: self.at(page).0, len: count * PAGE }
    }

    async fn load(&self, at: Va) -> Ending {
        let mut out = [0; 8];
        match self.kernel.load(self.who, at, &mut out).await {
            Ok(()) => Ending::Loaded(u64::from_ne_bytes(out)),
            Err(_) => Ending::Signal,
        }
    }

    async fn read(&self, page: u64) -> Ending {
        match self.kernel.read_object(self.who, self.object, page * PAGE, 8).await {
            Ok(bytes) => Ending::Loaded(bytes.first_chunk().map_or(0, |b| u64::from_ne_bytes(*b))),
            Err(errno) => Ending::Refused(errno.0, 0),
        }
    }

    async fn store(&self, at: Va) -> Ending {
        let stored: Result<(), Stop> =
            self.kernel.store(self.who, at, &self.word.to_ne_bytes()).await;
        stored.map_or(Ending::Signal, |()| Ending::Done)
    }

    async fn advise(&self, at: Va, advice: Advice) -> Ending {
        ending(self.kernel.advise(self.who, at, Bytes(PAGE), advice).await, 0)
    }

    async fn copy(&self, page: u64, count: u64) -> Ending {
        let (dst, len) = (self.at(page).0, count * PAGE);
        let src = self.src.0 + page * PAGE;
        let copy = UffdioCopy { dst, src, len, mode: 0, copy: 0 };
        self.request(UFFDIO_COPY, copy.to_bytes(), Some(32)).await
    }

    async fn move_pages(&self, page: u64, count: u64) -> Ending {
        let src = self.yard.0 + page * PAGE;
        let (dst, len) = (self.at(page).0, count * PAGE);
        let request = UffdioMove { dst, src, len, mode: 0, move_: 0 };
        self.request(UFFDIO_MOVE, request.to_bytes(), Some(32)).await
    }

    async fn request<const N: usize>(
        &self,
        request: u32,
        mut bytes: [u8; N],
        out_at: Option<usize>,
    ) -> Ending {
        let argument = Argument::Bytes(&mut bytes);
        let result = self.kernel.ioctl(self.who, self.fd, request, argument).await;
        let out = out_at.and_then(|at| bytes[at..].first_chunk().copied());
        ending(result.map(|_| ()), out.map_or(0, i64::from_ne_bytes))
    }

    /// Reads what there is and answers faults with zeros; says whether there was anything.
    pub(crate) async fn serve(&self, wakes: bool) -> bool {
        let Ok(bytes) = self.kernel.read(self.who, self.fd, 32 * 16).await else { return false };
        for raw in bytes.as_chunks::<32>().0 {
            let message = UffdMsg::from_bytes(*raw);
            if message.event != event::PAGEFAULT {
                continue;
            }
            let start = message.pagefault().address & !(PAGE - 1);
            let range = UffdioRange { start, len: PAGE };
            // A fault is a missing page or a protected one; what does not fit is refused.
            let protect = UffdioWriteprotect { range, mode: 0 };
            self.request(UFFDIO_WRITEPROTECT, protect.to_bytes(), None).await;
            if message.pagefault().flags & fault_flag::MINOR != 0 {
                let continued = UffdioContinue { range, mode: 0, mapped: 0 };
                self.request(UFFDIO_CONTINUE, continued.to_bytes(), None).await;
            }
            let zero = UffdioZeropage { range, mode: 0, zeropage: 0 };
            let filled = self.request(UFFDIO_ZEROPAGE, zero.to_bytes(), None).await;
            if filled != Ending::Done && wakes {
                self.request(UFFDIO_WAKE, range.to_bytes(), None).await;
            }
        }
        true
    }
}

fn ending(result: Result<(), Errno>, out: i64) -> Ending {
    match result {
        Ok(()) => Ending::Done,
        Err(errno) => Ending::Refused(errno.0, out),
    }
}
