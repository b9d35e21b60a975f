//! Seed after seed: draws a program, runs it in two kinds of world, and makes what differs small.

use std::sync::Arc;

use super::coverage::Coverage;
use super::duel::{Difference, Outcome, duel};
use super::generate::{generate, generate_race};
use super::palette::Palette;
use super::print::as_test;
use super::program::{Arena, Program};
use super::race::Race;
use super::seen::Seen;
use super::shrink::shrink;
use super::watch::Watch;
use crate::conform::verdict::{Failure, Verdict};
use crate::conform::{Profile, Worlds};

/// Programs tried to make one smaller.
const SHRINK_BUDGET: usize = 600;
/// The same for programs with huge pages, which take many times as long.
const SHRINK_BUDGET_HUGE: usize = 200;
/// How often a race is run.
const RACES: usize = 4;
/// How often a difference must show again to count.
const REPEATS: usize = 2;

/// Two kinds of world to compare.
pub struct Hunt<'w> {
    /// One kind.
    pub left: &'w dyn Worlds,
    /// The other; it tells kinds of entries, if it is a model.
    pub right: &'w dyn Worlds,
    /// What programs are drawn from.
    pub palette: Palette,
    /// What was met.
    pub coverage: Coverage,
    /// What is under way.
    pub watch: Arc<Watch>,
}

/// How the program of a seed ended.
#[derive(Debug)]
pub enum Catch {
    /// Without a difference, after so many steps.
    Nothing(u64),
    /// With a difference.
    Found(Box<Found>),
    /// With one that did not show again: not everything a kernel does hangs on the program alone.
    Unsteady(String),
}

/// A difference, and the smallest program that shows it.
#[derive(Clone, Debug)]
pub struct Found {
    /// The seed.
    pub seed: u64,
    /// The program.
    pub program: Program,
    /// What differs, a line each.
    pub lines: Vec<String>,
}

impl Found {
    /// The program as a Rust test.
    #[must_use]
    pub fn as_test(&self) -> String {
        as_test(&self.program, &format!("differs_by_seed_{}", self.seed), &self.lines)
    }
}

