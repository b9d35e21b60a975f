//! The statistics every bench reports: order statistics of samples, and ratios of paired samples.
//!
//! [`Summary`] describes the samples of one variant; [`PairedRatio`] compares two variants round
//! by round. Called by every bench on what `rounds` measured.
//!
//! *Invariant*: a ratio is formed inside a round, before any median. Two variants of one round saw
//! the same host within milliseconds; the medians of two whole runs may have seen different ones.

use std::time::Duration;

use serde::Serialize;

/// What is reported of a set of samples, in the samples' unit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Summary {
    /// The least: the cost when nothing disturbed the host.
    pub(crate) min: f64,
    /// The middle sample, or the mean of the two middle ones.
    pub(crate) median: f64,
    /// Nine samples in ten are at most this.
    pub(crate) p90: f64,
}

impl Summary {
    /// Summarises `samples`; `None` if there are none.
    pub(crate) fn of(samples: &[f64]) -> Option<Summary> {
        let sorted = sorted(samples);
        Some(Summary {
            min: *sorted.first()?,
            median: quantile(&sorted, 0.5)?,
            p90: quantile(&sorted, 0.9)?,
        })
    }
}

/// How one variant compares with another, from ratios taken within each round.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct PairedRatio {
    /// A quarter of the rounds lie below.
    pub(crate) p25: f64,
    /// The middle ratio: the one to quote.
    pub(crate) median: f64,
    /// A quarter of the rounds lie above.
    pub(crate) p75: f64,
}

impl PairedRatio {
    /// Divides `numerators` by `denominators` round by round and summarises the quotients.
    ///
    /// Rounds in which the denominator is not positive say nothing and are left out; `None` if
    /// none remains.
    pub(crate) fn of(numerators: &[f64], denominators: &[f64]) -> Option<PairedRatio> {
        let quotients: Vec<f64> = numerators
            .iter()
            .zip(denominators)
            .filter(|(_, denominator)| **denominator > 0.0)
            .map(|(numerator, denominator)| numerator / denominator)
            .collect();
        let sorted = sorted(&quotients);
        Some(PairedRatio {
            p25: quantile(&sorted, 0.25)?,
            median: quantile(&sorted, 0.5)?,
            p75: quantile(&sorted, 0.75)?,
        })
    }

    /// Says whether at least three rounds in four put the numerator below the denominator.
    pub(crate) fn is_clearly_below_one(&self) -> bool {
        self.p75 < 1.0
    }

    /// Says whether at least three rounds in four put the numerator above the denominator.
    pub(crate) fn is_clearly_above_one(&self) -> bool {
        self.p25 > 1.0
    }
}

/// Converts a count to the type of the statistics.
pub(crate) fn float(count: u64) -> f64 {
    #[expect(
        clippy::cast_precision_loss,
        reason = "counts and nanoseconds of a bench stay far below 2^53"
    )]
    let value = count as f64;
    value
}

/// Returns a duration in nanoseconds.
pub(crate) fn nanoseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e9
}

/// Interpolates linearly between the two samples next to the quantile, so that the median of an
/// even number of samples is the mean of the middle two.
pub(crate) fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let position = float(u64::try_from(last).ok()?) * q;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and the last index"
    )]
    let below = position.floor() as usize;
    let above = (below + 1).min(last);
    Some(sorted[below] + (sorted[above] - sorted[below]) * position.fract())
}

/// Returns samples in order.
pub(crate) fn sorted(samples: &[f64]) -> Vec<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn summary_takes_order_statistics_not_means() {
        let summary = Summary::of(&[5.0, 1.0, 1000.0, 3.0]).expect("samples");
        assert!(close(summary.min, 1.0));
        assert!(close(summary.median, 4.0));
        assert!(close(summary.p90, 5.0 + 995.0 * 0.7));
    }

    #[test]
    fn one_sample_is_all_of_its_quantiles() {
        let summary = Summary::of(&[7.0]).expect("a sample");
        assert_eq!((summary.min, summary.median, summary.p90), (7.0, 7.0, 7.0));
    }

    #[test]
    fn no_samples_have_no_summary() {
        assert_eq!(Summary::of(&[]), None);
        assert_eq!(PairedRatio::of(&[1.0], &[]), None);
    }

    #[test]
    fn ratios_are_paired_before_the_median() {
        // The host was ten times slower in the second round: the medians of each side would say
        // 5.5 / 11 only by luck, the pairs say 0.5 in every round.
        let ratio = PairedRatio::of(&[1.0, 10.0, 1.5], &[2.0, 20.0, 3.0]).expect("pairs");
        assert!(close(ratio.median, 0.5));
        assert!(close(ratio.p25, 0.5));
        assert!(ratio.is_clearly_below_one());
        assert!(!ratio.is_clearly_above_one());
    }

    #[test]
    fn a_spread_across_one_is_not_clear() {
        let ratio = PairedRatio::of(&[0.5, 0.9, 1.1, 2.0], &[1.0; 4]).expect("pairs");
        assert!(!ratio.is_clearly_below_one());
        assert!(!ratio.is_clearly_above_one());
    }

    #[test]
    fn rounds_without_a_denominator_are_left_out() {
        let ratio = PairedRatio::of(&[4.0, 6.0], &[0.0, 2.0]).expect("one pair");
        assert!(close(ratio.median, 3.0));
        assert_eq!(PairedRatio::of(&[4.0], &[0.0]), None);
    }
}
