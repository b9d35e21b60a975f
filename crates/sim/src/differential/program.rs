//! Programs: what threads do, step after step, in terms that mean the same in every world.
//!
//! A [`Program`] names memory by pages of an arena at a fixed address, and descriptors by the
//! order in which they came; [`Session`](super::session::Session) gives them their numbers.
//!
//! # Invariants
//! - A step never names memory outside the arena and the sources beside it: what else lies in a
//!   process differs between worlds.
//! - Threads store at places of their own in a page, so that the order in which two of them go on
//!   after one wake does not show.

use crate::conform::Thread;
use crate::conform::stage::Range;

/// First address of the arena, which no world uses for itself.
pub const ARENA: u64 = 0x20_0000_0000;
/// First address of the pages COPY takes its content from.
pub const SOURCE: u64 = ARENA + (1 << 30);
/// Pages of sources; each is filled with a byte of its own.
pub const SOURCES: u64 = 16;
/// Pages an object has beyond those of the arena, if it is large.
pub const SPARE: u64 = 4;
/// Bytes of a page.
pub const PAGE: u64 = 4096;
/// Pages of a huge page.
pub const HUGE: u64 = 512;
/// Threads of a process that take steps.
pub const THREADS: u32 = 3;
/// Most processes of a program.
pub const PROCESSES: usize = 3;

/// How large the arena is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arena {
    /// A few base pages.
    Small,
    /// Three huge pages.
    Huge,
}

impl Arena {
    /// How many base pages it has.
    #[must_use]
    pub fn pages(self) -> u64 {
        match self {
            Arena::Small => 12,
            Arena::Huge => 3 * HUGE,
        }
    }

    /// The pages the heap of a process may take, at the end of the arena.
    #[must_use]
    pub fn heap(self) -> Span {
        match self {
            Arena::Small => Span::new(8, 4),
            Arena::Huge => Span::new(2 * HUGE, HUGE),
        }
    }

    /// Says whether the content of a page is looked at after each step. Of a huge page only a few
    /// are, where operations begin and end.
    #[must_use]
    pub fn shows(self, page: u64) -> bool {
        self == Arena::Small || [0, 1, 2, HUGE / 2, HUGE - 1].contains(&(page % HUGE))
    }
}

/// Pages of the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first.
    pub page: u64,
    /// How many.
    pub pages: u64,
    /// Bytes by which the start is off: not 0 only to be refused.
    pub skew: u64,
}

impl Span {
    /// These pages.
    #[must_use]
    pub fn new(page: u64, pages: u64) -> Span {
        Span { page, pages, skew: 0 }
    }

    /// First address.
    #[must_use]
    pub fn start(self) -> u64 {
        ARENA + self.page * PAGE + self.skew
    }

    /// Bytes.
    #[must_use]
    pub fn bytes(self) -> u64 {
        self.pages * PAGE
    }

    /// As addresses.
    #[must_use]
    pub fn range(self) -> Range {
        Range { start: self.start(), len: self.bytes() }
    }
}

/// What lies behind a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    /// Nothing.
    Anon,
    /// Shared memory without a descriptor.
    SharedAnon,
    /// An object, by the order in which objects were made, from this page of it on.
    Object {
        /// Which.
        index: usize,
        /// Stores reach it.
        shared: bool,
        /// Its page at the start of the mapping.
        offset: u64,
    },
}

/// A kind of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectKind {
    /// A memfd.
    Shmem,
    /// A memfd of huge pages.
    Hugetlb,
    /// A regular file.
    Regular,
}

/// Where COPY takes content from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// From this page of the sources on.
    Source(u64),
    /// From this page of the arena on, where anything may be.
    Arena(u64),
}

impl Origin {
    /// Its address.
    #[must_use]
    pub fn address(self) -> u64 {
        match self {
            Origin::Source(page) => SOURCE + page * PAGE,
            Origin::Arena(page) => ARENA + page * PAGE,
        }
    }
}

/// What is asked of a userfaultfd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// REGISTER.
    Register,
    /// UNREGISTER.
    Unregister,
    /// WAKE.
    Wake,
    /// COPY, from there.
    Copy(Origin),
    /// ZEROPAGE.
    Zeropage,
    /// MOVE, from this page on.
    Move(u64),
    /// CONTINUE.
    Continue,
    /// POISON.
    Poison,
    /// WRITEPROTECT.
    Writeprotect,
    /// RWPROTECT.
    ReadProtect,
    /// SET_MODE: enables the mode, disables this one.
    SetMode(u64),
}

/// A request to a userfaultfd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// What.
    pub verb: Verb,
    /// The pages it is about.
    pub span: Span,
    /// Its mode, where it has one.
    pub mode: u64,
}

/// What one step does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// `mmap` at exactly these pages.
    Map(Span, Backing, u32),
    /// `munmap`.
    Unmap(Span),
    /// `mremap` of the span.
    Remap {
        /// What moves.
        from: Span,
        /// Where to; in place without.
        to: Option<u64>,
        /// Pages afterwards.
        new_pages: u64,
        /// Leaves the old mapping, empty.
        keep: bool,
    },
    /// `brk`, up to this page.
    Brk(u64),
    /// `mprotect`.
    Protect(Span, u32),
    /// `madvise`.
    Advise(Span, u32),
    /// `mlock`.
    Lock(Span),
    /// `munlock`.
    Unlock(Span),
    /// Pins pages until the process ends.
    Pin(Span),
    /// A load in a page.
    Load(u64),
    /// A store of this byte in a page.
    Store(u64, u8),
    /// A load by the kernel.
    KernelLoad(u64),
    /// A store by the kernel.
    KernelStore(u64, u8),
    /// A load from the memory of another process.
    RemoteLoad(u32, u64),
    /// `fork`.
    Fork,
    /// `execve`.
    Exec,
    /// Ends a process.
    Kill(u32),
    /// A signal to the acting thread, which is in an access.
    Interrupt,
    /// Makes an object of so many pages.
    MakeObject(ObjectKind, u64),
    /// `ftruncate` to so many bytes.
    Resize(usize, u64),
    /// Punches a hole from one byte up to another.
    Punch(usize, u64, u64),
    /// Writes a byte to a page of an object.
    WriteObject(usize, u64, u8),
    /// Reads from a page of an object.
    ReadObject(usize, u64),
    /// Opens a userfaultfd with these flags and features.
    Open(u32, u64),
    /// Closes a userfaultfd.
    Close(usize),
    /// Reads messages until there are no more.
    Drain(usize),
    /// Sends a request.
    Request(usize, Asked),
    /// `PAGEMAP_SCAN` with these flags, of pages that have all categories of this mask.
    Scan(Span, u64, u64),
}

/// A thread does something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Who.
    pub who: Thread,
    /// What.
    pub op: Op,
}

/// A program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Where it happens.
    pub arena: Arena,
    /// What happens.
    pub steps: Vec<Step>,
}
