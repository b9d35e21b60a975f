//! Sums up what a soak measured.

use std::time::Duration;

/// Measured values of one kind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures(Vec<u64>);

impl Figures {
    /// Adds one value.
    pub(crate) fn add(&mut self, value: u64) {
        let at = self.0.partition_point(|&other| other <= value);
        self.0.insert(at, value);
    }

    /// Returns the value that half of all are not above, 0 if there is none.
    pub(crate) fn p50(&self) -> u64 {
        self.0.get(self.0.len().saturating_sub(1) / 2).copied().unwrap_or(0)
    }

    /// Returns the largest value, 0 if there is none.
    pub(crate) fn max(&self) -> u64 {
        self.0.last().copied().unwrap_or(0)
    }
}

/// Shows nanoseconds for people.
pub(crate) fn time_ns(ns: u64) -> String {
    format!("{:.2?}", Duration::from_nanos(ns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_and_the_largest_are_found_in_any_order() {
        let mut figures = Figures::default();
        assert_eq!((figures.p50(), figures.max()), (0, 0));
        for value in [9, 1, 5] {
            figures.add(value);
        }
        assert_eq!((figures.p50(), figures.max()), (5, 9));
    }
}
