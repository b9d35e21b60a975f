//! Random programs: a beginning that maps and registers something, then anything.
//!
//! What is drawn is likely to meet what is there: pages are few, and half of the steps go where
//! one of the steps before went.

use faultless_uapi::feature as bit;
use faultless_uapi::mode::{continue_, copy, move_, poison, register, writeprotect, zeropage};
use faultless_uapi::scan::flag;

use super::deed::{Deed, Weights};
use super::program::{
    Arena, Asked, Backing, HUGE, ObjectKind, Op, Origin, Program, SOURCES, SPARE, Span, Step,
    THREADS,
};
use super::race::{Race, may_race};
use crate::conform::linux::prot;
use crate::conform::{Process, Profile, Thread};
use crate::random::{Odds, Random};

/// What programs may use.
#[derive(Clone, Debug)]
pub struct Palette {
    /// Kinds of operation that do not come.
    pub left_out: Vec<Deed>,
    /// Feature bits that may be asked for.
    pub features: u64,
    /// There are transparent huge pages.
    pub transparent_huge_pages: bool,
    /// There are hugetlb pages.
    pub hugetlb: bool,
    /// There are regular files.
    pub regular_files: bool,
}

impl Palette {
    /// What both worlds can do.
    #[must_use]
    pub fn of(ours: &Profile, theirs: &Profile) -> Palette {
        let mut left_out = Vec::new();
        let mut without = |lacking: bool, deeds: &[Deed]| {
            if lacking {
                left_out.extend(deeds);
            }
        };
        without(!(ours.has_swap && theirs.has_swap), &[Deed::Pageout]);
        without(!(ours.has_scan && theirs.has_scan), &[Deed::Scan]);
        let guards = ours.has_guards() && theirs.has_guards();
        without(!guards, &[Deed::GuardInstall, Deed::GuardRemove]);
        let both = |ask: fn(&Profile) -> bool| ask(ours) && ask(theirs);
        Palette {
            left_out,
            features: ours.features & theirs.features,
            transparent_huge_pages: both(|p| p.transparent_huge_page.is_some()),
            hugetlb: both(|p| p.hugetlb_page.is_some()) && !HUGETLB_PENDING,
            regular_files: both(|p| p.has_regular_files),
        }
    }
}

impl Palette {
    /// Keeps to a few kinds of operation, on base pages: for a search that knows what for.
    #[must_use]
    pub fn about(self, theme: &[Deed]) -> Palette {
        let left_out = Deed::ALL.iter().filter(|deed| !theme.contains(deed)).copied().collect();
        let (transparent_huge_pages, hugetlb, regular_files) = (false, false, false);
        Palette { left_out, transparent_huge_pages, hugetlb, regular_files, ..self }
    }
}

/// The model does not round to huge pages what is asked of hugetlb memory in base pages.
const HUGETLB_PENDING: bool = true;

/// Draws the program of a seed.
#[must_use]
pub fn generate(seed: u64, palette: &Palette) -> Program {
    let mut random = Random::stream(seed, "differential");
    let huge = palette.transparent_huge_pages || palette.hugetlb;
    let arena = if random.happens(Odds::one_in(6)) && huge { Arena::Huge } else { Arena::Small };
    let mut drawing = Drawing::new(random, arena, palette);
    drawing.beginning();
    for _ in 0..drawing.random.within(15..=70) {
        drawing.anything();
    }
    Program { arena, steps: drawing.steps }
}

/// Draws the race of a seed: a short program, then two calls about the same page.
#[must_use]
pub fn generate_race(seed: u64, palette: &Palette) -> Race {
    let mut drawing = Drawing::new(Random::stream(seed, "race"), Arena::Small, palette);
    drawing.beginning();
    drawing.hot = drawing.steps.iter().rev().find_map(mapped_page).unwrap_or(0);
    drawing.sticks = true;
    let begun = drawing.steps.len();
    for _ in 0..drawing.random.within(0..=6) {
        drawing.anything();
    }
    let guards = |step: &Step| step.op.deed() == Deed::GuardInstall;
    let prefix = drawing.steps.len() - drawing.steps.extract_if(begun.., |s| guards(s)).count();
    while drawing.steps.len() < prefix + 2 {
        drawing.anything();
        if drawing.steps.len() > prefix && !drawing.steps.last().is_some_and(|s| may_race(&s.op)) {
            drawing.steps.pop();
        }
    }
    let mut racers = drawing.steps.split_off(prefix);
    for (index, racer) in (0..).zip(&mut racers) {
        racer.who = Thread { process: Process(0), index };
    }
    Race { program: Program { arena: Arena::Small, steps: drawing.steps }, racers }
}

