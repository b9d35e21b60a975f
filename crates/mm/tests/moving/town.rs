//! A process with two streets of pages between which they move, and what happens to them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use faultless_mm::{
    Advice, Argument, Call, Choice, Kernel, MapRequest, OpenFlags, Profile, Random, Runner,
    ThreadId,
};
use faultless_pages::{Bytes, Va};
use faultless_uapi::feature::{FEATURE_MOVE, FEATURE_SIGBUS};
use faultless_uapi::ioctl::{UFFDIO_API, UFFDIO_REGISTER};
use faultless_uapi::mode::register;
use faultless_uapi::{UFFD_API, UffdioApi, UffdioRange, UffdioRegister};

use crate::deed::{Ending, Op};

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
    pub(crate) fn len(self) -> u64 {
        match self {
            Size::Small => 3 * PAGE,
            Size::Huge => HUGE,
        }
    }
}

/// A pin, and the address it is at.
pub(crate) struct Pin {
    pub(crate) fd: u32,
    pub(crate) at: u64,
    /// The word that must stay there, once it was looked at.
    pub(crate) word: Option<u64>,
    /// Nobody has dropped the page or stored to it since.
    pub(crate) sure: bool,
}

pub(crate) struct Town {
    pub(crate) kernel: Kernel,
    pub(crate) runner: Runner,
    pub(crate) random: Random,
    pub(crate) size: Size,
    pub(crate) fd: u32,
    pub(crate) threads: Vec<ThreadId>,
    pub(crate) streets: [Va; 2],
    /// Words that must be somewhere.
    pub(crate) alive: BTreeSet<u64>,
    /// Words that must never be seen again.
    pub(crate) gone: BTreeSet<u64>,
    last_word: u64,
    /// How many words may have gone since they were counted.
    pub(crate) losses: usize,
    pub(crate) pins: Vec<Pin>,
    pub(crate) children: Vec<(ThreadId, Vec<u64>)>,
    story: String,
    /// How often each kind of operation did what it is for.
    pub(crate) deeds: BTreeMap<&'static str, u32>,
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

    pub(crate) fn pages_of(&self, street: usize) -> impl Iterator<Item = u64> + use<> {
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

    pub(crate) fn exit(&mut self, thread: ThreadId) {
        let process = self.kernel.process_of(thread);
        self.runner.now(thread, self.kernel.exit(process)).expect("an exit waits for nobody");
    }
}
