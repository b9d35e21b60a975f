//! A process with a program, its pager, and everything they need, made from a seed.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;

use faultless_mm::{
    Behind, Choice, Errno, Kernel, MapRequest, NewObject, OpenFlags, Profile, Runner, ThreadId,
};
use faultless_pages::{Bytes, Va};
use faultless_paging::core::{Core, Policy, RegionSpec};
use faultless_paging::page::PageTable;
use faultless_paging::port::Quiet;
use faultless_uapi::feature::{
    FEATURE_EVENT_FORK, FEATURE_EVENT_REMAP, FEATURE_EVENT_REMOVE, FEATURE_EVENT_UNMAP,
    FEATURE_MINOR_SHMEM, FEATURE_PAGEFAULT_FLAG_WP, FEATURE_POISON, FEATURE_WP_HUGETLBFS_SHMEM,
};
use faultless_uapi::ioctl::{UFFDIO_API, UFFDIO_REGISTER};
use faultless_uapi::{UFFD_API, UffdioApi, UffdioRange, UffdioRegister};

use super::Flaw;
use super::cast::Cast;
use super::program::{Birth, Program};
use super::run::{Order, PATIENCE};
use super::served::{Memory, Served};
use super::source::Source;
use super::worker::{Pool, SLOT};
use crate::check::{History, Step, Word};
use crate::environment::{Environment, Play};
use crate::random::{Odds, Random};
use crate::swarm::Swarm;

/// What page 0 holds before anybody writes; page 1 one more, and so on.
const FIRST_WORD: Word = 0xfa17_0000;
/// Fetches whose bytes there is room for.
const SLOTS: u64 = 64;
const EVENTS: u64 =
    FEATURE_EVENT_REMOVE | FEATURE_EVENT_REMAP | FEATURE_EVENT_UNMAP | FEATURE_EVENT_FORK;

/// A program, its pager, and the chance that rules over them.
pub(super) struct Scene {
    pub(super) seed: u64,
    pub(super) flaw: Option<Flaw>,
    pub(super) swarm: Swarm,
    pub(super) random: Random,
    pub(super) kernel: Kernel,
    pub(super) environment: Environment,
    pub(super) play: Play,
    pub(super) cast: Cast,
    pub(super) client: ThreadId,
    /// Keeps descriptors for the next worker.
    pub(super) supervisor: ThreadId,
    /// Who puts pages there too, and from where.
    pub(super) rival: ThreadId,
    pub(super) rival_page: u64,
    pub(super) rival_is_busy: Rc<Cell<bool>>,
    /// The first thread of the pager's process, or the client's.
    pub(super) pager: ThreadId,
    pub(super) pager_threads: Vec<ThreadId>,
    pub(super) pool: Rc<Pool>,
    /// The shared object, in the hands of the supervisor.
    object: Option<u32>,
    pub(super) programs: Vec<ThreadId>,
    pub(super) children: Vec<ThreadId>,
    pub(super) births: Rc<RefCell<Vec<Birth>>>,
    /// Tasks of programs and of pagers that have not come to their end.
    pub(super) programs_running: Rc<Cell<usize>>,
    pub(super) pagers_running: Rc<Cell<usize>>,
    pub(super) dead: Rc<Cell<bool>>,
    /// Every history there is; the first is that of the program, others are those of children.
    pub(super) histories: Vec<Rc<RefCell<History>>>,
    /// The pager was told to end, as no program runs.
    pub(super) completing: bool,
    /// The processes of programs have ended.
    pub(super) exited: bool,
    pub(super) exiting: Rc<Cell<usize>>,
    /// What happens when.
    pub(super) turn: Option<(Step, Order)>,
}

