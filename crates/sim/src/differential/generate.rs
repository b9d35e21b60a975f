//! Random programs: a beginning that maps and registers something, then anything.
//!
//! Every second program is a visit instead, which brings about one kind of entry and does one
//! thing to it before anything else happens (see `tour`): rather one that was not met yet.

use faultless_uapi::feature::FEATURE_RWP_ASYNC;
use faultless_uapi::mode::{
    continue_, copy, move_, poison, register, rwprotect, writeprotect, zeropage,
};
use faultless_uapi::scan::flag;

use super::coverage::Cell;
use super::deed::Deed;
use super::drawing::Drawing;
use super::palette::Palette;
use super::program::{
    Arena, Asked, Backing, ObjectKind, Op, Origin, Program, SPARE, Span, Step, THREADS, Verb,
};
use super::race::{Race, may_race};
use super::tour;
use crate::conform::linux::prot;
use crate::conform::{Process, Thread};
use crate::random::{Odds, Random};

/// Draws the program of a seed. A visit goes to one of the `wanted` cells, if there are any that
/// these worlds have.
#[must_use]
pub fn generate(seed: u64, palette: &Palette, wanted: &[Cell]) -> Program {
    if seed % 2 == 1
        && let Some(program) = tour::visit(seed / 2, palette, wanted)
    {
        return program;
    }
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
    // Which pages reclaim finds hangs on lists each processor keeps, and a race has several.
    let mut palette = palette.clone();
    palette.left_out.push(Deed::Pageout);
    let mut drawing = Drawing::new(Random::stream(seed, "race"), Arena::Small, &palette);
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

impl Drawing<'_> {
    /// A userfaultfd, mappings, registrations.
    fn beginning(&mut self) {
        let open = self.open();
        self.push(0, open);
        for _ in 0..self.random.within(0..=2) {
            if let Some(op) = self.make_object() {
                self.push(0, op);
            }
        }
        for _ in 0..self.random.within(1..=3) {
            let op = self.map();
            self.push(0, op.clone());
            if let (Op::Map(span, ..), false) = (op, self.happens(4)) {
                let asked = Asked { verb: Verb::Register, span, mode: self.register_mode() };
                self.push(0, Op::Request(0, asked));
            }
        }
    }

    /// One step of any kind.
    pub(super) fn anything(&mut self) {
        let deed = self.weights.pick(&mut self.random);
        let who = self.who(deed);
        let Some(op) = self.op(deed) else { return };
        self.steps.push(Step { who, op });
    }

    /// Accesses come from any thread, the rest rather from the first.
    fn who(&mut self, deed: Deed) -> Thread {
        let access = [Deed::Load, Deed::Store, Deed::KernelLoad, Deed::Interrupt].contains(&deed);
        let first = !access && !self.happens(3);
        // Whoever calls exec becomes the first thread.
        let index = if first || deed == Deed::Exec { 0 } else { self.random.below(THREADS.into()) };
        let child = self.forks > 0 && self.happens(3);
        let process = if child { self.random.within(1..=self.forks.into()) } else { 0 };
        let number = |value: u64| u32::try_from(value).unwrap_or(0);
        Thread { process: Process(number(process)), index: number(index) }
    }

    /// An operation of a kind, where there is one.
    pub(super) fn op(&mut self, deed: Deed) -> Option<Op> {
        match deed {
            Deed::Map => Some(self.map()),
            Deed::Protect => {
                let span = self.span();
                Some(Op::Protect(span, self.protection()))
            }
            Deed::Remap | Deed::RemapKeep => Some(self.remap(deed == Deed::RemapKeep)),
            Deed::Load => Some(Op::Load(self.page())),
            Deed::Store => Some(Op::Store(self.page(), self.byte())),
            Deed::KernelLoad => Some(Op::KernelLoad(self.page())),
            Deed::KernelStore => Some(Op::KernelStore(self.page(), self.byte())),
            Deed::RemoteLoad => {
                let of = self.random.within(0..=self.forks.into());
                Some(Op::RemoteLoad(u32::try_from(of).unwrap_or(0), self.page()))
            }
            Deed::Unmap => Some(Op::Unmap(self.span())),
            Deed::Brk => Some(Op::Brk(self.heap_end())),
            Deed::Lock => Some(Op::Lock(self.span())),
            Deed::Unlock => Some(Op::Unlock(self.span())),
            Deed::Pin => Some(Op::Pin(self.pages())),
            Deed::Scan => Some(self.scan()),
            Deed::Resize | Deed::Punch | Deed::WriteObject | Deed::ReadObject => {
                Some(self.on_object(deed))
            }
            _ => self.on_process(deed).or_else(|| match deed.advice() {
                Some(advice) => Some(Op::Advise(self.span(), advice)),
                None => self.request(deed),
            }),
        }
    }

    /// An operation on processes or descriptors.
    fn on_process(&mut self, deed: Deed) -> Option<Op> {
        match deed {
            Deed::Fork => {
                self.forks = (self.forks + 1).min(2);
                Some(Op::Fork)
            }
            Deed::Exec => Some(Op::Exec),
            Deed::Kill => (self.forks > 0).then_some(Op::Kill(self.forks)),
            Deed::Interrupt => Some(Op::Interrupt),
            Deed::MakeObject => self.make_object(),
            Deed::Open => Some(self.open()),
            Deed::Close => Some(Op::Close(self.uffd())),
            Deed::Drain => Some(Op::Drain(self.uffd())),
            _ => None,
        }
    }

    fn request(&mut self, deed: Deed) -> Option<Op> {
        let uffd = self.uffd();
        let mut span = self.span();
        let (verb, mode) = match deed {
            Deed::Register => (Verb::Register, self.register_mode()),
            Deed::Unregister => (Verb::Unregister, 0),
            Deed::Wake => (Verb::Wake, 0),
            Deed::Copy => (Verb::Copy(self.origin()), self.mode(&[copy::WP, copy::DONTWAKE])),
            Deed::Zeropage => (Verb::Zeropage, self.mode(&[zeropage::DONTWAKE])),
            Deed::Move => {
                let mut from = self.any_page();
                if self.sticks && self.happens(2) {
                    (span.page, from) = (from, span.page);
                }
                (Verb::Move(from), self.mode(&[move_::ALLOW_SRC_HOLES, move_::DONTWAKE]))
            }
            Deed::Continue => (Verb::Continue, self.mode(&[continue_::WP, continue_::DONTWAKE])),
            Deed::Poison => (Verb::Poison, self.mode(&[poison::DONTWAKE])),
            Deed::Writeprotect => (Verb::Writeprotect, writeprotect::WP | self.mode(&[])),
            Deed::Unprotect => (Verb::Writeprotect, self.mode(&[writeprotect::DONTWAKE])),
            Deed::ReadProtect => {
                (Verb::ReadProtect, self.mode(&[rwprotect::RWP, rwprotect::DONTWAKE]))
            }
            Deed::SetMode => (Verb::SetMode(self.mode(&[FEATURE_RWP_ASYNC])), self.mode(&[])),
            _ => return None,
        };
        Some(Op::Request(uffd, Asked { verb, span, mode }))
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
        let from = self.pages();
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
            Deed::Resize => Op::Resize(index, self.place(page)),
            Deed::Punch => {
                let (start, end) = (self.place(page), page + self.pages().pages);
                Op::Punch(index, start, self.place(end))
            }
            Deed::WriteObject => Op::WriteObject(index, page, self.byte()),
            _ => Op::ReadObject(index, page),
        }
    }

    fn scan(&mut self) -> Op {
        let flags = self.pick(&[0, 0, flag::WP_MATCHING, flag::CHECK_WPASYNC, 3], 0);
        let mask = if self.happens(2) { 0 } else { 1 << self.random.below(7) };
        Op::Scan(self.span(), flags, mask)
    }

    /// What a visit's operation needs beside the page it goes to: another page, to move from, to
    /// move to, or to copy to.
    pub(super) fn request_between(&mut self, deed: Deed, from: u64, to: Span) -> Op {
        let (verb, bits) = match deed {
            Deed::Move => (Verb::Move(from), [move_::ALLOW_SRC_HOLES, move_::DONTWAKE]),
            _ => (Verb::Copy(Origin::Arena(from)), [copy::WP, copy::DONTWAKE]),
        };
        Op::Request(0, Asked { verb, span: to, mode: self.mode(&bits) })
    }

    /// A registration for these modes.
    pub(super) fn registration(span: Span, mode: u64) -> Op {
        Op::Request(0, Asked { verb: Verb::Register, span, mode })
    }

    /// The mode a page should be registered for so that a request makes sense there.
    pub(super) fn mode_for(&mut self, deed: Deed) -> u64 {
        match deed {
            Deed::Copy | Deed::Zeropage | Deed::Poison | Deed::Move => register::MISSING,
            Deed::Continue => register::MINOR,
            Deed::Writeprotect | Deed::Unprotect | Deed::Scan => register::WP,
            _ => self.register_mode(),
        }
    }
}
