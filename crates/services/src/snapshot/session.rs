//! One snapshot from beginning to end.

use std::collections::VecDeque;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Instant, SystemTime};

use faultless_image::core::{CutRecord, Notes, OnExisting, PendingFile, ProcessNotes};
use faultless_pages::{Bytes, Va};
use faultless_uffd::attach::{attach, other_holder};
use faultless_uffd::process::Urgency;
use faultless_uffd::ptrace::TraceOptions;
use faultless_uffd::{Features, ForeignUffd, Pagemap, Wanted};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsFd, OwnedFd};
use rustix::process::Pid;

use super::areas::Tools;
use super::buffer::{BLOCK, Pool};
use super::census::Census;
use super::cut::{Cut, arm, copied_len};
use super::disk::Disk;
use super::error::SnapshotError;
use super::facts;
use super::freeze::Threads;
use super::hold::{self, Hold, Warden, Ways};
use super::live::LiveMap;
use super::output::Output;
use super::pages::Pages;
use super::policy::DumpFilter;
use super::pump::{Late, Pump, Saved, Stop};
use super::remote::Remote;
use super::report::{Latency, Observer, Options, Phase, Report};
use super::saver::{LONGEST, Saver};
use super::watch::{Gate, watch};
use super::xsave;
use crate::vma::{FlagTable, Maps};

/// Takes a snapshot of process `pid`.
///
/// `observer` is told how it goes; setting `cancel` stops it: the process is let go and no file is
/// left.
///
/// # Errors
/// [`SnapshotError`] names what is in the way; [`SnapshotError::next_step`] says what to do. In
/// every case the process runs on and no file has been made.
pub fn snapshot(
    pid: u32,
    options: &Options,
    observer: &dyn Observer,
    cancel: &AtomicBool,
) -> Result<Report, SnapshotError> {
    let begin = Instant::now();
    let on_existing = if options.force { OnExisting::Replace } else { OnExisting::Refuse };
    let pending = PendingFile::create(&options.output, on_existing)?;
    let pending = if options.sync { pending } else { pending.without_sync() };
    observer.progress(Phase::Attaching, Bytes::ZERO, Bytes::ZERO);
    let target = Opened::open(pid)?;
    let process = facts::process(pid);
    observer.progress(Phase::Cutting, Bytes::ZERO, Bytes::ZERO);
    let (job, saved, traced) = cut_and_save(&target, options, pending, observer, cancel)?;
    // The last reference: the kernel unregisters everything that is left.
    drop(target);
    observer.progress(Phase::Finishing, Bytes::ZERO, Bytes::ZERO);
    let mut report = job.finish(pid, saved, process, options)?;
    report.pause.resume = traced.resume_ns;
    report.pause_ns = traced.pause_ns;
    report.held_calls = traced.held_calls;
    report.total_ns = nanoseconds(begin);
    Ok(report)
}

/// Runs the tracing and the saving thread side by side.
fn cut_and_save(
    target: &Opened,
    options: &Options,
    pending: PendingFile,
    observer: &dyn Observer,
    cancel: &AtomicBool,
) -> Result<(Job, Saved, Traced), SnapshotError> {
    let (cuts, cut) = channel();
    let (holds, requests) = channel();
    let (settled, tickets) = channel();
    let (over, spoiled) = (AtomicBool::new(false), AtomicBool::new(false));
    let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
        .map_err(|errno| own("making an eventfd", errno.into()))?;
    let gate = Gate::default();
    let ways = Ways { holds, bell: &bell, settled: tickets, over: &over };
    let spoiled = &spoiled;
    let signs = (&gate, spoiled);
    thread::scope(|scope| {
        // The sender moves into the thread: a cut that cannot be made ends the wait for it.
        let tracer = thread::Builder::new()
            .name("snapshot-trace".into())
            .spawn_scoped(scope, move || trace(target, options.exact, &cuts, ways, signs))
            .map_err(|error| own("starting a thread", error))?;
        // Whatever happens to the saving, a panic included, the tracing must end with it.
        let ending = Ending(&over);
        let (uffd, memory) = (&target.uffd, &target.memory);
        let mut remote = Remote::new(target.id, uffd, memory, &target.pagemap);
        // Who makes the cut waits for this thread, and so does a thread of the target that the
        // kernel has in the middle of a write: it stops only when it is let go.
        let urgency = Urgency::begin().ok();
        let (cut, waiting) = watch(&mut remote, &gate, &cut);
        let saved = cut.map(|cut| {
            let mut job = Job::start(options, pending, cut, waiting)?;
            let stop = Stop { cancel, spoiled };
            let ways = (&requests, &settled, &bell);
            let saved = job.save(target, remote, urgency, ways, observer, stop)?;
            Ok((job, saved))
        });
        drop(ending);
        let traced = tracer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        let (job, saved) = saved.unwrap_or(Err(SnapshotError::Ended { saved: None }))?;
        Ok((job, saved, traced))
    })
}