impl Scene {
    pub(super) fn new(seed: u64, flaw: Option<Flaw>) -> Scene {
        let mut random = Random::stream(seed, "engine");
        let swarm = Swarm::draw(seed);
        let kernel = Kernel::new(Profile { identities: true, ..Profile::linux_6_18() });
        let cast = Cast::draw(&mut random);
        let (client, supervisor) = (kernel.spawn(), kernel.spawn());
        let environment = Environment::new(seed, &swarm, kernel.clone());
        let choice = Choice::seed(Random::stream(seed, "order").word());
        let words = (0..cast.pages).map(|page| match random.happens(Odds::one_in(8)) {
            true => 0,
            false => FIRST_WORD + page,
        });
        let words: Vec<Word> = words.collect();
        let source = Source::draw(&mut random, words, flaw == Some(Flaw::TrustsSource));
        let order = Order::draw(&mut random);
        let mut scene = Scene {
            seed,
            flaw,
            swarm,
            play: Play::new(seed, Runner::new(kernel.clone(), choice)),
            pool: Rc::new(Pool::new(kernel.clone(), environment.clone(), source)),
            environment,
            cast,
            client,
            supervisor,
            rival: kernel.spawn_thread(supervisor),
            rival_page: 0,
            rival_is_busy: Rc::default(),
            pager: client,
            pager_threads: Vec::new(),
            object: None,
            programs: Vec::new(),
            children: Vec::new(),
            births: Rc::default(),
            programs_running: Rc::default(),
            pagers_running: Rc::default(),
            dead: Rc::default(),
            histories: Vec::new(),
            completing: false,
            exited: false,
            exiting: Rc::default(),
            turn: Some((random.within(1..=1500), order)),
            random,
            kernel,
        };
        scene.set_up(order).expect("fresh processes refuse nothing");
        scene
    }

    /// Makes the memory and the userfaultfd, and starts everybody.
    fn set_up(&mut self, order: Order) -> Result<(), Errno> {
        let page_bytes = self.kernel.profile().page().0;
        let len = self.cast.pages * page_bytes;
        let behind = match self.cast.shared {
            true => {
                let fd = self.kernel.make_object(self.client, NewObject::Shmem, len)?;
                self.object = Some(self.kernel.pass(self.client, fd, self.supervisor)?);
                Behind::Descriptor { fd, offset: 0 }
            }
            false => Behind::Anonymous,
        };
        let base = self.map(self.client, len, behind)?;
        let words = self.pool.source.borrow().words.clone();
        let history = History::new((0..).zip(words), PATIENCE);
        let memory = Rc::new(Memory {
            base: Cell::new(base),
            moving: Cell::default(),
            settled: Cell::default(),
            pages: self.cast.pages,
            page_bytes,
            shared: self.cast.shared,
            history: Rc::new(RefCell::new(history)),
            lost: RefCell::new(BTreeSet::new()),
        });
        self.histories.push(Rc::clone(&memory.history));
        let fd = self.open(base, len)?;
        let kept = self.kernel.pass(self.client, fd, self.supervisor)?;
        let client = self.client;
        let kernel = self.kernel.clone();
        self.now(async move { kernel.close(client, fd).await })?;
        self.rival_page = self.map(self.supervisor, page_bytes, Behind::Anonymous)?;
        self.raise_pager()?;
        let table = Arc::new(PageTable::new(self.cast.pages));
        self.serve(&memory, &table, (self.supervisor, kept))?;
        self.start_programs(&memory, order);
        Ok(())
    }

    /// Makes the threads that serve, in a process of their own or in the program's.
    pub(super) fn raise_pager(&mut self) -> Result<(), Errno> {
        let page_bytes = self.pool.page_bytes;
        self.pager = match self.cast.own {
            true => self.kernel.spawn_thread(self.client),
            false => self.kernel.spawn(),
        };
        if self.pool.zeros.get() == 0 {
            self.map_for_pager()?;
        }
        let staging = self.pool.zeros.get();
        let slots = (1..=SLOTS).map(|slot| staging + slot * SLOT * page_bytes);
        *self.pool.slots.borrow_mut() = slots.collect();
        self.pager_threads.clear();
        for _ in 0..self.cast.workers {
            let who = self.pager_thread();
            self.start_pager(who, Rc::clone(&self.pool).work(who));
        }
        let who = self.pager_thread();
        self.start_pager(who, Rc::clone(&self.pool).drop_pages(who));
        Ok(())
    }

