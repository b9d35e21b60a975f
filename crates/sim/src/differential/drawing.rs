//! Drawing what programs are made of: pages, spans, modes, features.
//!
//! What is drawn is likely to meet what is there: pages are few, and half of the steps go where
//! one of the steps before went.

use faultless_uapi::UFFD_USER_MODE_ONLY;
use faultless_uapi::feature as bit;
use faultless_uapi::mode::register;

use super::deed::{Deed, Weights};
use super::palette::Palette;
use super::program::{Arena, HUGE, ObjectKind, Op, Origin, PAGE, SOURCES, Span, Step};
use crate::conform::linux::prot;
use crate::conform::stage::USUAL;
use crate::conform::{Process, Thread};
use crate::random::{Odds, Random};

/// A program on its way.
pub(super) struct Drawing<'p> {
    pub(super) random: Random,
    pub(super) palette: &'p Palette,
    pub(super) weights: Weights,
    pub(super) arena: Arena,
    /// Where the last step went.
    pub(super) hot: u64,
    /// The next ones go there too.
    pub(super) sticks: bool,
    pub(super) objects: Vec<ObjectKind>,
    pub(super) uffds: usize,
    pub(super) forks: u32,
    pub(super) steps: Vec<Step>,
}

impl<'p> Drawing<'p> {
    pub(super) fn new(mut random: Random, arena: Arena, palette: &'p Palette) -> Drawing<'p> {
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

    pub(super) fn happens(&mut self, one_in: u32) -> bool {
        self.random.happens(Odds::one_in(one_in))
    }

    pub(super) fn pick<T: Copy>(&mut self, choices: &[T], otherwise: T) -> T {
        self.random.pick(choices).copied().unwrap_or(otherwise)
    }

    pub(super) fn push(&mut self, index: u32, op: Op) {
        let who = Thread { process: Process(0), index };
        self.steps.push(Step { who, op });
    }

    pub(super) fn page(&mut self) -> u64 {
        if !self.happens(2) && !self.sticks {
            self.hot = self.any_page();
        }
        self.hot
    }

    pub(super) fn any_page(&mut self) -> u64 {
        match self.arena {
            Arena::Small => self.random.below(self.arena.pages()),
            Arena::Huge => {
                let within = self.pick(&[0, 0, 0, 1, HUGE / 2, HUGE - 1], 0);
                self.random.below(3) * HUGE + within
            }
        }
    }

    pub(super) fn span(&mut self) -> Span {
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

    /// Whole pages, one at least.
    pub(super) fn pages(&mut self) -> Span {
        let span = self.span();
        Span::new(span.page, span.pages.max(1))
    }

    /// A part of the arena that is worth a mapping.
    pub(super) fn map_span(&mut self) -> Span {
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

    /// Where a heap may end.
    pub(super) fn heap_end(&mut self) -> u64 {
        let heap = self.arena.heap();
        let grown = match self.arena {
            Arena::Small => self.random.within(0..=heap.pages),
            Arena::Huge => self.pick(&[0, 1, HUGE / 2, HUGE, HUGE], HUGE),
        };
        heap.page + grown
    }

    pub(super) fn byte(&mut self) -> u8 {
        u8::try_from(self.random.within(1..=0x7f)).unwrap_or(1)
    }

    pub(super) fn protection(&mut self) -> u32 {
        self.pick(&[prot::READ_WRITE, prot::READ_WRITE, prot::READ, prot::NONE], prot::READ)
    }

    pub(super) fn uffd(&mut self) -> usize {
        if self.happens(4) { self.random.index(self.uffds) } else { 0 }
    }

    pub(super) fn origin(&mut self) -> Origin {
        if self.happens(8) {
            return Origin::Arena(self.any_page());
        }
        Origin::Source(self.random.below(SOURCES - 5))
    }

    /// A byte of an object, seldom within a page.
    pub(super) fn place(&mut self, page: u64) -> u64 {
        page * PAGE + if self.happens(4) { self.random.within(1..=PAGE - 1) } else { 0 }
    }

    /// Some of these bits, seldom one that does not exist.
    pub(super) fn mode(&mut self, bits: &[u64]) -> u64 {
        let mut mode = 0;
        for bit in bits {
            if self.happens(4) {
                mode |= bit;
            }
        }
        if self.happens(100) { mode | 1 << self.random.below(64) } else { mode }
    }

    pub(super) fn register_mode(&mut self) -> u64 {
        let (missing, wp, minor) = (register::MISSING, register::WP, register::MINOR);
        let usual = [missing, missing, wp, missing | wp, minor, minor | missing, minor | wp];
        if self.happens(60) { self.random.below(16) } else { self.pick(&usual, missing) }
    }

    /// A userfaultfd to open; seldom one that reports no fault of the kernel's own accesses.
    pub(super) fn open(&mut self) -> Op {
        self.uffds += 1;
        let flags = if self.happens(8) { USUAL | UFFD_USER_MODE_ONLY } else { USUAL };
        Op::Open(flags, self.features())
    }

    pub(super) fn features(&mut self) -> u64 {
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
    // A device must not hold on to pages a disk is yet to take.
    let drops = [Deed::Pageout, Deed::Punch, Deed::Remove, Deed::Resize, Deed::Pin];
    let stays = !drops.iter().any(|deed| weights.has(*deed));
    if palette.regular_files && random.happens(Odds::one_in(2)) && stays {
        kinds.push(ObjectKind::Regular);
    }
    if palette.hugetlb && arena == Arena::Huge {
        kinds.push(ObjectKind::Hugetlb);
    }
    kinds
}