fn mapped_page(step: &Step) -> Option<u64> {
    match step.op {
        Op::Map(span, ..) => Some(span.page),
        _ => None,
    }
}

/// Kinds of objects a program makes; few, so that they meet. When a page of a regular file leaves
/// memory, and which come with it when it is back, is the disk's affair.
fn object_kinds(
    random: &mut Random,
    arena: Arena,
    palette: &Palette,
    weights: &Weights,
) -> Vec<ObjectKind> {
    let mut kinds = Vec::new();
    if arena == Arena::Small || !weights.has(Deed::Collapse) {
        // The model makes no huge pages of objects.
        kinds.push(ObjectKind::Shmem);
    }
    let drops = [Deed::Pageout, Deed::Punch, Deed::Remove, Deed::Resize];
    let stays = !drops.iter().any(|deed| weights.has(*deed));
    if palette.regular_files && random.happens(Odds::one_in(2)) && stays {
        kinds.push(ObjectKind::Regular);
    }
    if palette.hugetlb && arena == Arena::Huge {
        kinds.push(ObjectKind::Hugetlb);
    }
    kinds
}

struct Drawing<'p> {
    random: Random,
    palette: &'p Palette,
    weights: Weights,
    arena: Arena,
    /// Where the last step went.
    hot: u64,
    /// The next ones go there too.
    sticks: bool,
    objects: Vec<ObjectKind>,
    uffds: usize,
    forks: u32,
    steps: Vec<Step>,
}

