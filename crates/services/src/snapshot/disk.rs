//! The thread that brings saved pages into the core.
//!
//! It takes pieces in the order they were saved and gives their blocks back to the pool. A disk
//! error does not stop it from giving blocks back: the saver must never wait for a disk that is
//! gone.

use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use faultless_image::core::{
    CompressedWriter, CutRecord, Layout, Notes, PendingFile, RawWriter, WriteError, Written,
};
use faultless_pages::{Bytes, RangeSet, Va, VaRange};

use super::buffer::{BLOCK, Blocks, Pool};
use super::port::Sink;

/// How the core is written.
pub(super) enum Output {
    /// In any order, sparse.
    Raw(RawWriter),
    /// As one compressed stream, in address order; pages saved ahead of it wait in a file.
    Stream(Box<Stream>),
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
    pub(super) fn new(writer: CompressedWriter, aside: PendingFile) -> Stream {
        let layout = writer.layout().clone();
        Stream { writer, aside, layout, waiting: RangeSet::new() }
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
    /// Writes one contiguous piece; `ahead` says that it came out of address order.
    fn write(&mut self, at: Va, data: &[u8], ahead: bool) -> Result<(), WriteError> {
        match self {
            Output::Raw(writer) => writer.write_run(at, data).map(drop),
            Output::Stream(stream) if ahead => stream.keep(at, data),
            Output::Stream(stream) => {
                stream.catch_up(at)?;
                stream.writer.page_run(at, data).map(drop)
            }
        }
    }

    /// Sets the disk to work on what was written; a stream is written out as it is compressed.
    fn begin_writeback(&self) {
        match self {
            Output::Raw(writer) => writer.begin_writeback(),
            Output::Stream(_) => {}
        }
    }

    /// Writes notes and headers and gives the file its name.
    fn finish(self, notes: &Notes, cut: &CutRecord) -> Result<Written, WriteError> {
        match self {
            Output::Raw(writer) => writer.finish(notes, cut),
            Output::Stream(mut stream) => {
                stream.catch_up(Va(u64::MAX))?;
                stream.writer.finish(notes, cut)
            }
        }
    }
}

/// A piece on its way.
struct Job {
    at: Va,
    data: Data,
    ahead: bool,
}

/// The disk is set to work whenever so much has come together.
const WRITEBACK: Bytes = Bytes::mib(16);

/// What a job carries.
enum Data {
    /// Blocks of the pool.
    Pooled(Blocks),
    /// What was copied during the pause.
    Own(Vec<u8>),
}

impl Data {
    fn len(&self) -> Bytes {
        match self {
            Data::Pooled(blocks) => blocks.len(),
            Data::Own(data) => Bytes::from(data.len()),
        }
    }
}

/// The writing thread, from outside.
pub(super) struct Disk {
    jobs: Option<Sender<Job>>,
    thread: JoinHandle<Result<Output, WriteError>>,
    failed: Arc<AtomicBool>,
    pool: Arc<Pool>,
}

impl Disk {
    /// Starts the thread.
    pub(super) fn start(output: Output, pool: Arc<Pool>) -> std::io::Result<Disk> {
        let (jobs, inbox) = channel();
        let failed = Arc::new(AtomicBool::new(false));
        let thread = thread::Builder::new().name("snapshot-disk".into()).spawn({
            let (failed, pool) = (Arc::clone(&failed), Arc::clone(&pool));
            move || run(output, &inbox, &pool, &failed)
        })?;
        Ok(Disk { jobs: Some(jobs), thread, failed, pool })
    }

    /// Writes what was copied during the pause.
    pub(super) fn put_copied(&self, at: Va, data: Vec<u8>) {
        self.send(Job { at, data: Data::Own(data), ahead: true });
    }

    fn send(&self, job: Job) {
        let jobs = self.jobs.as_ref().expect("the thread runs until it is stopped");
        // The receiver outlives the sender: the thread ends only when the sender is gone.
        let _ = jobs.send(job);
    }

    /// Says whether writing has failed; [`finish`](Self::finish) tells how.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Waits until everything is written, and completes the file.
    pub(super) fn finish(self, notes: &Notes, cut: &CutRecord) -> Result<Written, WriteError> {
        self.stop()?.finish(notes, cut)
    }

    /// Waits for the thread; the unfinished file vanishes with the output.
    pub(super) fn stop(mut self) -> Result<Output, WriteError> {
        self.jobs = None;
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Sink for &Disk {
    type Piece = Blocks;

    fn take(&mut self, len: Bytes, urgent: bool) -> Option<Blocks> {
        self.pool.take(len, urgent)
    }

    fn put(&mut self, cut: VaRange, blocks: Blocks, ahead: bool) {
        self.send(Job { at: cut.start(), data: Data::Pooled(blocks), ahead });
    }

    fn give_back(&mut self, blocks: Blocks) {
        self.pool.give_back(blocks);
    }
}

/// The thread.
fn run(
    mut output: Output,
    inbox: &Receiver<Job>,
    pool: &Pool,
    failed: &AtomicBool,
) -> Result<Output, WriteError> {
    let mut outcome = Ok(());
    let mut unwritten = Bytes::ZERO;
    for job in inbox {
        if outcome.is_ok() {
            outcome = write(&mut output, &job);
            failed.store(outcome.is_err(), Ordering::Relaxed);
            unwritten.0 += job.data.len().0;
        }
        if unwritten >= WRITEBACK {
            output.begin_writeback();
            unwritten = Bytes::ZERO;
        }
        if let Data::Pooled(blocks) = job.data {
            pool.give_back(blocks);
        }
    }
    outcome.map(|()| output)
}

/// Writes one piece block by block.
fn write(output: &mut Output, job: &Job) -> Result<(), WriteError> {
    match &job.data {
        Data::Own(data) => output.write(job.at, data, job.ahead),
        Data::Pooled(blocks) => {
            let mut at = job.at;
            for data in blocks.filled() {
                output.write(at, data, job.ahead)?;
                at = at.add(Bytes::from(data.len()));
            }
            Ok(())
        }
    }
}
