//! A process with two streets of pages between which they move, and what happens to them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use faultless_mm::{
    Advice, Argument, Call, Choice, Kernel, MapRequest, OpenFlags, Profile, Random, Runner,
    ThreadId,
};
use faultless_pages::{Bytes, Va};
use faultless_uapi::feature::{FEATURE_MOVE, FEATURE_SIGBUS};
use faultless_uapi::ioctl::{UFFDIO_API, UFFDIO_MOVE, UFFDIO_REGISTER};
use faultless_uapi::mode::{move_, register};
use faultless_uapi::{UFFD_API, UffdioApi, UffdioMove, UffdioRange, UffdioRegister};

pub(crate) const PAGE: u64 = 4096;
const HUGE: u64 = 512 * PAGE;
const THREADS: usize = 4;
const PHASES: usize = 12;
/// Children alive at a time: more would only cost time.
const CHILDREN: usize = 2;

/// How the streets are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// Of a few base pages.
    Small,
    /// Of huge pages.
    Huge,
}

impl Size {
    fn len(self) -> u64 {
        match self {
            Size::Small => 3 * PAGE,
            Size::Huge => HUGE,
        }
    }
}

/// What a thread does in a phase.
#[derive(Clone, Copy, Debug)]
enum Op {
    Move { dst: u64, src: u64, len: u64, holes: bool },
    SwapOut(u64),
    PageOut(u64),
    Migrate(u64),
    Split(u64),
    Collapse(usize),
    Age(u64),
    Load(u64),
    Store(u64, u64),
    Drop(u64),
    Pin(u64),
    Fork,
}

/// How it ended.
enum Ending {
    Loaded(u64),
    Stored,
    Pinned(u32, u64),
    Child(ThreadId),
    /// It did what it is for.
    Done,
    /// There was nothing to do, or it was refused.
    Other,
}

/// A pin, and the address it is at.
struct Pin {
    fd: u32,
    at: u64,
    /// The word that must stay there, once it was looked at.
    word: Option<u64>,
    /// Nobody has dropped the page or stored to it since.
    sure: bool,
}

pub(crate) struct Town {
    kernel: Kernel,
    runner: Runner,
    random: Random,
    size: Size,
    fd: u32,
    threads: Vec<ThreadId>,
    streets: [Va; 2],
    /// Words that must be somewhere.
    alive: BTreeSet<u64>,
    /// Words that must never be seen again.
    gone: BTreeSet<u64>,
    last_word: u64,
    /// How many words may have gone since they were counted.
    losses: usize,
    pins: Vec<Pin>,
    children: Vec<(ThreadId, Vec<u64>)>,
    story: String,
    /// How often each kind of operation did what it is for.
    pub(crate) deeds: BTreeMap<&'static str, u32>,
}

impl Op {
    fn name(self) -> &'static str {
        match self {
            Op::Move { .. } => "move",
            Op::SwapOut(_) => "swap out",
            Op::PageOut(_) => "page out",
            Op::Migrate(_) => "migrate",
            Op::Split(_) => "split",
            Op::Collapse(_) => "collapse",
            Op::Age(_) => "age",
            Op::Load(_) => "load",
            Op::Store(..) => "store",
            Op::Drop(_) => "drop",
            Op::Pin(_) => "pin",
            Op::Fork => "fork",
        }
    }
}

impl Town {
    pub(crate) fn new(profile: &Profile, size: Size, random: Random) -> Town {
        let kernel = Kernel::new(Profile { identities: true, ..profile.clone() });
        let mut runner = Runner::new(kernel.clone(), Choice::Straight);
        let first = kernel.spawn();
        let threads = (0..THREADS).map(|_| kernel.spawn_thread(first)).collect();
        let fd = kernel.userfaultfd(first, OpenFlags::NONBLOCK).expect("a descriptor");
        let streets = [0, 1].map(|street: u64| {
            let at = Va(0x1000_0000 + street * 4 * HUGE);
            let request =
                MapRequest { at, fixed: true, ..MapRequest::anonymous(Bytes(size.len())) };
            runner.now(first, kernel.map(first, request)).expect("no waiting").expect("room")
        });
        let mut town = Town {
            kernel,
            runner,
            random,
            size,
            fd,
            threads,
            streets,
            alive: BTreeSet::new(),
            gone: BTreeSet::new(),
            last_word: 0,
            losses: 0,
            pins: Vec::new(),
            children: Vec::new(),
            story: String::new(),
            deeds: BTreeMap::new(),
        };
        town.settle();
        town
    }

