//! Proves the engine in the simulated world: it keeps every rule under every seed, and without any
//! one of its guards it breaks the rule that is named with it.
//!
//! `SEED=N` replays one seed and prints who went on when; `SEEDS=N` tries so many, from `FIRST=N`.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a test tells its figures")]

use faultless_paging::core::Guard;
use faultless_sim::engine::{Flaw, replay, run};

/// How many seeds each flaw is given to be found.
const SEEDS_MAX: u64 = 20_000;
/// How many seeds the engine goes through unless asked for more.
const SEEDS_QUICK: u64 = 1_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn seeds() -> std::ops::Range<u64> {
    let first = number("FIRST").unwrap_or(0);
    match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => first..first + number("SEEDS").unwrap_or(SEEDS_QUICK),
    }
}

#[test]
fn the_engine_keeps_every_rule() {
    let mut steps = 0;
    for seed in seeds() {
        let _named = Named(seed);
        let report = run(seed, None);
        steps += report.steps;
        assert!(report.findings.is_empty(), "{}", replay(seed, None));
    }
    println!("{} seeds, {steps} steps", seeds().end - seeds().start);
}

/// Names the seed of a run that panics.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("SEED={}", self.0);
        }
    }
}

/// Looks for the first seed under which a flaw breaks the rule that is meant for it.
fn found(flaw: Flaw) {
    let breaks = |seed: &u64| {
        let report = run(*seed, Some(flaw));
        report.findings.iter().any(|finding| finding.checker == flaw.found_by())
    };
    let seed = (0..SEEDS_MAX).find(breaks);
    let seed = seed.unwrap_or_else(|| panic!("{flaw:?} is not found within {SEEDS_MAX} seeds"));
    println!("{flaw:?} is found by {} under seed {seed}", flaw.found_by());
}

/// A test a guard.
macro_rules! without {
    ($($name:ident: $guard:ident;)+) => {$(
        #[test]
        fn $name() {
            found(Flaw::Without(Guard::$guard));
        }
    )+};
}

without! {
    a_page_that_exists_must_be_woken: WakesExisting;
    a_fault_of_a_page_that_was_served_must_be_looked_into: ServesAgain;
    of_a_partial_request_only_the_part_must_count: CountsPartial;
    what_an_event_turned_away_must_be_retried_by_the_clock: RetriesByTimer;
    events_must_count_before_the_faults_of_their_batch: EventsFirst;
    nothing_may_be_installed_while_messages_are_read: ReadsAlone;
    pages_must_come_protected_in_one_step: ProtectsAtOnce;
    a_page_that_was_given_up_must_be_zeros: RemovedIsZeros;
    what_comes_for_a_page_that_was_given_up_meanwhile_must_not_be_used: ChecksGeneration;
    a_failed_fetch_must_be_made_again: RetriesFetches;
    a_lost_page_must_be_poisoned: PoisonsLost;
    who_waits_for_a_page_that_is_given_up_must_be_woken: WakesRemoved;
    memory_must_be_complete_before_it_is_let_go: CompletesFirst;
}

#[test]
fn what_a_lying_source_brings_must_be_checked() {
    found(Flaw::TrustsSource);
}

#[test]
fn a_seed_replays_step_by_step() {
    for seed in 0..20 {
        let (one, other) = (replay(seed, None), replay(seed, None));
        assert_eq!(one.interleaving, other.interleaving, "seed {seed}");
        assert_eq!(one.steps, run(seed, None).steps, "recording changes nothing");
    }
}
