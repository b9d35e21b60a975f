//! MOVE beside everything that happens to pages meanwhile, by seed: swap, migration, splitting,
//! collapse, pins, forks, stores, discards.
//!
//! Every page holds a word that no other has. Whatever was under way, no word may stand in two
//! places, come back once it was gone, or go without somebody having dropped it or stored over
//! it; children keep what they were born with; a pinned page stays where it is.
//!
//! `SEED=n` runs one program and prints its interleaving when it fails, `SEEDS=n` runs so many.

#![forbid(unsafe_code)]
#![expect(clippy::print_stderr, reason = "how much happened is part of the result")]

mod busy;
mod deed;
mod historic;
mod pair;
mod town;
mod watch;

use std::collections::BTreeMap;

use faultless_mm::{Bugs, Profile, Random};

use town::{Size, Town};

/// Kinds of operations there are.
const KINDS: usize = 12;
/// Under miri, which is hundreds of times slower, one seed in so many is run.
const SEEDS_FOR_ONE: u64 = if cfg!(miri) { 200 } else { 1 };

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs the programs of some seeds.
fn run(profile: &Profile, size: Size, default: u64) {
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(default.div_ceil(SEEDS_FOR_ONE)),
    };
    let few = seeds.end - seeds.start < 10;
    let mut deeds: BTreeMap<&str, u32> = BTreeMap::new();
    for seed in seeds {
        let mut town = Town::new(profile, size, Random::new(seed));
        if let Err(what) = town.live() {
            panic!("SEED={seed}: {what}\n{}", town.story());
        }
        for (name, count) in &town.deeds {
            *deeds.entry(name).or_default() += count;
        }
    }
    // A suite in which nothing happens proves nothing. Short streets cannot collapse.
    let kinds = if size == Size::Huge { KINDS } else { KINDS - 1 };
    assert!(few || deeds.len() >= kinds, "only {deeds:?} happened");
    eprintln!("{deeds:?}");
}

#[test]
fn no_page_is_lost_or_doubled_or_comes_back() {
    run(&Profile::linux_6_18(), Size::Small, 400);
}

#[test]
fn nor_on_a_kernel_that_locks_families() {
    run(&Profile::linux_6_12(), Size::Small, 200);
}

#[test]
#[cfg_attr(miri, ignore = "minutes a seed: 512 pages are looked at again and again")]
fn nor_when_pages_are_huge() {
    run(&Profile::linux_6_18(), Size::Huge, 12);
}

#[test]
fn a_forgotten_swap_cache_is_found() {
    let bugs = Bugs { move_forgets_swap_cache: true, ..Bugs::UP_TO_7_3 };
    let profile = Profile { bugs, ..Profile::linux_6_18() };
    // Miri begins at the first that finds it.
    let first = if cfg!(miri) { 20 } else { 0 };
    let fails = |seed| Town::new(&profile, Size::Small, Random::new(seed)).live().is_err();
    let found = (first..2000).any(fails);
    assert!(found, "a page whose family is wrong is found by the books");
}
