//! The threads, and the handle of each address space.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rustix::event::{EventfdFlags, epoll, eventfd};

use super::pace::Pace;
use super::reader::Reader;
use super::space::{Seat, Space};
use super::tools::{Tools, lock};
use crate::core::{Ending, Event};
use crate::page::{PageRun, PageTable, RegionId};
use crate::port::{Clock, Kernel, Span};

/// How many threads there are, and how they wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrewOptions {
    /// Threads that wait for messages. One serves as much as several; two keep two processors awake
    /// while faults come fast, one to answer and one for the thread that is let go to come back to.
    pub readers: usize,
    /// Threads that wait for sources. Each has one fetch under way.
    pub resolvers: usize,
    /// How long readers look for more before they sleep, at most; they do so only while messages
    /// come that fast and nobody else wants their processors.
    pub spin: Span,
}

impl Default for CrewOptions {
    fn default() -> CrewOptions {
        // 300 µs: a thread that is let go on a processor which sleeps, and faults again, is heard
        // of by a reader which sleeps after 100 to 250 µs in a virtual machine. Less never begins.
        CrewOptions { readers: 2, resolvers: 4, spin: Span::micros(300) }
    }
}

/// Why there is no crew, or why it does not serve an address space.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CrewError {
    /// A thread does not start.
    #[error("a thread of the page server does not start: {0}")]
    Thread(#[source] io::Error),
    /// There is nothing to wait on.
    #[error("cannot wait for messages: {0}")]
    Wait(#[source] rustix::io::Errno),
}

/// What the threads share.
pub(super) struct Shared {
    pub(super) tools: Tools,
    pub(super) epoll: std::os::fd::OwnedFd,
    pub(super) seats: Mutex<BTreeMap<u64, Arc<Seat>>>,
    pub(super) options: CrewOptions,
    pub(super) pace: Pace,
    pub(super) stopped: AtomicBool,
}

/// Threads that serve address spaces. Dropping it ends all of them as chosen, and waits for it.
pub struct Crew {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Crew {
    /// Starts the threads.
    ///
    /// # Errors
    /// See [`CrewError`].
    pub fn start(
        options: CrewOptions,
        clock: Arc<dyn Clock + Send + Sync>,
    ) -> Result<Crew, CrewError> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let bell = bell.map_err(CrewError::Wait)?;
        let waiting = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(CrewError::Wait)?;
        let shared = Arc::new(Shared {
            tools: Tools::new(clock, bell),
            epoll: waiting,
            seats: Mutex::default(),
            options,
            pace: Pace::new(options.spin),
            stopped: AtomicBool::new(false),
        });
        shared.watch_bell().map_err(CrewError::Wait)?;
        let mut crew = Crew { shared, threads: Vec::new() };
        for _ in 0..options.readers.max(1) {
            let reader = Reader::new(Arc::clone(&crew.shared));
            crew.spawn("pages-read", move || reader.run())?;
        }
        for _ in 0..options.resolvers.max(1) {
            let shared = Arc::clone(&crew.shared);
            crew.spawn("pages-fetch", move || resolve(&shared))?;
        }
        Ok(crew)
    }

    fn spawn(&mut self, name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), CrewError> {
        let thread = std::thread::Builder::new().name(name.to_owned());
        self.threads.push(thread.spawn(run).map_err(CrewError::Thread)?);
        Ok(())
    }

    /// Serves an address space from now on.
    ///
    /// # Errors
    /// See [`CrewError`]. The space is dropped then; whoever waits in it is let go with it.
    pub fn serve(&self, space: Space) -> Result<Pager, CrewError> {
        let seat = Arc::new(Seat::new(self.shared.tools.number(), space));
        self.shared.take_in(&seat).map_err(CrewError::Wait)?;
        // Whatever was read by a predecessor is read by nobody else.
        seat.wake_all(&self.shared.tools);
        seat.advance(&self.shared.tools, Event::Readable);
        Ok(Pager { seat, shared: Arc::clone(&self.shared) })
    }

    /// How many address spaces are served, children of forks among them.
    #[must_use]
    pub fn served(&self) -> usize {
        lock(&self.shared.seats).len()
    }
}

impl fmt::Debug for Crew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crew").field("options", &self.shared.options).finish_non_exhaustive()
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        loop {
            let seats: Vec<_> = lock(&self.shared.seats).values().cloned().collect();
            for seat in &seats {
                self.shared.abandon(seat);
            }
            // Each, for a child may be born meanwhile.
            let Some(seat) = seats.first() else { break };
            seat.wait();
            self.shared.dismiss(seat.number);
        }
        self.shared.stopped.store(true, Ordering::Release);
        self.shared.tools.queue.close();
        self.shared.tools.news.ring();
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// Begins to end an address space as was chosen for it.
    pub(super) fn abandon(&self, seat: &Arc<Seat>) {
        if !seat.ending.swap(true, Ordering::AcqRel) {
            if seat.abandoned == Ending::HandOver {
                // Nobody is there to take it. Who waits shall wait on rather than find zeros.
                std::mem::forget(seat.kernel());
            }
            seat.advance(&self.tools, Event::End(seat.abandoned));
        }
    }

    /// Serves an address space no more.
    pub(super) fn dismiss(&self, number: u64) {
        let seat = lock(&self.seats).remove(&number);
        if let Some(seat) = seat {
            // It may be open elsewhere, and would be waited for on and on.
            let _ = epoll::delete(&self.epoll, seat.descriptor());
            seat.process().map(|process| epoll::delete(&self.epoll, process));
        }
    }
}

