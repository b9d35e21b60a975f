//! Simulated time: it stands still until somebody moves it on.
//!
//! [`Time`] is a point, [`Span`] a length, both in nanoseconds. An [`Agenda`] holds what is due
//! when; whoever runs the simulation moves the time on to the next thing due.
//!
//! # Invariants
//! - Things due at the same time come in the order they were put on the agenda.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Add, Mul};

/// A point in simulated time: nanoseconds since the run began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

/// A length of simulated time in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub u64);

impl Span {
    /// Makes a span of microseconds.
    #[must_use]
    pub const fn micros(count: u64) -> Span {
        Span(count.saturating_mul(1_000))
    }

    /// Makes a span of milliseconds.
    #[must_use]
    pub const fn millis(count: u64) -> Span {
        Span(count.saturating_mul(1_000_000))
    }
}

/// The end of time is never reached.
impl Add<Span> for Time {
    type Output = Time;

    fn add(self, span: Span) -> Time {
        Time(self.0.saturating_add(span.0))
    }
}

impl Mul<u64> for Span {
    type Output = Span;

    fn mul(self, times: u64) -> Span {
        Span(self.0.saturating_mul(times))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03} µs", self.0 / 1_000, self.0 % 1_000)
    }
}

/// Things that are due at some time.
#[derive(Clone, Debug)]
pub struct Agenda<T> {
    due: BTreeMap<(Time, u64), T>,
    added: u64,
}

impl<T> Default for Agenda<T> {
    fn default() -> Agenda<T> {
        Agenda { due: BTreeMap::new(), added: 0 }
    }
}

impl<T> Agenda<T> {
    /// Puts something on the agenda.
    pub fn add(&mut self, at: Time, what: T) {
        self.due.insert((at, self.added), what);
        self.added += 1;
    }

    /// When the next thing is due.
    #[must_use]
    pub fn next_time(&self) -> Option<Time> {
        self.due.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes the first thing that is due at `now`.
    pub fn take(&mut self, now: Time) -> Option<T> {
        let first = self.due.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }

    /// Strikes out what `gone` says.
    pub fn strike(&mut self, mut gone: impl FnMut(&T) -> bool) {
        self.due.retain(|_, what| !gone(what));
    }

    /// How many things are on it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.due.len()
    }

    /// Says whether nothing is on it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.due.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_come_when_due_and_in_order() {
        let mut agenda = Agenda::default();
        agenda.add(Time(5), 'c');
        agenda.add(Time(3), 'a');
        agenda.add(Time(3), 'b');
        assert_eq!(agenda.next_time(), Some(Time(3)));
        assert_eq!(agenda.take(Time(2)), None);
        assert_eq!([agenda.take(Time(4)), agenda.take(Time(4))], [Some('a'), Some('b')]);
        assert_eq!(agenda.take(Time(4)), None);
        agenda.strike(|what| *what == 'c');
        assert!(agenda.is_empty());
    }

    #[test]
    fn spans_add_up_and_stop_at_the_end_of_time() {
        assert_eq!(Time(1) + Span::micros(2), Time(2_001));
        assert_eq!(Time(u64::MAX) + Span(1), Time(u64::MAX));
        assert_eq!(Span::millis(1) * 3, Span::micros(3_000));
        assert_eq!(Time(1_002).to_string(), "1.002 µs");
    }
}
