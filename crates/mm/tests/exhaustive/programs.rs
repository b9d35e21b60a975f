//! Longer programs: two or three threads with two operations each, drawn by seed, in every
//! interleaving with a bound on preemptions. What every load finds, and what is left in the end,
//! must be what some order of steps leads to.
//!
//! `PROGRAMS=n` tries so many, `PROGRAM=n` one of them again; `PREEMPTIONS` as in every search.

use faultless_mm::{Profile, Random};

use crate::BEGINNINGS;
use crate::lab::Before;
use crate::ops::Op;
use crate::search::{preemptions, report, search};

/// What a thread may draw: the operations of the acceptance search, page by page.
const OPS: [Op; 18] = [
    Op::Move(0),
    Op::Move(1),
    Op::Copy(0),
    Op::Copy(1),
    Op::Zero(0),
    Op::Zero(1),
    Op::Protect(0, true),
    Op::Protect(0, false),
    Op::Load(0),
    Op::Load(1),
    Op::Store(0),
    Op::Store(1),
    Op::Fork,
    Op::Drop(0),
    Op::DropYard(1),
    Op::PageOut(0),
    Op::PageOutYard(0),
    Op::LoadYard(0),
];

/// Draws how things are before, and what each thread does.
fn draw(seed: u64) -> (Before, Vec<Vec<Op>>) {
    let mut random = Random::new(seed);
    let before = BEGINNINGS[random.below(BEGINNINGS.len())];
    // Miri takes minutes for the orders of three.
    let threads = 2 + if cfg!(miri) { 0 } else { random.below(2) };
    let mut op = || OPS[random.below(OPS.len())];
    (before, (0..threads).map(|_| vec![op(), op()]).collect())
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn longer_programs_end_as_some_order_of_their_steps() {
    let default = if cfg!(miri) { 1 } else { 30 };
    let seeds = match number("PROGRAM") {
        Some(seed) => seed..seed + 1,
        None => 0..number("PROGRAMS").unwrap_or(default),
    };
    let profile = Profile::linux_6_18();
    let mut runs = 0;
    for seed in seeds {
        let (before, threads) = draw(seed);
        // Two threads can do with more.
        let bound = preemptions(if threads.len() > 2 { 1 } else { 2 });
        match search(&profile, &profile, before, &threads, bound) {
            Ok(more) => runs += more,
            Err(counterexample) => panic!("PROGRAM={seed}: {counterexample}"),
        }
    }
    report(runs);
}
