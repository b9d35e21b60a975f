//! The threads that bring saved pages into the core.
//!
//! A raw core that bypasses the page cache has two of them: one sums up a piece while the disk
//! works on the other's. What is cached or compressed has one; a stream takes pieces in the order
//! they were saved. They give the blocks back to the pool even after a disk error: the saver must
//! never wait for a disk that is gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use faultless_image::core::{CutRecord, Notes};
use faultless_pages::{Bytes, Va, VaRange};

use super::buffer::{Blocks, Pool};
use super::error::SnapshotError;
use super::output::{Finished, Output};
use super::port::Sink;
use super::queue::{Data, Job, Queue};

/// So much comes together before some of it is written: a fault brings its surroundings piece by
/// piece, and one long write takes the disk less time than four of its parts.
const GATHERED: Bytes = Bytes::mib(8);

/// The writing threads, from outside.
pub(super) struct Disk {
    threads: Vec<JoinHandle<Result<(), SnapshotError>>>,
    work: Arc<Work>,
}

/// What the threads share.
struct Work {
    output: Output,
    queue: Queue,
    pool: Arc<Pool>,
    failed: AtomicBool,
}

impl Disk {
    /// Starts the threads.
    pub(super) fn start(output: Output, pool: Arc<Pool>) -> std::io::Result<Disk> {
        let count = output.threads();
        let queue = match output.takes_any_order() {
            true => Queue::by_address(GATHERED.min(pool.spare())),
            false => Queue::in_order(),
        };
        let failed = AtomicBool::new(false);
        let work = Arc::new(Work { output, queue, pool, failed });
        let start = |_| {
            let work = Arc::clone(&work);
            thread::Builder::new().name("snapshot-disk".into()).spawn(move || work.run())
        };
        let threads = (0..count).map(start).collect::<std::io::Result<_>>()?;
        Ok(Disk { threads, work })
    }

    /// Writes what was copied during the pause.
    pub(super) fn put_copied(&self, at: Va, data: Vec<u8>) {
        self.work.queue.put(Job { at, data: Data::Own(data), ahead: true });
    }

    /// Says whether writing has failed; [`finish`](Self::finish) tells how.
    pub(super) fn has_failed(&self) -> bool {
        self.work.failed.load(Ordering::Relaxed)
    }

    /// Waits until everything is written, and completes the file.
    pub(super) fn finish(self, notes: &Notes, cut: &CutRecord) -> Result<Finished, SnapshotError> {
        self.stop()?.finish(notes, cut)
    }

    /// Waits for the threads; the unfinished file vanishes with the output.
    pub(super) fn stop(mut self) -> Result<Output, SnapshotError> {
        self.work.queue.close();
        let join = |thread: JoinHandle<_>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        // All are waited for, also after an error.
        let ends: Vec<Result<(), SnapshotError>> = self.threads.drain(..).map(join).collect();
        ends.into_iter().collect::<Result<(), _>>()?;
        let work = Arc::clone(&self.work);
        drop(self);
        let work = Arc::into_inner(work).expect("the threads are gone");
        Ok(work.output)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Unless it was stopped: the threads end by themselves when nothing is left.
        self.work.queue.close();
    }
}

impl Sink for &Disk {
    type Piece = Blocks;

    fn takes_any_order(&self) -> bool {
        self.work.queue.is_sorted()
    }

    fn is_behind(&self) -> bool {
        self.work.pool.is_half_out()
    }

    fn take(&mut self, len: Bytes, urgent: bool) -> Option<Blocks> {
        self.work.pool.take(len, urgent)
    }

    fn put(&mut self, cut: VaRange, blocks: Blocks, ahead: bool) {
        self.work.queue.put(Job { at: cut.start(), data: Data::Pooled(blocks), ahead });
    }

    fn give_back(&mut self, blocks: Blocks) {
        self.work.pool.give_back(blocks);
    }
}

impl Work {
    /// A thread.
    fn run(&self) -> Result<(), SnapshotError> {
        let mut outcome = Ok(());
        loop {
            let jobs = self.queue.take();
            let Some(first) = jobs.first() else { return outcome };
            if outcome.is_ok() {
                let slices = jobs.iter().flat_map(|job| job.slices());
                outcome = self.output.write(first.at, slices, first.ahead);
                self.failed.fetch_or(outcome.is_err(), Ordering::Relaxed);
            }
            for job in jobs {
                if let Data::Pooled(blocks) = job.data {
                    self.pool.give_back(blocks);
                }
            }
        }
    }
}
