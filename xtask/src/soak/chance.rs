//! Random choices that can be made again: one seed, printed at the start of every soak.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::time::Duration;

/// A stream of choices.
pub(crate) struct Chance(u64);

impl Chance {
    /// Starts from `seed`, or from one of the system's if none is given; prints which.
    pub(crate) fn start(seed: Option<u64>) -> Chance {
        // The keys of a new hash map are the standard library's only source of randomness.
        let seed = seed.unwrap_or_else(|| RandomState::new().build_hasher().finish() >> 32);
        println!("seed {seed}");
        Chance(seed)
    }

    /// Returns the next number, all 64 bits random.
    pub(crate) fn next(&mut self) -> u64 {
        // SplitMix64 (Steele, Lea, Flood 2014): good enough for moments, short enough to trust.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let word = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// Returns a number below `end`; `end` is not 0.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// Returns a time up to `most`, to the microsecond.
    pub(crate) fn moment(&mut self, most: Duration) -> Duration {
        let most_us = u64::try_from(most.as_micros()).unwrap_or(u64::MAX - 1);
        Duration::from_micros(self.below(most_us + 1))
    }

    /// Returns one of the choices.
    pub(crate) fn one_of<'a, T: ?Sized>(&mut self, choices: &[&'a T]) -> &'a T {
        let at = self.below(choices.len() as u64);
        choices[usize::try_from(at).unwrap_or(0)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_choices() {
        let mut one = Chance::start(Some(7));
        let mut other = Chance::start(Some(7));
        for _ in 0..100 {
            assert_eq!(one.below(1000), other.below(1000));
        }
    }

    #[test]
    fn a_moment_never_exceeds_the_most() {
        let mut chance = Chance::start(Some(1));
        let most = Duration::from_micros(3);
        assert!((0..100).all(|_| chance.moment(most) <= most));
    }
}
