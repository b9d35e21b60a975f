//! Bugs that kernels had in MOVE and around it: with the switch on, a search finds what they led
//! to; with it off, it finds nothing.

use faultless_mm::{Bugs, Counterexample, Profile, explore};

use crate::pair::{Pair, WORD};

/// Miri takes a quarter of an hour for two.
const PREEMPTIONS: Option<usize> = Some(if cfg!(miri) { 1 } else { 2 });

/// MOVE beside reclaim asking how often the page is used. While the page changes hands it is
/// mapped once at any moment, and a walk that holds what it must hold sees that.
fn ageing(profile: &Profile) -> Result<u64, Counterexample> {
    explore(PREEMPTIONS, |trial| {
        let mut pair = Pair::new(profile);
        pair.begin_move();
        let reclaim = pair.kernel.spawn_thread(pair.who);
        let (kernel, at) = (pair.kernel.clone(), pair.src);
        let aged = pair.runner.start(reclaim, async move { kernel.age(reclaim, at).await });
        trial.race(&mut pair.runner);
        match aged.take() {
            Some(Some(age)) if age.mappings != 1 => Err(format!("{age:?} of a mapped page")),
            Some(_) => Ok(()),
            None => Err("never ends".into()),
        }
    })
}

#[test]
fn a_walk_that_holds_the_wrong_family_is_found() {
    let old = Profile::linux_6_12();
    ageing(&old).expect("the family is looked at again");
    ageing(&Profile::linux_6_18()).expect("the page is locked");
    let bugs = Bugs { walk_forgets_root_check: true, ..Bugs::UP_TO_7_3 };
    let found = ageing(&Profile { bugs, ..old }).expect_err("a walk misses the page");
    assert!(found.what.contains("mappings: 0"), "{found}");
}

/// MOVE of a page in swap, beside a thread that brings it back and swaps it out again, and one
/// that loads at the destination.
fn swapping(profile: &Profile) -> Result<u64, Counterexample> {
    explore(PREEMPTIONS, |trial| {
        let mut pair = Pair::new(profile);
        let out = pair.kernel.swap_out(pair.who, pair.src);
        assert_eq!(pair.runner.now(pair.who, out), Some(true));
        pair.begin_move();
        let busy = pair.kernel.spawn_thread(pair.who);
        let (kernel, src) = (pair.kernel.clone(), pair.src);
        let _to_and_fro = pair.runner.start(busy, async move {
            let _ = kernel.load(busy, src, &mut [0; 8]).await;
            kernel.swap_out(busy, src).await
        });
        let reader = pair.kernel.spawn_thread(pair.who);
        let (kernel, dst) = (pair.kernel.clone(), pair.dst);
        let _read =
            pair.runner.start(reader, async move { kernel.load(reader, dst, &mut [0; 8]).await });
        trial.race(&mut pair.runner);
        pair.kernel.audit()?;
        let word = pair.load(pair.dst).or_else(|| pair.load(pair.src));
        if word == Some(WORD) { Ok(()) } else { Err(format!("{word:x?} is left of the page")) }
    })
}

#[test]
fn a_page_that_passes_through_the_swap_cache_is_found() {
    let sound = Profile::linux_6_18();
    swapping(&sound).expect("the swap cache is looked at again");
    if cfg!(miri) {
        // These take two preemptions to show.
        return;
    }
    for bugs in [
        Bugs { move_forgets_swap_recheck: true, ..Bugs::UP_TO_7_3 },
        Bugs { move_forgets_swap_cache: true, ..Bugs::UP_TO_7_3 },
    ] {
        let found = swapping(&Profile { bugs, ..sound.clone() }).expect_err("a lost page");
        assert!(found.what.contains("reverse map"), "{found}");
    }
}
