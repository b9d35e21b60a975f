//! Longer programs by seed: several threads, several operations each, anything beside anything.
//!
//! `SEED=n` runs one program and prints its interleaving when it fails, `SEEDS=n` runs so many.

use faultless_mm::{Choice, Profile, Random, Trace, replay};
use faultless_uapi::feature::{FEATURE_PAGEFAULT_FLAG_WP, FEATURE_WP_UNPOPULATED};
use faultless_uapi::mode::register;

use crate::lab::{Before, Lab};
use crate::ops::Op;
use crate::{EVENTS, MISSING};

const THREADS: usize = 4;
const STEPS: usize = 5;

/// What a thread may draw.
const OPS: [Op; 24] = [
    Op::PageOut(0),
    Op::PageOutYard(0),
    Op::Load(0),
    Op::Load(1),
    Op::Store(0),
    Op::Store(1),
    Op::Copy(0),
    Op::Copy(1),
    Op::CopyAll,
    Op::Zero(0),
    Op::Poison(1),
    Op::Move(0),
    Op::Move(1),
    Op::MoveAll,
    Op::Protect(0, true),
    Op::Protect(0, false),
    Op::Drop(0),
    Op::Drop(1),
    Op::DropYard(0),
    Op::StoreYard(1),
    Op::Unmap(1),
    Op::Unregister,
    Op::Serve,
    Op::Fork,
];

/// Draws how things are before, and what each thread does.
fn draw(random: &mut Random) -> (Before, Vec<Vec<Op>>) {
    let mut coin = || random.below(2) == 0;
    let modes = register::MISSING | if coin() { register::WP } else { 0 };
    let wp = FEATURE_PAGEFAULT_FLAG_WP | if coin() { FEATURE_WP_UNPOPULATED } else { 0 };
    let features = wp | if coin() { EVENTS } else { 0 };
    let protected = modes & register::WP != 0 && coin();
    let before = Before { filled: coin(), features, modes, protected, ..MISSING };
    let mut thread = || (0..STEPS).map(|_| OPS[random.below(OPS.len())]).collect();
    (before, (0..THREADS).map(|_| thread()).collect())
}

/// Runs the program of a seed; returns its interleaving, and what broke.
fn run(seed: u64) -> (Trace, Result<(), String>) {
    let mut random = Random::new(seed);
    let (before, threads) = draw(&mut random);
    let mut lab = Lab::new(&Profile::linux_6_18(), before);
    for (number, ops) in threads.iter().enumerate() {
        lab.prepare(ops);
        lab.begin(number);
    }
    lab.runner.choose(Choice::Seeded(random));
    lab.runner.record();
    lab.runner.run();
    let trace = lab.runner.take_trace();
    lab.runner.choose(Choice::Straight);
    let outcome = lab.finish();
    (trace, outcome.map(|_| ()).map_err(|what| format!("{before:?} {threads:?}: {what}")))
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn longer_programs_end_whatever_the_seed() {
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        // Miri is hundreds of times slower.
        None => 0..number("SEEDS").unwrap_or(if cfg!(miri) { 5 } else { 3000 }),
    };
    for seed in seeds {
        let (trace, outcome) = run(seed);
        if let Err(what) = outcome {
            panic!("SEED={seed}: {what}\n{trace}");
        }
    }
}

#[test]
fn a_seed_means_the_same_again() {
    let (first, _) = run(7);
    let (again, _) = run(7);
    let (other, _) = run(8);
    assert_eq!(first, again);
    assert_ne!(first, other);
    assert!(first.to_string().lines().count() > 20, "{first}");
}

#[test]
fn a_script_replays_its_interleaving() {
    let program = |trial: &mut faultless_mm::Trial| {
        let mut lab = Lab::new(&Profile::linux_6_18(), MISSING);
        for (number, op) in [Op::Load(0), Op::Copy(0)].into_iter().enumerate() {
            lab.prepare(&[op]);
            lab.begin(number);
        }
        trial.race(&mut lab.runner);
        lab.finish().map(|_| ())
    };
    let choices = vec![1, 0, 1, 1];
    let first = replay(choices.clone(), program).expect("nothing breaks");
    assert_eq!(replay(choices, program), Ok(first.clone()));
    assert_ne!(replay(Vec::new(), program), Ok(first));
}
