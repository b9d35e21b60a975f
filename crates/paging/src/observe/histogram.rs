//! Durations, counted by powers of two.

use crate::port::Span;

/// One bucket for each power of two of nanoseconds.
const BUCKETS: usize = 64;

/// How many durations there were of which length, each known to a factor of two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    buckets: [u64; BUCKETS],
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { buckets: [0; BUCKETS] }
    }
}

impl Histogram {
    /// Counts a duration.
    pub fn add(&mut self, span: Span) {
        let bucket = span.0.checked_ilog2().unwrap_or(0) as usize;
        self.buckets[bucket] += 1;
    }

    /// How many there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The bound below which at least so many of a thousand lie; `None` of none.
    #[must_use]
    pub fn permille(&self, share: u64) -> Option<Span> {
        let wanted = (self.count() * share.min(1000)).div_ceil(1000).max(1);
        let mut below = 0;
        let reaches = |count: &u64| {
            below += count;
            below >= wanted
        };
        let bucket = self.buckets.iter().position(reaches)?;
        let exponent = u32::try_from(bucket + 1).unwrap_or(u32::MAX);
        Some(Span(1_u64.checked_shl(exponent).map_or(u64::MAX, |bound| bound - 1)))
    }

    /// The buckets that hold any: the least duration of each, and how many it holds.
    pub fn buckets(&self) -> impl Iterator<Item = (Span, u64)> + '_ {
        let all = self.buckets.iter().enumerate();
        all.filter(|(_, count)| **count > 0).map(|(bucket, count)| (Span(1 << bucket), *count))
    }

    /// Adds what another one counted.
    pub fn merge(&mut self, other: &Histogram) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_bounded_by_powers_of_two() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.permille(500), None);
        for nanoseconds in [0, 1, 3, 1000, 1000, 1000, 1000, 1000, 1000, 5_000_000] {
            histogram.add(Span(nanoseconds));
        }
        assert_eq!(histogram.count(), 10);
        assert_eq!(histogram.permille(500), Some(Span(1023)));
        assert_eq!(histogram.permille(1000), Some(Span((1 << 23) - 1)));
        assert_eq!(histogram.buckets().map(|(_, count)| count).collect::<Vec<_>>(), [2, 1, 6, 1]);
    }

    #[test]
    fn the_longest_duration_has_a_bucket() {
        let mut histogram = Histogram::default();
        histogram.add(Span(u64::MAX));
        assert_eq!(histogram.permille(1000), Some(Span(u64::MAX)));
        let mut other = Histogram::default();
        other.merge(&histogram);
        assert_eq!(other, histogram);
    }
}
