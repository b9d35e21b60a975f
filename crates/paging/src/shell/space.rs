//! An address space in service: engine, kernel and sources, and how actions are carried out.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use faultless_pages::Bytes;

use super::queue::Errand;
use super::tools::{Tools, lock};
use crate::core::{Action, Core, Ending, Event, FetchId, JobId, Policy, RegionSpec, Tell};
use crate::page::{PageRun, PageTable, RegionId};
use crate::port::{Kernel, Observer, Order, Outcome, PageSource, ReadError, Request, Supply, Time};
use crate::source::classify;

/// Who is told what its user should know. Called by the crew's threads, with nothing locked; it
/// shall not wait for them.
pub type Hear = Arc<dyn Fn(&Tell) + Send + Sync>;

/// An address space to be served.
pub struct Space {
    core: Core,
    kernel: Arc<dyn Kernel>,
    sources: Vec<Arc<dyn PageSource>>,
    abandoned: Ending,
    process: Option<OwnedFd>,
    hear: Hear,
}

impl Space {
    /// Begins with no region. `abandoned` is what becomes of missing pages if nobody ends serving:
    /// there is no way to let go of them without having chosen.
    #[must_use]
    pub fn new(
        kernel: Arc<dyn Kernel>,
        policy: Policy,
        observer: Box<dyn Observer>,
        abandoned: Ending,
    ) -> Space {
        Space {
            core: Core::new(policy, observer),
            kernel,
            sources: Vec::new(),
            abandoned,
            process: None,
            hear: Arc::new(|_| {}),
        }
    }

    /// Adds a region and where its pages come from.
    pub fn add(&mut self, spec: RegionSpec, source: Arc<dyn PageSource>) -> RegionId {
        self.sources.push(source);
        self.core.add(spec)
    }

    /// Adds a region of which something is known already; see [`Core::add_with`].
    pub fn add_with(
        &mut self,
        spec: RegionSpec,
        table: Arc<PageTable>,
        source: Arc<dyn PageSource>,
    ) -> RegionId {
        self.sources.push(source);
        self.core.add_with(spec, table)
    }

    /// Notices by a pidfd when the process ends.
    #[must_use]
    pub fn with_process(mut self, pidfd: OwnedFd) -> Space {
        self.process = Some(pidfd);
        self
    }

    /// Tells the user what it should know. Children of forks are told of, and served by the crew
    /// like their parents.
    #[must_use]
    pub fn heard_by(mut self, hear: Hear) -> Space {
        self.hear = hear;
        self
    }

    /// The words of a region's pages.
    #[must_use]
    pub fn table(&self, region: RegionId) -> Arc<PageTable> {
        Arc::clone(self.core.table(region))
    }
}

/// An address space among those of a crew.
pub(super) struct Seat {
    pub(super) number: u64,
    core: Mutex<Core>,
    kernel: Arc<dyn Kernel>,
    sources: Vec<Arc<dyn PageSource>>,
    landed: Mutex<BTreeMap<FetchId, Landed>>,
    pub(super) abandoned: Ending,
    process: Option<OwnedFd>,
    hear: Hear,
    /// Whoever waits for the end is told here.
    over: Mutex<bool>,
    ended: Condvar,
    /// Somebody has begun to end it.
    pub(super) ending: AtomicBool,
    /// When readers know it is to be ticked.
    pub(super) noted: AtomicU64,
}

/// What a fetch brought.
#[derive(Clone)]
enum Landed {
    /// Bytes in a room, which several threads may be putting somewhere.
    Room(Arc<Box<[u8]>>),
    /// Bytes its source keeps.
    Lent(RegionId, PageRun),
}

/// How often messages are read before others have their turn.
const READS_IN_A_ROW: usize = 16;

impl Seat {
    pub(super) fn new(number: u64, space: Space) -> Seat {
        let Space { core, kernel, sources, abandoned, process, hear } = space;
        Seat {
            number,
            core: Mutex::new(core),
            kernel,
            sources,
            landed: Mutex::default(),
            abandoned,
            process,
            hear,
            over: Mutex::new(false),
            ended: Condvar::new(),
            ending: AtomicBool::new(false),
            noted: AtomicU64::new(u64::MAX),
        }
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.kernel.descriptor()
    }

