//! Random choices that mean the same next year: integers only, one documented algorithm.
//!
//! The generator is SplitMix64 (Steele, Lea and Flood, 2014). The state is a 64-bit word, the seed
//! to begin with; all arithmetic is modulo 2^64:
//!
//! ```text
//! state += 0x9e3779b97f4a7c15
//! z = state
//! z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9
//! z = (z ^ z >> 27) * 0x94d049bb133111eb
//! the number is z ^ z >> 31
//! ```
//!
//! Every part of a simulation draws from a [stream](Random::stream) of its own, so that one more
//! draw in the network does not change what the disk does under the same seed.
//!
//! # Invariants
//! - Numbers for a seed never change; golden values in the tests hold them.

use std::fmt;
use std::ops::RangeInclusive;

/// A generator: that of the scheduler, with more ways to draw.
#[derive(Clone, Debug)]
pub struct Random(faultless_mm::Random);

/// How likely something is, in parts of 65536.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Odds(u32);

impl Odds {
    /// It never happens.
    pub const NEVER: Odds = Odds(0);
    /// It always happens.
    pub const ALWAYS: Odds = Odds(Odds::WHOLE);
    /// The parts of a whole.
    pub const WHOLE: u32 = 1 << 16;

    /// One in `n`; never for 0.
    #[must_use]
    pub const fn one_in(n: u32) -> Odds {
        match Odds::WHOLE.checked_div(n) {
            Some(parts) => Odds(parts),
            None => Odds::NEVER,
        }
    }
}

impl fmt::Display for Odds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.0, Odds::WHOLE)
    }
}

impl Random {
    /// Begins at a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Random {
        Random(faultless_mm::Random::new(seed))
    }

    /// Begins a stream of its own for the part of this name: at the first number of a generator
    /// whose seed is `seed` combined with the FNV-1a hash of the name.
    #[must_use]
    pub fn stream(seed: u64, name: &str) -> Random {
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Random::new(Random::new(seed ^ hash).word())
    }

    /// The next number, all 64 bits random.
    pub fn word(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `limit`, each equally likely; 0 for a limit of 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        if limit == 0 {
            return 0;
        }
        // Numbers from the incomplete last lap on are drawn again, or small ones were likelier.
        let end = u64::MAX - u64::MAX % limit;
        loop {
            let word = self.word();
            if word < end {
                return word % limit;
            }
        }
    }

    /// A number in the range; its start where it is empty.
    pub fn within(&mut self, range: RangeInclusive<u64>) -> u64 {
        let span = range.end().saturating_sub(*range.start());
        range.start() + self.below(span.saturating_add(1))
    }

    /// An index below `len`; 0 for an empty list.
    pub fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap_or(0)
    }

    /// One of the choices, `None` of none.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> Option<&'a T> {
        choices.get(self.index(choices.len()))
    }

    /// Says whether it happens this time. Draws in any case, so that odds do not shift what
    /// comes after.
    pub fn happens(&mut self, odds: Odds) -> bool {
        self.word() >> 48 < u64::from(odds.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_means_the_same_for_ever() {
        let mut random = Random::new(1_234_567);
        let golden = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
            16_408_922_859_458_223_821,
        ];
        assert_eq!(golden.map(|_| random.word()), golden);
        let mut random = Random::new(0);
        assert_eq!([(); 2].map(|()| random.word()), [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4]);
    }

    #[test]
    fn draws_mean_the_same_for_ever() {
        let mut random = Random::stream(7, "net");
        let drawn = [(); 8].map(|()| random.below(100));
        assert_eq!(drawn, [66, 33, 0, 80, 16, 29, 29, 32]);
    }

    #[test]
    fn streams_of_one_seed_differ_by_name() {
        let (mut net, mut disk) = (Random::stream(7, "net"), Random::stream(7, "disk"));
        assert_ne!(net.word(), disk.word());
        assert_eq!(Random::stream(7, "net").word(), Random::stream(7, "net").word());
    }

    #[test]
    fn numbers_stay_below_their_limit_and_reach_every_value() {
        let mut random = Random::new(1);
        let mut seen = [false; 6];
        for _ in 0..200 {
            seen[random.index(6)] = true;
            assert!((3..=5).contains(&random.within(3..=5)));
        }
        assert_eq!(seen, [true; 6]);
        assert_eq!(random.below(0), 0);
        assert_eq!(random.pick(&[] as &[u8]), None);
    }

    #[test]
    fn odds_are_kept() {
        let mut random = Random::new(1);
        assert!((0..100).all(|_| random.happens(Odds::ALWAYS)));
        assert!(!(0..100).any(|_| random.happens(Odds::NEVER)));
        let hits = (0..8000).filter(|_| random.happens(Odds::one_in(8))).count();
        assert!((900..1100).contains(&hits), "{hits}");
    }
}
