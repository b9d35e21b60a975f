//! The front of one client that was attached to from outside and says nothing itself.
//!
//! A [`Keeper`] does for one process what the [front](super::front) does for all that connect: it
//! has a worker serve the faults, keeps the descriptors and what the process discarded, and
//! replaces a worker that dies. It runs in a thread of its own, for its caller is busy with the
//! process meanwhile.
//!
//! # Invariants
//! - What a worker needs is kept here until the memory is whole or the process has ended, so that
//!   the last descriptor of the userfaultfd is never closed with pages missing, unless
//!   [`Keeper::leave`] says that they may be.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use faultless_pages::{Bytes, RangeSet};
use faultless_wire::Layout;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::Errno;
use rustix::time::Timespec;

use super::Figures;
use super::control::{self, ClientId, Order, Received, Word};
use super::front::{Link, Outgoing, Spawn};

/// There is one.
const CLIENT: ClientId = ClientId(1);
/// How often the worker is asked what it did.
const REPORT_EVERY: Duration = Duration::from_millis(200);
/// Workers that may die one after the other before they come to work.
const STILLBORN_MAX: u32 = 3;

/// A process whose memory is to be served.
#[derive(Debug)]
pub struct Charge {
    /// Its number.
    pub pid: i32,
    /// A userfaultfd on it, with all of the layout registered.
    pub uffd: OwnedFd,
    /// Its pidfd.
    pub process: OwnedFd,
    /// Its memory.
    pub layout: Layout,
}

/// Something that happened, of interest to the user.
#[derive(Clone, Debug)]
pub enum News {
    /// A worker ended and was replaced.
    Replaced {
        /// Its process.
        pid: u32,
        /// How it ended.
        status: String,
    },
    /// Memory is lost: touching it is a bus error.
    Lost {
        /// From where on.
        start: u64,
        /// How much.
        len: u64,
        /// Why.
        why: String,
    },
    /// What was touched could not be recorded.
    Unrecorded(String),
}

/// How serving ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum End {
    /// All memory is there and was let go.
    Whole,
    /// The process has ended.
    Gone,
    /// It was left as it is.
    Left,
    /// Nobody serves it any more. Its threads wait where memory is missing, as long as somebody
    /// has its userfaultfd.
    Failed(String),
}

/// One process in service.
#[derive(Debug)]
pub struct Keeper {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    board: Mutex<Board>,
    /// Something on the board has changed.
    changed: Condvar,
    /// Gets the thread to look for wishes.
    bell: OwnedFd,
}

/// What caller and thread tell each other.
#[derive(Debug, Default)]
struct Board {
    wishes: Vec<Order>,
    serving: bool,
    figures: Figures,
    /// Reports heard so far.
    reports: u64,
    news: Vec<News>,
    end: Option<End>,
}

impl Shared {
    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(&self) {
        // A full counter wakes as well.
        let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
    }
}

