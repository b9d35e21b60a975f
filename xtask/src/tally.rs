//! Counts what test programs print: `test result:` lines, and every skip with its reason.
//!
//! Fed line by line by [`crate::test`] and [`crate::vm`]. A test that finds something missing
//! prints `skipped: REASON` and returns; to libtest it passed, so its section of the shown output
//! moves it from passed to skipped here. A harness of our own prints the same line outside any
//! section and counts the skip as ignored itself.

use std::collections::BTreeSet;

/// Marks a reason in a test's output.
const SKIP: &str = "skipped: ";

/// The sum over all test programs seen so far.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    passed: u64,
    failed: u64,
    skipped: u64,
    /// Result lines seen.
    results: u64,
    /// What was skipped and why, in the order seen.
    skips: Vec<String>,
    /// What failed, by name.
    failures: Vec<String>,
    /// Whether the output of passing tests is being read.
    among_successes: bool,
    /// The test whose shown output is being read.
    section: Option<String>,
    /// Tests of the current program that passed in libtest's eyes and skipped in ours.
    passed_but_skipped: BTreeSet<String>,
}

impl Tally {
    /// Takes one line of a test program's output; says whether it is worth showing.
    ///
    /// What passing tests print is read for skips, which are listed at the end.
    pub(crate) fn line(&mut self, line: &str) -> bool {
        let line = line.trim_end();
        self.read(line);
        !self.among_successes
    }

    fn read(&mut self, line: &str) {
        if let Some(name) = section_start(line) {
            self.section = Some(name.to_owned());
        } else if matches!(line, "successes:" | "failures:") {
            self.section = None;
            self.among_successes = line == "successes:";
        } else if let Some(counts) = parse_result(line) {
            self.add(counts);
        } else if let Some(reason) = line.trim_start().strip_prefix(SKIP) {
            self.skip_line(reason);
        } else if let Some(ignored) = parse_ignored(line) {
            self.skips.push(ignored);
        } else if let Some(name) = parse_failed(line) {
            self.failures.push(name.to_owned());
        }
    }

    /// Counts a failure no test program could report itself, such as its own death.
    pub(crate) fn fail(&mut self, what: String) {
        self.failed += 1;
        self.failures.push(what);
    }

    /// Counts a success no test program reported, such as a soak's.
    pub(crate) fn pass(&mut self) {
        self.passed += 1;
    }

    /// How many test programs have reported their result.
    pub(crate) fn results(&self) -> u64 {
        self.results
    }

    /// Whether nothing was counted at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.passed + self.failed + self.skipped == 0
    }

    /// How many tests have failed.
    pub(crate) fn failed(&self) -> u64 {
        self.failed
    }

    /// Prints the skips with their reasons, the failures, and the count alone on the last line.
    pub(crate) fn print(&self) {
        println!();
        for skip in &self.skips {
            println!("skipped: {skip}");
        }
        for failure in &self.failures {
            println!("failed: {failure}");
        }
        println!("{}", self.closing_line());
    }

    fn closing_line(&self) -> String {
        let Tally { passed, failed, skipped, .. } = self;
        format!("{passed} passed, {failed} failed, {skipped} skipped")
    }

    fn skip_line(&mut self, reason: &str) {
        match self.section.clone() {
            Some(test) => {
                self.skips.push(format!("{test}: {reason}"));
                self.passed_but_skipped.insert(test);
            }
            None => self.skips.push(reason.to_owned()),
        }
    }

    fn add(&mut self, counts: Counts) {
        let moved = self.passed_but_skipped.len() as u64;
        self.results += 1;
        self.passed += counts.passed.saturating_sub(moved);
        self.failed += counts.failed;
        self.skipped += counts.ignored + moved;
        self.passed_but_skipped.clear();
        self.section = None;
        self.among_successes = false;
    }
}

/// The numbers of one `test result:` line.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Counts {
    passed: u64,
    failed: u64,
    ignored: u64,
}