impl<'p> Drawing<'p> {
    fn new(mut random: Random, arena: Arena, palette: &'p Palette) -> Drawing<'p> {
        let weights = Weights::draw(&mut random, &palette.left_out);
        let objects = object_kinds(&mut random, arena, palette, &weights);
        Drawing {
            random,
            palette,
            weights,
            arena,
            hot: 0,
            sticks: false,
            objects,
            uffds: 0,
            forks: 0,
            steps: Vec::new(),
        }
    }

    fn happens(&mut self, one_in: u32) -> bool {
        self.random.happens(Odds::one_in(one_in))
    }

    fn pick<T: Copy>(&mut self, choices: &[T], otherwise: T) -> T {
        self.random.pick(choices).copied().unwrap_or(otherwise)
    }

    fn push(&mut self, index: u32, op: Op) {
        let who = Thread { process: Process(0), index };
        self.steps.push(Step { who, op });
    }

    /// A userfaultfd, mappings, registrations.
    fn beginning(&mut self) {
        let features = self.features();
        self.uffds += 1;
        self.push(0, Op::Open(features));
        for _ in 0..self.random.within(0..=2) {
            if let Some(op) = self.make_object() {
                self.push(0, op);
            }
        }
        for _ in 0..self.random.within(1..=3) {
            let op = self.map();
            self.push(0, op.clone());
            if let (Op::Map(span, ..), false) = (op, self.happens(4)) {
                let mode = self.register_mode();
                self.push(0, Op::Request(0, Asked::Register(span, mode)));
            }
        }
    }

    fn anything(&mut self) {
        let deed = self.weights.pick(&mut self.random);
        let who = self.who(deed);
        let Some(op) = self.op(deed) else { return };
        self.steps.push(Step { who, op });
    }

    /// Accesses come from any thread, the rest rather from the first.
    fn who(&mut self, deed: Deed) -> Thread {
        let access = [Deed::Load, Deed::Store, Deed::KernelLoad, Deed::Interrupt].contains(&deed);
        let first = !access && !self.happens(3);
        let index = if first { 0 } else { self.random.below(THREADS.into()) };
        let child = self.forks > 0 && self.happens(3);
        let process = if child { self.random.within(1..=self.forks.into()) } else { 0 };
        let number = |value: u64| u32::try_from(value).unwrap_or(0);
        Thread { process: Process(number(process)), index: number(index) }
    }

    fn op(&mut self, deed: Deed) -> Option<Op> {
        let request = |uffd, asked| Some(Op::Request(uffd, asked));
        match deed {
            Deed::Map => Some(self.map()),
            Deed::Unmap => Some(Op::Unmap(self.span())),
            Deed::Protect => {
                let span = self.span();
                Some(Op::Protect(span, self.protection()))
            }
            Deed::Remap | Deed::RemapKeep => Some(self.remap(deed == Deed::RemapKeep)),
            Deed::Lock => Some(Op::Lock(self.span())),
            Deed::Load => Some(Op::Load(self.page())),
            Deed::Store => Some(Op::Store(self.page(), self.byte())),
            Deed::KernelLoad => Some(Op::KernelLoad(self.page())),
            Deed::KernelStore => Some(Op::KernelStore(self.page(), self.byte())),
            Deed::RemoteLoad => {
                let of = self.random.within(0..=self.forks.into());
                Some(Op::RemoteLoad(u32::try_from(of).unwrap_or(0), self.page()))
            }
            Deed::Fork => {
                self.forks = (self.forks + 1).min(2);
                Some(Op::Fork)
            }
            Deed::Kill => (self.forks > 0).then_some(Op::Kill(self.forks)),
            Deed::Interrupt => Some(Op::Interrupt),
            Deed::MakeObject => self.make_object(),
            Deed::Resize | Deed::Punch | Deed::WriteObject | Deed::ReadObject => {
                Some(self.on_object(deed))
            }
            Deed::Open => {
                self.uffds += 1;
                Some(Op::Open(self.features()))
            }
            Deed::Close => Some(Op::Close(self.uffd())),
            Deed::Drain => Some(Op::Drain(self.uffd())),
            Deed::Scan => Some(self.scan()),
            _ => match deed.advice() {
                Some(advice) => Some(Op::Advise(self.span(), advice)),
                None => {
                    let uffd = self.uffd();
                    self.request(deed).and_then(|asked| request(uffd, asked))
                }
            },
        }
    }

    fn request(&mut self, deed: Deed) -> Option<Asked> {
        let span = self.span();
        Some(match deed {
            Deed::Register => Asked::Register(span, self.register_mode()),
            Deed::Unregister => Asked::Unregister(span),
            Deed::Wake => Asked::Wake(span),
            Deed::Copy => {
                let origin = self.origin();
                Asked::Copy(span, origin, self.mode(&[copy::WP, copy::DONTWAKE]))
            }
            Deed::Zeropage => Asked::Zeropage(span, self.mode(&[zeropage::DONTWAKE])),
            Deed::Move => {
                let (mut span, mut from) = (span, self.any_page());
                if self.sticks && self.happens(2) {
                    (span.page, from) = (from, span.page);
                }
                Asked::Move(span, from, self.mode(&[move_::ALLOW_SRC_HOLES, move_::DONTWAKE]))
            }
            Deed::Continue => {
                Asked::Continue(span, self.mode(&[continue_::WP, continue_::DONTWAKE]))
            }
            Deed::Poison => Asked::Poison(span, self.mode(&[poison::DONTWAKE])),
            Deed::Writeprotect => {
                let extra = self.mode(&[]);
                Asked::Writeprotect(span, writeprotect::WP | extra)
            }
            Deed::Unprotect => Asked::Writeprotect(span, self.mode(&[writeprotect::DONTWAKE])),
            _ => return None,
        })
    }

    fn page(&mut self) -> u64 {
        if !self.happens(2) && !self.sticks {
            self.hot = self.any_page();
        }
        self.hot
    }

    fn any_page(&mut self) -> u64 {
        match self.arena {
            Arena::Small => self.random.below(self.arena.pages()),
            Arena::Huge => {
                let within = self.pick(&[0, 0, 0, 1, HUGE / 2, HUGE - 1], 0);
                self.random.below(3) * HUGE + within
            }
        }
    }

    fn span(&mut self) -> Span {
        let page = self.page();
        let left = self.arena.pages() - page;
        let arena = self.arena;
        let pages = match arena {
            Arena::Small if self.happens(2) || self.sticks => 1,
            Arena::Small => self.random.within(1..=left.min(5)),
            Arena::Huge => self.pick(&[1, 2, HUGE / 2, HUGE, HUGE, HUGE, 2 * HUGE], 1),
        };
        let mut span = Span::new(page, pages.min(left));
        if self.happens(100) {
            span.skew = self.pick(&[1, 512, 4095], 1);
        }
        if self.happens(100) {
            span.pages = 0;
        }
        span
    }

    /// A part of the arena that is worth a mapping.
    fn map_span(&mut self) -> Span {
        let arena = self.arena;
        match arena {
            Arena::Small => {
                let page = self.random.below(self.arena.pages() - 1);
                let left = self.arena.pages() - page;
                Span::new(page, self.random.within(1..=left.min(8)))
            }
            Arena::Huge if self.happens(5) => self.span(),
            Arena::Huge => {
                let first = self.random.below(3);
                Span::new(first * HUGE, self.random.within(1..=3 - first) * HUGE)
            }
        }
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.random.within(1..=0x7f)).unwrap_or(1)
    }

