//! The saving thread: turns the saver's crank, and waits when there is nothing to turn.
//!
//! While there is background work the thread never sleeps, so that a writer who faults is found
//! within one piece of work, without a wake-up in between.

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use faultless_pages::{Bytes, RangeSet, VaRange};
use faultless_uffd::process::Urgency;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd};

use super::buffer::{BLOCK, Pool};
use super::census::Census;
use super::disk::Disk;
use super::error::SnapshotError;
use super::hold::Hold;
use super::port::{Piece, Sink, Target, TargetGone};
use super::remote::Remote;
use super::report::{Observer, Phase};
use super::saver::{Done, Saver, Turn};
use crate::vma::Vma;

/// How long the thread sleeps at most, to notice that it was cancelled.
const NAP: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
/// For so long after the cut, waiting writers are served before all else runs: every thread of the
/// program writes to its stack and its heap first, and for all that write it is still the pause.
const RUSH_NS: u64 = 20_000_000;
/// How often progress is told.
const TELL: Duration = Duration::from_millis(100);

/// Memory that was not protected and is read after the pause.
#[derive(Clone, Debug)]
pub(super) enum Late {
    /// Pages of a private file that were the file's at the cut.
    Clean(Vma, VaRange),
    /// Pages of a file everybody may write.
    AsItIs(VaRange),
}

/// Who can stop the thread.
#[derive(Clone, Copy)]
pub(super) struct Stop<'a> {
    /// The user.
    pub(super) cancel: &'a AtomicBool,
    /// The tracing thread, which tells why itself.
    pub(super) spoiled: &'a AtomicBool,
}

impl Stop<'_> {
    fn is_asked_for(self) -> bool {
        self.cancel.load(Ordering::Relaxed) || self.spoiled.load(Ordering::Relaxed)
    }
}

/// What the thread works with.
pub(super) struct Pump<'a> {
    pub(super) pid: u32,
    pub(super) remote: Remote<'a>,
    pub(super) census: Census<'a>,
    pub(super) saver: Saver,
    pub(super) disk: &'a Disk,
    pub(super) pool: &'a Pool,
    pub(super) late: VecDeque<Late>,
    /// Requests of the tracing thread.
    pub(super) holds: &'a Receiver<Hold>,
    /// Answers to them.
    pub(super) settled: &'a Sender<u64>,
    /// Readable when there are requests.
    pub(super) bell: BorrowedFd<'a>,
    /// What is left of the hurry of the cut.
    pub(super) urgency: Option<Urgency>,
}

/// What the thread leaves behind.
pub(super) struct Saved {
    pub(super) saver: Saver,
    /// How long writers waited, in nanoseconds.
    pub(super) latencies: Vec<u64>,
    /// Pages read after the pause.
    pub(super) late_pages: u64,
    /// Memory that could not be read.
    pub(super) unreadable: RangeSet,
}

