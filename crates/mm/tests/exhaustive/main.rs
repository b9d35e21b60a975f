//! Every interleaving of small programs ends as if its operations had happened one after the
//! other, nobody sleeps for ever, and the books agree.
//!
//! What one after the other can lead to is found by doing so in every order. Then every
//! interleaving, at the places where the kernel takes and gives back locks, must end in one of
//! these ways: no page is lost, doubled or comes back from the dead.
//!
//! Of two operations the interleavings with three preemptions at most are tried, with two where
//! MOVE or swap is among them; of three operations those with one.
//! `PREEMPTIONS=N` sets another bound, `PREEMPTIONS=all` none.

#![expect(clippy::print_stderr, reason = "how much was tried is part of the result")]

mod lab;
mod ops;
mod seeds;

use std::collections::BTreeSet;

use faultless_mm::{Bugs, Counterexample, Profile, explore};
use faultless_uapi::feature::{FEATURE_EVENT_FORK, FEATURE_EVENT_REMOVE, FEATURE_EVENT_UNMAP};
use faultless_uapi::mode::register;

use lab::{Before, Lab, Outcome};
use ops::Op;

const MISSING: Before = Before {
    object: false,
    filled: false,
    features: 0,
    modes: register::MISSING,
    protected: false,
    yard_protected: false,
    yard_swapped: false,
    forgets_to_wake: false,
};
const FILLED: Before = Before { filled: true, ..MISSING };
const PROTECTED: Before =
    Before { modes: register::MISSING | register::WP, protected: true, ..FILLED };

const EVENTS: u64 = FEATURE_EVENT_REMOVE | FEATURE_EVENT_UNMAP | FEATURE_EVENT_FORK;

