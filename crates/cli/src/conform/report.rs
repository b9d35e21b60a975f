//! What a run found out, as a value that prints itself as JSON.

use faultless_sim::conform::behaviour::{self, Observed};
use faultless_sim::conform::likeness::{Difference, Likeness, Observations};
use faultless_sim::conform::profile::Promise;
use faultless_sim::conform::verdict::Failure;
use faultless_sim::conform::{Outcome, Profile, Worlds};
use faultless_uapi::feature::HISTORY;
use serde::Serialize;

use crate::exit::Exit;

/// The result of a run.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Which implementation was asked.
    pub(super) world: String,
    /// The host that was asked, `None` for the model.
    pub(super) host: Option<Host>,
    pub(super) abilities: Abilities,
    pub(super) passed: usize,
    pub(super) failed: usize,
    pub(super) skipped: usize,
    pub(super) cases: Vec<Case>,
    /// The behaviours that tell releases apart, as they were found.
    pub(super) behaviours: Vec<Behaviour>,
    /// The release it resembles most.
    pub(super) resembles: Option<Resemblance>,
    /// What the host did not lend, and why.
    pub(super) notes: Vec<String>,
}

/// The host the run took place on.
#[derive(Debug, Serialize)]
pub(super) struct Host {
    pub(super) kernel: String,
    pub(super) architecture: &'static str,
    pub(super) page_bytes: u64,
}

/// What the world can do; bodies that need more are skipped.
#[derive(Debug, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "independent abilities, as the world has them")]
pub(super) struct Abilities {
    /// The feature bits of the handshake.
    pub(super) feature_bits: u64,
    pub(super) features: Vec<&'static str>,
    pub(super) privileged: bool,
    pub(super) device: bool,
    pub(super) pagemap_scan: bool,
    pub(super) transparent_huge_page_bytes: Option<u64>,
    pub(super) hugetlb_page_bytes: Option<u64>,
    pub(super) swap: bool,
    pub(super) regular_files: bool,
    pub(super) pinning: bool,
    pub(super) memory_failure: bool,
}

/// One behaviour.
#[derive(Debug, Serialize)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) verdict: Verdict,
    /// Why it did not pass.
    pub(super) why: Option<String>,
}

/// How a behaviour was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    /// As promised.
    Passed,
    /// Otherwise.
    Failed,
    /// It could not be asked for.
    Skipped,
}

/// A behaviour that tells releases apart.
#[derive(Debug, Serialize)]
pub(super) struct Behaviour {
    pub(super) what: &'static str,
    pub(super) here: &'static str,
}

/// A release, and the differences from it.
#[derive(Debug, Serialize)]
pub(super) struct Resemblance {
    pub(super) release: String,
    pub(super) differences: Vec<Unlike>,
}

/// One difference.
#[derive(Debug, Serialize)]
pub(super) struct Unlike {
    pub(super) what: String,
    /// What the release does about it.
    pub(super) release: &'static str,
    /// What was found here.
    pub(super) here: &'static str,
}

impl Report {
    /// Puts together what was found out.
    pub(super) fn new(worlds: &dyn Worlds, outcomes: &[Outcome], seen: &Observations) -> Report {
        let cases: Vec<Case> = outcomes.iter().map(Case::of).collect();
        let count = |verdict| cases.iter().filter(|case| case.verdict == verdict).count();
        Report {
            world: worlds.title(),
            host: None,
            abilities: Abilities::of(worlds.profile()),
            passed: count(Verdict::Passed),
            failed: count(Verdict::Failed),
            skipped: count(Verdict::Skipped),
            cases,
            behaviours: seen.behaviours().iter().map(Behaviour::of).collect(),
            resembles: seen.likest().map(|likeness| Resemblance::of(&likeness)),
            notes: Vec::new(),
        }
    }

    /// Answers whether all is as promised, where anything could be asked.
    pub(super) fn exit(&self) -> Exit {
        match (self.failed, self.passed) {
            (0, 0) => Exit::Host,
            (0, _) => Exit::Done,
            _ => Exit::No,
        }
    }
}

impl Host {
    /// Looks around.
    pub(super) fn read() -> Host {
        Host {
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            architecture: std::env::consts::ARCH,
            page_bytes: rustix::param::page_size() as u64,
        }
    }
}

impl Abilities {
    fn of(profile: &Profile) -> Abilities {
        let offered = HISTORY.iter().filter(|feature| profile.offers(feature.mask()));
        Abilities {
            feature_bits: profile.features,
            features: offered.map(|feature| feature.name).collect(),
            privileged: profile.privileged,
            device: profile.has_device,
            pagemap_scan: profile.has_scan,
            transparent_huge_page_bytes: profile.transparent_huge_page,
            hugetlb_page_bytes: profile.hugetlb_page,
            swap: profile.has_swap,
            regular_files: profile.has_regular_files,
            pinning: profile.has_pinning,
            memory_failure: profile.has_memory_failure,
        }
    }
}

impl Case {
    fn of(outcome: &Outcome) -> Case {
        let (verdict, why) = match &outcome.verdict {
            Ok(()) => (Verdict::Passed, None),
            Err(Failure::Skip(why)) => (Verdict::Skipped, Some(why.clone())),
            Err(failure) => (Verdict::Failed, Some(failure.to_string())),
        };
        Case { name: outcome.case.full_name(), verdict, why }
    }
}

impl Behaviour {
    fn of((behaviour, observed): &(&'static behaviour::Behaviour, Observed)) -> Behaviour {
        Behaviour { what: behaviour.what, here: word(*observed) }
    }

    /// Says whether anything was observed.
    pub(super) fn is_known(&self) -> bool {
        self.here != word(Observed::Unknown)
    }
}

fn word(observed: Observed) -> &'static str {
    match observed {
        Observed::Yes => "yes",
        Observed::No => "no",
        Observed::Neither => "something else",
        Observed::Unknown => "unknown",
    }
}

impl Resemblance {
    fn of(likeness: &Likeness) -> Resemblance {
        Resemblance {
            release: likeness.family.to_string(),
            differences: likeness.differences.iter().map(Unlike::of).collect(),
        }
    }
}

impl Unlike {
    fn of(difference: &Difference) -> Unlike {
        match difference {
            Difference::Missing(feature) => Unlike {
                what: format!("{}, since {}", feature.name, feature.since_here()),
                release: "has it",
                here: "missing",
            },
            Difference::Additional(feature) => Unlike {
                what: format!("{}, since {}", feature.name, feature.since_here()),
                release: "lacks it",
                here: "there",
            },
            Difference::Behaviour { behaviour, promised, observed } => Unlike {
                what: behaviour.what.to_owned(),
                release: match promised {
                    Promise::Yes => "yes",
                    Promise::No => "no",
                    Promise::Either => "either",
                },
                here: word(*observed),
            },
        }
    }
}
