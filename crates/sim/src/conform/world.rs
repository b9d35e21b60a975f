//! The surface a world offers to a body.
//!
//! A world has processes; a process has threads and descriptors; a thread carries out one
//! [`Call`] at a time and may block in it. Everything crosses in terms of the ABI: addresses,
//! bytes of argument structs, error numbers. A world that implements [`World`] can be put under
//! every body of [`CASES`](super::CASES).
//!
//! # Invariants
//! - A thread has at most one call under way. A call has either ended or is blocked once
//!   [`World::settle`] returns; it is never still running.
//! - A world is fresh for every body and ends with it, blocked threads included.

use faultless_mm::PageKind;

use super::call::Call;
use super::errno::Errno;
use super::profile::Profile;
use super::verdict::Verdict;

/// A process of a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Process(pub u32);

/// A thread of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Thread {
    /// Its process.
    pub process: Process,
    /// 0 is the first thread.
    pub index: u32,
}

impl Thread {
    /// The first thread of a process.
    #[must_use]
    pub fn first_of(process: Process) -> Thread {
        Thread { process, index: 0 }
    }
}

/// A descriptor number, valid in one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fd(pub u32);

/// What ended a call that did not end well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The call was refused.
    Refused(Errno),
    /// SIGBUS hit the access.
    Sigbus {
        /// `si_code`.
        code: u64,
        /// `si_addr`.
        at: u64,
    },
    /// SIGSEGV hit the access.
    Sigsegv {
        /// `si_code`.
        code: u64,
        /// `si_addr`.
        at: u64,
    },
}

/// A call that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// Its value, or what stopped it.
    pub result: Result<u64, Stop>,
    /// The bytes it brought, as its [`Call`] says.
    pub bytes: Vec<u8>,
}

/// An implementation of userfaultfd and of the memory management around it.
///
/// # Errors
/// Every method that fails does so with [`Failure::Broken`](super::Failure::Broken): the world
/// itself is at fault. What a call leads to is in [`Done`].
pub trait World {
    /// What this world can do.
    fn profile(&self) -> &Profile;

    /// Makes a process unrelated to the others and returns its first thread.
    fn spawn(&mut self) -> Verdict<Thread>;

    /// Adds a thread to the process of `beside`, which must not be in a call.
    fn spawn_thread(&mut self, beside: Thread) -> Verdict<Thread>;

    /// Begins a call.
    fn start(&mut self, who: Thread, call: Call) -> Verdict;

    /// Lets the call go on until it ends, or blocks with nothing left that would wake it by
    /// itself; then it is `None`.
    fn settle(&mut self, who: Thread) -> Verdict<Option<Done>>;

    /// Says what a thread is doing, for a report.
    fn describe(&self, who: Thread) -> String;

    /// Delivers a signal whose handler does nothing.
    fn interrupt(&mut self, who: Thread) -> Verdict;

    /// Ends a process at once and waits until its memory is gone.
    fn kill(&mut self, process: Process) -> Verdict;

    /// Passes a descriptor of `from`'s process to `to`'s process; neither may be in a call.
    fn pass(&mut self, from: Thread, fd: Fd, to: Thread) -> Verdict<Fd>;

    /// What there is at a page of a process, where the world can tell: only a model can.
    fn page_kind(&mut self, _who: Thread, _at: u64) -> Option<PageKind> {
        None
    }

    /// The id a fault message names this thread by.
    fn thread_id(&self, who: Thread) -> u32;
}
