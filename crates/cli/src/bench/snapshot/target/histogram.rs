//! A histogram of latencies that never grows and never blocks on memory.
//!
//! [`Histogram`] keeps 16 buckets for each power of two: a quantile is at most 6 % above the true
//! one, from 1 ns to centuries, in 8 KiB. The writer of the target records into it.

/// Buckets for each power of two.
const FINE: u64 = 16;
/// `FINE` as a power of two.
const FINE_BITS: u32 = FINE.trailing_zeros();
/// Values below `FINE` have their own bucket; above, one row of `FINE` for each power of two.
const BUCKETS: usize = (64 - FINE_BITS as usize + 1) << FINE_BITS;

/// Counts of latencies in nanoseconds.
pub(super) struct Histogram {
    counts: Box<[u64; BUCKETS]>,
    count: u64,
    max: u64,
}

impl Histogram {
    /// Makes an empty histogram.
    pub(super) fn new() -> Histogram {
        Histogram { counts: Box::new([0; BUCKETS]), count: 0, max: 0 }
    }

    /// Counts one latency.
    pub(super) fn record(&mut self, ns: u64) {
        self.counts[bucket(ns)] += 1;
        self.count += 1;
        self.max = self.max.max(ns);
    }

    /// Returns how many were counted.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Returns the greatest one counted, exactly.
    pub(super) fn max(&self) -> u64 {
        self.max
    }

    /// Returns a bound that `per_mille` of a thousand latencies do not exceed; 0 if there are none.
    pub(super) fn quantile(&self, per_mille: u64) -> u64 {
        // At least one, so that the 0th is the least and not nothing.
        let wanted = (self.count * per_mille).div_ceil(1000).max(1);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return upper_bound(index).min(self.max);
            }
        }
        0
    }
}

/// Returns the bucket of a value: the row of its highest bit, the place of the four bits below.
fn bucket(ns: u64) -> usize {
    let index = if ns < FINE {
        ns
    } else {
        let shift = u64::from(ns.ilog2() - FINE_BITS);
        (shift + 1) * FINE + (ns >> shift) - FINE
    };
    usize::try_from(index).expect("fewer than a thousand buckets")
}

/// Returns the greatest value that falls into a bucket.
fn upper_bound(index: usize) -> u64 {
    let index = u64::try_from(index).expect("fewer than a thousand buckets");
    if index < FINE {
        return index;
    }
    let (shift, place) = (index / FINE - 1, index % FINE);
    // Widened, since the last bucket ends at the end of u64.
    let end = u128::from(FINE + place + 1) << shift;
    u64::try_from(end - 1).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_cover_every_value_once_and_narrowly() {
        for ns in [0, 1, 15, 16, 17, 31, 32, 1000, 123_456_789, u64::MAX / 3, u64::MAX] {
            let index = bucket(ns);
            assert!(index < BUCKETS);
            assert!(upper_bound(index) >= ns);
            assert!(index == 0 || upper_bound(index - 1) < ns, "{ns}");
            assert!(upper_bound(index) - ns <= ns / FINE, "{ns}");
        }
    }

    #[test]
    fn quantiles_are_those_of_what_was_recorded() {
        let mut histogram = Histogram::new();
        for ns in 1..=1000 {
            histogram.record(ns);
        }
        assert_eq!(histogram.count(), 1000);
        assert_eq!(histogram.max(), 1000);
        assert!((500..=531).contains(&histogram.quantile(500)));
        assert!((990..=1000).contains(&histogram.quantile(990)));
        assert_eq!(histogram.quantile(1000), 1000);
    }

    #[test]
    fn an_empty_histogram_has_zero_quantiles() {
        assert_eq!(Histogram::new().quantile(990), 0);
    }
}