impl<'w> Hunt<'w> {
    /// Prepares to compare two kinds of world.
    #[must_use]
    pub fn new(left: &'w dyn Worlds, right: &'w dyn Worlds) -> Hunt<'w> {
        let palette = Palette::of(left.profile(), right.profile());
        let (coverage, watch) = (Coverage::default(), Arc::default());
        Hunt { left, right, palette, coverage, watch }
    }

    /// Runs the program of a seed, which rather goes where none has gone before.
    pub fn try_seed(&mut self, seed: u64) -> Catch {
        let program = generate(seed, &self.palette, &self.coverage.unmet());
        let mut coverage = Coverage::default();
        let outcome = self.run(&program, &mut coverage);
        self.coverage.add(&coverage);
        match outcome {
            Ok(Outcome::Equal(steps)) => Catch::Nothing(steps),
            Ok(Outcome::Different(difference)) => self.judge(seed, &program, &difference),
            Err(failure) => self.judge_failure(seed, program, &failure),
        }
    }

    /// Says whether the worlds do the same in a program.
    #[must_use]
    pub fn agrees(&self, program: &Program) -> bool {
        matches!(self.run(program, &mut Coverage::default()), Ok(Outcome::Equal(_)))
    }

    /// Runs the race of a seed some times in the first kind of world. What it shows must be among
    /// the outcomes that `model` allows; a race with too many of them is not judged.
    #[must_use]
    pub fn try_race(&self, seed: u64, model: &faultless_mm::Profile) -> Catch {
        let race = generate_race(seed, &self.palette);
        let program = race.as_program();
        let run = || self.watch.during(&program, || self.run_race(seed, &race, model));
        // A world that broke down, or was out of time, does so again if the race is why.
        run().or_else(|_| run()).unwrap_or_else(|failure| {
            let lines = vec![failure.to_string()];
            Catch::Found(Box::new(Found { seed, program: program.clone(), lines }))
        })
    }

    /// Says whether a sick model shows something in the race of a seed that a healthy one never
    /// does. A kernel that is well could not tell: what it shows, the sick model shows too.
    ///
    /// # Errors
    /// When a model breaks down.
    pub fn try_sick_race(
        &self,
        seed: u64,
        healthy: &faultless_mm::Profile,
        sick: &faultless_mm::Profile,
    ) -> Verdict<Catch> {
        let race = generate_race(seed, &self.palette);
        let profile = self.right.profile();
        let (Some(allowed), Some(shown)) =
            (race.outcomes(profile, healthy)?, race.outcomes(profile, sick)?)
        else {
            return Ok(Catch::Nothing(0));
        };
        let only_sick = shown.iter().find(|outcome| !allowed.contains(outcome));
        Ok(only_sick.map_or(Catch::Nothing(0), |outcome| {
            none_of(seed, &race, outcome, &allowed, ["sick model", "healthy model"])
        }))
    }

    fn run_race(&self, seed: u64, race: &Race, model: &faultless_mm::Profile) -> Verdict<Catch> {
        let Some(allowed) = race.outcomes(self.right.profile(), model)? else {
            return Ok(Catch::Nothing(0));
        };
        for _ in 0..RACES {
            let mut world = self.left.fresh(self.left.profile());
            let Some(shown) = race.run_freely(world.as_mut())? else { break };
            if !allowed.contains(&shown) {
                let names = [self.left.title(), self.right.title()];
                let names = names.each_ref().map(String::as_str);
                return Ok(none_of(seed, race, &shown, &allowed, names));
            }
        }
        Ok(Catch::Nothing(u64::try_from(race.program.steps.len()).unwrap_or(0)))
    }

    fn run(&self, program: &Program, coverage: &mut Coverage) -> Verdict<Outcome> {
        let mut left = self.left.fresh(self.left.profile());
        let mut right = self.right.fresh(self.right.profile());
        self.watch.during(program, || duel(program, left.as_mut(), right.as_mut(), coverage))
    }

    /// What differs in a program, if anything does.
    fn lines(&self, program: &Program) -> Option<Vec<String>> {
        match self.run(program, &mut Coverage::default()) {
            Ok(Outcome::Different(difference)) => Some(self.lines_of(&difference)),
            _ => None,
        }
    }

    fn lines_of(&self, difference: &Difference) -> Vec<String> {
        let names = [self.left.title(), self.right.title()];
        let names = names.each_ref().map(String::as_str);
        let mut lines = difference.left.differences(&difference.right, names);
        if !difference.met.is_empty() {
            let met = difference.met.iter().map(|(page, kind)| format!("{page}: {kind:?}"));
            lines.push(format!("the last step met {}", met.collect::<Vec<_>>().join(", ")));
        }
        lines
    }

    /// A call that neither ends nor waits, or a world that broke down: all there is to go by is the
    /// program, if it does so again.
    fn judge_failure(&self, seed: u64, program: Program, failure: &Failure) -> Catch {
        let lines = vec![failure.to_string()];
        if self.run(&program, &mut Coverage::default()).is_err() {
            return Catch::Found(Box::new(Found { seed, program, lines }));
        }
        Catch::Unsteady(as_test(&program, &format!("hangs_by_seed_{seed}"), &lines))
    }

    fn judge(&self, seed: u64, program: &Program, difference: &Difference) -> Catch {
        let lines = self.lines_of(difference);
        let shows = |program: &Program| self.lines(program).is_some_and(|l| alike(&l, &lines));
        if !(0..REPEATS).all(|_| shows(program)) {
            return Catch::Unsteady(lines.first().cloned().unwrap_or_default());
        }
        let budget = match program.arena {
            Arena::Small => SHRINK_BUDGET,
            Arena::Huge => SHRINK_BUDGET_HUGE,
        };
        let program = shrink(program, budget, shows);
        let lines = self.lines(&program).unwrap_or(lines);
        Catch::Found(Box::new(Found { seed, program, lines }))
    }
}

/// An outcome of a race that is none of those allowed, told by the nearest of them.
fn none_of(seed: u64, race: &Race, shown: &Seen, allowed: &[Seen], names: [&str; 2]) -> Catch {
    let nearest = allowed.iter().map(|outcome| shown.differences(outcome, names));
    let mut lines = nearest.min_by_key(Vec::len).unwrap_or_default();
    let count = allowed.len();
    lines.insert(0, format!("the last two steps at once; of {count} outcomes none is:"));
    Catch::Found(Box::new(Found { seed, program: race.as_program(), lines }))
}

/// Says whether two differences are of the same kind: numbers aside, their first lines are about
/// the same thing.
fn alike(ours: &[String], theirs: &[String]) -> bool {
    let topic = |lines: &[String]| -> Option<String> {
        let line = lines.first()?;
        let about = line.split(':').next().unwrap_or(line);
        Some(about.chars().filter(|c| !c.is_ascii_digit()).collect())
    };
    topic(ours) == topic(theirs)
}

/// The model that plays the kernel of a profile, with what that kernel offers on this machine.
#[must_use]
pub fn model_of(kernel: &Profile) -> faultless_mm::Profile {
    let mut model = faultless_mm::Profile::of(kernel.version);
    model.features &= kernel.features;
    model.has_memory_failure = kernel.has_memory_failure;
    model.unprivileged_allowed = kernel.unprivileged_allowed;
    if kernel.transparent_huge_page.is_none() {
        model.transparent_huge_page = None;
    }
    model
}