    /// Maps what the pager needs: room for what is fetched, and shared memory to fill it.
    fn map_for_pager(&mut self) -> Result<(), Errno> {
        let page_bytes = self.pool.page_bytes;
        let staging = self.map(self.pager, (SLOTS + 1) * SLOT * page_bytes, Behind::Anonymous)?;
        self.pool.zeros.set(staging);
        if let (true, Some(object)) = (self.cast.filled, self.object) {
            let fd = self.kernel.pass(self.supervisor, object, self.pager)?;
            let behind = Behind::Descriptor { fd, offset: 0 };
            let second = self.map(self.pager, self.cast.pages * page_bytes, behind)?;
            self.pool.second.set(Some(second));
        }
        Ok(())
    }

    fn pager_thread(&mut self) -> ThreadId {
        let who = self.kernel.spawn_thread(self.pager);
        self.pager_threads.push(who);
        who
    }

    /// Serves memory of which this much is known.
    pub(super) fn serve(
        &mut self,
        memory: &Rc<Memory>,
        table: &Arc<PageTable>,
        kept: (ThreadId, u32),
    ) -> Result<Rc<Served>, Errno> {
        let mut core = Core::new(self.policy(), Box::new(Quiet));
        if let Some(Flaw::Without(guard)) = self.flaw {
            core.leave_out(guard);
        }
        let spec = RegionSpec {
            ways: self.cast.ways(),
            tracked: self.cast.tracked,
            run_max: self.cast.run_max,
            around: self.cast.around,
            prefetch: self.cast.prefetch(),
            ..RegionSpec::new(Va(memory.base.get()), memory.pages)
        };
        core.add_with(spec, Arc::clone(table));
        let fd = self.kernel.pass(kept.0, kept.1, self.pager)?;
        Ok(self.take_on(memory, core, fd, kept, self.client))
    }

    /// Lets the workers serve an address space.
    pub(super) fn take_on(
        &mut self,
        memory: &Rc<Memory>,
        core: Core,
        fd: u32,
        kept: (ThreadId, u32),
        of: ThreadId,
    ) -> Rc<Served> {
        let who = self.pager_thread();
        let served = Rc::new(Served {
            reader: who,
            memory: Rc::clone(memory),
            tracked: self.cast.tracked,
            table: Arc::clone(core.table(super::served::REGION)),
            core: RefCell::new(core),
            fd: Cell::new(fd),
            kept,
            inside: self.kernel.spawn_thread(of),
            queue: RefCell::default(),
            evictions: RefCell::default(),
            landed: RefCell::default(),
            unheard: RefCell::default(),
            ended: Cell::default(),
            closed: Cell::default(),
            laid_down: Cell::default(),
        });
        self.pool.served.borrow_mut().push(Rc::clone(&served));
        self.start_pager(who, Rc::clone(&self.pool).read(who, Rc::clone(&served)));
        served
    }

    fn policy(&self) -> Policy {
        Policy {
            events: true,
            prefetches: self.cast.prefetches,
            background: self.cast.background,
            ..Policy::default()
        }
    }

    fn start_programs(&mut self, memory: &Rc<Memory>, order: Order) {
        let followed = matches!(order, Order::Complete | Order::Die) && !self.cast.rival;
        for number in 1..=self.random.within(1..=3) {
            let who = self.kernel.spawn_thread(self.client);
            // Whoever replaces a worker is not told where memory went, nor gets a child's
            // descriptor.
            let first = number == 1 && followed;
            let forks = first && !self.cast.shared && self.random.happens(Odds::one_in(3));
            let moves = first && self.random.happens(Odds::one_in(2));
            let program = Program {
                forks: forks.then(|| Rc::clone(&self.births)),
                moves: if moves { Odds::one_in(8) } else { Odds::NEVER },
                ..self.program(who, number, memory)
            };
            self.start_program(who, program);
        }
    }

