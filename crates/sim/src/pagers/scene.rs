//! A process with a program and its pager, and everything they need, made from a seed.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;

use faultless_mm::{
    Behind, Choice, Errno, Kernel, MapRequest, OpenFlags, ProcessId, Profile, Protection, Runner,
    ThreadId,
};
use faultless_pages::{Bytes, Va};
use faultless_uapi::UffdioRange;
use faultless_uapi::feature::{FEATURE_EVENT_REMOVE, FEATURE_PAGEFAULT_FLAG_WP};
use faultless_uapi::mode::register::{MISSING, WP};

use super::Flaw;
use super::calls::Calls;
use super::pager::{Account, Layout, Pager};
use super::program::Program;
use super::run::{Order, PATIENCE};
use super::server;
use super::source::Source;
use crate::check::{History, Page, Step, Word};
use crate::environment::{Environment, Play};
use crate::random::{Odds, Random};
use crate::swarm::{Fault, Swarm};

/// What page 0 holds before anybody writes; page 1 one more, and so on.
const FIRST_WORD: Word = 0xfa17_0000;

/// A process with its program and its pager, and the chance that rules over them.
pub(super) struct Scene {
    pub(super) seed: u64,
    pub(super) swarm: Swarm,
    pub(super) random: Random,
    pub(super) kernel: Kernel,
    pub(super) environment: Environment,
    pub(super) play: Play,
    pub(super) process: ProcessId,
    /// The process of the page server, where there is one.
    pub(super) server: Option<ProcessId>,
    pub(super) pager: ThreadId,
    pub(super) programs: Vec<ThreadId>,
    /// Threads of the process that have not come to their end.
    pub(super) running: Rc<Cell<usize>>,
    pub(super) order: Rc<Cell<Order>>,
    pub(super) history: Rc<RefCell<History>>,
    /// When the pager is told what, unless the program ends first.
    pub(super) turn: (Step, Order),
}

impl Scene {
    pub(super) fn new(seed: u64, flaw: Option<Flaw>) -> Scene {
        let mut random = Random::stream(seed, "scene");
        let swarm = Swarm::draw(seed);
        let kernel = Kernel::new(Profile { identities: true, ..Profile::linux_6_18() });
        let choice = Choice::seed(Random::stream(seed, "order").word());
        let killed = swarm.strikes(Fault::Kill, &mut random);
        let order = if killed { Order::Die } else { Order::Finish };
        let pager = kernel.spawn();
        let mut scene = Scene {
            seed,
            environment: Environment::new(seed, &swarm, kernel.clone()),
            swarm,
            play: Play::new(seed, Runner::new(kernel.clone(), choice)),
            process: kernel.process_of(pager),
            server: None,
            kernel,
            pager,
            programs: Vec::new(),
            running: Rc::default(),
            order: Rc::new(Cell::new(Order::Serve)),
            history: Rc::default(),
            turn: (random.within(1..=800), order),
            random,
        };
        scene.set_up(flaw).expect("a fresh process refuses nothing");
        scene
    }

    /// Makes the memory and the userfaultfd, and starts everybody.
    fn set_up(&mut self, flaw: Option<Flaw>) -> Result<(), Errno> {
        let pages = self.random.within(1..=4);
        let layout = self.map(pages)?;
        let words = (0..pages).map(|page| (page, FIRST_WORD + page));
        self.history = Rc::new(RefCell::new(History::new(words, PATIENCE)));
        let tracks = self.random.happens(Odds::one_in(2));
        let pager = Pager {
            calls: self.open(&layout, if tracks { MISSING | WP } else { MISSING })?,
            layout,
            source: self.source(layout, flaw),
            flaw,
            tracks,
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

    /// Puts the content of pages into the pager's memory, or on the disk of a server.
    fn source(&mut self, layout: Layout, flaw: Option<Flaw>) -> Source {
        let words = (0..layout.pages).map(|page| FIRST_WORD + page);
        let mut fetched = (0..layout.pages).collect();
        if self.random.happens(Odds::one_in(2)) {
            fetched = std::collections::BTreeSet::new();
            server::store(&self.environment, words);
            let who = self.kernel.spawn();
            self.server = Some(self.kernel.process_of(who));
            let serving = server::serve(self.environment.clone(), who, Rc::clone(&self.running));
            // It ends by itself when nobody is left to serve.
            let _ = self.play.runner.start(who, serving);
        } else {
            for (page, word) in (0..).zip(words) {
                self.prepare(&layout, page, word);
            }
        }
        let (environment, order) = (self.environment.clone(), Rc::clone(&self.order));
        Source { environment, layout, flaw, order, fetched }
    }

    fn prepare(&mut self, layout: &Layout, page: Page, word: Word) {
        let (kernel, who, at) = (self.kernel.clone(), self.pager, Va(layout.source(page)));
        let stored = self.now(kernel.store(who, at, &word.to_ne_bytes()));
        assert!(stored.is_ok(), "fresh memory takes a store");
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
            random: Random::new(self.random.word()),
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
        let _ = self.play.runner.start(who, async move {
            doing.await;
            running.set(running.get() - 1);
        });
    }

    /// Does something at once, where there is nobody to wait for.
    pub(super) fn now<T>(&mut self, doing: impl Future<Output = T>) -> T {
        self.play.runner.now(self.pager, doing).expect("nobody to wait for")
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
        Ok(Layout { region, source, pages, page_bytes })
    }

    fn open(&mut self, layout: &Layout, mode: u64) -> Result<Calls, Errno> {
        let (kernel, who) = (self.kernel.clone(), self.pager);
        let fd = kernel.userfaultfd(who, OpenFlags::NONBLOCK | OpenFlags::CLOEXEC)?;
        let calls = Calls { kernel, who, fd };
        let range = UffdioRange { start: layout.region, len: layout.pages * layout.page_bytes };
        self.now(calls.handshake(FEATURE_EVENT_REMOVE | FEATURE_PAGEFAULT_FLAG_WP))?;
        self.now(calls.register(range, mode))?;
        Ok(calls)
    }
}