    pub(super) fn process(&self) -> Option<BorrowedFd<'_>> {
        self.process.as_ref().map(AsFd::as_fd)
    }

    pub(super) fn is_over(&self) -> bool {
        *lock(&self.over)
    }

    /// Waits until it is not served any more and nothing of it is under way.
    pub(super) fn wait(&self) {
        let over = lock(&self.over);
        drop(self.ended.wait_while(over, |over| !*over).unwrap_or_else(PoisonError::into_inner));
    }

    /// Wakes whoever a predecessor left waiting.
    pub(super) fn wake_all(self: &Arc<Seat>, tools: &Tools) {
        let mut actions = Vec::new();
        lock(&self.core).wake_all(&mut actions);
        self.act(tools, actions.into());
    }

    /// Tells the engine something and does what it asks for, until only others can go on.
    pub(super) fn advance(self: &Arc<Seat>, tools: &Tools, event: Event<'_>) {
        let mut actions = VecDeque::new();
        self.step(tools, event, &mut actions);
        self.act(tools, actions);
    }

    /// Serves what its messages ask for until there are no more: whoever was let go first may have
    /// faulted again by then, and to be told of that costs more than to look. Others wait
    /// meanwhile, so this ends.
    pub(super) fn serve(self: &Arc<Seat>, tools: &Tools) {
        for _ in 0..READS_IN_A_ROW {
            let mut actions = VecDeque::new();
            self.step(tools, Event::Readable, &mut actions);
            if !self.act(tools, actions) {
                return;
            }
        }
    }

    fn step(&self, tools: &Tools, event: Event<'_>, actions: &mut VecDeque<Action>) {
        let mut fresh = Vec::new();
        let mut core = lock(&self.core);
        core.step(tools.clock.now(), event, &mut fresh);
        let (over, due) = (core.is_over(), core.due());
        drop(core);
        actions.extend(fresh);
        if let Some(due) = due {
            self.note(tools, due);
        }
        if over && !std::mem::replace(&mut *lock(&self.over), true) {
            lock(&tools.news.over).push(self.number);
            tools.news.ring();
            self.ended.notify_all();
        }
    }

    /// Has itself ticked at some time.
    fn note(&self, tools: &Tools, due: Time) {
        let noted = Time(self.noted.swap(due.0, Ordering::Relaxed));
        if noted == due {
            return;
        }
        let mut timers = lock(&tools.news.timers);
        timers.remove(&(noted, self.number));
        timers.insert((due, self.number));
        let first = timers.first() == Some(&(due, self.number));
        drop(timers);
        if first {
            // Readers sleep until what was first before.
            tools.news.ring();
        }
    }

    /// Carries actions out, and those that follow; says whether messages were read.
    fn act(self: &Arc<Seat>, tools: &Tools, mut actions: VecDeque<Action>) -> bool {
        let mut heard = false;
        while let Some(action) = actions.pop_front() {
            match action {
                Action::Read => heard |= self.read(tools, &mut actions),
                Action::Fetch { region, order } if self.source(region).is_quick() => {
                    self.fetch(tools, region, &order, &mut actions);
                }
                Action::Fetch { region, order } => {
                    tools.queue.push(Errand { seat: Arc::clone(self), region, order });
                }
                Action::Perform { job, request } => {
                    self.perform(tools, job, &request, &mut actions);
                }
                Action::Release(fetch) => self.release(tools, fetch),
                Action::Tell(tell) => self.tell(tools, tell),
            }
        }
        heard
    }

    fn source(&self, region: RegionId) -> &Arc<dyn PageSource> {
        &self.sources[region.0 as usize]
    }

    /// Reads messages and tells the engine; says whether there were any.
    fn read(&self, tools: &Tools, actions: &mut VecDeque<Action>) -> bool {
        let mut messages = Vec::new();
        let event = match self.kernel.read(&mut messages) {
            // Out of descriptors: what was read counts, and the rest is read another time.
            Ok(()) | Err(ReadError::Interrupted | ReadError::NoDescriptor) => {
                Event::Messages(&messages)
            }
            Err(ReadError::Unreadable) => Event::Dead,
        };
        self.step(tools, event, actions);
        !messages.is_empty()
    }

    /// Fetches, and tells what came.
    pub(super) fn fetch(
        &self,
        tools: &Tools,
        region: RegionId,
        order: &Order,
        actions: &mut VecDeque<Action>,
    ) {
        let source = self.source(region);
        let size = lock(&self.core).page_size(region);
        let result = match source.lend(order.pages) {
            Some(bytes) => {
                self.keep(order.fetch, Landed::Lent(region, order.pages));
                Ok(classify(bytes, size))
            }
            None => {
                let len = usize::try_from(order.pages.count << size.shift()).unwrap_or(usize::MAX);
                let mut room = tools.rooms.take(len);
                let result = source.fetch(order, &mut room);
                match result {
                    Ok(_) => self.keep(order.fetch, Landed::Room(Arc::new(room))),
                    Err(_) => tools.rooms.give(room),
                }
                result
            }
        };
        self.step(tools, Event::Fetched { fetch: order.fetch, result }, actions);
    }

    fn keep(&self, fetch: FetchId, landed: Landed) {
        lock(&self.landed).insert(fetch, landed);
    }

    /// Fetches as a resolver does, and goes on with what follows.
    pub(super) fn run_errand(self: &Arc<Seat>, tools: &Tools, region: RegionId, order: &Order) {
        let mut actions = VecDeque::new();
        self.fetch(tools, region, order, &mut actions);
        self.act(tools, actions);
    }

    fn release(&self, tools: &Tools, fetch: FetchId) {
        let landed = lock(&self.landed).remove(&fetch);
        if let Some(Landed::Room(room)) = landed
            && let Ok(room) = Arc::try_unwrap(room)
        {
            tools.rooms.give(room);
        }
    }

    fn perform(
        &self,
        tools: &Tools,
        job: JobId,
        request: &Request,
        actions: &mut VecDeque<Action>,
    ) {
        let outcome = match supply(request) {
            Some(Supply::Fetched { fetch, offset }) => self.supply(fetch, offset, request),
            Some(Supply::Zeros) => {
                let len = request.range().len().as_usize().min(tools.zeros.len());
                self.kernel.perform(request, &tools.zeros[..len])
            }
            None => self.kernel.perform(request, &[]),
        };
        self.step(tools, Event::Done { job, outcome }, actions);
    }

    /// Carries a request out that puts what a fetch brought.
    fn supply(&self, fetch: FetchId, offset: Bytes, request: &Request) -> Outcome {
        let part = |bytes: &[u8]| {
            let from = offset.as_usize();
            let bytes = &bytes[from..from + request.range().len().as_usize()];
            self.kernel.perform(request, bytes)
        };
        // No lock is held across the call.
        let held = match lock(&self.landed).get(&fetch) {
            Some(landed) => landed.clone(),
            None => unreachable!("kept until it is released"),
        };
        match held {
            Landed::Room(room) => part(&room),
            Landed::Lent(region, pages) => {
                let lent = self.source(region).lend(pages);
                part(lent.expect("what was lent once is lent again"))
            }
        }
    }

    fn tell(&self, tools: &Tools, tell: Tell) {
        (self.hear)(&tell);
        if let Tell::Forked { child, core } = tell {
            self.adopt(tools, child, *core);
        }
    }

    /// Has the crew serve a child like its parent.
    fn adopt(&self, tools: &Tools, child: u64, core: Core) {
        // Gone by now, or there is no descriptor left to look at it: nothing to be served.
        let Some(kernel) = self.kernel.child(child) else { return };
        let space = Space {
            core,
            kernel: kernel.into(),
            sources: self.sources.clone(),
            abandoned: self.abandoned,
            process: None,
            hear: Arc::clone(&self.hear),
        };
        lock(&tools.news.born).push(Arc::new(Seat::new(tools.number(), space)));
        tools.news.ring();
    }

    /// The address space itself, for whoever serves it next.
    pub(super) fn kernel(&self) -> Arc<dyn Kernel> {
        Arc::clone(&self.kernel)
    }

    /// The words of a region's pages.
    pub(super) fn table(&self, region: RegionId) -> Arc<PageTable> {
        Arc::clone(lock(&self.core).table(region))
    }
}

/// What a request puts somewhere.
fn supply(request: &Request) -> Option<Supply> {
    match *request {
        Request::Copy { from, .. } | Request::Move { from, .. } => Some(from),
        Request::Continue { fill, .. } => fill,
        _ => None,
    }
}