    /// Fills the first street and registers both.
    fn settle(&mut self) {
        let who = self.threads[0];
        for street in self.streets.into_iter().filter(|_| self.size == Size::Huge) {
            let wish = self.kernel.advise(who, street, Bytes(HUGE), Advice::Huge(true));
            self.runner.now(who, wish).expect("no waiting").expect("huge pages");
        }
        for at in self.pages_of(0) {
            let word = self.new_word();
            let kernel = self.kernel.clone();
            let raw = word.to_ne_bytes();
            let store = kernel.store(who, Va(at), &raw);
            self.runner.now(who, store).expect("no waiting").expect("plain memory");
            self.alive.insert(word);
        }
        let features = FEATURE_SIGBUS | FEATURE_MOVE;
        let api = UffdioApi { api: UFFD_API, features, ioctls: 0 };
        self.request(UFFDIO_API, &mut api.to_bytes());
        for street in self.streets {
            let range = UffdioRange { start: street.0, len: self.size.len() };
            let register = UffdioRegister { range, mode: register::MISSING, ioctls: 0 };
            self.request(UFFDIO_REGISTER, &mut register.to_bytes());
        }
    }

    fn request(&mut self, request: u32, argument: &mut [u8]) {
        let who = self.threads[0];
        let asked = self.kernel.ioctl(who, self.fd, request, Argument::Bytes(argument));
        self.runner.now(who, asked).expect("no waiting").expect("a request that is right");
    }

    fn new_word(&mut self) -> u64 {
        self.last_word += 1;
        self.last_word
    }

    fn pages_of(&self, street: usize) -> impl Iterator<Item = u64> + use<> {
        let start = self.streets[street].0;
        (start..start + self.size.len()).step_by(4096)
    }

    /// Lives through all phases.
    ///
    /// # Errors
    /// What must not be.
    pub(crate) fn live(&mut self) -> Result<(), String> {
        for phase in 0..PHASES {
            let ops: Vec<Op> = (0..THREADS).map(|_| self.draw()).collect();
            let _ = writeln!(self.story, "{ops:x?}");
            self.race(&ops)?;
            if phase % 3 == 2 {
                self.look()?;
            }
        }
        self.look()?;
        self.end()
    }

    /// What happened, and the interleaving of the last phase.
    pub(crate) fn story(&mut self) -> String {
        let trace = self.runner.take_trace();
        format!("{}{trace}", self.story)
    }

    /// A page of a street; of a long one mostly among the first few.
    fn page(&mut self, street: usize) -> u64 {
        let start = self.streets[street].0;
        let count = if self.size == Size::Huge && self.random.below(8) == 0 { 512 } else { 3 };
        start + self.random.below(count) as u64 * PAGE
    }

    fn draw(&mut self) -> Op {
        let street = self.random.below(2);
        let at = self.page(street);
        match self.random.below(20) {
            0..=6 => self.draw_move(street),
            7 | 8 => Op::SwapOut(at),
            9 => Op::PageOut(at),
            10 => Op::Migrate(at),
            11 => Op::Split(at),
            12 => Op::Collapse(street),
            13 => Op::Age(at),
            14 | 15 => Op::Load(at),
            16 => Op::Store(at, self.new_word()),
            17 => Op::Drop(at),
            18 => Op::Pin(at),
            _ => Op::Fork,
        }
    }

    fn draw_move(&mut self, street: usize) -> Op {
        let (src, dst) = (self.page(street), self.page(1 - street));
        let whole = self.random.below(3) == 0;
        if whole {
            let (src, dst) = (self.streets[street].0, self.streets[1 - street].0);
            return Op::Move { dst, src, len: self.size.len(), holes: true };
        }
        Op::Move { dst, src, len: PAGE, holes: false }
    }

