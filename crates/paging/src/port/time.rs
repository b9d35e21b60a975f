//! Time as the engine knows it: nanoseconds of a clock somebody else reads.

use core::ops::Add;

/// A point in time: nanoseconds since some moment that all of one clock's readings share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

/// A length of time in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub u64);

/// Tells the time; never runs backwards.
pub trait Clock {
    /// The time now.
    fn now(&self) -> Time;
}

impl Time {
    /// How long ago `earlier` was; nothing if it is still to come.
    #[must_use]
    pub const fn since(self, earlier: Time) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}

impl Span {
    /// No time at all.
    pub const ZERO: Span = Span(0);

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

    /// Doubles the span `times` times, up to `most`.
    #[must_use]
    pub fn doubled(self, times: u32, most: Span) -> Span {
        let factor = 1u64.checked_shl(times).unwrap_or(u64::MAX);
        Span(self.0.saturating_mul(factor)).min(most)
    }
}

/// The end of time is never reached.
impl Add<Span> for Time {
    type Output = Time;

    fn add(self, span: Span) -> Time {
        Time(self.0.saturating_add(span.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_doubles_up_to_its_limit() {
        let waits = [0, 1, 2, 3, 99].map(|times| Span(10).doubled(times, Span(70)).0);
        assert_eq!(waits, [10, 20, 40, 70, 70]);
    }

    #[test]
    fn time_neither_overflows_nor_goes_below_nothing() {
        assert_eq!(Time(u64::MAX) + Span::millis(1), Time(u64::MAX));
        assert_eq!(Time(3).since(Time(5)), Span::ZERO);
    }
}