impl Keeper {
    /// Has a worker serve a process, and waits until it does.
    ///
    /// # Errors
    /// What the system says; what the worker says of a process it cannot serve, or of an image it
    /// cannot read. The process is let go then.
    pub fn serve(charge: Charge, spawn: Spawn) -> io::Result<Keeper> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let shared = Arc::new(Shared { board: Mutex::default(), changed: Condvar::new(), bell });
        let watch = Watch::start(Arc::clone(&shared), charge, spawn)?;
        std::thread::Builder::new().name("keeper".to_owned()).spawn(move || watch.run())?;
        let keeper = Keeper { shared };
        let waiting = |board: &mut Board| !board.serving && board.end.is_none();
        let board = keeper.shared.changed.wait_while(keeper.shared.board(), waiting);
        match &board.unwrap_or_else(PoisonError::into_inner).end {
            Some(End::Failed(why)) => return Err(io::Error::other(why.clone())),
            Some(_) => return Err(io::Error::other("the process has ended")),
            None => {}
        }
        Ok(keeper)
    }

    /// Begins to fill all memory, as fast as it goes, and to let it go.
    pub fn finish(&self) {
        self.wish(Order::Finish);
    }

    /// Leaves the process as it is: what is missing is zeros once the last descriptor is closed.
    pub fn leave(&self) {
        self.wish(Order::Leave { client: CLIENT });
        while self.wait(REPORT_EVERY).is_none() {}
    }

    /// Asks what was done so far.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let before = self.shared.board().reports;
        self.wish(Order::Report);
        let waiting = |board: &mut Board| board.reports == before && board.end.is_none();
        let board =
            self.shared.changed.wait_timeout_while(self.shared.board(), REPORT_EVERY, waiting);
        board.unwrap_or_else(PoisonError::into_inner).0.figures
    }

    /// Waits for the end, but not longer than this.
    #[must_use]
    pub fn wait(&self, patience: Duration) -> Option<End> {
        let waiting = |board: &mut Board| board.end.is_none();
        let board = self.shared.changed.wait_timeout_while(self.shared.board(), patience, waiting);
        board.unwrap_or_else(PoisonError::into_inner).0.end.clone()
    }

    /// Takes what happened since this was asked last.
    #[must_use]
    pub fn news(&self) -> Vec<News> {
        std::mem::take(&mut self.shared.board().news)
    }

    fn wish(&self, order: Order) {
        self.shared.board().wishes.push(order);
        self.shared.ring();
    }
}

/// The thread's side.
struct Watch {
    shared: Arc<Shared>,
    charge: Charge,
    removed: RangeSet,
    spawn: Spawn,
    link: Link,
    finishing: bool,
    /// What workers did that are no more.
    past: Figures,
    now: Figures,
    reported: Instant,
    stillborn: u32,
    leaving: bool,
}

impl Watch {
    fn start(shared: Arc<Shared>, charge: Charge, mut spawn: Spawn) -> io::Result<Watch> {
        let link = Link::start(&mut spawn)?;
        let mut watch = Watch {
            shared,
            charge,
            removed: RangeSet::new(),
            spawn,
            link,
            finishing: false,
            past: Figures::default(),
            now: Figures::default(),
            reported: Instant::now(),
            stillborn: 0,
            leaving: false,
        };
        watch.entrust(false);
        Ok(watch)
    }

    /// Gives the process to the worker, a new one.
    fn entrust(&mut self, again: bool) {
        let order = Order::Serve {
            client: CLIENT,
            pid: self.charge.pid,
            regions: control::pieces(&self.charge.layout),
            removed: self.removed.iter().map(|it| (it.start().0, it.len().0)).collect(),
            prefault: false,
            again,
        };
        self.link.push(Outgoing::new(&order, Some(CLIENT)));
        if self.finishing {
            self.link.push(Outgoing::new(&Order::Finish, None));
        }
    }

    fn run(mut self) {
        let end = loop {
            match self.turn() {
                Ok(None) => {}
                Ok(Some(end)) => break end,
                Err(error) => break End::Failed(error.to_string()),
            }
        };
        let Watch { shared, charge, link, past, now, .. } = self;
        // It may still have to write down what was touched.
        let _ = link.part();
        drop(charge);
        let mut board = shared.board();
        board.figures = past;
        board.figures.add(&now);
        board.end = Some(end);
        shared.changed.notify_all();
    }

    /// Sleeps until something happens, and sees to it.
    fn turn(&mut self) -> io::Result<Option<End>> {
        let wishes: VecDeque<Order> = std::mem::take(&mut self.shared.board().wishes).into();
        for order in wishes {
            self.finishing |= matches!(order, Order::Finish);
            self.leaving |= matches!(order, Order::Leave { .. });
            self.link.push(Outgoing::new(&order, None));
        }
        if self.leaving {
            self.flush();
            return Ok(Some(End::Left));
        }
        if self.reported.elapsed() >= REPORT_EVERY {
            self.reported = Instant::now();
            self.link.push(Outgoing::new(&Order::Report, None));
        }
        if !self.flush() {
            return self.worker_ended();
        }
        self.sleep()?;
        self.hear()
    }