    fn protection(&mut self) -> u32 {
        self.pick(&[prot::READ_WRITE, prot::READ_WRITE, prot::READ, prot::NONE], prot::READ)
    }

    fn map(&mut self) -> Op {
        let span = self.map_span();
        let objects = self.steps.iter().filter(|s| matches!(s.op, Op::MakeObject(..))).count();
        let index = self.random.index(objects);
        let shared = self.happens(2);
        let shift = if self.happens(4) { self.random.below(3) } else { 0 };
        let offset = span.page + shift;
        let backing = match self.random.below(8) {
            0 if self.objects.contains(&ObjectKind::Shmem) => Backing::SharedAnon,
            1..=4 if objects > 0 => Backing::Object { index, shared, offset },
            _ => Backing::Anon,
        };
        let prot = if self.happens(6) { self.protection() } else { prot::READ_WRITE };
        self.hot = span.page;
        Op::Map(span, backing, prot)
    }

    fn remap(&mut self, keep: bool) -> Op {
        let mut from = self.span();
        from.pages = from.pages.max(1);
        let to = (keep || !self.happens(3)).then(|| self.any_page());
        let other = !keep && self.happens(3);
        let new_pages = if other { self.random.within(1..=4) } else { from.pages };
        let end = to.unwrap_or(from.page) + new_pages;
        // What is mapped lies in the arena before and after.
        let new_pages = new_pages - end.saturating_sub(self.arena.pages()).min(new_pages - 1);
        Op::Remap { from, to, new_pages, keep }
    }

    fn make_object(&mut self) -> Option<Op> {
        let kind = *self.random.pick(&self.objects)?;
        let whole = self.arena.pages();
        let pages = if self.happens(3) { whole / 2 } else { whole + SPARE };
        let pages = match kind {
            ObjectKind::Shmem => pages,
            ObjectKind::Hugetlb => whole,
            ObjectKind::Regular => whole + SPARE,
        };
        Some(Op::MakeObject(kind, pages))
    }

    fn on_object(&mut self, deed: Deed) -> Op {
        let index = self.random.index(2);
        let page = self.page();
        match deed {
            Deed::Resize => Op::Resize(index, page),
            Deed::Punch => Op::Punch(index, page, self.span().pages.max(1)),
            Deed::WriteObject => Op::WriteObject(index, page, self.byte()),
            _ => Op::ReadObject(index, page),
        }
    }

    fn uffd(&mut self) -> usize {
        if self.happens(4) { self.random.index(self.uffds) } else { 0 }
    }

    fn origin(&mut self) -> Origin {
        if self.happens(8) {
            return Origin::Arena(self.any_page());
        }
        Origin::Source(self.random.below(SOURCES - 5))
    }

    /// Some of these bits, seldom one that does not exist.
    fn mode(&mut self, bits: &[u64]) -> u64 {
        let mut mode = 0;
        for bit in bits {
            if self.happens(4) {
                mode |= bit;
            }
        }
        if self.happens(100) { mode | 1 << self.random.below(64) } else { mode }
    }

    fn register_mode(&mut self) -> u64 {
        let (missing, wp, minor) = (register::MISSING, register::WP, register::MINOR);
        let usual = [missing, missing, wp, missing | wp, minor, minor | missing, minor | wp];
        if self.happens(60) { self.random.below(16) } else { self.pick(&usual, missing) }
    }

    fn features(&mut self) -> u64 {
        const PLAIN: u64 = bit::FEATURE_THREAD_ID | bit::FEATURE_PAGEFAULT_FLAG_WP;
        let odds = [
            (bit::FEATURE_EVENT_FORK, 3),
            (bit::FEATURE_EVENT_REMAP, 3),
            (bit::FEATURE_EVENT_REMOVE, 4),
            (bit::FEATURE_EVENT_UNMAP, 4),
            (bit::FEATURE_SIGBUS, 10),
            (bit::FEATURE_EXACT_ADDRESS, 2),
            (bit::FEATURE_WP_HUGETLBFS_SHMEM, 2),
            (bit::FEATURE_WP_UNPOPULATED, 2),
            (bit::FEATURE_WP_ASYNC, 6),
        ];
        let mut features = PLAIN;
        for (feature, one_in) in odds {
            if self.happens(one_in) {
                features |= feature;
            }
        }
        features & self.palette.features
    }

    fn scan(&mut self) -> Op {
        let flags = self.pick(&[0, 0, flag::WP_MATCHING, flag::CHECK_WPASYNC, 3], 0);
        let mask = if self.happens(2) { 0 } else { 1 << self.random.below(7) };
        Op::Scan(self.span(), flags, mask)
    }
}
