//! The proof that differences are found: a model with a historic bug against one without it.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a test tells what it found")]

use faultless_mm::Profile;
use faultless_sim::conform::model::ModelWorlds;
use faultless_sim::differential::bug::Bug;
use faultless_sim::differential::hunt::{Catch, Hunt};

/// Programs within which a bug must be found.
const PROGRAMS: u64 = 3000;
/// Races within which one must be found that needs two calls at once.
const RACES: u64 = 1000;

/// The same kernel twice: as it is, and with the bug switched over.
fn pair(name: &str, healthy: Profile) -> (Bug, Profile, Profile) {
    let bug = Bug::named(name).unwrap();
    let mut sick = healthy.clone();
    bug.toggle(&mut sick);
    (bug, healthy, sick)
}

fn find(name: &str, healthy: Profile) {
    let (bug, healthy, sick) = pair(name, healthy);
    let (healthy, sick) = (ModelWorlds::probe(healthy).unwrap(), ModelWorlds::probe(sick).unwrap());
    let mut hunt = Hunt::new(&healthy, &sick);
    hunt.palette = hunt.palette.about(bug.theme);
    for seed in 0..PROGRAMS {
        if let Catch::Found(found) = hunt.try_seed(seed) {
            println!("{name} after {seed} programs:\n{}", found.as_test());
            return;
        }
    }
    panic!("{name} was not found in {PROGRAMS} programs");
}

fn find_in_races(name: &str, healthy: Profile) {
    let (bug, healthy, sick) = pair(name, healthy);
    let worlds = ModelWorlds::probe(healthy.clone()).unwrap();
    let mut hunt = Hunt::new(&worlds, &worlds);
    hunt.palette = hunt.palette.about(bug.theme);
    for seed in 0..RACES {
        if let Catch::Found(found) = hunt.try_sick_race(seed, &healthy, &sick).unwrap() {
            println!("{name} after {seed} races:\n{}", found.as_test());
            return;
        }
    }
    panic!("{name} was not found in {RACES} races");
}

#[test]
fn protection_lost_by_move_is_found() {
    find("move-drops-wp", Profile::linux_6_18());
}

#[test]
fn waiters_left_by_unregister_are_found() {
    find("unregister-leaves-wp-waiters", Profile::linux_6_18());
}

#[test]
fn poison_that_copy_overwrites_is_found() {
    find("copy-over-poison", Profile::linux_7_3());
}

#[test]
fn lost_wake_is_found() {
    find_in_races("lost-wake", Profile::linux_6_18());
}

#[test]
fn a_healthy_model_is_like_itself() {
    let worlds = ModelWorlds::probe(Profile::linux_6_18()).unwrap();
    let mut hunt = Hunt::new(&worlds, &worlds);
    for seed in 0..40 {
        assert!(matches!(hunt.try_seed(seed), Catch::Nothing(_)), "seed {seed}");
    }
}