    /// Draws a plan for a thread.
    pub(super) fn program(&mut self, who: ThreadId, number: u64, memory: &Rc<Memory>) -> Program {
        Program {
            kernel: self.kernel.clone(),
            environment: self.environment.clone(),
            who,
            number: u32::try_from(number).unwrap_or(1),
            memory: Rc::clone(memory),
            dead: Rc::clone(&self.dead),
            random: Random::new(self.random.word()),
            deeds: self.random.within(4..=24),
            stores: Odds::one_in(u32::try_from(self.random.within(1..=4)).unwrap_or(1)),
            discards: self.discards(),
            moves: Odds::NEVER,
            forks: None,
        }
    }

    fn discards(&mut self) -> Odds {
        let often = Odds::one_in(u32::try_from(self.random.within(0..=8)).unwrap_or(0));
        if self.cast.rival { Odds::NEVER } else { often }
    }

    pub(super) fn start_program(&mut self, who: ThreadId, program: Program) {
        self.programs.push(who);
        let running = Rc::clone(&self.programs_running);
        self.start(who, running, program.run());
    }

    fn start_pager(&mut self, who: ThreadId, doing: impl Future<Output = ()> + 'static) {
        let running = Rc::clone(&self.pagers_running);
        self.start(who, running, doing);
    }

    pub(super) fn start(
        &mut self,
        who: ThreadId,
        running: Rc<Cell<usize>>,
        doing: impl Future<Output = ()> + 'static,
    ) {
        running.set(running.get() + 1);
        // Nothing asks for the result: the count tells the end.
        let _ = self.play.runner.start(who, async move {
            doing.await;
            running.set(running.get() - 1);
        });
    }

    /// Does something at once, where there is nobody to wait for.
    pub(super) fn now<T>(&mut self, doing: impl Future<Output = T>) -> T {
        self.play.runner.now(self.client, doing).expect("nobody to wait for")
    }

    fn map(&mut self, who: ThreadId, len: u64, behind: Behind) -> Result<u64, Errno> {
        let shared = behind != Behind::Anonymous;
        let request = MapRequest { shared, behind, ..MapRequest::anonymous(Bytes(len)) };
        let kernel = self.kernel.clone();
        let mapped = self.play.runner.now(who, async move { kernel.map(who, request).await });
        mapped.expect("nobody to wait for").map(|at| at.0)
    }

    fn open(&mut self, base: u64, len: u64) -> Result<u32, Errno> {
        let who = self.client;
        let fd = self.kernel.userfaultfd(who, OpenFlags::NONBLOCK | OpenFlags::CLOEXEC)?;
        let features = EVENTS
            | FEATURE_PAGEFAULT_FLAG_WP
            | FEATURE_POISON
            | FEATURE_MINOR_SHMEM
            | FEATURE_WP_HUGETLBFS_SHMEM;
        let api = UffdioApi { api: UFFD_API, features, ioctls: 0 };
        let register = UffdioRegister {
            range: UffdioRange { start: base, len },
            mode: self.cast.mode(),
            ioctls: 0,
        };
        self.request(who, fd, UFFDIO_API, api.to_bytes())?;
        self.request(who, fd, UFFDIO_REGISTER, register.to_bytes())?;
        Ok(fd)
    }

    fn request<const N: usize>(
        &mut self,
        who: ThreadId,
        fd: u32,
        request: u32,
        mut bytes: [u8; N],
    ) -> Result<(), Errno> {
        let kernel = self.kernel.clone();
        self.now(async move {
            let argument = faultless_mm::Argument::Bytes(&mut bytes);
            kernel.ioctl(who, fd, request, argument).await.map(drop)
        })
    }
}