/// Reads `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
fn parse_result(line: &str) -> Option<Counts> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let count = |what: &str| {
        counts.split("; ").find_map(|part| part.strip_suffix(what)?.trim().parse().ok())
    };
    Some(Counts {
        passed: count(" passed")?,
        failed: count(" failed")?,
        ignored: count(" ignored").unwrap_or(0),
    })
}

/// Reads `---- NAME stdout ----`.
fn section_start(line: &str) -> Option<&str> {
    line.strip_prefix("---- ")?.strip_suffix(" stdout ----")
}

/// Reads `test NAME ... ignored, REASON`, where the reason may be missing, and
/// `test NAME ... skipped: REASON`, as a harness of our own says it.
fn parse_ignored(line: &str) -> Option<String> {
    let (name, verdict) = line.strip_prefix("test ")?.split_once(" ... ")?;
    let reason = match verdict.strip_prefix(SKIP) {
        Some(reason) => reason,
        None => match verdict.strip_prefix("ignored")? {
            "" => "marked #[ignore] without a reason",
            reason => reason.strip_prefix(", ")?,
        },
    };
    Some(format!("{name}: {reason}"))
}

/// Reads `test NAME ... FAILED`.
fn parse_failed(line: &str) -> Option<&str> {
    line.strip_prefix("test ")?.strip_suffix(" ... FAILED")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally_of(output: &str) -> Tally {
        let mut tally = Tally::default();
        for line in output.lines() {
            tally.line(line);
        }
        tally
    }

    #[test]
    fn results_of_several_programs_add_up() {
        let tally = tally_of(
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; \
             finished in 0.00s\n\
             test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out\n",
        );
        assert_eq!(tally.closing_line(), "4 passed, 2 failed, 1 skipped");
    }

    #[test]
    fn a_skip_inside_a_tests_output_moves_that_test_from_passed_to_skipped_once() {
        let tally = tally_of(
            "successes:\n\n---- gdb_agrees stdout ----\nskipped: gdb is missing\n\
             skipped: gdb is still missing\n\n\nsuccesses:\n    gdb_agrees\n    other\n\n\
             test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n",
        );
        assert_eq!(tally.closing_line(), "1 passed, 0 failed, 1 skipped");
        assert_eq!(tally.skips[0], "gdb_agrees: gdb is missing");
    }

    #[test]
    fn output_of_passing_tests_is_not_worth_showing_and_the_rest_is() {
        let mut tally = Tally::default();
        let shown: Vec<&str> = "test a ... ok\n\nsuccesses:\n\n---- a stdout ----\nchatter\n\n\
                                failures:\n\n---- b stdout ----\npanicked\n\
                                test result: FAILED. 1 passed; 1 failed; 0 ignored\nDoc-tests"
            .lines()
            .filter(|line| tally.line(line))
            .collect();
        assert!(!shown.contains(&"chatter"));
        assert!(shown.contains(&"panicked"));
        assert!(shown.contains(&"Doc-tests"));
    }

    #[test]
    fn a_harness_that_counts_its_own_skips_is_not_counted_twice() {
        let tally = tally_of(
            "test poison::once ... skipped: this kernel lacks POISON\n\
             test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out\n",
        );
        assert_eq!(tally.closing_line(), "5 passed, 0 failed, 1 skipped");
        assert_eq!(tally.skips, ["poison::once: this kernel lacks POISON"]);
    }

    #[test]
    fn ignored_tests_are_listed_with_their_reason() {
        let tally = tally_of("test a ... ignored, needs hours\ntest b ... ignored\n");
        assert_eq!(tally.skips[0], "a: needs hours");
        assert!(tally.skips[1].starts_with("b: "));
    }

    #[test]
    fn failures_are_named() {
        let tally = tally_of("test ops::copy ... FAILED\n");
        assert_eq!(tally.failures, ["ops::copy"]);
    }

    #[test]
    fn other_text_counts_nothing() {
        let tally = tally_of("test result: nonsense\nrunning 3 tests\ntest a ... ok\n");
        assert_eq!(tally.closing_line(), "0 passed, 0 failed, 0 skipped");
    }
}
