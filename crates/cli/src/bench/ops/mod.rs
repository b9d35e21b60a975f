//! `faultless bench ops`: what does each way to fill, move or protect a page cost on this host?
//!
//! Every operation, at every batch size, with the process otherwise idle and with a sibling thread
//! that keeps its memory in the other processors' TLBs, in one interleaved run; reported as ns a
//! page and as a ratio to COPY of the same batch under the same load.
//!
//! | module | is |
//! |---|---|
//! | [`arena`] | the descriptor and the memory all operations work on |
//! | [`resolve`] | COPY, ZEROPAGE, CONTINUE |
//! | [`moving`] | MOVE of recycled pages and of fresh ones |
//! | [`protect`] | WRITEPROTECT on and off |
//! | [`plain`] | what the kernel offers without userfaultfd, for comparison |
//! | [`trap`] | mprotect and SIGSEGV, likewise |
//! | [`sibling`] | the busy thread |
//! | [`figures`], [`claims`] | rows, ratios, grids, plot; the published claims, judged |
//!
//! *Invariant*: only [`Operation::perform`] is timed. What brings memory back to where an
//! operation starts, and what an operation leaves to clean up, is paid for outside.

mod arena;
mod claims;
mod figures;
mod moving;
mod plain;
mod protect;
mod resolve;
mod sibling;
mod trap;

use std::time::Duration;

use faultless_pages::{Bytes, PageSize};
use rustix::time::{ClockId, clock_gettime};

use crate::exit::{Exit, Failure};

use super::Output;
use super::rounds::interleave;
use super::stats::{float, nanoseconds};
use arena::Arena;
use figures::{Cell, Load};
use sibling::Sibling;

/// Pages an ioctl: one fault, a small read-ahead, a full sweep.
const BATCHES: [u64; 5] = [1, 4, 16, 64, 512];

/// Measure the cost of each userfaultfd operation
///
/// Fills, moves and protects 4 KiB pages of its own memory in every way the kernel has, in batches
/// of 1 to 512 pages a call, alone and next to a busy thread, and compares each with UFFDIO_COPY.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    output: Output,
    /// A tenth of the rounds on half the memory: for a first look
    #[arg(long)]
    quick: bool,
}

/// How much is measured.
#[derive(Clone, Copy)]
struct Extent {
    /// Pages of each sample; a multiple of every batch.
    pages: u64,
    rounds: usize,
}

impl Extent {
    const FULL: Extent = Extent { pages: 1024, rounds: 51 };
    const QUICK: Extent = Extent { pages: 512, rounds: 5 };
}

/// One way to make a page usable, to move it, or to guard it.
trait Operation {
    /// Brings all memory of the operation to where [`perform`](Self::perform) starts; not timed.
    fn prepare(&mut self) -> Result<(), Failure>;

    /// Treats `len` bytes from `offset` on with one call; timed. Called for each batch in order.
    fn perform(&mut self, offset: Bytes, len: Bytes) -> Result<(), Failure>;
}

/// An operation, or `None` if this kernel lacks it.
type Made<'a> = Result<Option<Box<dyn Operation + 'a>>, Failure>;

/// An operation with its name.
type Named<'a> = (&'static str, Box<dyn Operation + 'a>);

/// Runs the bench and prints its report.
///
/// # Errors
/// [`Exit::Host`] if userfaultfd cannot be opened; operations this kernel lacks are findings.
pub(super) fn run(args: &Args) -> Result<Exit, Failure> {
    let extent = if args.quick { Extent::QUICK } else { Extent::FULL };
    let arena = Arena::new(Bytes(PageSize::KIB4.bytes().0 * extent.pages))?;
    let (mut operations, missing) = operations(&arena)?;
    let mut cells = cells(operations.len());
    let sibling = Sibling::start()?;
    let samples = interleave(&mut cells, 1, extent.rounds, |cell| {
        sibling.set_busy(cell.load == Load::Busy);
        measure(operations[cell.operation].1.as_mut(), cell.batch, extent.pages)
    })?;
    let names: Vec<_> = operations.iter().map(|(name, _)| *name).collect();
    let report = figures::report(figures::rows(&names, &cells, &samples), &missing);
    let grids = figures::grids(&report.rows);
    super::print(&args.output, &report, &grids, &figures::chart(&report.rows))
}

/// Returns what this kernel can do, and the names of what it lacks.
fn operations(arena: &Arena) -> Result<(Vec<Named<'_>>, Vec<&'static str>), Failure> {
    let candidates = [
        (resolve::COPY, resolve::copy(arena)),
        (moving::RECYCLED, moving::recycled(arena)),
        (moving::ALLOCATED, moving::allocated(arena)),
        (resolve::ZEROPAGE, resolve::zeropage(arena)),
        (resolve::CONTINUE, resolve::continued(arena)),
        (protect::PROTECT, protect::protect(arena)),
        (protect::UNPROTECT, protect::unprotect(arena)),
        (plain::MEMCPY, plain::memcpy(arena)),
        (plain::FIRST_TOUCH, plain::first_touch(arena)),
        (trap::MPROTECT_AND_SEGV, trap::mprotect_and_segv(arena)),
    ];
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for (name, made) in candidates {
        match made? {
            Some(operation) => found.push((name, operation)),
            None => missing.push(name),
        }
    }
    Ok((found, missing))
}

/// Returns every operation at every batch size under every load.
///
/// Load is outermost, so that the sibling starts and stops twice a round and not at every sample.
fn cells(operations: usize) -> Vec<Cell> {
    let loads = [Load::Alone, Load::Busy].into_iter();
    loads
        .flat_map(|load| BATCHES.map(|batch| (load, batch)))
        .flat_map(|(load, batch)| {
            (0..operations).map(move |operation| Cell { operation, batch, load })
        })
        .collect()
}

/// Times one pass over all pages; returns ns of processor time a page.
fn measure(operation: &mut dyn Operation, batch: u64, pages: u64) -> Result<f64, Failure> {
    operation.prepare()?;
    let page = PageSize::KIB4.bytes().0;
    let begin = processor_time();
    for first in (0..pages * page).step_by(usize::try_from(batch * page).unwrap_or(usize::MAX)) {
        operation.perform(Bytes(first), Bytes(batch * page))?;
    }
    Ok(nanoseconds(processor_time() - begin) / float(pages))
}

/// Returns the time the calling thread has spent on a processor.
///
/// Not the time of day: on a busy host that is mostly the time of others. What an operation waits
/// for, the answers of the processors it interrupts, it waits for on its own.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    // The clock starts at zero with the thread.
    Duration::try_from(time).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_extent_is_whole_batches() {
        for extent in [Extent::FULL, Extent::QUICK] {
            for batch in BATCHES {
                assert_eq!(extent.pages % batch, 0);
            }
        }
    }
}