/// Every order of things that are there so many times each.
fn orders(counts: &[usize]) -> Vec<Vec<usize>> {
    if counts.iter().all(|count| *count == 0) {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for first in 0..counts.len() {
        if counts[first] == 0 {
            continue;
        }
        let mut rest = counts.to_vec();
        rest[first] -= 1;
        for mut order in orders(&rest) {
            order.insert(0, first);
            all.push(order);
        }
    }
    all
}

/// What one page after the other can lead to, in every order. Operations keep their numbers, so
/// that the words they write stay the same.
fn sequential(profile: &Profile, before: Before, ops: &[Op]) -> BTreeSet<Outcome> {
    let counts: Vec<usize> = ops.iter().map(|op| op.steps().len()).collect();
    let mut outcomes = BTreeSet::new();
    for order in orders(&counts) {
        let mut lab = Lab::new(profile, before);
        for op in ops {
            lab.prepare(*op);
        }
        for number in order {
            lab.step(number);
        }
        outcomes.insert(lab.finish().expect("one after the other works"));
    }
    outcomes
}

/// How many preemptions a search of these operations allows.
fn bound(ops: &[Op]) -> Option<usize> {
    let long = ops.iter().any(|op| op.is_long());
    match std::env::var("PREEMPTIONS").as_deref() {
        Ok("all") => None,
        Ok(number) => Some(number.parse().expect("PREEMPTIONS is a number or all")),
        Err(_) if ops.len() > 2 => Some(1),
        Err(_) => Some(if long { 2 } else { 3 }),
    }
}

/// Looks for an interleaving that ends in no way that one after the other can lead to in a sound
/// kernel; returns how many there are when there is none.
fn search(
    profile: &Profile,
    sound: &Profile,
    before: Before,
    ops: &[Op],
) -> Result<u64, Counterexample> {
    // With an event pending, requests see a change begun and not done: no order of whole ones.
    let told = before.features & EVENTS != 0;
    let allowed = sequential(sound, before, ops);
    explore(bound(ops), |trial| {
        let mut lab = Lab::new(profile, before);
        for (number, op) in ops.iter().enumerate() {
            lab.prepare(*op);
            lab.begin(number);
        }
        trial.race(&mut lab.runner);
        let outcome = lab.finish()?;
        if told || allowed.contains(&outcome) {
            return Ok(());
        }
        Err(format!("{before:?} {ops:?}: {outcome:x?} is none of {allowed:x?}"))
    })
}

fn check(before: Before, ops: &[Op]) -> u64 {
    check_with(&Profile::linux_6_18(), before, ops)
}

fn check_with(profile: &Profile, before: Before, ops: &[Op]) -> u64 {
    match search(profile, profile, before, ops) {
        Ok(runs) => runs,
        Err(counterexample) => panic!("{counterexample}"),
    }
}

/// Checks every pair of `ops`, each also with itself.
fn check_pairs(befores: &[Before], ops: &[Op]) {
    let mut runs = 0;
    for (index, first) in ops.iter().enumerate() {
        for second in &ops[index..] {
            for before in befores {
                runs += check(*before, &[*first, *second]);
            }
        }
    }
    report(runs);
}

/// Tells how much was tried, which must not become little unnoticed.
fn report(runs: u64) {
    assert!(runs > 1000, "only {runs} interleavings: the points to choose at are gone");
    eprintln!("{runs} interleavings");
}

/// Checks every three of `ops`.
fn check_triples(befores: &[Before], ops: &[Op]) {
    let mut runs = 0;
    for (index, first) in ops.iter().enumerate() {
        for (offset, second) in ops[index..].iter().enumerate() {
            for third in &ops[index + offset..] {
                for before in befores {
                    runs += check(*before, &[*first, *second, *third]);
                }
            }
        }
    }
    report(runs);
}

const FILLING: [Op; 7] =
    [Op::Load(0), Op::Store(0), Op::Copy(0), Op::Zero(0), Op::Drop(0), Op::Fork, Op::CopyAll];

#[test]
fn two_operations_end_as_one_after_the_other() {
    check_pairs(&[MISSING, FILLED], &FILLING);
}

#[test]
fn three_operations_end_as_one_after_the_other() {
    check_triples(&[MISSING, FILLED], &FILLING);
}

#[test]
fn operations_beside_changes_of_the_map_end_as_one_after_the_other() {
    let changes = [Op::Unmap(0), Op::Unregister, Op::Close, Op::Load(0), Op::CopyAll, Op::Fork];
    check_pairs(&[MISSING, FILLED], &changes);
}

#[test]
fn operations_beside_events_all_end() {
    let told = Before { features: EVENTS, ..MISSING };
    let ops = [Op::Drop(0), Op::Unmap(0), Op::Fork, Op::Copy(0), Op::Load(0), Op::Serve];
    check_pairs(&[told, Before { filled: true, ..told }], &ops);
}

#[test]
fn operations_beside_protection_end_as_one_after_the_other() {
    let open = Before { protected: false, ..PROTECTED };
    let ops = [
        Op::Protect(0, true),
        Op::Protect(0, false),
        Op::Store(0),
        Op::Load(0),
        Op::Copy(0),
        Op::Drop(0),
        Op::Fork,
    ];
    check_pairs(&[PROTECTED, open], &ops);
    check_triples(&[PROTECTED], &ops[..5]);
}

#[test]
fn operations_beside_move_end_as_one_after_the_other() {
    let ops = [
        Op::Move(0),
        Op::Copy(0),
        Op::Load(0),
        Op::DropYard(0),
        Op::StoreYard(0),
        Op::Fork,
        Op::Drop(0),
        Op::MoveAll,
    ];
    check_pairs(&[MISSING, FILLED], &ops);
    check_triples(&[MISSING], &ops[..5]);
}

#[test]
fn operations_beside_swap_end_as_one_after_the_other() {
    let ops = [
        Op::PageOutYard(0),
        Op::PageOut(0),
        Op::Move(0),
        Op::Load(0),
        Op::StoreYard(0),
        Op::Fork,
        Op::LoadYard(0),
        Op::Drop(0),
        Op::Copy(0),
    ];
    let swapped = Before { yard_swapped: true, ..MISSING };
    check_pairs(&[MISSING, FILLED, swapped], &ops);
    check_triples(&[swapped], &ops[..4]);
}

#[test]
fn operations_beside_holes_in_an_object_end_as_one_after_the_other() {
    let missing = Before { object: true, ..MISSING };
    let filled = Before { object: true, ..FILLED };
    let minor = Before { modes: register::MISSING | register::MINOR, ..filled };
    let ops = [
        Op::Punch(0),
        Op::Load(0),
        Op::Store(0),
        Op::Copy(0),
        Op::Zero(0),
        Op::Write(0),
        Op::Read(0),
        Op::Drop(0),
        Op::PageOut(0),
        Op::CopyAll,
    ];
    check_pairs(&[missing, filled, minor], &ops);
    check_triples(&[missing, filled, minor], &ops[..9]);
}

/// Takes minutes; run it with `PREEMPTIONS=2`, in release, with `-- --ignored --nocapture`.
#[test]
#[ignore = "takes minutes: every three of eleven operations"]
fn every_three_operations_end_as_one_after_the_other() {
    let ops = [
        Op::Move(0),
        Op::MoveAll,
        Op::Copy(0),
        Op::CopyAll,
        Op::Zero(1),
        Op::Protect(0, true),
        Op::Store(0),
        Op::Load(1),
        Op::Fork,
        Op::Drop(0),
        Op::PageOut(0),
    ];
    let modes = register::MISSING | register::WP;
    check_triples(&[Before { modes, ..MISSING }, PROTECTED], &ops);
}

/// Runs a search whose bug must show.
fn finds(bugs: Bugs, profile: &Profile, before: Before, ops: &[Op]) -> Counterexample {
    check_with(profile, before, ops);
    let found = search(&Profile { bugs, ..profile.clone() }, profile, before, ops);
    found.expect_err("an interleaving that shows the bug")
}

#[test]
fn a_writer_left_asleep_by_unregister_is_found() {
    let mended = Bugs { unregister_leaves_wp_waiters: false, ..Bugs::UP_TO_7_3 };
    let profile = Profile { bugs: mended, ..Profile::linux_6_18() };
    let before = Before { modes: register::WP, forgets_to_wake: true, ..PROTECTED };
    let found = finds(Bugs::UP_TO_7_3, &profile, before, &[Op::Store(0), Op::Unregister]);
    assert!(found.what.starts_with("never ends"), "{found}");
}

#[test]
fn poison_that_copy_overwrites_is_found() {
    let bugs = Bugs { copy_over_poison: true, ..Bugs::UP_TO_7_3 };
    finds(bugs, &Profile::linux_7_3(), MISSING, &[Op::Poison(0), Op::Copy(0)]);
}

#[test]
fn a_move_that_meets_the_swap_cache_is_found() {
    let bugs = Bugs { move_forgets_swap_cache: true, ..Bugs::UP_TO_7_3 };
    let ops = [Op::PageOutYard(0), Op::Move(0), Op::Load(0)];
    finds(bugs, &Profile::linux_6_18(), MISSING, &ops);
}

#[test]
fn a_move_that_drops_protection_is_found() {
    let mended = Bugs { move_drops_wp: false, ..Bugs::UP_TO_7_3 };
    let profile = Profile { bugs: mended, ..Profile::linux_6_18() };
    let modes = register::MISSING | register::WP;
    let before = Before { modes, yard_protected: true, ..MISSING };
    finds(Bugs::UP_TO_7_3, &profile, before, &[Op::Move(0), Op::Load(0)]);
}

/// A handler that forgets to wake who waits for a page that is there already.
fn careless(profile: &Profile) -> Result<u64, Counterexample> {
    let ops = [Op::Load(0), Op::Copy(0)];
    explore(bound(&ops), |trial| {
        let mut lab = Lab::new(profile, Before { forgets_to_wake: true, ..MISSING });
        for (number, op) in ops.iter().enumerate() {
            lab.prepare(*op);
            lab.begin(number);
        }
        trial.race(&mut lab.runner);
        lab.finish().map(|_| ())
    })
}

#[test]
fn a_lost_wake_is_found() {
    careless(&Profile::linux_6_18()).expect("a fault looks again after it queued itself");
    let bugs = Bugs { lost_wake: true, ..Bugs::UP_TO_7_3 };
    let counterexample =
        careless(&Profile { bugs, ..Profile::linux_6_18() }).expect_err("a thread sleeps for ever");
    assert!(counterexample.what.starts_with("never ends"), "{counterexample}");
}
