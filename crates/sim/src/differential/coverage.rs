//! What programs met: which operation found which kind of entry.
//!
//! The model tells what there is at a page before an operation; a world that is no model tells
//! nothing.

use std::collections::BTreeMap;
use std::fmt;

use faultless_mm::PageKind;

use super::deed::Deed;
use super::program::{Arena, Asked, Op, Origin, Span, Step, Verb};
use super::session::Session;
use crate::conform::{Thread, World};

/// An operation as a column of the table: its kind, or where its content comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Column {
    /// What it is done to.
    On(Deed),
    /// What it takes from.
    From(Deed),
}

impl Column {
    /// The operation.
    #[must_use]
    pub fn deed(self) -> Deed {
        let (Column::On(deed) | Column::From(deed)) = self;
        deed
    }
}

/// A cell of the table: an operation finds a kind of entry.
pub type Cell = (PageKind, Column);

/// Kinds of operation that are not done to pages of a process.
const ELSEWHERE: [Deed; 11] = [
    Deed::MakeObject,
    Deed::Resize,
    Deed::Punch,
    Deed::WriteObject,
    Deed::ReadObject,
    Deed::Open,
    Deed::Close,
    Deed::Drain,
    Deed::Interrupt,
    Deed::Kill,
    Deed::SetMode,
];

/// Cells that no program meets, and why. [`PageKind::Migrating`] is in no cell: it never outlasts
/// an operation, and the searches of the model meet it.
const IMPOSSIBLE: [(PageKind, Deed, &str); 2] = [
    (
        PageKind::ObjectProtected,
        Deed::GuardInstall,
        "Linux tries again for ever: dropping the page leaves a marker, which it drops",
    ),
    (
        PageKind::Pinned,
        Deed::Exec,
        "an io_uring that exec closes lets its pages go some time later, when nobody can foresee",
    ),
];

/// Every cell that programs can meet.
#[must_use]
pub fn cells() -> Vec<Cell> {
    let all = PageKind::ALL.iter().flat_map(|kind| columns().map(move |column| (*kind, column)));
    all.filter(|cell| !is_impossible(*cell)).collect()
}

fn is_impossible((kind, column): Cell) -> bool {
    IMPOSSIBLE.iter().any(|(there, deed, _)| *there == kind && Column::On(*deed) == column)
}

/// Counts of what was met.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    deeds: BTreeMap<Deed, u64>,
    cells: BTreeMap<Cell, u64>,
}

impl Coverage {
    /// Notes what a step that is about to be taken will meet; returns it page by page.
    pub fn note<W: World + ?Sized>(
        &mut self,
        arena: Arena,
        step: &Step,
        session: &mut Session<'_, W>,
    ) -> Vec<(u64, PageKind)> {
        let mut met = Vec::new();
        *self.deeds.entry(step.op.deed()).or_default() += 1;
        let heap_end = session.heap_end(step.who.process.0);
        for (column, span) in touched(arena, heap_end, &step.op) {
            for page in span.page..span.page + span.pages {
                if !arena.shows(page) {
                    continue;
                }
                let looker = Thread { process: looked_at(step), index: 0 };
                let at = Span::new(page, 1).start();
                if let Some(kind) = session.world.page_kind(looker, at) {
                    *self.cells.entry((kind, column)).or_default() += 1;
                    met.push((page, kind));
                }
            }
        }
        met
    }

    /// Every operation that never found a kind of entry, of those that can.
    #[must_use]
    pub fn unmet(&self) -> Vec<Cell> {
        cells().into_iter().filter(|cell| !self.cells.contains_key(cell)).collect()
    }

    /// Adds what others met.
    pub fn add(&mut self, other: &Coverage) {
        for (deed, count) in &other.deeds {
            *self.deeds.entry(*deed).or_default() += count;
        }
        for (cell, count) in &other.cells {
            *self.cells.entry(*cell).or_default() += count;
        }
    }
}

/// The process whose pages a step is about.
fn looked_at(step: &Step) -> crate::conform::Process {
    match step.op {
        Op::RemoteLoad(of, _) => crate::conform::Process(of),
        _ => step.who.process,
    }
}

fn columns() -> impl Iterator<Item = Column> {
    let on = Deed::ALL.iter().filter(|deed| !ELSEWHERE.contains(deed));
    on.map(|deed| Column::On(*deed)).chain([Column::From(Deed::Move), Column::From(Deed::Copy)])
}

/// The pages an operation is done to, by a process whose heap ends there.
fn touched(arena: Arena, heap_end: u64, op: &Op) -> Vec<(Column, Span)> {
    let on = Column::On(op.deed());
    let one = |page: u64| vec![(on, Span::new(page, 1))];
    match *op {
        Op::Map(span, ..)
        | Op::Unmap(span)
        | Op::Remap { from: span, .. }
        | Op::Protect(span, _)
        | Op::Advise(span, _)
        | Op::Lock(span)
        | Op::Unlock(span)
        | Op::Pin(span)
        | Op::Scan(span, ..) => vec![(on, span)],
        Op::Load(page)
        | Op::Store(page, _)
        | Op::KernelLoad(page)
        | Op::KernelStore(page, _)
        | Op::RemoteLoad(_, page) => one(page),
        Op::Brk(end) => vec![(on, Span::new(end.min(heap_end), end.abs_diff(heap_end)))],
        Op::Fork | Op::Exec => vec![(on, Span::new(0, arena.pages()))],
        Op::Request(_, asked) => {
            let Asked { verb, span, .. } = asked;
            let from = |deed, page| (Column::From(deed), Span::new(page, span.pages));
            match verb {
                Verb::Move(page) => vec![(on, span), from(Deed::Move, page)],
                Verb::Copy(Origin::Arena(page)) => vec![(on, span), from(Deed::Copy, page)],
                Verb::SetMode(_) => Vec::new(),
                _ => vec![(on, span)],
            }
        }
        _ => Vec::new(),
    }
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Column::On(deed) => write!(f, "{deed:?}"),
            Column::From(deed) => write!(f, "{deed:?} from"),
        }
    }
}

/// The counts of each kind of operation, then the operations that met everything, then what each
/// of the others never met.
impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut missing: BTreeMap<Column, Vec<PageKind>> = BTreeMap::new();
        for (kind, column) in self.unmet() {
            missing.entry(column).or_default().push(kind);
        }
        let (possible, unmet) = (cells().len(), self.unmet().len());
        writeln!(
            f,
            "entry kinds x operations: {} of {possible} cells met, {} impossible",
            possible - unmet,
            IMPOSSIBLE.len()
        )?;
        for (deed, count) in &self.deeds {
            write!(f, "{deed:?} {count}  ")?;
        }
        writeln!(f)?;
        for (column, kinds) in missing {
            writeln!(f, "{column} never met {kinds:?}")?;
        }
        for (kind, deed, why) in IMPOSSIBLE {
            writeln!(f, "{deed:?} cannot meet {kind:?}: {why}")?;
        }
        Ok(())
    }
}
