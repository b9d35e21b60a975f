//! Reads a guest's console: which job runs, how each ended, and the tests inside counted.
//!
//! Fed line by line while [`super::boot`] runs the machine.
//!
//! # Invariants
//! - A job that reports no result of tests, a soak, counts as one test, by its exit status.
//! - A job that ends badly counts as a failure even if its own lines reported none; a machine that
//!   goes away before its plan is done counts as one, too. Silence is never success.

use super::plan::{Mark, Outcome};
use crate::tally::Tally;

/// What the console has told so far.
#[derive(Debug, Default)]
pub(crate) struct Console {
    pub(crate) tally: Tally,
    job: Option<Running>,
    done: bool,
}

/// The job under way, and what had been counted when it began.
#[derive(Debug)]
struct Running {
    name: String,
    failed: u64,
    results: u64,
}

impl Console {
    /// Takes one line; says whether it is worth showing.
    pub(crate) fn line(&mut self, line: &str) -> bool {
        match Mark::parse(line) {
            None => return self.tally.line(line),
            Some(Mark::Begin { job }) => {
                let (failed, results) = (self.tally.failed(), self.tally.results());
                self.job = Some(Running { name: job, failed, results });
            }
            Some(Mark::End { job, outcome }) => self.end(&job, outcome),
            Some(Mark::Done) => self.done = true,
        }
        true
    }

    /// Whether the guest carried out its whole plan.
    pub(crate) fn done(&self) -> bool {
        self.done
    }

    /// Ends the reading; `clean` says whether QEMU ended by itself.
    pub(crate) fn finish(mut self, clean: bool) -> Tally {
        if !self.done() {
            let job = self.job.take().map_or("before any job".to_owned(), |job| job.name);
            let how = if clean { "went down (panic?)" } else { "did not end in time" };
            self.tally.fail(format!("{job}: the guest {how}"));
        }
        self.tally
    }

    fn end(&mut self, job: &str, outcome: Outcome) {
        let before = self.job.take();
        let (failed, results) = before.map_or((0, 0), |job| (job.failed, job.results));
        match outcome {
            Outcome::Exit(0) if self.tally.results() == results => self.tally.pass(),
            Outcome::Exit(0) => {}
            _ if self.tally.failed() > failed => {}
            _ => self.tally.fail(format!("{job}: {outcome}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(log: &str) -> Console {
        let mut console = Console::default();
        for line in log.lines() {
            console.line(line);
        }
        console
    }

    #[test]
    fn a_job_that_dies_without_a_result_is_a_failure() {
        let console = read("@@guest begin a\n@@guest end a signal 11\n@@guest done\n");
        assert!(console.done());
        assert_eq!(console.finish(true).failed(), 1);
    }

    #[test]
    fn a_failure_the_job_reported_is_not_counted_again() {
        let console = read(
            "@@guest begin a\ntest result: FAILED. 1 passed; 2 failed; 0 ignored\n\
             @@guest end a exit 101\n@@guest done\n",
        );
        assert_eq!(console.finish(true).failed(), 2);
    }

    #[test]
    fn a_job_without_a_result_line_counts_by_its_exit_status() {
        let console = read("@@guest begin cut\n@@guest end cut exit 0\n@@guest done\n");
        let tally = console.finish(true);
        assert_eq!((tally.failed(), tally.is_empty()), (0, false));
    }

    #[test]
    fn a_guest_that_vanishes_is_a_failure_although_all_before_passed() {
        let console = read(
            "@@guest begin a\ntest result: ok. 1 passed; 0 failed; 0 ignored\n\
             @@guest end a exit 0\n@@guest begin b\nKernel panic\n",
        );
        assert_eq!(console.finish(true).failed(), 1);
    }
}