/// Ends the tracing when it goes.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// A process with everything about it open.
struct Opened {
    pid: u32,
    id: Pid,
    uffd: ForeignUffd,
    memory: File,
    pagemap: Pagemap,
}

impl Opened {
    fn open(pid: u32) -> Result<Opened, SnapshotError> {
        let attachment = attach(pid)?;
        let uffd = attachment.uffd.handshake(Wanted {
            required: Features::PAGEFAULT_FLAG_WP
                | Features::EVENT_REMAP
                | Features::EVENT_REMOVE
                | Features::EVENT_UNMAP,
            // Without EVENT_FORK a child's memory loses its protection by itself.
            optional: Features::WP_HUGETLBFS_SHMEM | Features::EVENT_FORK,
        })?;
        let id = Pid::from_raw(pid.cast_signed()).ok_or(SnapshotError::Ended { saved: None })?;
        let pagemap = Pagemap::open(id)
            .map_err(|error| SnapshotError::read(pid, "the page tables", error.errno.into()))?;
        Ok(Opened { pid, id, uffd, memory: attachment.memory, pagemap })
    }

    /// Opens what the cut needs beside.
    fn tools(&self) -> Result<Tools<'_>, SnapshotError> {
        let read = |what| move |error| SnapshotError::read(self.pid, what, error);
        let uffd = &self.uffd;
        Ok(Tools {
            pid: self.pid,
            uffd,
            memory: &self.memory,
            pagemap: &self.pagemap,
            census: Census::new(&self.pagemap),
            maps: Maps::open(self.pid).map_err(read("the memory map"))?,
            flags: FlagTable::read(self.pid).map_err(read("smaps"))?,
            filter: DumpFilter::of(self.pid),
            shared_protectable: uffd.as_uffd().features().contains(Features::WP_HUGETLBFS_SHMEM),
        })
    }
}

/// What the tracing thread tells at its end.
struct Traced {
    pause_ns: u64,
    resume_ns: u64,
    held_calls: u64,
}

/// The tracing thread: stops the process, makes the cut, lets it go; in exact mode holds calls
/// back until the snapshot is over.
fn trace(
    target: &Opened,
    exact: bool,
    cuts: &Sender<Cut>,
    ways: Ways<'_, &OwnedFd>,
    (gate, spoiled): (&Gate, &AtomicBool),
) -> Result<Traced, SnapshotError> {
    let mut tools = target.tools()?;
    let options = if exact {
        TraceOptions::SYSGOOD.with(TraceOptions::CLONE).with(TraceOptions::EXIT)
    } else {
        TraceOptions::SYSGOOD
    };
    let mut threads = Threads::seize(target.pid, options)?;
    // The pause should not wait for its turn on a busy machine; without the right it does.
    let urgency = arm(&mut tools)?;
    let begin = Instant::now();
    threads.stop()?;
    gate.close();
    let stop = nanoseconds(begin);
    let mut cut = Cut::make(&mut tools, &threads)?;
    cut.pause.stop = stop;
    let map = hold::Map {
        heap_end: hold::heap_end(&cut.vmas),
        mappings: cut.vmas.iter().map(|vma| vma.range).collect(),
        has_shared: !cut.shared.is_empty(),
    };
    // The saver gets ready while the threads are let go.
    let _ = cuts.send(cut);
    let resuming = Instant::now();
    let warden = if exact {
        Some(Warden::resume(target.pid, threads.into_tracees(), map, ways))
    } else {
        threads.release();
        None
    };
    let (resume_ns, pause_ns) = (nanoseconds(resuming), nanoseconds(begin));
    drop(urgency);
    // If this process died, the kernel would let the target go only when that child ends.
    if let Some(child) = other_holder(target.pid, &target.uffd) {
        spoiled.store(true, Ordering::Relaxed);
        return Err(SnapshotError::Inherited { child });
    }
    Ok(Traced { pause_ns, resume_ns, held_calls: warden.map_or(0, Warden::watch) })
}

/// A cut on its way to the disk.
struct Job {
    cut: Cut,
    pool: Arc<Pool>,
    disk: Disk,
    early: Bytes,
    taken_at: u64,
    /// Writers heard of before the cut.
    waiting: VecDeque<Va>,
}

