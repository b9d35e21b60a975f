//! A thread that waits for messages: looking again first, as long as [`Pace`](super::pace::Pace)
//! says that it is worth it, then asleep.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

use super::crew::Shared;
use super::space::Seat;
use super::tools::lock;
use crate::core::Event;
use crate::port::{Span, Time};

/// What the bell is called among what is waited for. Address spaces count from one.
const BELL: u64 = 0;
/// Set in the name of a process's end.
const PROCESS: u64 = 1 << 63;
/// Most descriptors told of at once.
const BATCH: usize = 64;

/// A reader.
pub(super) struct Reader {
    shared: Arc<Shared>,
}

impl Shared {
    pub(super) fn watch_bell(&self) -> Result<(), Errno> {
        self.watch(self.tools.news.bell.as_fd(), BELL)
    }

    fn watch(&self, what: BorrowedFd<'_>, name: u64) -> Result<(), Errno> {
        epoll::add(&self.epoll, what, epoll::EventData::new_u64(name), self.flags(name))
    }

    /// With several readers each message is for one of them, until it was read.
    fn flags(&self, name: u64) -> epoll::EventFlags {
        let once = self.options.readers > 1 && name != BELL;
        epoll::EventFlags::IN
            | if once { epoll::EventFlags::ONESHOT } else { epoll::EventFlags::empty() }
    }

    /// Waits for the messages of an address space from now on.
    pub(super) fn take_in(&self, seat: &Arc<Seat>) -> Result<(), Errno> {
        lock(&self.seats).insert(seat.number, Arc::clone(seat));
        let watched = self.watch(seat.descriptor(), seat.number).and_then(|()| {
            let name = seat.number | PROCESS;
            seat.process().map_or(Ok(()), |process| self.watch(process, name))
        });
        if watched.is_err() {
            lock(&self.seats).remove(&seat.number);
        }
        watched
    }

    fn watch_again(&self, seat: &Seat) {
        if self.options.readers > 1 {
            let (name, what) = (seat.number, seat.descriptor());
            let data = epoll::EventData::new_u64(name);
            // ENOENT: it is not served any more.
            let _ = epoll::modify(&self.epoll, what, data, self.flags(name));
        }
    }
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>) -> Reader {
        Reader { shared }
    }

    /// Waits and serves until the crew is dismissed.
    pub(super) fn run(self) {
        let mut events = Vec::with_capacity(BATCH);
        while !self.shared.stopped.load(Ordering::Acquire) {
            self.wait(&mut events);
            for event in &events {
                self.serve(event.data.u64());
            }
            self.look_at_news();
        }
    }

    /// Waits for descriptors to be readable, or for the time of the next timer.
    fn wait(&self, events: &mut Vec<epoll::Event>) {
        let Shared { pace, tools, .. } = &*self.shared;
        let mut now = tools.clock.now();
        while now < pace.until() {
            let timer = self.until_timer(now) == Some(Span::ZERO);
            if self.look(events, Some(Span::ZERO)) || timer {
                return;
            }
            // Whoever is let go on this processor, or wants it, has it now.
            rustix::thread::sched_yield();
            let before = std::mem::replace(&mut now, tools.clock.now());
            if pace.crowded(now.since(before)) {
                break;
            }
        }
        self.look(events, self.until_timer(now));
    }

    /// Looks for what is readable, for so long; says whether there is anything.
    fn look(&self, events: &mut Vec<epoll::Event>, patience: Option<Span>) -> bool {
        events.clear();
        let room = rustix::buffer::spare_capacity(events);
        // EINTR: a signal; nothing came.
        epoll::wait(&self.shared.epoll, room, patience.map(timespec).as_ref()).unwrap_or(0) > 0
    }

    fn until_timer(&self, now: Time) -> Option<Span> {
        let first = lock(&self.shared.tools.news.timers).first().map(|(at, _)| *at)?;
        (first.0 < u64::MAX).then(|| first.since(now))
    }

    fn seat(&self, number: u64) -> Option<Arc<Seat>> {
        lock(&self.shared.seats).get(&number).cloned()
    }

    /// Serves what became readable.
    fn serve(&self, name: u64) {
        if name == BELL {
            let mut count = [0; 8];
            // EAGAIN: another reader has heard it.
            let _ = rustix::io::read(&self.shared.tools.news.bell, &mut count);
            if self.shared.stopped.load(Ordering::Acquire) {
                // For all of them, and this one has taken it away.
                self.shared.tools.news.ring();
            }
            return;
        }
        let Some(seat) = self.seat(name & !PROCESS) else { return };
        if name & PROCESS != 0 {
            seat.advance(&self.shared.tools, Event::Dead);
            return;
        }
        let Shared { pace, tools, .. } = &*self.shared;
        pace.came(tools.clock.now());
        seat.serve(tools);
        self.shared.watch_again(&seat);
        pace.dealt(tools.clock.now());
    }

    /// Takes children in, lets go what is over, and ticks what is due.
    fn look_at_news(&self) {
        let news = &self.shared.tools.news;
        let born = std::mem::take(&mut *lock(&news.born));
        for seat in born {
            // ENOMEM, ENOSPC: what cannot be waited for is ended as was chosen.
            match self.shared.take_in(&seat) {
                Ok(()) => seat.advance(&self.shared.tools, Event::Readable),
                Err(_) => self.shared.abandon(&seat),
            }
        }
        let over = std::mem::take(&mut *lock(&news.over));
        for number in over {
            self.shared.dismiss(number);
        }
        let now = self.shared.tools.clock.now();
        loop {
            // A statement of its own: in the head of the loop the lock would be held in its body,
            // which takes it to note the next time.
            let due = take_due(&mut lock(&news.timers), now);
            let Some(number) = due else { break };
            if let Some(seat) = self.seat(number) {
                seat.noted.store(u64::MAX, Ordering::Relaxed);
                seat.advance(&self.shared.tools, Event::Tick);
            }
        }
    }
}

/// Takes the first that is due.
fn take_due(timers: &mut std::collections::BTreeSet<(Time, u64)>, now: Time) -> Option<u64> {
    let first = *timers.first()?;
    (first.0 <= now).then(|| timers.remove(&first))?;
    Some(first.1)
}

fn timespec(span: Span) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(span.0 / 1_000_000_000).unwrap_or(i64::MAX),
        tv_nsec: i64::try_from(span.0 % 1_000_000_000).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_are_taken_when_due_and_in_order() {
        let mut timers = [(Time(5), 1), (Time(3), 2)].into();
        assert_eq!(take_due(&mut timers, Time(2)), None);
        assert_eq!(take_due(&mut timers, Time(9)), Some(2));
        assert_eq!(take_due(&mut timers, Time(9)), Some(1));
        assert_eq!(take_due(&mut timers, Time(9)), None);
    }
}
