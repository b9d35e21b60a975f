//! Bugs that kernels had: with the switch on, a search finds an interleaving that shows it; with
//! it off, none. Those that need a thread to do two things, or reclaim, are in `moving`.

use faultless_mm::{Bugs, Counterexample, Profile, explore};
use faultless_uapi::mode::register;

use crate::lab::{Before, Lab};
use crate::ops::Op;
use crate::search::{alone, bound, check, search};
use crate::{MISSING, PROTECTED};

/// As every search; under miri a preemption too, without which no bug shows.
fn enough(ops: &[Op]) -> Option<usize> {
    bound(ops).map(|preemptions| preemptions.max(1))
}

/// Runs a search whose bug must show.
fn finds(bugs: Bugs, profile: &Profile, before: Before, ops: &[Op]) -> Counterexample {
    if !cfg!(miri) {
        check(profile, before, ops, bound(ops));
    }
    let buggy = Profile { bugs, ..profile.clone() };
    let found = search(&buggy, profile, before, &alone(ops), enough(ops));
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
    explore(enough(&ops), |trial| {
        let mut lab = Lab::new(profile, Before { forgets_to_wake: true, ..MISSING });
        for (number, op) in ops.iter().enumerate() {
            lab.prepare(&[*op]);
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
