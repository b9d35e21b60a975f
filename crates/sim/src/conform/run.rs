//! Runs one case in a fresh world, and tells how it ended.
//!
//! [`Worlds`] is what differs between the kinds of world; the test harness and the program both
//! go through the cases they want and call [`run_case`].

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::cases::Case;
use super::profile::Profile;
use super::verdict::{Failure, Verdict};
use super::world::World;

/// A kind of world, and the way to a fresh one for each case.
pub trait Worlds {
    /// Says in a few words what it is, for the head of a report: `kernel 6.18`.
    fn title(&self) -> String;

    /// What its worlds can do.
    fn profile(&self) -> &Profile;

    /// Makes a world without processes. It behaves as its kind does, whatever `profile` says: that
    /// is only what the world tells bodies of itself, and what they hold it to.
    fn fresh(&self, profile: &Profile) -> Box<dyn World>;
}

/// How a case ended.
#[derive(Debug)]
pub struct Outcome {
    /// The case.
    pub case: &'static Case,
    /// Its verdict.
    pub verdict: Verdict,
    /// How long it took.
    pub took: Duration,
}

/// Runs one case in a fresh world, which ends with it.
#[must_use]
pub fn run_case(case: &'static Case, worlds: &dyn Worlds) -> Outcome {
    let begun = Instant::now();
    let verdict = judge(case, worlds, worlds.profile());
    Outcome { case, verdict, took: begun.elapsed() }
}

/// Runs one case in a fresh world that is held to the promises of `profile`.
pub(super) fn judge(case: &Case, worlds: &dyn Worlds, profile: &Profile) -> Verdict {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let mut world = worlds.fresh(profile);
        (case.body)(world.as_mut())
    }));
    outcome.unwrap_or_else(|_| Err(Failure::Broken("the body panicked".into())))
}
