//! Runs cases one by one and prints what happened, in the form of Rust's test harness.

use std::io::{self, Write};

use super::cases::{CASES, Case};
use super::kernel::{Custody, KernelWorlds, Machine};
use super::run::{Outcome, Worlds, run_case};
use super::selection::Selection;
use super::verdict::Failure;

/// What a run was asked for on its command line.
#[derive(Debug, Default)]
struct Wish {
    selection: Selection,
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
                "--exact" => wish.selection.exact = true,
                "--list" => wish.list = true,
                "--times" => wish.times = true,
                "--skip" => wish.selection.skips.extend(arguments.next()),
                "--format" | "--test-threads" | "--color" => drop(arguments.next()),
                other if other.starts_with('-') => {}
                _ => wish.selection.filters.push(argument),
            }
        }
        wish
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
    let wish = Wish::parse(arguments);
    if wish.list {
        return list(&wish, out);
    }
    let machine = Custody::take(Machine::borrow)?;
    let tally = match KernelWorlds::probe(patience) {
        Ok(worlds) => run_cases(&wish, &worlds, &machine.notes(), out)?,
        Err(failure) => {
            Tally { failures: vec![("probe".into(), failure.to_string())], ..Tally::default() }
        }
    };
    let restored = machine.give_back();
    report(&wish, &tally, out)?;
    for line in restored.as_ref().err().into_iter().flatten() {
        writeln!(out, "left behind: {line}")?;
    }
    Ok(tally.failures.is_empty() && restored.is_ok())
}

/// Runs the cases a command line names in worlds of any kind, one kind after the other; false when
/// a case failed in any.
///
/// # Errors
/// When nothing can be written to `out`.
pub fn run_in(
    arguments: impl Iterator<Item = String>,
    kinds: &[&dyn Worlds],
    out: &mut impl Write,
) -> io::Result<bool> {
    let wish = Wish::parse(arguments);
    if wish.list {
        return list(&wish, out);
    }
    let mut all_passed = true;
    for worlds in kinds {
        let tally = run_cases(&wish, *worlds, &[], out)?;
        report(&wish, &tally, out)?;
        all_passed &= tally.failures.is_empty();
    }
    Ok(all_passed)
}

fn list(wish: &Wish, out: &mut impl Write) -> io::Result<bool> {
    let wanted = wish.selection.cases();
    for case in &wanted {
        writeln!(out, "{}: test", case.full_name())?;
    }
    writeln!(out, "\n{} tests, 0 benchmarks", wanted.len())?;
    Ok(true)
}

fn run_cases(
    wish: &Wish,
    worlds: &dyn Worlds,
    notes: &[String],
    out: &mut impl Write,
) -> io::Result<Tally> {
    let mut tally = Tally::default();
    let wanted = wish.selection.cases();
    writeln!(out, "\nrunning {} tests", wanted.len())?;
    writeln!(out, "{}, features {:#x}", worlds.title(), worlds.profile().features)?;
    for note in notes {
        writeln!(out, "note: {note}")?;
    }
    for case in wanted {
        write!(out, "test {} ... ", case.full_name())?;
        out.flush()?;
        let outcome = run_case(case, worlds);
        tell(&outcome, &mut tally, out)?;
        if wish.times {
            write!(out, " <{} ms>", outcome.took.as_millis())?;
        }
        writeln!(out)?;
    }
    Ok(tally)
}

/// Prints how a case ended, and counts it.
fn tell(outcome: &Outcome, tally: &mut Tally, out: &mut impl Write) -> io::Result<()> {
    match &outcome.verdict {
        Ok(()) => {
            tally.passed += 1;
            write!(out, "ok")
        }
        Err(Failure::Skip(why)) => {
            tally.skipped += 1;
            write!(out, "skipped: {why}")
        }
        Err(failure) => {
            tally.failures.push((outcome.case.full_name(), failure.to_string()));
            // Told at once too: on a machine that goes down nothing comes after.
            write!(out, "FAILED\n    {failure}")
        }
    }
}

fn report(wish: &Wish, tally: &Tally, out: &mut impl Write) -> io::Result<()> {
    if !tally.failures.is_empty() {
        writeln!(out, "\nfailures:")?;
        for (name, how) in &tally.failures {
            writeln!(out, "    {name}: {how}")?;
        }
    }
    let verdict = if tally.failures.is_empty() { "ok" } else { "FAILED" };
    let unwanted = |case: &&Case| !wish.selection.wants(case);
    let filtered = CASES.iter().filter(unwanted).count();
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

    #[test]
    fn unknown_options_are_ignored_and_values_are_no_filters() {
        let wish = wish(&["--nocapture", "--color", "always", "--skip", "a", "b"]);
        assert_eq!(wish.selection.filters, ["b"]);
        assert_eq!(wish.selection.skips, ["a"]);
        assert!(!wish.selection.exact);
    }

    #[test]
    fn skips_are_counted_as_ignored_and_failures_named() {
        let failures = vec![("a::b".to_owned(), "diverges: how".to_owned())];
        let tally = Tally { passed: 3, skipped: 2, failures };
        let one = CASES[0].full_name();
        let mut out = Vec::new();
        report(&wish(&["--exact", &one]), &tally, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let filtered = CASES.len() - 1;
        assert!(text.contains("    a::b: diverges: how\n"), "{text}");
        assert!(
            text.ends_with(&format!(
                "test result: FAILED. 3 passed; 1 failed; 2 ignored; 0 measured; {filtered} \
                 filtered out\n"
            )),
            "{text}"
        );
    }
}
