//! One run: a process with a program and its pager, what happens to it by chance, and its end.
//!
//! # Invariants
//! - A run is a function of its seed and the pager's flaw.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::Poll;

use faultless_mm::{
    Behind, Choice, Errno, Kernel, MapRequest, OpenFlags, ProcessId, Profile, Protection, Runner,
    ThreadId, Usage,
};
use faultless_pages::{Bytes, Va};
use faultless_uapi::UffdioRange;
use faultless_uapi::feature::FEATURE_EVENT_REMOVE;
use faultless_uapi::mode::register::MISSING;

use super::Flaw;
use super::calls::Calls;
use super::pager::{Account, Layout, Pager};
use super::program::Program;
use crate::check::{Finding, History, Step, check};
use crate::random::{Odds, Random};
use crate::swarm::{Fault, Swarm};

/// Most steps one deed may take: many times what any took in a run without flaws.
const PATIENCE: Step = 20_000;
/// A run that takes more steps than this does not end by itself.
const STEPS_MAX: Step = 60_000;
/// What page 0 holds before anybody writes; page 1 one more, and so on.
const SOURCE: u64 = 0xfa17_0000;

/// What a pager was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// To serve.
    Serve,
    /// To bring what is missing, and let go.
    Finish,
    /// Its process was killed.
    Die,
}

/// What became of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// The faults it injected.
    pub swarm: Swarm,
    /// How many steps it took.
    pub steps: Step,
    /// The rules that were broken.
    pub findings: Vec<Finding>,
    /// Who went on when, if it was recorded.
    pub interleaving: Option<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "SEED={} ({}), {} steps", self.seed, self.swarm, self.steps)?;
        if let Some(interleaving) = &self.interleaving {
            writeln!(f, "{interleaving}")?;
        }
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        Ok(())
    }
}

/// Runs a seed.
#[must_use]
pub fn run(seed: u64, flaw: Option<Flaw>) -> Report {
    Scene::new(seed, flaw).play(false)
}

/// Runs a seed once more and records who went on when.
#[must_use]
pub fn replay(seed: u64, flaw: Option<Flaw>) -> Report {
    Scene::new(seed, flaw).play(true)
}

/// Lets others go on.
pub(super) fn pause() -> impl Future<Output = ()> {
    let mut stopped = false;
    poll_fn(move |_| {
        let was = std::mem::replace(&mut stopped, true);
        if was { Poll::Ready(()) } else { Poll::Pending }
    })
}

/// A process with its program and its pager, and the chance that rules over them.
struct Scene {
    seed: u64,
    swarm: Swarm,
    random: Random,
    kernel: Kernel,
    runner: Runner,
    process: ProcessId,
    pager: ThreadId,
    programs: Vec<ThreadId>,
    /// Threads, the pager's included, that have not come to their end.
    running: Rc<Cell<usize>>,
    order: Rc<Cell<Order>>,
    history: Rc<RefCell<History>>,
    /// When the pager is told what, unless the program ends first.
    turn: (Step, Order),
}

impl Scene {
    fn new(seed: u64, flaw: Option<Flaw>) -> Scene {
        let mut random = Random::stream(seed, "scene");
        let swarm = Swarm::draw(seed);
        let kernel = Kernel::new(Profile { identities: true, ..Profile::linux_6_18() });
        let runner =
            Runner::new(kernel.clone(), Choice::seed(Random::stream(seed, "order").word()));
        let pager = kernel.spawn();
        let order =
            if swarm.strikes(Fault::Kill, &mut random) { Order::Die } else { Order::Finish };
        let turn = (random.within(1..=4_000), order);
        let mut scene = Scene {
            seed,
            swarm,
            process: kernel.process_of(pager),
            kernel,
            runner,
            pager,
            programs: Vec::new(),
            running: Rc::default(),
            order: Rc::new(Cell::new(Order::Serve)),
            history: Rc::default(),
            turn,
            random,
        };
        scene.set_up(flaw).expect("a fresh process refuses nothing");
        scene
    }

    /// Makes the memory and the userfaultfd, and starts everybody.
    fn set_up(&mut self, flaw: Option<Flaw>) -> Result<(), Errno> {
        let pages = self.random.within(1..=4);
        let layout = self.map(pages)?;
        let words = (0..pages).map(|page| (page, SOURCE + page));
        self.history = Rc::new(RefCell::new(History::new(words, PATIENCE)));
        let pager = Pager {
            calls: self.open(&layout)?,
            layout,
            flaw,
            order: Rc::clone(&self.order),
            history: Rc::clone(&self.history),
            account: Account::default(),
        };
        self.start(self.pager, pager.serve());
        for number in 1..=self.random.within(1..=3) {
            self.start_program(u32::try_from(number).unwrap_or(1), layout);
        }
        Ok(())
    }

