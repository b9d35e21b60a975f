//! Proves the simulated world and its checkers: a pager that does everything right keeps every
//! rule under every seed, and each flaw is found by the checker that is there for it.
//!
//! `SEED=N` replays one seed and prints who went on when; `SEEDS=N` tries so many.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a test tells its figures")]

use faultless_sim::pagers::{Flaw, Report, replay, run};

/// How many seeds each flaw is given to be found.
const SEEDS_MAX: u64 = 10_000;
/// How many seeds the right pager goes through unless asked for more.
const SEEDS_QUICK: u64 = 2_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn seeds() -> std::ops::Range<u64> {
    match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(SEEDS_QUICK),
    }
}

#[test]
fn the_right_pager_keeps_every_rule() {
    let mut steps = 0;
    for seed in seeds() {
        let report = run(seed, None);
        steps += report.steps;
        assert!(report.findings.is_empty(), "{}", replay(seed, None));
    }
    println!("{} seeds, {steps} steps", seeds().end - seeds().start);
}

/// Looks for the first seed under which a flaw breaks the rule that is meant for it.
fn found(flaw: Flaw) -> Report {
    let breaks = |seed: &u64| {
        let report = run(*seed, Some(flaw));
        report.findings.iter().any(|finding| finding.checker == flaw.found_by())
    };
    let seed = (0..SEEDS_MAX).find(breaks);
    let seed = seed.unwrap_or_else(|| panic!("{flaw:?} is not found within {SEEDS_MAX} seeds"));
    println!("{flaw:?} is found by {} under seed {seed}", flaw.found_by());
    replay(seed, Some(flaw))
}

#[test]
fn serving_in_read_order_past_a_remove_is_found() {
    found(Flaw::ServesInReadOrder);
}

#[test]
fn ignoring_that_a_page_exists_is_found() {
    found(Flaw::IgnoresExisting);
}

#[test]
fn polling_for_ever_after_being_turned_away_is_found() {
    found(Flaw::PollsOnAgain);
}

#[test]
fn closing_with_faults_pending_is_found() {
    found(Flaw::ClosesEarly);
}

#[test]
fn installing_before_protecting_is_found() {
    found(Flaw::ProtectsLater);
}

#[test]
fn asking_a_page_server_only_once_is_found() {
    found(Flaw::AsksOnce);
}

#[test]
fn taking_any_answer_for_the_one_asked_for_is_found() {
    found(Flaw::TakesAnyAnswer);
}

#[test]
fn a_seed_replays_step_by_step() {
    for seed in 0..20 {
        let (one, other) = (replay(seed, None), replay(seed, None));
        assert_eq!(one.interleaving, other.interleaving, "seed {seed}");
        assert_eq!(one.steps, run(seed, None).steps, "recording changes nothing");
    }
}

#[test]
fn a_report_tells_the_seed_and_the_interleaving() {
    let report = found(Flaw::ClosesEarly).to_string();
    assert!(report.starts_with("SEED="), "{report}");
    assert!(report.contains("thread "), "{report}");
    assert!(report.contains("actor "), "{report}");
    assert!(report.contains("content: "), "{report}");
}
