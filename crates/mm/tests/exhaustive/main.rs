//! Every interleaving of small programs ends as if its operations had happened one after the
//! other, nobody sleeps for ever, and the books agree.
//!
//! What one after the other can lead to is found by doing so in every order. Then every
//! interleaving, at the places where the kernel takes and gives back locks, must end in one of
//! these ways: no page is lost, doubled or comes back from the dead.
//!
//! `PREEMPTIONS=N` raises the bound of the searches, `PREEMPTIONS=all` takes it off.

mod lab;

use std::collections::BTreeSet;

use faultless_mm::{Bugs, Counterexample, Profile, explore};

use lab::{Lab, Op, Outcome};

/// How a page was before a race.
#[derive(Clone, Copy, Debug)]
enum Before {
    Missing,
    Filled,
}

fn lab(profile: &Profile, before: Before) -> Lab {
    let mut lab = Lab::new(profile);
    if matches!(before, Before::Filled) {
        lab.fill(0, 0x50);
    }
    lab
}

/// Every order of `count` things.
fn orders(count: usize) -> Vec<Vec<usize>> {
    if count == 0 {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for order in orders(count - 1) {
        for place in 0..count {
            let mut longer = order.clone();
            longer.insert(place, count - 1);
            all.push(longer);
        }
    }
    all
}

/// What one after the other can lead to. Operations keep their numbers, so that the words they
/// write stay the same.
fn sequential(profile: &Profile, before: Before, ops: &[Op]) -> BTreeSet<Outcome> {
    let mut outcomes = BTreeSet::new();
    for order in orders(ops.len()) {
        let mut lab = lab(profile, before);
        for op in ops {
            lab.prepare(*op);
        }
        for number in order {
            lab.begin(number);
            lab.runner.run();
        }
        outcomes.insert(lab.finish().expect("one after the other works"));
    }
    outcomes
}

fn bound(default: usize) -> Option<usize> {
    match std::env::var("PREEMPTIONS").as_deref() {
        Ok("all") => None,
        Ok(number) => Some(number.parse().expect("PREEMPTIONS is a number or all")),
        Err(_) => Some(default),
    }
}

/// Looks for an interleaving that ends in no way that one after the other can lead to; returns how
/// many there are when there is none.
fn search(
    profile: &Profile,
    before: Before,
    ops: &[Op],
    default: usize,
) -> Result<u64, Counterexample> {
    let allowed = sequential(&Profile { bugs: Bugs::UP_TO_7_3, ..profile.clone() }, before, ops);
    explore(bound(default), |trial| {
        let mut lab = lab(profile, before);
        for (number, op) in ops.iter().enumerate() {
            lab.prepare(*op);
            lab.begin(number);
        }
        trial.race(&mut lab.runner);
        let outcome = lab.finish()?;
        if allowed.contains(&outcome) {
            return Ok(());
        }
        Err(format!("{before:?} {ops:?}: {outcome:x?} is none of {allowed:x?}"))
    })
}

fn check(before: Before, ops: &[Op], default: usize) -> u64 {
    match search(&Profile::linux_6_18(), before, ops, default) {
        Ok(runs) => runs,
        Err(counterexample) => panic!("{counterexample}"),
    }
}

const OPS: [Op; 7] =
    [Op::Load(0), Op::Store(0), Op::Copy(0), Op::Zero(0), Op::Drop(0), Op::Fork, Op::Copy(1)];

#[test]
fn every_interleaving_of_two_operations_is_some_order_of_them() {
    let mut runs = 0;
    for (index, first) in OPS.iter().enumerate() {
        for second in &OPS[index..] {
            for before in [Before::Missing, Before::Filled] {
                runs += check(before, &[*first, *second], 3);
            }
        }
    }
    assert!(runs > 1000, "only {runs} interleavings: the points to choose at are gone");
}

#[test]
fn every_interleaving_of_three_operations_is_some_order_of_them() {
    let mut runs = 0;
    for (index, first) in OPS.iter().enumerate() {
        for (offset, second) in OPS[index..].iter().enumerate() {
            for third in &OPS[index + offset..] {
                runs += check(Before::Missing, &[*first, *second, *third], 1);
                runs += check(Before::Filled, &[*first, *second, *third], 1);
            }
        }
    }
    assert!(runs > 1000, "only {runs} interleavings: the points to choose at are gone");
}

fn with(bugs: Bugs) -> Profile {
    Profile { bugs, ..Profile::linux_6_18() }
}

/// A handler that forgets to wake who waits for a page that is there already.
fn careless(profile: &Profile) -> Result<u64, Counterexample> {
    explore(bound(2), |trial| {
        let mut lab = lab(profile, Before::Missing);
        lab.forgets_to_wake = true;
        for (number, op) in [Op::Load(0), Op::Copy(0)].iter().enumerate() {
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
    let counterexample = careless(&with(Bugs { lost_wake: true, ..Bugs::UP_TO_7_3 }))
        .expect_err("a thread sleeps for ever");
    assert!(counterexample.what.starts_with("never ends"), "{counterexample}");
}
