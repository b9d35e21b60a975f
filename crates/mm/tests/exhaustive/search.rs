//! Searching: every interleaving of a program must end in a way that doing its steps one after
//! the other can lead to.
//!
//! How many preemptions are allowed: three for two operations, two where MOVE or swap is among
//! them, one for three operations; `PREEMPTIONS=N` sets another bound, `PREEMPTIONS=all` none.
//! Under miri, where an interleaving takes a third of a second and what is looked for hangs on no
//! order, none is allowed, and of many searches that are alike one is made.

use std::collections::BTreeSet;

use faultless_mm::{Counterexample, Profile, explore};

use crate::EVENTS;
use crate::lab::{Before, Lab};
use crate::ops::Op;
use crate::racer::Outcome;

/// What one step after the other can lead to, in every order of the threads.
pub(crate) fn sequential(
    profile: &Profile,
    before: Before,
    threads: &[Vec<Op>],
) -> BTreeSet<Outcome> {
    let mut outcomes = BTreeSet::new();
    let mut script = Vec::new();
    loop {
        let (outcome, choices) = one_order(profile, before, threads, &script);
        outcomes.insert(outcome);
        let Some(next) = choices.iter().rposition(|(chosen, of)| chosen + 1 < *of) else {
            return outcomes;
        };
        script = choices[..next].iter().map(|(chosen, _)| *chosen).collect();
        script.push(choices[next].0 + 1);
    }
}

/// One order of steps, as a script says and straight on beyond its end; returns each choice and
/// of how many it was one.
fn one_order(
    profile: &Profile,
    before: Before,
    threads: &[Vec<Op>],
    script: &[usize],
) -> (Outcome, Vec<(usize, usize)>) {
    let mut lab = Lab::new(profile, before);
    for ops in threads {
        lab.prepare(ops);
    }
    // Who is answered goes on to the next operation, so it matters when that is.
    let serves = threads.iter().any(|ops| ops.len() > 1);
    let mut choices = Vec::new();
    loop {
        let ready = lab.ready();
        let of = ready.len() + usize::from(serves && lab.is_asked());
        if of == 0 {
            break;
        }
        let chosen = script.get(choices.len()).copied().unwrap_or(0);
        choices.push((chosen, of));
        match ready.get(chosen) {
            Some(number) => lab.step(*number),
            None => {
                lab.serve();
                lab.go_on();
            }
        }
    }
    (lab.finish().expect("one after the other works"), choices)
}

/// The bound on preemptions: what `PREEMPTIONS` says, or the default.
pub(crate) fn preemptions(default: usize) -> Option<usize> {
    match std::env::var("PREEMPTIONS").as_deref() {
        Ok("all") => None,
        Ok(number) => Some(number.parse().expect("PREEMPTIONS is a number or all")),
        Err(_) => Some(if cfg!(miri) { 0 } else { default }),
    }
}

/// The bound for threads with one operation each.
pub(crate) fn bound(ops: &[Op]) -> Option<usize> {
    let long = ops.iter().any(|op| op.is_long());
    preemptions(if ops.len() > 2 { 1 } else { 3 - usize::from(long) })
}

/// Looks for an interleaving that ends in no way that one after the other can lead to in a sound
/// kernel; returns how many there are when there is none.
pub(crate) fn search(
    profile: &Profile,
    sound: &Profile,
    before: Before,
    threads: &[Vec<Op>],
    bound: Option<usize>,
) -> Result<u64, Counterexample> {
    // With an event pending, requests see a change begun and not done: no order of whole ones.
    let told = before.features & EVENTS != 0;
    let allowed = sequential(sound, before, threads);
    explore(bound, |trial| {
        let mut lab = Lab::new(profile, before);
        for (number, ops) in threads.iter().enumerate() {
            lab.prepare(ops);
            lab.begin(number);
        }
        trial.race(&mut lab.runner);
        let outcome = lab.finish()?;
        if told || allowed.contains(&outcome) {
            return Ok(());
        }
        Err(format!("{before:?} {threads:?}: {outcome:x?} is none of {allowed:x?}"))
    })
}

/// Threads with one operation each.
pub(crate) fn alone(ops: &[Op]) -> Vec<Vec<Op>> {
    ops.iter().map(|op| vec![*op]).collect()
}

/// Checks operations against each other; returns how many interleavings there are.
pub(crate) fn check(
    profile: &Profile,
    before: Before,
    ops: &[Op],
    preemptions: Option<usize>,
) -> u64 {
    search(profile, profile, before, &alone(ops), preemptions)
        .unwrap_or_else(|counterexample| panic!("{counterexample}"))
}

/// Checks every pair of `ops`, each also with itself, from every beginning.
pub(crate) fn check_pairs(befores: &[Before], ops: &[Op]) {
    check_all(befores, ops, 2, bound);
}

/// Checks every three of `ops`.
pub(crate) fn check_triples(befores: &[Before], ops: &[Op]) {
    check_all(befores, ops, 3, bound);
}

/// Checks every choice of so many operations, each as often as may be, from every beginning.
pub(crate) fn check_all(
    befores: &[Before],
    ops: &[Op],
    count: usize,
    bound: impl Fn(&[Op]) -> Option<usize>,
) {
    let profile = Profile::linux_6_18();
    let cases = if cfg!(miri) { one_case(befores, ops, count) } else { cases(befores, ops, count) };
    report(cases.iter().map(|(before, ops)| check(&profile, *before, ops, bound(ops))).sum());
}

/// Every choice of so many operations, from every beginning.
fn cases(befores: &[Before], ops: &[Op], count: usize) -> Vec<(Before, Vec<Op>)> {
    let mut cases = Vec::new();
    for chosen in choices(ops, count) {
        cases.extend(befores.iter().map(|before| (*before, chosen.clone())));
    }
    cases
}

/// One of them, for miri, which takes long even to list them all: of operations of one step, whose
/// orders are few, neighbours in the middle.
fn one_case(befores: &[Before], ops: &[Op], count: usize) -> Vec<(Before, Vec<Op>)> {
    let short: Vec<Op> = ops.iter().copied().filter(|op| op.steps().len() == 1).collect();
    let from = (short.len() - count) / 2;
    vec![(befores[befores.len() / 2], short[from..from + count].to_vec())]
}

/// Every choice of so many things, in order, the same one as often as may be.
fn choices(ops: &[Op], count: usize) -> Vec<Vec<Op>> {
    if count == 0 {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for (place, first) in ops.iter().enumerate() {
        for mut rest in choices(&ops[place..], count - 1) {
            rest.insert(0, *first);
            all.push(rest);
        }
    }
    all
}

/// Tells how much was tried, which must not become little unnoticed.
pub(crate) fn report(runs: u64) {
    let least = if cfg!(miri) { 1 } else { 1000 };
    assert!(runs > least, "only {runs} interleavings: the points to choose at are gone");
    eprintln!("{runs} interleavings");
}
