//! Which faults a run injects, and how often: drawn per run, so that runs differ in kind.
//!
//! A run in which every fault is likely hides what only shows when some are absent (Groce and
//! others, "Swarm testing", 2012). Each kind is therefore on or off for a whole run, by the toss of
//! a coin, and where it is on its odds are drawn too.

use std::collections::BTreeMap;
use std::fmt;

use crate::random::{Odds, Random};

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// A packet takes long.
    Delay,
    /// A packet is lost.
    Loss,
    /// A packet arrives twice.
    Duplication,
    /// A packet is overtaken by later ones.
    Reordering,
    /// Two nodes do not hear each other for a while.
    Partition,
    /// A write stops half way, and says so.
    ShortWrite,
    /// A write finds no room.
    DiskFull,
    /// The disk takes long.
    SlowDisk,
    /// A crash leaves parts of what was not synced, down to parts of sectors.
    TornWrite,
    /// A process is killed.
    Kill,
    /// A thread is interrupted by a signal.
    Signal,
}

impl Fault {
    /// Every kind.
    pub const ALL: [Fault; 11] = [
        Fault::Delay,
        Fault::Loss,
        Fault::Duplication,
        Fault::Reordering,
        Fault::Partition,
        Fault::ShortWrite,
        Fault::DiskFull,
        Fault::SlowDisk,
        Fault::TornWrite,
        Fault::Kill,
        Fault::Signal,
    ];
}

/// The weights of one run. The default injects nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swarm {
    odds: BTreeMap<Fault, Odds>,
}

impl Swarm {
    /// Draws the weights of a run: each kind is on in one run of two, from one time in two to one
    /// in 256.
    #[must_use]
    pub fn draw(seed: u64) -> Swarm {
        let mut random = Random::stream(seed, "swarm");
        let mut odds = BTreeMap::new();
        for fault in Fault::ALL {
            let on = random.happens(Odds::one_in(2));
            let halvings = u32::try_from(random.within(1..=8)).unwrap_or(8);
            if on {
                odds.insert(fault, Odds::one_in(1 << halvings));
            }
        }
        Swarm { odds }
    }

    /// Sets the odds of one kind.
    #[must_use]
    pub fn with(mut self, fault: Fault, odds: Odds) -> Swarm {
        self.odds.insert(fault, odds);
        self
    }

    /// Injects nothing of these kinds, for a run that has no use for them.
    #[must_use]
    pub fn without(mut self, faults: &[Fault]) -> Swarm {
        self.odds.retain(|fault, _| !faults.contains(fault));
        self
    }

    /// How likely a kind is.
    #[must_use]
    pub fn odds(&self, fault: Fault) -> Odds {
        self.odds.get(&fault).copied().unwrap_or(Odds::NEVER)
    }

    /// Says whether a fault happens this time.
    pub fn strikes(&self, fault: Fault, random: &mut Random) -> bool {
        random.happens(self.odds(fault))
    }
}

impl fmt::Display for Swarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.odds.is_empty() {
            return f.write_str("no faults");
        }
        for (place, (fault, odds)) in self.odds.iter().enumerate() {
            let comma = if place == 0 { "" } else { ", " };
            write!(f, "{comma}{fault:?} {odds}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_differ_in_which_faults_they_inject() {
        let swarms: Vec<Swarm> = (0..64).map(Swarm::draw).collect();
        for fault in Fault::ALL {
            let on = swarms.iter().filter(|swarm| swarm.odds(fault) > Odds::NEVER).count();
            assert!((16..48).contains(&on), "{fault:?} is on in {on} of 64 runs");
        }
        assert_eq!(swarms[7], Swarm::draw(7));
    }

    #[test]
    fn a_swarm_tells_its_weights() {
        let swarm = Swarm::default().with(Fault::Loss, Odds::one_in(4));
        assert_eq!(swarm.to_string(), "Loss 16384/65536");
        assert_eq!(swarm.without(&[Fault::Loss]).to_string(), "no faults");
    }

    #[test]
    fn the_default_injects_nothing() {
        let mut random = Random::new(1);
        let calm = Swarm::default();
        assert!(!Fault::ALL.iter().any(|fault| calm.strikes(*fault, &mut random)));
    }
}