impl Pump<'_> {
    /// Runs until every page is settled.
    pub(super) fn run(
        mut self,
        observer: &dyn Observer,
        stop: Stop<'_>,
    ) -> Result<Saved, SnapshotError> {
        let page = self.saver.pages().page_size();
        let total = Bytes((self.saver.pages().pending() as u64) << page.shift());
        let clock = Clock(Instant::now());
        let mut saved = Progress { looked: clock.now(), told: 0, latencies: Vec::new() };
        let mut late_pages = 0;
        let mut unreadable = RangeSet::new();
        loop {
            if stop.is_asked_for() {
                return Err(SnapshotError::Interrupted);
            }
            if self.disk.has_failed() {
                break;
            }
            if clock.now() > RUSH_NS {
                self.urgency = None;
            }
            let turn = self.turn(&clock, &mut saved, &mut late_pages, &mut unreadable);
            let left = Bytes((self.saver.pages().pending() as u64) << page.shift());
            let done = Bytes(total.0 - left.0);
            saved.tell(&clock, || observer.progress(Phase::Saving, done, total));
            match turn {
                Ok(Turn::Again) => {}
                Ok(Turn::NoRoom) => self.sleep(),
                Ok(Turn::Done) => break,
                Err(_) => return Err(SnapshotError::Ended { saved: Some((done, total)) }),
            }
        }
        Ok(Saved { saver: self.saver, latencies: saved.latencies, late_pages, unreadable })
    }

    /// Serves who waits, then does one piece of work.
    fn turn(
        &mut self,
        clock: &Clock,
        progress: &mut Progress,
        late_pages: &mut u64,
        unreadable: &mut RangeSet,
    ) -> Result<Turn, TargetGone> {
        self.pool.forget_returns();
        let mut bell = [0u8; 8];
        let _ = rustix::io::read(self.bell, &mut bell);
        for Hold { ticket, range } in self.holds.try_iter() {
            self.saver.hold(ticket, range);
        }
        let mut done = Done::default();
        let looked = clock.now();
        let turn =
            self.saver.serve(&mut self.remote, &mut self.disk, progress.looked, &mut done)?;
        let now = clock.now();
        progress.latencies.extend(done.served.iter().map(|since| now - since));
        progress.looked = looked;
        for ticket in done.settled {
            let _ = self.settled.send(ticket);
        }
        match turn {
            Turn::Done => {}
            Turn::Again => {
                // The kernel ends a change some time after its event was read, and tells nobody.
                thread::yield_now();
                return Ok(turn);
            }
            Turn::NoRoom => return Ok(turn),
        }
        match self.late.pop_front() {
            Some(late) => {
                *late_pages += self.save_late(late, unreadable);
                Ok(Turn::Again)
            }
            None => self.saver.work(&mut self.remote, &mut self.disk),
        }
    }

    /// Reads a piece of unprotected memory and returns how many pages that were.
    fn save_late(&mut self, late: Late, unreadable: &mut RangeSet) -> u64 {
        let range = match &late {
            Late::Clean(_, range) | Late::AsItIs(range) => *range,
        };
        // Longer ones come back, so that writers are served in between.
        let piece = range.chunks(BLOCK).next().expect("late memory is not empty");
        let rest = VaRange::new(piece.end(), range.end());
        let mut sink = self.disk;
        let Some(mut blocks) = sink.take(piece.len(), true) else {
            self.late.push_front(late);
            self.sleep();
            return 0;
        };
        let mut read = self.remote.read(piece, &mut blocks);
        if let Late::Clean(vma, _) = &late {
            // The program may have written to a page since the cut; then the file still has what
            // the page held.
            let touched = self.census.written(piece).is_ok_and(|written| !written.is_empty());
            if touched {
                read = self.read_file(vma, piece, &mut blocks);
            }
        }
        let page = self.saver.pages().page_size();
        let whole = VaRange::of(piece.start(), read).end().align_down(page);
        unreadable.insert(VaRange::new(whole, piece.end()));
        if !rest.is_empty() {
            self.late.push_front(match late {
                Late::Clean(vma, _) => Late::Clean(vma, rest),
                Late::AsItIs(_) => Late::AsItIs(rest),
            });
        }
        let good = VaRange::new(piece.start(), whole);
        if good.is_empty() {
            sink.give_back(blocks);
        } else {
            blocks.shorten(good.len());
            sink.put(good, blocks, true);
        }
        good.page_count(page)
    }

    /// Reads from the mapped file what a mapping held before the program wrote to it.
    fn read_file(&self, vma: &Vma, piece: VaRange, blocks: &mut super::buffer::Blocks) -> Bytes {
        let by_range = File::open(format!("/proc/{}/map_files/{}", self.pid, vma.range));
        let root = format!("/proc/{}/root", self.pid);
        let by_name = || File::open(format!("{root}{}", vma.name.display()));
        let Ok(file) = by_range.or_else(|_| by_name()) else { return Bytes::ZERO };
        let mut done = Bytes::ZERO;
        let start = vma.offset.0 + piece.start().since(vma.range.start()).0;
        for block in blocks.blocks() {
            let read = file.read_at(block, start + done.0).unwrap_or(0);
            // The last page of a file is filled up with zeros.
            block[read..].fill(0);
            done.0 += block.len() as u64;
            if read < block.len() {
                break;
            }
        }
        done
    }

    /// Sleeps until the target has something to say or blocks come back.
    fn sleep(&self) {
        let uffd = self.remote.uffd().as_fd();
        let returned = self.pool.returned();
        let mut fds = [
            PollFd::from_borrowed_fd(uffd, PollFlags::IN),
            PollFd::from_borrowed_fd(returned, PollFlags::IN),
            PollFd::from_borrowed_fd(self.bell, PollFlags::IN),
        ];
        // A failure is a short sleep.
        let _ = poll(&mut fds, Some(&NAP));
    }
}

/// Nanoseconds since the thread started.
struct Clock(Instant);

impl Clock {
    fn now(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// What the thread remembers between turns.
struct Progress {
    /// When it last looked for waiting writers.
    looked: u64,
    /// When it last told how far it is.
    told: u64,
    latencies: Vec<u64>,
}

impl Progress {
    fn tell(&mut self, clock: &Clock, tell: impl FnOnce()) {
        let now = clock.now();
        if u128::from(now - self.told) >= TELL.as_nanos() {
            self.told = now;
            tell();
        }
    }
}
