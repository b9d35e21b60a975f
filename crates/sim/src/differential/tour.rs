//! The tour: every kind of entry, and every operation done to it.
//!
//! Chance alone seldom brings about a protected page in swap just before an `mremap`. A visit does
//! so on purpose: it begins with what makes an entry of one kind, goes on with one operation on
//! that page, and ends with anything. A run visits the cells of the table of
//! [`coverage`] that it has not met yet, and when it has met all, all again.

use faultless_mm::PageKind;
use faultless_uapi::feature::{FEATURE_SIGBUS, FEATURE_WP_ASYNC, FEATURE_WP_UNPOPULATED};
use faultless_uapi::mode::{register, writeprotect};

use super::coverage::{self, Cell, Column};
use super::deed::Deed;
use super::drawing::Drawing;
use super::palette::Palette;
use super::program::{Arena, Asked, Backing, HUGE, ObjectKind, Op, Program, Span, Verb};
use crate::conform::linux::{advice, prot};
use crate::random::Random;

/// A prime: the visits of as many seeds as there are cells go to each cell once.
const STRIDE: u64 = 1_000_003;

/// Draws the program of a visit, to an entry these worlds have, with an operation that may come,
/// one of those `wanted` if there is any; `None` where there is none.
pub(super) fn visit(seed: u64, palette: &Palette, wanted: &[Cell]) -> Option<Program> {
    let possible = |cells: Vec<Cell>| -> Vec<Cell> {
        cells.into_iter().filter(|cell| palette.offers(*cell)).collect()
    };
    let mut cells = possible(wanted.to_vec());
    if cells.is_empty() {
        cells = possible(coverage::cells());
    }
    // Neighbouring seeds are of different columns, and a short run meets some of each.
    let index = seed.wrapping_mul(STRIDE) % u64::try_from(cells.len()).ok()?;
    let (kind, column) = *cells.get(usize::try_from(index).ok()?)?;
    let random = Random::stream(seed, "visit");
    let arena = arena_of(kind);
    let mut visit = Visit { drawing: Drawing::new(random, arena, palette), place: 0 };
    visit.choose_place(column);
    visit.bring_about(kind);
    visit.meet(column);
    for _ in 0..visit.drawing.random.within(0..=12) {
        visit.drawing.anything();
    }
    Some(Program { arena, steps: visit.drawing.steps })
}

impl Palette {
    /// Says whether these worlds can have an entry of this kind, and the operation.
    pub(super) fn offers(&self, (kind, column): Cell) -> bool {
        self.has(kind) && !self.left_out.contains(&column.deed())
    }

    /// Says whether these worlds can have an entry of this kind.
    fn has(&self, kind: PageKind) -> bool {
        match kind {
            PageKind::Swapped
            | PageKind::SwappedProtected
            | PageKind::SwappedShared
            | PageKind::SwappedSharedProtected
            | PageKind::BehindSwapped => !self.left_out.contains(&Deed::Pageout),
            PageKind::Guard => !self.left_out.contains(&Deed::GuardInstall),
            PageKind::Pinned => !self.left_out.contains(&Deed::Pin),
            PageKind::Hugetlb | PageKind::HugetlbProtected => self.hugetlb,
            kind => arena_of(kind) == Arena::Small || self.transparent_huge_pages,
        }
    }
}

fn arena_of(kind: PageKind) -> Arena {
    match kind {
        PageKind::NoTable
        | PageKind::Huge
        | PageKind::HugeProtected
        | PageKind::HugeShared
        | PageKind::HugeSharedProtected
        | PageKind::HugeZero
        | PageKind::HugeZeroProtected
        | PageKind::Hugetlb
        | PageKind::HugetlbProtected => Arena::Huge,
        _ => Arena::Small,
    }
}

