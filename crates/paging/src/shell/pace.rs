//! How long readers look again before they sleep.
//!
//! To be woken on a processor that has gone to sleep costs more than to serve a page from memory,
//! for the reader and, worse, for the thread that is let go: in a virtual machine some 50 µs each.
//! So readers look again for a while before they sleep. That keeps them awake, and the processors
//! that the waiting threads come back to. All readers of a crew share one pace: they look on as
//! long as any of them is busy.
//!
//! The while adapts as that of an idle loop does: it grows when messages come within the most that
//! is allowed, and shrinks when they do not. Between two looks a reader yields its processor: a
//! thread that is let go on it runs at once, and whoever else wants it has it. Where somebody else
//! holds on to it, yielding would cost more than being woken, and readers sleep at once for as many
//! messages as [`Pace::crowded`] says.
//!
//! # Invariants
//! - After the last message no reader looks for longer than the most that is allowed.
//! - It is a heuristic: readers that race in it spin for too long or too short once, and no more.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use crate::port::{Span, Time};

/// The first while that is tried: as long as a thread takes to fault again when it was let go on
/// the processor it is on.
const FIRST: Span = Span::micros(20);
/// From one look to the next at most, if nobody else wants the processor. A time slice is longer.
const CROWDED: Span = Span::millis(1);
/// Messages without spinning after the first crowd, and after many.
const REST: (u32, u32) = (64, 4096);

/// How fast messages have come of late.
#[derive(Debug, Default)]
pub(super) struct Pace {
    most: Span,
    /// How long to look, in nanoseconds.
    window: AtomicU64,
    /// When the last message was dealt with.
    last: AtomicU64,
    /// Messages to come before looking again is tried.
    rest: AtomicU32,
    /// How long the next rest is.
    penalty: AtomicU32,
}

impl Pace {
    /// Begins with sleep. No reader looks for longer than `most`.
    pub(super) fn new(most: Span) -> Pace {
        Pace { most, ..Pace::default() }
    }

    /// Until when it is worth to look again.
    pub(super) fn until(&self) -> Time {
        match self.rest.load(Relaxed) {
            0 => Time(self.last.load(Relaxed)) + Span(self.window.load(Relaxed)),
            _ => Time::default(),
        }
    }

    /// Messages have come: learns from how long that took.
    pub(super) fn came(&self, now: Time) {
        let gap = now.since(Time(self.last.load(Relaxed)));
        let window = Span(self.window.load(Relaxed));
        let next = match gap {
            gap if gap > self.most => Span(window.0 / 2),
            // Half of it is room for those that take a little longer.
            gap if Span(gap.0 * 2) > window => window.max(FIRST).doubled(1, self.most),
            _ => window,
        };
        let next = if next < FIRST { Span::ZERO } else { next };
        self.window.store(next.min(self.most).0, Relaxed);
        let rest = self.rest.load(Relaxed);
        self.rest.store(rest.saturating_sub(1), Relaxed);
        if rest == 0 {
            let penalty = self.penalty.load(Relaxed);
            self.penalty.store(penalty.saturating_sub(1), Relaxed);
        }
    }

    /// Messages were dealt with.
    pub(super) fn dealt(&self, now: Time) {
        self.last.store(now.0, Relaxed);
    }

    /// A reader looked, yielded, and got its processor back after so long. Says whether somebody
    /// else wants it: then spinning is given up, ever longer.
    pub(super) fn crowded(&self, away: Span) -> bool {
        if away < CROWDED {
            return false;
        }
        let penalty = self.penalty.load(Relaxed).saturating_mul(2).clamp(REST.0, REST.1);
        self.penalty.store(penalty, Relaxed);
        self.rest.store(penalty, Relaxed);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Span = Span::micros(200);

    /// Deals with `count` messages that come `gap` after one another; says when the last was.
    fn run(pace: &Pace, from: Time, gap: Span, count: u32) -> Time {
        (0..count).fold(from, |last, _| {
            let now = last + gap;
            pace.came(now);
            pace.dealt(now);
            now
        })
    }

    #[test]
    fn looking_is_worth_it_only_while_messages_come_fast() {
        let pace = Pace::new(MOST);
        let now = run(&pace, Time(1), Span::millis(1), 3);
        assert!(pace.until() <= now);
        let now = run(&pace, now, Span::micros(100), 8);
        assert!(pace.until() > now + Span::micros(100));
        assert!(pace.until() <= now + MOST);
        let now = run(&pace, now, Span::millis(1), 8);
        assert!(pace.until() <= now);
    }

    #[test]
    fn where_messages_come_at_once_little_is_looked_for() {
        let pace = Pace::new(MOST);
        let now = run(&pace, Time(1), Span::micros(5), 100);
        assert!(pace.until() <= now + Span::micros(50));
    }

    #[test]
    fn nobody_looks_where_somebody_else_holds_on_to_the_processor() {
        let pace = Pace::new(MOST);
        let now = run(&pace, Time(1), Span::micros(50), 8);
        assert!(!pace.crowded(Span::micros(100)));
        assert!(pace.until() > now);
        assert!(pace.crowded(Span::millis(3)));
        let now = run(&pace, now, Span::micros(50), REST.0 - 1);
        assert!(pace.until() <= now);
        let now = run(&pace, now, Span::micros(50), 1);
        assert!(pace.until() > now);
        // The second time takes longer.
        assert!(pace.crowded(Span::millis(3)));
        let now = run(&pace, now, Span::micros(50), REST.0 + 1);
        assert!(pace.until() <= now);
    }

    #[test]
    fn without_leave_to_look_nobody_looks() {
        let pace = Pace::new(Span::ZERO);
        let now = run(&pace, Time(1), Span::ZERO, 100);
        assert!(pace.until() <= now);
    }
}