/// An address space in service. Dropping it ends it as was chosen when it was made.
#[must_use = "dropping it ends serving"]
pub struct Pager {
    seat: Arc<Seat>,
    shared: Arc<Shared>,
}

impl Pager {
    /// Has pages fetched that will be wanted.
    pub fn wish(&self, region: RegionId, pages: PageRun) {
        self.tell(Event::Wish { region, pages });
    }

    /// Has pages dropped that can be fetched again, where writes are tracked and none came.
    pub fn evict(&self, region: RegionId, pages: PageRun) {
        self.tell(Event::Evict { region, pages });
    }

    /// Says that pages were given up in a way the kernel does not tell.
    pub fn discard(&self, region: RegionId, pages: PageRun) {
        self.tell(Event::Discard { region, pages });
    }

    /// The words of a region's pages.
    #[must_use]
    pub fn table(&self, region: RegionId) -> Arc<PageTable> {
        self.seat.table(region)
    }

    /// Says whether it is not served any more: it was ended, or its process has.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.seat.is_over()
    }

    /// Begins to end serving, without waiting for it.
    pub fn begin_end(&self, ending: Ending) {
        self.seat.ending.store(true, Ordering::Release);
        self.tell(Event::End(ending));
    }

    /// Ends serving and waits until it has ended. Returns the address space, for whoever serves it
    /// next after a [hand-over](Ending::HandOver).
    pub fn end(self, ending: Ending) -> Arc<dyn Kernel> {
        self.begin_end(ending);
        self.seat.wait();
        self.shared.dismiss(self.seat.number);
        self.seat.kernel()
    }

    fn tell(&self, event: Event<'_>) {
        self.seat.advance(&self.shared.tools, event);
    }
}

impl fmt::Debug for Pager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pager").field("number", &self.seat.number).finish_non_exhaustive()
    }
}

impl Drop for Pager {
    fn drop(&mut self) {
        if !self.seat.is_over() {
            self.shared.abandon(&self.seat);
        }
    }
}

/// Runs errands as long as there may be any.
fn resolve(shared: &Shared) {
    while let Some(errand) = shared.tools.queue.pop() {
        errand.seat.run_errand(&shared.tools, errand.region, &errand.order);
    }
}