    /// Sends what waits for the worker; `false` if there is none any more.
    fn flush(&mut self) -> bool {
        let fds = [self.charge.uffd.as_fd(), self.charge.process.as_fd()];
        let fds = |_: ClientId| -> Option<[BorrowedFd<'_>; 2]> { Some(fds) };
        self.link.flush(fds)
    }

    fn sleep(&self) -> io::Result<()> {
        let interest =
            if self.link.is_behind() { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
        let mut fds =
            [PollFd::new(&self.link, interest), PollFd::new(&self.shared.bell, PollFlags::IN)];
        let span = Timespec { tv_sec: 0, tv_nsec: i64::from(REPORT_EVERY.subsec_nanos()) };
        match poll(&mut fds, Some(&span)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        // Empty is as good as read.
        let _ = rustix::io::read(&self.shared.bell, &mut [0u8; 8]);
        Ok(())
    }

    /// Takes what the worker says.
    fn hear(&mut self) -> io::Result<Option<End>> {
        loop {
            match control::receive::<Word>(&self.link) {
                Ok(Received::Message(word, _)) => {
                    if let Some(end) = self.heed(word) {
                        return Ok(Some(end));
                    }
                }
                Ok(Received::Nothing) => return Ok(None),
                Ok(Received::Ended) | Err(_) => return self.worker_ended(),
            }
        }
    }

    fn heed(&mut self, word: Word) -> Option<End> {
        let mut board = self.shared.board();
        match word {
            Word::Ready { .. } => {}
            Word::Serving { .. } => {
                self.stillborn = 0;
                board.serving = true;
            }
            Word::Failed { why, .. } => return Some(End::Failed(why)),
            Word::Removed { start, len, .. } => {
                if let Some(range) = control::range(start, len) {
                    self.removed.insert(range);
                }
            }
            Word::Lost { start, len, why, .. } => board.news.push(News::Lost { start, len, why }),
            Word::Gone { .. } if self.has_ended() => return Some(End::Gone),
            Word::Gone { .. } => return Some(End::Whole),
            Word::Unrecorded { why } => board.news.push(News::Unrecorded(why)),
            Word::Figures(figures) => {
                self.now = figures;
                board.figures = self.past;
                board.figures.add(&figures);
                board.reports += 1;
            }
        }
        self.shared.changed.notify_all();
        None
    }

    fn has_ended(&self) -> bool {
        let mut fds = [PollFd::new(&self.charge.process, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
    }

    /// The worker is no more: another one takes over.
    fn worker_ended(&mut self) -> io::Result<Option<End>> {
        let pid = self.link.pid();
        let fresh = Link::start(&mut self.spawn)?;
        let status = std::mem::replace(&mut self.link, fresh).reap()?;
        self.past.add(&std::mem::take(&mut self.now));
        self.stillborn += 1;
        let mut board = self.shared.board();
        if !board.serving || self.stillborn > STILLBORN_MAX {
            return Ok(Some(End::Failed(format!("its worker ended ({status})"))));
        }
        board.news.push(News::Replaced { pid, status: status.to_string() });
        drop(board);
        self.shared.changed.notify_all();
        self.entrust(true);
        Ok(None)
    }
}

/// How much of a layout figures tell to be there, of how much.
#[must_use]
pub fn filled(figures: &Figures, layout: &Layout) -> (Bytes, Bytes) {
    // Pages of all regions count alike; where they differ, it is a bound.
    let page = layout.regions().iter().map(|region| region.page_size.bytes().0).max();
    let done = figures.installed.saturating_mul(page.unwrap_or(0));
    (Bytes(done.min(layout.len().0)), layout.len())
}