    /// Lets threads do their operations at once, in an order drawn.
    fn race(&mut self, ops: &[Op]) -> Result<(), String> {
        let calls: Vec<(Op, Call<Ending>)> =
            (0..).zip(ops).map(|(number, op)| (*op, self.begin(number, *op))).collect();
        let seed = Random::new(self.random.next_u64());
        self.runner.choose(Choice::Seeded(seed));
        self.runner.record();
        self.runner.run();
        self.runner.choose(Choice::Straight);
        for (op, call) in calls {
            let ending = call.take().ok_or_else(|| format!("{op:x?} never ends"))?;
            self.note(op, ending)?;
        }
        self.disturb(ops);
        self.kernel.audit()
    }

    fn begin(&mut self, number: usize, op: Op) -> Call<Ending> {
        let (kernel, fd, size) = (self.kernel.clone(), self.fd, self.size.len());
        let who = self.threads[number];
        let street = if let Op::Collapse(street) = op { self.streets[street] } else { Va(0) };
        self.runner.start(who, async move {
            let done = match op {
                Op::Move { dst, src, len, holes } => {
                    let mode = if holes { move_::ALLOW_SRC_HOLES } else { 0 };
                    let mut bytes = UffdioMove { dst, src, len, mode, move_: 0 }.to_bytes();
                    kernel.ioctl(who, fd, UFFDIO_MOVE, Argument::Bytes(&mut bytes)).await.is_ok()
                }
                Op::SwapOut(at) => kernel.swap_out(who, Va(at)).await,
                Op::PageOut(at) => {
                    kernel.advise(who, Va(at), Bytes(PAGE), Advice::PageOut).await.is_ok()
                }
                Op::Migrate(at) => kernel.migrate_page(who, Va(at)).await.is_ok(),
                Op::Split(at) => kernel.split_huge_page(who, Va(at)).await.is_ok(),
                Op::Collapse(_) => {
                    kernel.advise(who, street, Bytes(size), Advice::Collapse).await.is_ok()
                }
                Op::Age(at) => kernel.age(who, Va(at)).await.is_some(),
                Op::Load(at) => {
                    let mut out = [0; 8];
                    if kernel.load(who, Va(at), &mut out).await.is_ok() {
                        return Ending::Loaded(u64::from_ne_bytes(out));
                    }
                    false
                }
                Op::Store(at, word) => {
                    if kernel.store(who, Va(at), &word.to_ne_bytes()).await.is_ok() {
                        return Ending::Stored;
                    }
                    false
                }
                Op::Drop(at) => {
                    kernel.advise(who, Va(at), Bytes(PAGE), Advice::DontNeed).await.is_ok()
                }
                Op::Pin(at) => match kernel.pin(who, Va(at), Bytes(PAGE)).await {
                    Ok(fd) => return Ending::Pinned(fd, at),
                    Err(_) => false,
                },
                Op::Fork => match kernel.fork(who).await {
                    Ok(child) => return Ending::Child(child),
                    Err(_) => false,
                },
            };
            if done { Ending::Done } else { Ending::Other }
        })
    }

    /// Takes note of how an operation ended.
    fn note(&mut self, op: Op, ending: Ending) -> Result<(), String> {
        if !matches!(ending, Ending::Other) {
            *self.deeds.entry(op.name()).or_default() += 1;
        }
        match (op, ending) {
            (Op::Load(at), Ending::Loaded(word)) => {
                let known = word != 0 && word <= self.last_word && !self.gone.contains(&word);
                if !known {
                    return Err(format!("{word:#x} was loaded at {at:#x}"));
                }
            }
            (Op::Store(_, word), ending) => {
                self.losses += 1;
                // A store that a signal ended has stored nothing.
                if matches!(ending, Ending::Stored) {
                    self.alive.insert(word);
                }
            }
            (Op::Drop(_), _) => self.losses += 1,
            (_, Ending::Pinned(fd, at)) => self.pins.push(Pin { fd, at, word: None, sure: true }),
            (_, Ending::Child(child)) => self.adopt(child)?,
            _ => {}
        }
        Ok(())
    }

