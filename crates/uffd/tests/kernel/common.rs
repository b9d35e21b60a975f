//! What the tests of the typed layer share: a userfaultfd or a reason why not, threads that may
//! block, and answering faults.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use faultless_pages::{Bytes, PageSize};
use faultless_uffd::{
    Event, Fault, Features, Mapping, MessageBatch, OpenOptions, Uffd, UnboundUffd, Wanted,
    base_page_size,
};

/// A blocked test is a failed test; nothing here takes a hundredth of this.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Held by tests that fork this process: while one wants FORK events, another's fork would wait
/// for a reader.
pub(crate) static FORKS: Mutex<()> = Mutex::new(());

/// Says that a test was left out, and why.
#[expect(clippy::print_stdout, reason = "a skipped test says why")]
pub(crate) fn skipped(why: impl std::fmt::Display) {
    println!("skipped: {why}");
}

/// Opens a userfaultfd, restricted to faults from user mode if nothing more is allowed, or says
/// why there is none. All faults of these tests come from user mode.
pub(crate) fn open() -> Option<UnboundUffd> {
    let restricted = OpenOptions { user_mode_only: true, ..OpenOptions::default() };
    Uffd::open(&OpenOptions::default()).or_else(|_| Uffd::open(&restricted)).map_err(skipped).ok()
}

/// Opens a userfaultfd with these features, or says why there is none.
pub(crate) fn uffd(required: Features) -> Option<Uffd> {
    open()?.handshake(Wanted { required, ..Wanted::default() }).map_err(skipped).ok()
}

/// Returns the length of so many base pages.
pub(crate) fn pages(count: u64) -> Bytes {
    Bytes(count * page().bytes().0)
}

/// Returns the size of a base page.
pub(crate) fn page() -> PageSize {
    base_page_size()
}

/// Maps so many private anonymous pages, none of them huge.
pub(crate) fn anonymous(count: u64) -> Mapping {
    Mapping::builder(pages(count)).huge_pages(false).anonymous().expect("memory")
}

/// Returns a page full of one byte.
pub(crate) fn page_of(byte: u8) -> Vec<u8> {
    vec![byte; page().bytes().as_usize()]
}

/// A thread that may block, and what it returns.
pub(crate) struct Worker<T>(Receiver<T>);

impl<T: Send + 'static> Worker<T> {
    /// Starts the thread. It is not joined: one that stays blocked must not block the test.
    pub(crate) fn start(work: impl FnOnce() -> T + Send + 'static) -> Worker<T> {
        let (done, result) = channel();
        thread::spawn(move || {
            // The test may have failed meanwhile.
            let _ = done.send(work());
        });
        Worker(result)
    }

    /// Waits for the result.
    pub(crate) fn finish(self) -> T {
        self.0.recv_timeout(PATIENCE).expect("the thread goes on")
    }

    /// Says whether the thread is still at work.
    pub(crate) fn is_busy(&self) -> bool {
        self.0.try_recv().is_err()
    }
}

/// Reads the next event, waiting for it.
pub(crate) fn next_event(uffd: &Uffd) -> Event {
    let mut batch = MessageBatch::new();
    loop {
        assert!(uffd.wait(Some(PATIENCE)).expect("polling"), "an event comes");
        if uffd.read_events(&mut batch).expect("reading") > 0 {
            let event = batch.drain().next().expect("one event at least");
            assert!(batch.is_empty(), "one event at most");
            return event;
        }
    }
}

/// Reads the next event, which is a fault.
pub(crate) fn next_fault(uffd: &Uffd) -> Fault {
    match next_event(uffd) {
        Event::Fault(fault) => fault,
        other => panic!("a fault, not {other:?}"),
    }
}

/// A forked child that does nothing until it is killed, on drop.
pub(crate) struct Child(i32);

impl Child {
    /// Forks by the system call: the C library's fork holds the locks of the allocator until a
    /// FORK event is read, and the reader in this very process may need them.
    pub(crate) fn fork() -> Child {
        // SAFETY: the child has a copy of everything and makes nothing but two system calls.
        let pid = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
        if pid == 0 {
            // SAFETY: ends the child some time if the test is killed before it can.
            unsafe { libc::alarm(60) };
            loop {
                // SAFETY: waits for a signal and touches nothing.
                unsafe { libc::pause() };
            }
        }
        assert!(pid > 0, "fork");
        Child(i32::try_from(pid).expect("a pid"))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // SAFETY: signals a child that nobody else waits for, so the id is still its own.
        unsafe { libc::kill(self.0, libc::SIGKILL) };
        // SAFETY: waits for that child; no status is asked for.
        unsafe { libc::waitpid(self.0, std::ptr::null_mut(), 0) };
    }
}
