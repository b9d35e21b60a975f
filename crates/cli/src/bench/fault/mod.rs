//! `faultless bench fault`: how long does a thread wait for a missing page, by who answers?
//!
//! The engine in its three ways, a minimal loop on the crate `userfaultfd`, the kernel by itself
//! and `mmap` of the same content, side by side in one interleaved run with 1 to 16 faulting
//! threads.
//! Beside them stands what no answer can do without: two wake-ups, and the COPY of a page.
//!
//! | module | is |
//! |---|---|
//! | [`scene`] | the content, the file that holds it, and memory without pages |
//! | [`crowd`] | threads that touch memory and time each touch |
//! | [`plain`] | the kernel's own answers |
//! | [`engine`] | ours: inline and by threads |
//! | [`foreign`], [`faulter`] | ours for another process; that process |
//! | [`peer`] | the minimal loop |
//! | [`limits`] | the parts that any answer is made of |
//! | [`figures`] | rows, ratios, grids, plot |
//!
//! *Invariant*: everybody does the same work. Each touch is a write to a page that is not there,
//! and but for the kernel's own zeros the page holds the content afterwards, which is checked.

mod crowd;
mod engine;
pub(super) mod faulter;
mod figures;
mod foreign;
mod limits;
mod peer;
mod plain;
mod scene;

use crate::exit::{Exit, Failure};

use super::Output;
use super::rounds::interleave;
use crowd::Touches;
use figures::{Cell, Sample};
use scene::Scene;

/// Faulting threads: alone, one for each of two processors, more than most have, a crowd.
const THREADS: [u64; 4] = [1, 2, 4, 16];
/// Pages fetched around a fault where the engine is asked to.
const AROUND: u64 = 16;

/// Measure how long a thread waits for a missing page
///
/// Touches memory without pages, by 1 to 16 threads, and times each touch: answered by the engine
/// (inline, by threads, for another process), by a minimal loop on the crate userfaultfd, by the
/// kernel itself and by mmap of the same content.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    output: Output,
    /// A few faults only: for a first look
    #[arg(long)]
    quick: bool,
}

/// How much is measured.
#[derive(Clone, Copy)]
struct Extent {
    /// Pages of each sample; a multiple of all counts of threads.
    pages: u64,
    rounds: usize,
}

impl Extent {
    const FULL: Extent = Extent { pages: 2048, rounds: 15 };
    const QUICK: Extent = Extent { pages: 64, rounds: 1 };
}

/// What a sample is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Task {
    threads: u64,
    pages: u64,
    /// Pages fetched around a fault.
    around: u64,
}

/// Somebody who answers faults.
trait Contender {
    /// Has fresh memory touched by so many threads, page by page.
    fn touch(&mut self, task: Task) -> Result<Touches, Failure>;

    /// Says whether it can fetch pages around a fault.
    fn looks_around(&self) -> bool {
        false
    }

    /// Says whether it is measured with more than one thread.
    fn takes_crowds(&self) -> bool {
        true
    }
}

/// A contender, or why it is not there.
type Made<'a> = Result<Result<Box<dyn Contender + 'a>, &'static str>, Failure>;

/// A contender with its name.
type Named<'a> = (&'static str, Box<dyn Contender + 'a>);

/// Runs the bench and prints its report.
///
/// # Errors
/// [`Exit::Host`] if userfaultfd or memory cannot be had.
pub(super) fn run(args: &Args) -> Result<Exit, Failure> {
    let extent = if args.quick { Extent::QUICK } else { Extent::FULL };
    let scene = Scene::new(extent.pages)?;
    let (mut contenders, missing) = contenders(&scene)?;
    let mut cells = cells(&contenders);
    let samples = interleave(&mut cells, 1, extent.rounds, |cell| {
        let task = Task { threads: cell.threads, pages: extent.pages, around: cell.around };
        contenders[cell.contender].1.touch(task).map(|touches| Sample::of(&touches))
    })?;
    let names: Vec<_> = contenders.iter().map(|(name, _)| *name).collect();
    let report = figures::report(figures::rows(&names, &cells, &samples), &missing);
    let grids = figures::grids(&report.rows);
    super::print(&args.output, &report, &grids, &figures::chart(&report.rows))
}

/// Returns who is there, and why others are not.
fn contenders(scene: &Scene) -> Result<(Vec<Named<'_>>, Vec<String>), Failure> {
    let candidates = [
        (figures::INLINE, engine::inline(scene)),
        (figures::THREADS, engine::threads(scene)),
        (figures::FOREIGN, foreign::foreign(scene)),
        (figures::LOOP, peer::minimal_loop(scene)),
        ("kernel", plain::kernel()),
        ("mmap", plain::mmap(scene)),
        ("two wake-ups", limits::wake_ups()),
        ("COPY alone", limits::copy(scene)),
    ];
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for (name, made) in candidates {
        match made? {
            Ok(contender) => found.push((name, contender)),
            Err(why) => missing.push(format!("{name} ({why})")),
        }
    }
    Ok((found, missing))
}

/// Returns everybody with every number of threads.
///
/// Threads are outermost, so that those who are compared follow each other closely.
fn cells(contenders: &[Named<'_>]) -> Vec<Cell> {
    let mut cells = Vec::new();
    for threads in THREADS {
        for (contender, (_, who)) in contenders.iter().enumerate() {
            if threads == 1 || who.takes_crowds() {
                cells.push(Cell { contender, threads, around: 0 });
            }
            if who.looks_around() {
                cells.push(Cell { contender, threads, around: AROUND });
            }
        }
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_thread_of_every_extent_has_as_many_pages() {
        for extent in [Extent::FULL, Extent::QUICK] {
            assert!(THREADS.iter().all(|threads| extent.pages % threads == 0));
        }
    }
}