    /// What was dropped or stored to may be another page from here on, pinned or not.
    fn disturb(&mut self, ops: &[Op]) {
        for op in ops {
            let (Op::Drop(at) | Op::Store(at, _)) = op else { continue };
            for pin in self.pins.iter_mut().filter(|pin| pin.at == *at) {
                pin.sure = false;
            }
        }
    }

    fn adopt(&mut self, child: ThreadId) -> Result<(), String> {
        let words = self.words(child);
        let mut seen = BTreeSet::new();
        for word in words.iter().filter(|word| **word != 0) {
            if !seen.insert(*word) || self.gone.contains(word) {
                return Err(format!("a child was born with {word:#x} twice, or long gone"));
            }
        }
        self.children.push((child, words));
        if self.children.len() > CHILDREN {
            let (oldest, _) = self.children.remove(0);
            self.exit(oldest);
        }
        Ok(())
    }

    fn exit(&mut self, thread: ThreadId) {
        let process = self.kernel.process_of(thread);
        self.runner.now(thread, self.kernel.exit(process)).expect("an exit waits for nobody");
    }

    /// The words of both streets as a process sees them, 0 where there is none.
    fn words(&mut self, who: ThreadId) -> Vec<u64> {
        let places: Vec<u64> = self.pages_of(0).chain(self.pages_of(1)).collect();
        places.into_iter().map(|at| self.word_at(who, at)).collect()
    }

    fn word_at(&mut self, who: ThreadId, at: u64) -> u64 {
        let mut out = [0; 8];
        let kernel = self.kernel.clone();
        let load = kernel.load(who, Va(at), &mut out);
        let loaded = self.runner.now(who, load).expect("nobody else is under way");
        if loaded.is_ok() { u64::from_ne_bytes(out) } else { 0 }
    }

    /// Looks at everything while nothing is under way.
    fn look(&mut self) -> Result<(), String> {
        let who = self.threads[0];
        let mut seen = BTreeSet::new();
        for word in self.words(who) {
            if word != 0 && !seen.insert(word) {
                return Err(format!("{word:#x} stands in two places"));
            }
            if self.gone.contains(&word) {
                return Err(format!("{word:#x} has come back"));
            }
        }
        let lost: Vec<u64> = self.alive.difference(&seen).copied().collect();
        if lost.len() > self.losses {
            return Err(format!("{lost:x?} are lost, {} may be", self.losses));
        }
        self.losses = 0;
        self.gone.extend(&lost);
        self.alive = seen;
        self.look_at_pins(who)?;
        self.look_at_children()?;
        self.kernel.audit()
    }

    fn look_at_pins(&mut self, who: ThreadId) -> Result<(), String> {
        for mut pin in std::mem::take(&mut self.pins) {
            let now = self.word_at(who, pin.at);
            if pin.sure && pin.word.is_some_and(|word| word != now) {
                return Err(format!("a pinned page has left {:#x}, {now:#x} came", pin.at));
            }
            if self.random.below(2) == 0 {
                let closed = self.kernel.close(who, pin.fd);
                self.runner.now(who, closed).expect("no waiting").expect("a descriptor");
            } else {
                pin.word = Some(now);
                self.pins.push(pin);
            }
        }
        Ok(())
    }

    fn look_at_children(&mut self) -> Result<(), String> {
        for (child, before) in self.children.clone() {
            let now = self.words(child);
            if now != before {
                return Err(format!("a child had {before:x?} and has {now:x?}"));
            }
        }
        Ok(())
    }

    /// Everybody goes; nothing may be left.
    fn end(&mut self) -> Result<(), String> {
        for (child, _) in std::mem::take(&mut self.children) {
            self.exit(child);
        }
        self.exit(self.threads[0]);
        let usage = self.kernel.usage();
        if usage == faultless_mm::Usage::default() {
            return Ok(());
        }
        Err(format!("{usage:?} are left"))
    }
}
