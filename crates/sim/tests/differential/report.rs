//! What a run found, told in the form of Rust's test harness.

use std::time::Duration;

use faultless_sim::differential::coverage::Coverage;
use faultless_sim::differential::hunt::{Catch, Found};

use super::options::Options;

/// More differences than this are likely one and the same.
const ENOUGH: usize = 10;

/// Counts and findings of a run.
#[derive(Default)]
pub(crate) struct Report {
    skipped: Option<String>,
    programs: u64,
    steps: u64,
    found: usize,
    unsteady: u64,
    /// The bug that was switched on was found.
    proven: bool,
    took: Duration,
    coverage: Coverage,
}

impl Report {
    /// A run that could not take place.
    pub(crate) fn skipped(why: String) -> Report {
        Report { skipped: Some(why), ..Report::default() }
    }

    /// How many programs were run.
    pub(crate) fn programs(&self) -> u64 {
        self.programs
    }

    /// Says whether more findings would tell nothing more.
    pub(crate) fn is_full(&self) -> bool {
        self.found >= ENOUGH
    }

    /// Takes note of a program's end, and tells a finding at once.
    pub(crate) fn note(&mut self, seed: u64, caught: Catch) {
        self.programs += 1;
        match caught {
            Catch::Nothing(steps) => self.steps += steps,
            Catch::Unsteady(line) => {
                self.unsteady += 1;
                println!("seed {seed} differed once and then no more: {line}");
            }
            Catch::Found(found) => {
                self.found += 1;
                println!("\n{}", found.as_test());
            }
        }
    }

    /// Takes note of a difference that is there with the bug and gone without it.
    pub(crate) fn prove(&mut self, found: &Found) {
        self.programs += 1;
        self.proven = true;
        println!("\n{}\ngone without the bug", found.as_test());
    }

    /// Says whether the bug was found.
    pub(crate) fn is_proven(&self) -> bool {
        self.proven
    }

    /// Takes note of the end of the run.
    pub(crate) fn finish(&mut self, took: Duration, coverage: Coverage) {
        (self.took, self.coverage) = (took, coverage);
    }

    /// Tells how the run ended; false if it failed. With a bug switched on, a run that finds
    /// nothing has failed.
    pub(crate) fn conclude(&self, options: &Options) -> bool {
        if let Some(why) = &self.skipped {
            println!("skipped: {why}");
            return tell_result("ok", 0, 0, 1);
        }
        let Report { programs, steps, found, unsteady, took, .. } = self;
        let rate = u128::from(*steps) * 1000 / took.as_millis().max(1);
        println!(
            "{programs} programs, {steps} steps, {rate} steps a second, {found} differences, \
             {unsteady} unsteady"
        );
        if options.coverage {
            print!("{}", self.coverage);
        }
        let passed = *found == 0 && self.proven == options.bug.is_some();
        let verdict = if passed { "ok" } else { "FAILED" };
        println!("test model_does_as_the_kernel ... {verdict}");
        tell_result(verdict, u8::from(passed), u8::from(!passed), 0)
    }
}

/// Prints the line that is counted; says whether nothing failed.
pub(crate) fn tell_result(verdict: &str, passed: u8, failed: u8, ignored: u8) -> bool {
    println!(
        "\ntest result: {verdict}. {passed} passed; {failed} failed; {ignored} ignored; \
         0 measured; 0 filtered out"
    );
    failed == 0
}