    fn start_program(&mut self, number: u32, layout: Layout) {
        let who = self.kernel.spawn_thread(self.pager);
        self.programs.push(who);
        let program = Program {
            kernel: self.kernel.clone(),
            who,
            number,
            layout,
            history: Rc::clone(&self.history),
            order: Rc::clone(&self.order),
            random: Random::stream(self.random.word(), "program"),
            deeds: self.random.within(4..=24),
            stores: Odds::one_in(u32::try_from(self.random.within(1..=4)).unwrap_or(1)),
            discards: Odds::one_in(u32::try_from(self.random.within(0..=8)).unwrap_or(0)),
        };
        self.start(who, program.run());
    }

    fn start(&mut self, who: ThreadId, doing: impl Future<Output = ()> + 'static) {
        let running = Rc::clone(&self.running);
        running.set(running.get() + 1);
        // Nothing asks for the result: the count tells the end.
        let _ = self.runner.start(who, async move {
            doing.await;
            running.set(running.get() - 1);
        });
    }

    /// Does something at once, before there is anybody to wait for.
    fn now<T>(&mut self, doing: impl Future<Output = T>) -> T {
        self.runner.now(self.pager, doing).expect("nobody to wait for")
    }

    fn map(&mut self, pages: u64) -> Result<Layout, Errno> {
        let page_bytes = self.kernel.profile().page().0;
        let (kernel, who) = (self.kernel.clone(), self.pager);
        let map = |pages: u64| {
            let request = MapRequest {
                at: Va(0),
                fixed: false,
                len: Bytes(pages * page_bytes),
                protection: Protection::READ_WRITE,
                shared: false,
                droppable: false,
                grows_down: false,
                behind: Behind::Anonymous,
            };
            kernel.map(who, request)
        };
        let region = self.now(map(pages))?.0;
        let source = self.now(map(pages + 1))?.0;
        for page in 0..pages {
            let word = (SOURCE + page).to_ne_bytes();
            let at = Va(source + page * page_bytes);
            let stored = self.now(kernel.store(who, at, &word));
            assert!(stored.is_ok(), "fresh memory takes a store");
        }
        Ok(Layout { region, source, pages, page_bytes })
    }

    fn open(&mut self, layout: &Layout) -> Result<Calls, Errno> {
        let (kernel, who) = (self.kernel.clone(), self.pager);
        let fd = kernel.userfaultfd(who, OpenFlags::NONBLOCK | OpenFlags::CLOEXEC)?;
        let calls = Calls { kernel, who, fd };
        let range = UffdioRange { start: layout.region, len: layout.pages * layout.page_bytes };
        self.now(calls.handshake(FEATURE_EVENT_REMOVE))?;
        self.now(calls.register(range, MISSING))?;
        Ok(calls)
    }

    /// Lets everybody go on until all have ended, or nobody can, or it takes too long.
    fn play(mut self, record: bool) -> Report {
        if record {
            self.runner.record();
        }
        let steps = loop {
            let now = self.history.borrow().now;
            self.interfere(now);
            if now > STEPS_MAX || !self.runner.advance() {
                break now;
            }
            self.history.borrow_mut().now += 1;
        };
        self.end();
        Report {
            seed: self.seed,
            steps,
            findings: check(&self.history.borrow()),
            interleaving: self.runner.trace().map(ToString::to_string),
            swarm: self.swarm,
        }
    }

    /// Does what happens by chance before this step.
    fn interfere(&mut self, now: Step) {
        let (step, order) = self.turn;
        if self.order.get() == Order::Serve && (now >= step || self.running.get() == 1) {
            self.order.set(order);
            match order {
                Order::Die => self.kernel.kill(self.process),
                // It may sleep until a message comes.
                _ => self.kernel.interrupt(self.pager),
            }
        }
        // The odds are meant for deeds, of which each takes many steps.
        let may = self.random.happens(Odds::one_in(32));
        let strikes = self.swarm.strikes(Fault::Signal, &mut self.random);
        let who = self.random.pick(&self.programs).copied();
        if let (true, true, Some(who)) = (may, strikes, who) {
            self.kernel.interrupt(who);
        }
    }

    /// Ends the process, and counts what it leaves behind.
    fn end(&mut self) {
        if self.running.get() > 0 {
            // Nobody will ever go on: patience runs out.
            self.history.borrow_mut().now += PATIENCE + 1;
            return;
        }
        let (kernel, process) = (self.kernel.clone(), self.process);
        self.now(kernel.exit(process));
        let Usage { frames, files, waiting } = self.kernel.usage();
        let left = [("frames", frames), ("open files", files), ("waiting faults", waiting)];
        self.history.borrow_mut().left = left.map(|(what, count)| (what, count as u64)).into();
    }
}
