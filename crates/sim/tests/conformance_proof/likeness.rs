//! Proves what is said about likeness: the running kernel is like its own release, and a liar is
//! told from it by what it lies about.

use faultless_sim::conform::behaviour::Observed;
use faultless_sim::conform::kernel::{KernelWorld, KernelWorlds};
use faultless_sim::conform::likeness::{Difference, Observations};
use faultless_sim::conform::verdict::Failure;
use faultless_sim::conform::{Profile, World, Worlds};

use crate::PATIENCE;
use crate::liar::{LIES, Liar, Lie};

/// The running kernel, lied about.
struct Lied {
    profile: Profile,
    lie: &'static Lie,
}

impl Worlds for Lied {
    fn title(&self) -> String {
        format!("a kernel of which is said that {}", self.lie.name)
    }

    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn fresh(&self, profile: &Profile) -> Box<dyn World> {
        Box::new(Liar::new(KernelWorld::new(profile.clone(), PATIENCE), self.lie))
    }
}

/// The kernel keeps every promise of its own release that hangs on the release.
pub(crate) fn the_kernel_is_like_its_own_release() -> Result<String, Failure> {
    let worlds = KernelWorlds::probe(PATIENCE)?;
    needs_userfaultfd(worlds.profile())?;
    let release = worlds.profile().version;
    let seen = Observations::of(&worlds);
    let likeness = seen.against(release);
    let broken = |difference: &&Difference| matches!(difference, Difference::Behaviour { .. });
    match likeness.differences.iter().find(broken) {
        Some(difference) => Err(Failure::Diverges(format!("{difference:?}"))),
        None => {
            let known = seen.behaviours().iter().filter(|(_, o)| *o != Observed::Unknown).count();
            Ok(format!("{known} behaviours observed"))
        }
    }
}

/// A world that refuses nothing to strangers is not like a release that does.
pub(crate) fn a_lie_is_a_difference() -> Result<String, Failure> {
    let (name, case) = ("anything_can_be_unregistered", "unregister::memory_of_another_is_invalid");
    let honest = KernelWorlds::probe(PATIENCE)?;
    needs_userfaultfd(honest.profile())?;
    let lie = LIES.iter().find(|lie| lie.name == name);
    let lie = lie.ok_or_else(|| Failure::Broken(format!("no lie {name}")))?;
    let lied = Lied { profile: honest.profile().clone(), lie };
    let observed = |worlds: &dyn Worlds| {
        let seen = Observations::of(worlds);
        seen.behaviours().iter().find(|(b, _)| b.case == case).map(|(_, observed)| *observed)
    };
    if observed(&honest) != Some(Observed::Yes) {
        return Err(Failure::Skip("this kernel lets strangers unregister, as the lie says".into()));
    }
    match observed(&lied) {
        Some(Observed::Yes) | None => Err(Failure::Diverges("the lie was believed".into())),
        Some(told) => Ok(format!("{told:?}")),
    }
}

fn needs_userfaultfd(profile: &Profile) -> Result<(), Failure> {
    match &profile.closed {
        Some(why) => Err(Failure::Skip(why.clone())),
        None => Ok(()),
    }
}
