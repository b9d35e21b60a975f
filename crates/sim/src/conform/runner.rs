//! Runs cases one by one and prints what happened, in the form of Rust's test harness.

use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use super::cases::{CASES, Case};
use super::kernel::{KernelWorld, Machine, probe};
use super::profile::Profile;
use super::verdict::{Failure, Verdict};

/// What a run was asked for on its command line.
#[derive(Debug, Default)]
struct Wish {
    filters: Vec<String>,
    skips: Vec<String>,
    exact: bool,
    list: bool,
    times: bool,
}

impl Wish {
    /// Reads the arguments of Rust's test harness that have a meaning here; others are ignored,
    /// for `cargo test -- --nocapture` must not fail.
    fn parse(arguments: impl Iterator<Item = String>) -> Wish {
        let mut wish = Wish::default();
        let mut arguments = arguments.peekable();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--exact" => wish.exact = true,
                "--list" => wish.list = true,
                "--times" => wish.times = true,
                "--skip" => wish.skips.extend(arguments.next()),
                "--format" | "--test-threads" | "--color" => drop(arguments.next()),
                other if other.starts_with('-') => {}
                _ => wish.filters.push(argument),
            }
        }
        wish
    }

    fn wants(&self, case: &Case) -> bool {
        let name = case.full_name();
        let matches = |filter: &String| {
            if self.exact { name == *filter } else { name.contains(filter.as_str()) }
        };
        (self.filters.is_empty() || self.filters.iter().any(matches))
            && !self.skips.iter().any(matches)
    }
}

/// How many cases ended how.
#[derive(Debug, Default)]
struct Tally {
    passed: usize,
    skipped: usize,
    failures: Vec<(String, String)>,
}

/// Runs the cases a command line names on the running kernel; false when a case failed or the
/// machine could not be restored.
///
/// `patience` stretches every limit of time that many times, for emulated machines.
///
/// # Errors
/// When nothing can be written to `out`.
pub fn run_on_kernel(
    arguments: impl Iterator<Item = String>,
    patience: u32,
    out: &mut impl Write,
) -> io::Result<bool> {
    run(&Wish::parse(arguments), patience, out)
}

fn run(wish: &Wish, patience: u32, out: &mut impl Write) -> io::Result<bool> {
    let wanted: Vec<&Case> = CASES.iter().filter(|case| wish.wants(case)).collect();
    if wish.list {
        for case in &wanted {
            writeln!(out, "{}: test", case.full_name())?;
        }
        writeln!(out, "\n{} tests, 0 benchmarks", wanted.len())?;
        return Ok(true);
    }
    let mut machine = Machine::borrow();
    let tally = run_cases(wish, &wanted, patience, &machine, out)?;
    let restored = machine.give_back();
    let filtered = CASES.len() - wanted.len();
    report(&tally, filtered, out)?;
    for line in restored.as_ref().err().into_iter().flatten() {
        writeln!(out, "left behind: {line}")?;
    }
    Ok(tally.failures.is_empty() && restored.is_ok())
}

fn run_cases(
    wish: &Wish,
    wanted: &[&Case],
    patience: u32,
    machine: &Machine,
    out: &mut impl Write,
) -> io::Result<Tally> {
    let mut tally = Tally::default();
    writeln!(out, "\nrunning {} tests", wanted.len())?;
    let profile = match probe(patience) {
        Ok(profile) => profile,
        Err(failure) => {
            tally.failures.push(("probe".into(), failure.to_string()));
            return Ok(tally);
        }
    };
    describe(&profile, machine, out)?;
    for case in wanted {
        write!(out, "test {} ... ", case.full_name())?;
        out.flush()?;
        let begun = Instant::now();
        let verdict = run_case(case, &profile, patience);
        match verdict {
            Ok(()) => {
                tally.passed += 1;
                write!(out, "ok")?;
            }
            Err(Failure::Skip(why)) => {
                tally.skipped += 1;
                write!(out, "skipped: {why}")?;
            }
            Err(failure) => {
                // Told at once too: on a machine that goes down nothing comes after.
                write!(out, "FAILED\n    {failure}")?;
                tally.failures.push((case.full_name(), failure.to_string()));
            }
        }
        if wish.times {
            write!(out, " <{} ms>", begun.elapsed().as_millis())?;
        }
        writeln!(out)?;
    }
    Ok(tally)
}

/// Runs one case in a fresh world, which ends with it.
fn run_case(case: &Case, profile: &Profile, patience: u32) -> Verdict {
    let mut world = KernelWorld::new(profile.clone(), patience);
    let outcome = catch_unwind(AssertUnwindSafe(|| (case.body)(&mut world)));
    outcome.unwrap_or_else(|_| Err(Failure::Broken("the body panicked".into())))
}

fn describe(profile: &Profile, machine: &Machine, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "kernel {}, features {:#x}", profile.version, profile.features)?;
    for note in machine.notes() {
        writeln!(out, "note: {note}")?;
    }
    Ok(())
}

fn report(tally: &Tally, filtered: usize, out: &mut impl Write) -> io::Result<()> {
    if !tally.failures.is_empty() {
        writeln!(out, "\nfailures:")?;
        for (name, how) in &tally.failures {
            writeln!(out, "    {name}: {how}")?;
        }
    }
    let verdict = if tally.failures.is_empty() { "ok" } else { "FAILED" };
    writeln!(
        out,
        "\ntest result: {verdict}. {} passed; {} failed; {} ignored; 0 measured; {filtered} \
         filtered out",
        tally.passed,
        tally.failures.len(),
        tally.skipped,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(arguments: &[&str]) -> Wish {
        Wish::parse(arguments.iter().map(|argument| (*argument).to_owned()))
    }

    fn wanted(arguments: &[&str]) -> Vec<String> {
        let wish = wish(arguments);
        CASES.iter().filter(|case| wish.wants(case)).map(Case::full_name).collect()
    }

    #[test]
    fn filters_are_parts_of_names_and_exact_ones_whole_names() {
        let one = CASES[0].full_name();
        assert!(wanted(&["wake::"]).iter().all(|name| name.starts_with("wake::")));
        assert_eq!(wanted(&["--exact", &one]), std::slice::from_ref(&one));
        assert!(!wanted(&["--skip", "wake::"]).iter().any(|name| name.starts_with("wake::")));
        assert_eq!(wanted(&["--nocapture"]).len(), CASES.len());
    }

    #[test]
    fn names_are_unique() {
        let mut names = wanted(&[]);
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn skips_are_counted_as_ignored_and_failures_named() {
        let failures = vec![("a::b".to_owned(), "diverges: how".to_owned())];
        let tally = Tally { passed: 3, skipped: 2, failures };
        let mut out = Vec::new();
        report(&tally, 4, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("    a::b: diverges: how\n"), "{text}");
        assert!(
            text.ends_with(
                "test result: FAILED. 3 passed; 1 failed; 2 ignored; 0 measured; 4 filtered out\n"
            ),
            "{text}"
        );
    }
}