/// Says whether an entry comes to be by WRITEPROTECT.
fn is_protected(kind: PageKind) -> bool {
    matches!(
        kind,
        PageKind::OwnProtected
            | PageKind::SharedProtected
            | PageKind::ObjectProtected
            | PageKind::ZeroProtected
            | PageKind::HugeProtected
            | PageKind::HugeSharedProtected
            | PageKind::HugeZeroProtected
            | PageKind::HugetlbProtected
            | PageKind::SwappedProtected
            | PageKind::SwappedSharedProtected
            | PageKind::Marker
    )
}

/// A visit on its way.
struct Visit<'p> {
    drawing: Drawing<'p>,
    /// The page of the entry.
    place: u64,
}

impl Visit<'_> {
    /// The pages of the entry.
    fn span(&self) -> Span {
        Span::new(self.place, if self.drawing.arena == Arena::Huge { HUGE } else { 1 })
    }

    /// Other pages, as many.
    fn elsewhere(&self) -> Span {
        let step = self.span().pages;
        let pages = self.drawing.arena.pages();
        Span::new((self.place + 2 * step) % pages, step)
    }

    fn push(&mut self, op: Op) {
        self.drawing.push(0, op);
    }

    fn map(&mut self, backing: Backing) {
        let span = self.span();
        // A neighbour keeps a table there; huge pages have none.
        let pages = if span.pages == 1 { 2 } else { span.pages };
        self.push(Op::Map(Span::new(span.page, pages), backing, prot::READ_WRITE));
    }

    fn advise(&mut self, advice: u32) {
        let span = self.span();
        self.push(Op::Advise(span, advice));
    }

    fn store(&mut self) {
        let (place, byte) = (self.place, self.drawing.byte());
        self.push(Op::Store(place, byte));
    }

    fn ask(&mut self, verb: Verb, mode: u64) {
        let span = self.span();
        self.push(Op::Request(0, Asked { verb, span, mode }));
    }

    fn protect(&mut self) {
        self.ask(Verb::Writeprotect, writeprotect::WP);
    }

    fn fork(&mut self) {
        self.drawing.forks = 1;
        self.push(Op::Fork);
        self.push(Op::Drain(0));
    }

    fn object(&mut self, kind: ObjectKind) {
        let pages = self.drawing.arena.pages();
        self.push(Op::MakeObject(kind, pages));
        let shared = kind == ObjectKind::Shmem || self.drawing.happens(2);
        self.map(Backing::Object { index: 0, shared, offset: self.place });
    }

    /// A userfaultfd whose faults are reported, and which can protect what is not there.
    fn open(&mut self) {
        let Op::Open(flags, features) = self.drawing.open() else { return };
        let wanted = FEATURE_WP_UNPOPULATED & self.drawing.palette.features;
        let features = features & !FEATURE_SIGBUS & !FEATURE_WP_ASYNC | wanted;
        self.push(Op::Open(flags, features));
    }

    /// Chooses where the entry will be; for `brk`, in a heap that has grown there.
    fn choose_place(&mut self, column: Column) {
        let heap = self.drawing.arena.heap();
        self.place = match self.drawing.arena {
            _ if column == Column::On(Deed::Brk) => heap.page,
            Arena::Huge => self.drawing.any_page() / HUGE * HUGE,
            Arena::Small => self.drawing.any_page().min(self.drawing.arena.pages() - 2),
        };
        if column == Column::On(Deed::Brk) {
            self.push(Op::Brk(heap.page + heap.pages));
        }
    }

    /// Takes the steps that make an entry of a kind.
    fn bring_about(&mut self, kind: PageKind) {
        self.open();
        match kind {
            PageKind::Behind | PageKind::BehindSwapped => {
                self.object(ObjectKind::Shmem);
                let (place, byte) = (self.place, self.drawing.byte());
                self.push(Op::WriteObject(0, place, byte));
                if kind == PageKind::BehindSwapped {
                    self.push(Op::Load(place));
                    self.advise(advice::PAGEOUT);
                }
            }
            PageKind::Object | PageKind::ObjectProtected => self.object(ObjectKind::Shmem),
            PageKind::Hugetlb | PageKind::HugetlbProtected => self.object(ObjectKind::Hugetlb),
            _ => self.map(Backing::Anon),
        }
        if is_protected(kind) {
            let mode = if self.drawing.happens(2) { register::WP } else { MISSING_AND_WP };
            self.fill(kind);
            self.ask(Verb::Register, mode);
            self.protect();
        } else {
            self.fill(kind);
        }
        self.finish(kind);
    }

    /// Gives the page its first content.
    fn fill(&mut self, kind: PageKind) {
        match kind {
            PageKind::Unmapped
            | PageKind::NoTable
            | PageKind::Behind
            | PageKind::BehindSwapped
            | PageKind::Poison
            | PageKind::Guard => {}
            PageKind::None | PageKind::Marker => {
                let neighbour = self.place + 1;
                self.push(Op::Store(neighbour, 1));
            }
            PageKind::Zero | PageKind::ZeroProtected => self.push(Op::Load(self.place)),
            PageKind::HugeZero | PageKind::HugeZeroProtected => {
                self.advise(advice::HUGEPAGE);
                self.push(Op::Load(self.place));
            }
            PageKind::Huge
            | PageKind::HugeProtected
            | PageKind::HugeShared
            | PageKind::HugeSharedProtected => {
                self.advise(advice::HUGEPAGE);
                self.store();
            }
            _ => self.store(),
        }
    }

    /// Takes the steps that come after content and protection.
    fn finish(&mut self, kind: PageKind) {
        match kind {
            PageKind::Unmapped => {
                let span = self.span();
                self.push(Op::Unmap(span));
            }
            PageKind::Shared
            | PageKind::SharedProtected
            | PageKind::HugeShared
            | PageKind::HugeSharedProtected => self.fork(),
            PageKind::Swapped | PageKind::SwappedProtected => self.advise(advice::PAGEOUT),
            PageKind::SwappedShared | PageKind::SwappedSharedProtected => {
                self.advise(advice::PAGEOUT);
                self.fork();
            }
            PageKind::Poison => {
                self.ask(Verb::Register, register::MISSING);
                self.ask(Verb::Poison, 0);
            }
            PageKind::Guard => self.advise(advice::GUARD_INSTALL),
            PageKind::Pinned => {
                let span = self.span();
                self.push(Op::Pin(span));
            }
            _ => {}
        }
    }

    /// Does one thing to the page.
    fn meet(&mut self, column: Column) {
        let deed = column.deed();
        let (here, there) = (self.span(), self.elsewhere());
        (self.drawing.hot, self.drawing.sticks) = (self.place, true);
        if !self.drawing.happens(3) {
            let mode = self.drawing.mode_for(deed);
            self.push(Drawing::registration(here, mode));
        }
        let op = match column {
            Column::From(_) => {
                let mode = if self.drawing.happens(2) { register::MISSING } else { MISSING_AND_WP };
                self.push(Op::Map(there, Backing::Anon, prot::READ_WRITE));
                self.push(Drawing::registration(there, mode));
                Some(self.drawing.request_between(deed, here.page, there))
            }
            Column::On(Deed::Move) => {
                self.push(Op::Map(there, Backing::Anon, prot::READ_WRITE));
                self.push(Op::Store(there.page, 1));
                Some(self.drawing.request_between(deed, there.page, here))
            }
            Column::On(Deed::Brk) => Some(Op::Brk(here.page)),
            Column::On(_) => self.drawing.op(deed),
        };
        if let Some(op) = op {
            let index = if self.drawing.happens(3) { 1 } else { 0 };
            self.drawing.push(if op == Op::Exec { 0 } else { index }, op);
        }
        self.drawing.sticks = false;
    }
}

const MISSING_AND_WP: u64 = register::MISSING | register::WP;
