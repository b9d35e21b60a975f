//! A thread that waits for messages: spinning first, then asleep.
//!
//! Being woken costs more than serving a page from memory. A reader therefore looks again for a
//! while before it sleeps, as long as messages have of late come within that while; where they come
//! rarely it sleeps at once and costs nobody a processor.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

use super::crew::Shared;
use super::space::{Seat, lock};
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
    pace: Pace,
}

/// How fast messages have come of late.
#[derive(Clone, Copy, Debug, Default)]
struct Pace {
    last: Time,
    /// The mean time between two, the newest counting an eighth.
    gap: Span,
}

impl Pace {
    /// Takes note that messages came.
    fn note(&mut self, now: Time) {
        let gap = now.since(self.last).0;
        self.last = now;
        self.gap = Span(self.gap.0 - self.gap.0 / 8 + gap / 8);
    }

    /// Until when it is worth looking for more.
    fn worth(&self, most: Span) -> Option<Time> {
        (self.gap <= most).then(|| self.last + most)
    }
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
        Reader { shared, pace: Pace { gap: Span(u64::MAX / 2), ..Pace::default() } }
    }

    /// Waits and serves until the crew is dismissed.
    pub(super) fn run(mut self) {
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
    fn wait(&mut self, events: &mut Vec<epoll::Event>) {
        let spins = self.pace.worth(self.shared.options.spin);
        loop {
            events.clear();
            let now = self.shared.tools.clock.now();
            let spinning = spins.is_some_and(|until| now < until);
            let timeout = if spinning { Some(Span::ZERO) } else { self.until_timer(now) };
            let timeout = timeout.map(timespec);
            let room = rustix::buffer::spare_capacity(events);
            // EINTR: a signal; nothing came.
            let came = epoll::wait(&self.shared.epoll, room, timeout.as_ref()).unwrap_or(0);
            if came > 0 || !spinning || self.until_timer(now) == Some(Span::ZERO) {
                return;
            }
            std::hint::spin_loop();
        }
    }

    fn until_timer(&self, now: Time) -> Option<Span> {
        let first = lock(&self.shared.tools.news.timers).first().map(|(at, _)| *at)?;
        (first.0 < u64::MAX).then(|| first.since(now))
    }

    fn seat(&self, number: u64) -> Option<Arc<Seat>> {
        lock(&self.shared.seats).get(&number).cloned()
    }

    /// Serves what became readable.
    fn serve(&mut self, name: u64) {
        if name == BELL {
            let mut count = [0; 8];
            // EAGAIN: another reader has heard it.
            let _ = rustix::io::read(&self.shared.tools.news.bell, &mut count);
            return;
        }
        let Some(seat) = self.seat(name & !PROCESS) else { return };
        if name & PROCESS != 0 {
            seat.advance(&self.shared.tools, Event::Dead);
            return;
        }
        self.pace.note(self.shared.tools.clock.now());
        seat.advance(&self.shared.tools, Event::Readable);
        self.shared.watch_again(&seat);
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
    fn spinning_is_worth_it_only_while_messages_come_fast() {
        let mut pace = Pace { gap: Span(u64::MAX / 2), ..Pace::default() };
        let most = Span::micros(50);
        assert_eq!(pace.worth(most), None);
        for turn in 1..500 {
            pace.note(Time(turn * 1_000));
        }
        assert!(pace.worth(most).is_some());
        for turn in 1..20 {
            pace.note(Time(500_000 + turn * 1_000_000));
        }
        assert_eq!(pace.worth(most), None);
    }

    #[test]
    fn timers_are_taken_when_due_and_in_order() {
        let mut timers = [(Time(5), 1), (Time(3), 2)].into();
        assert_eq!(take_due(&mut timers, Time(2)), None);
        assert_eq!(take_due(&mut timers, Time(9)), Some(2));
        assert_eq!(take_due(&mut timers, Time(9)), Some(1));
        assert_eq!(take_due(&mut timers, Time(9)), None);
    }
}
