//! The threads that bring saved pages into the core.
//!
//! A raw core has two of them: one sums up a piece while the disk works on the other's. A stream
//! has one, which takes pieces in the order they were saved. They give the blocks back to the pool
//! even after a disk error: the saver must never wait for a disk that is gone.

use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use faultless_image::core::{
    CompressedWriter, CutRecord, Layout, Notes, PendingFile, RawWriter, WriteError, Written,
};
use faultless_pages::{Bytes, RangeSet, Va, VaRange};

use super::buffer::{BLOCK, Blocks, Pool};
use super::port::Sink;
use super::queue::{Data, Job, Queue};

/// So much comes together before some of it is written: a fault brings its surroundings piece by
/// piece, and one long write takes the disk less time than four of its parts.
const GATHERED: Bytes = Bytes::mib(8);

/// How the core is written.
pub(super) enum Output {
    /// In any order, sparse.
    Raw(Box<RawWriter>),
    /// As one compressed stream, in address order; pages saved ahead of it wait in a file.
    Stream(Box<Mutex<Stream>>),
}

/// A compressed stream with the pages it has not reached yet.
pub(super) struct Stream {
    writer: CompressedWriter,
    /// A file without a name; each page lies where it will lie in the core.
    aside: PendingFile,
    layout: Layout,
    waiting: RangeSet,
}

impl Stream {
    /// Puts a writer together with a file for what it cannot take yet.
    fn new(writer: CompressedWriter, aside: PendingFile) -> Stream {
        let layout = writer.layout().clone();
        Stream { writer, aside, layout, waiting: RangeSet::new() }
    }

    /// Writes one contiguous piece.
    fn write(&mut self, at: Va, data: &[u8], ahead: bool) -> Result<(), WriteError> {
        if ahead {
            return self.keep(at, data);
        }
        self.catch_up(at)?;
        self.writer.page_run(at, data).map(drop)
    }

    /// Keeps a page until the stream gets there.
    fn keep(&mut self, at: Va, data: &[u8]) -> Result<(), WriteError> {
        let offset = self.layout.offset_of(at).unwrap_or_default();
        let kept = self.aside.file().write_all_at(data, offset.0);
        kept.map_err(|error| WriteError::io(self.aside.path(), "keep pages beside", error))?;
        self.waiting.insert(VaRange::of(at, Bytes::from(data.len())));
        Ok(())
    }

    /// Streams what was kept and lies below `end`.
    fn catch_up(&mut self, end: Va) -> Result<(), WriteError> {
        let mut block = vec![0; BLOCK.as_usize()];
        let ready = self.waiting.remove(VaRange::new(Va(0), end));
        let dumped: Vec<VaRange> = self.layout.dumped_ranges().collect();
        for range in ready {
            // Neighbouring segments touch in memory but are two runs in the core.
            let first = dumped.partition_point(|segment| segment.end() <= range.start());
            let parts = dumped[first..].iter().map_while(|segment| segment.intersect(range));
            for piece in parts.flat_map(|part| part.chunks(BLOCK)) {
                let data = &mut block[..piece.len().as_usize()];
                let offset = self.layout.offset_of(piece.start()).unwrap_or_default();
                let read = self.aside.file().read_exact_at(data, offset.0);
                read.map_err(|error| WriteError::io(self.aside.path(), "read back from", error))?;
                self.writer.page_run(piece.start(), data)?;
            }
        }
        Ok(())
    }
}

impl Output {
    /// Puts pages saved in any order into a sparse file.
    pub(super) fn raw(writer: RawWriter) -> Output {
        Output::Raw(Box::new(writer))
    }

    /// Compresses; pages that come too early wait in `aside`.
    pub(super) fn stream(writer: CompressedWriter, aside: PendingFile) -> Output {
        Output::Stream(Box::new(Mutex::new(Stream::new(writer, aside))))
    }

    /// Says whether pieces may come in any order.
    fn takes_any_order(&self) -> bool {
        matches!(self, Output::Raw(_))
    }

    /// Returns how many threads can write at once.
    fn threads(&self) -> usize {
        match self {
            Output::Raw(_) => 2,
            Output::Stream(_) => 1,
        }
    }

    /// Writes one piece; `ahead` says that it came out of address order.
    fn write<'a>(
        &'a self,
        at: Va,
        mut slices: impl Iterator<Item = &'a [u8]>,
        ahead: bool,
    ) -> Result<(), WriteError> {
        match self {
            Output::Raw(writer) => writer.write_pieces(at, slices).map(drop),
            Output::Stream(stream) => {
                let mut stream = stream.lock().unwrap_or_else(PoisonError::into_inner);
                let mut at = at;
                slices.try_for_each(|data| {
                    let here = at;
                    at = at.add(Bytes::from(data.len()));
                    stream.write(here, data, ahead)
                })
            }
        }
    }

    /// Writes notes and headers and gives the file its name.
    fn finish(self, notes: &Notes, cut: &CutRecord) -> Result<Written, WriteError> {
        match self {
            Output::Raw(writer) => writer.finish(notes, cut),
            Output::Stream(stream) => {
                let mut stream = stream.into_inner().unwrap_or_else(PoisonError::into_inner);
                stream.catch_up(Va(u64::MAX))?;
                stream.writer.finish(notes, cut)
            }
        }
    }
}

/// The writing threads, from outside.
pub(super) struct Disk {
    threads: Vec<JoinHandle<Result<(), WriteError>>>,
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
    pub(super) fn finish(self, notes: &Notes, cut: &CutRecord) -> Result<Written, WriteError> {
        self.stop()?.finish(notes, cut)
    }

    /// Waits for the threads; the unfinished file vanishes with the output.
    pub(super) fn stop(mut self) -> Result<Output, WriteError> {
        self.work.queue.close();
        let join = |thread: JoinHandle<_>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        // All are waited for, also after an error.
        let ends: Vec<Result<(), WriteError>> = self.threads.drain(..).map(join).collect();
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
    fn run(&self) -> Result<(), WriteError> {
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