impl Job {
    /// Opens the file and starts writing what was copied during the pause.
    fn start(
        options: &Options,
        pending: PendingFile,
        mut cut: Cut,
        waiting: VecDeque<Va>,
    ) -> Result<Job, SnapshotError> {
        let taken_at = unix_ns();
        let largest = cut.runs.iter().map(|run| run.grain.bytes()).max().unwrap_or(BLOCK);
        let early = copied_len(&cut.copied);
        // What was copied in the pause is on its way to the disk already, in memory of its own.
        let left = Bytes(options.buffer.0.saturating_sub(early.0));
        let pool = Pool::new(left, largest.max(LONGEST.bytes()))
            .map_err(|errno| own("making an eventfd", errno.into()))?;
        let output = Output::open(options, pending, cut.layout.clone(), taken_at)?;
        let disk = Disk::start(output, Arc::clone(&pool))
            .map_err(|error| own("starting a thread", error))?;
        for (at, data) in cut.copied.drain(..) {
            disk.put_copied(at, data);
        }
        Ok(Job { cut, pool, disk, early, taken_at, waiting })
    }

    /// Saves all pages of the cut.
    fn save(
        &mut self,
        target: &Opened,
        remote: Remote<'_>,
        urgency: Option<Urgency>,
        (holds, settled, bell): (&Receiver<Hold>, &Sender<u64>, &OwnedFd),
        observer: &dyn Observer,
        stop: Stop<'_>,
    ) -> Result<Saved, SnapshotError> {
        let page = target.pagemap.page_size();
        let pages = Pages::new(page, std::mem::take(&mut self.cut.runs));
        let live = LiveMap::new(self.cut.protected.iter().copied());
        let clean = self.cut.clean.drain(..).map(|(vma, range)| Late::Clean(vma, range));
        let as_is = self.cut.unprotected.iter().map(|&range| Late::AsItIs(range));
        Pump {
            pid: target.pid,
            remote,
            census: Census::new(&target.pagemap),
            saver: Saver::new(
                pages,
                live,
                std::mem::take(&mut self.cut.pools),
                std::mem::take(&mut self.cut.clinging),
                std::mem::take(&mut self.cut.twins),
                std::mem::take(&mut self.waiting),
            ),
            disk: &self.disk,
            pool: &self.pool,
            late: clean.chain(as_is).collect::<VecDeque<_>>(),
            holds,
            settled,
            bell: bell.as_fd(),
            urgency,
        }
        .run(observer, stop)
    }

    /// Completes the file and says what the snapshot was.
    fn finish(
        mut self,
        pid: u32,
        mut saved: Saved,
        mut process: ProcessNotes,
        options: &Options,
    ) -> Result<Report, SnapshotError> {
        facts::complete(pid, &mut self.cut.threads);
        xsave::append_layout(&mut self.cut.threads);
        process.files = facts::files(&self.cut.vmas);
        let threads = self.cut.threads.len() as u64;
        let notes = Notes { threads: self.cut.threads, process };
        let pages = saved.saver.pages();
        let page = pages.page_size();
        let mut freed = pages.freed().clone();
        for range in saved.unreadable.iter().chain(self.cut.unreadable.iter()) {
            freed.insert(range);
        }
        let record = CutRecord {
            time_unix_ns: self.taken_at,
            tool_version: options.tool_version.clone(),
            freed,
            shared: self.cut.shared,
        };
        let counts = saved.saver.counts();
        let copied = self.early.pages(page);
        let pages = pages.saved() as u64 + saved.late_pages + copied;
        let written = self.disk.finish(&notes, &record)?;
        Ok(Report {
            pid,
            file: options.output.clone(),
            pause_ns: 0,
            pause: self.cut.pause,
            total_ns: 0,
            bytes: written.len.0,
            file_bytes: written.file_len.0,
            pages,
            copied_in_pause: copied,
            freed_pages: written.record.freed_pages,
            shared_pages: self.cut.shared_pages,
            faults: counts.faults,
            fault_latency_ns: Latency::of(&mut saved.latencies),
            throttled: counts.throttled,
            events: counts.events,
            held_calls: 0,
            peak_buffer_bytes: self.pool.peak().0 + self.early.0,
            threads,
            warnings: self.cut.warnings,
        })
    }
}

/// Wraps a failure of this process itself.
fn own(what: &'static str, error: std::io::Error) -> SnapshotError {
    SnapshotError::Own { what, error }
}

/// Returns the nanoseconds since `begin`.
fn nanoseconds(begin: Instant) -> u64 {
    u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Returns the time of day in nanoseconds since the Unix epoch.
fn unix_ns() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
