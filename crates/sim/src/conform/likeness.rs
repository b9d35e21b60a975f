//! Which release a world resembles most, and in what it differs from it.
//!
//! Compared are the feature bits, with their history, and the [`BEHAVIOURS`] that changed without
//! one. A release is looked at as its own sources are; a distribution's kernel may differ.

use faultless_uapi::KernelVersion;
use faultless_uapi::feature::{Feature, HISTORY};

use super::behaviour::{BEHAVIOURS, Behaviour, Observed};
use super::profile::{Profile, Promise};
use super::run::Worlds;

/// The releases a world is compared with: those with years of support, and the newest.
pub const FAMILIES: &[KernelVersion] = &[
    KernelVersion::new(6, 1),
    KernelVersion::new(6, 6),
    KernelVersion::new(6, 12),
    KernelVersion::new(6, 18),
    KernelVersion::new(7, 2),
    KernelVersion::new(7, 3),
];

/// What a world was observed to be like.
#[derive(Clone, Debug)]
pub struct Observations {
    profile: Profile,
    behaviours: Vec<(&'static Behaviour, Observed)>,
}

/// One respect in which a world and a release differ.
#[derive(Clone, Copy, Debug)]
pub enum Difference {
    /// The release has this feature, the world does not.
    Missing(&'static Feature),
    /// The world has this feature, the release does not.
    Additional(&'static Feature),
    /// They behave differently.
    Behaviour {
        /// What it is about.
        behaviour: &'static Behaviour,
        /// What the release promises.
        promised: Promise,
        /// What the world does.
        observed: Observed,
    },
}

/// A release, and how a world differs from it.
#[derive(Clone, Debug)]
pub struct Likeness {
    /// The release.
    pub family: KernelVersion,
    /// In what they differ.
    pub differences: Vec<Difference>,
}

impl Observations {
    /// Observes every behaviour, each in fresh worlds.
    #[must_use]
    pub fn of(worlds: &dyn Worlds) -> Observations {
        let seen = |behaviour: &'static Behaviour| (behaviour, behaviour.observe(worlds));
        Observations {
            profile: worlds.profile().clone(),
            behaviours: BEHAVIOURS.iter().map(seen).collect(),
        }
    }

    /// What was observed of each behaviour.
    #[must_use]
    pub fn behaviours(&self) -> &[(&'static Behaviour, Observed)] {
        &self.behaviours
    }

    /// Compares with one release.
    #[must_use]
    pub fn against(&self, family: KernelVersion) -> Likeness {
        let features = HISTORY.iter().filter_map(|feature| self.feature(family, feature));
        let release = Profile { version: family, ..self.profile.clone() };
        let behaviours = self.behaviours.iter().filter_map(|&(behaviour, observed)| {
            let promised = (behaviour.promise)(&release);
            let differs = !observed.keeps(promised);
            differs.then_some(Difference::Behaviour { behaviour, promised, observed })
        });
        Likeness { family, differences: features.chain(behaviours).collect() }
    }

    fn feature(&self, family: KernelVersion, feature: &'static Feature) -> Option<Difference> {
        match (feature.since_here() <= family, self.profile.offers(feature.mask())) {
            (true, false) => Some(Difference::Missing(feature)),
            (false, true) => Some(Difference::Additional(feature)),
            _ => None,
        }
    }

    /// Compares with every release of [`FAMILIES`] and returns the likest. Of several equally
    /// like it the newest that is not newer than the world says of itself.
    #[must_use]
    pub fn likest(&self) -> Option<Likeness> {
        let compared = FAMILIES.iter().map(|&family| self.against(family));
        compared.min_by_key(|likeness| {
            let newer = likeness.family > self.profile.version;
            let distance = FAMILIES
                .iter()
                .filter(|family| **family > likeness.family && **family <= self.profile.version);
            (likeness.differences.len(), newer, distance.count())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observed(version: KernelVersion, features: u64, observed: Observed) -> Observations {
        let profile = Profile { features, ..Profile::bare(version) };
        let behaviours = BEHAVIOURS.iter().map(|behaviour| (behaviour, observed)).collect();
        Observations { profile, behaviours }
    }

    fn all_since(version: KernelVersion) -> u64 {
        let there = HISTORY.iter().filter(|feature| feature.since_here() <= version);
        there.map(Feature::mask).sum()
    }

    #[test]
    fn features_tell_releases_apart() {
        for &family in FAMILIES {
            let likest = observed(family, all_since(family), Observed::Unknown).likest().unwrap();
            assert_eq!(likest.family, family);
            assert!(likest.differences.is_empty());
        }
    }

    #[test]
    fn what_the_world_calls_itself_decides_only_between_equals() {
        let features = all_since(KernelVersion::new(6, 12));
        let seen = observed(KernelVersion::new(6, 14), features, Observed::Unknown);
        assert_eq!(seen.likest().unwrap().family, KernelVersion::new(6, 12));
        let seen = observed(KernelVersion::new(7, 3), features, Observed::Unknown);
        assert_eq!(seen.likest().unwrap().family, KernelVersion::new(7, 2));
    }

    #[test]
    fn differences_name_features_and_behaviours() {
        let version = KernelVersion::new(6, 18);
        let poison = faultless_uapi::feature::FEATURE_POISON;
        let seen = observed(version, all_since(version) & !poison, Observed::Neither);
        let differences = seen.against(version).differences;
        assert!(matches!(differences[0], Difference::Missing(f) if f.name == "POISON"));
        assert_eq!(differences.len(), 1 + BEHAVIOURS.len());
        let older = seen.against(KernelVersion::new(6, 6)).differences;
        assert!(older.iter().any(|d| matches!(d, Difference::Additional(f) if f.name == "MOVE")));
    }
}
