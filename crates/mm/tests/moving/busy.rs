//! Pages that cannot be moved for a while, and those that need not be in memory.

use faultless_mm::{Advice, Bugs, Profile, errno};
use faultless_pages::{Bytes, Va};

use crate::pair::{Pair, WORD};
use crate::town::PAGE;

fn pair() -> Pair {
    Pair::new(&Profile::linux_6_18())
}

#[test]
fn a_pinned_page_stays_until_the_pin_is_gone() {
    let mut pair = pair();
    let pin = pair.kernel.pin(pair.who, pair.src, Bytes(PAGE));
    let fd = pair.runner.now(pair.who, pin).expect("no waiting").expect("a pin");
    assert_eq!(pair.move_page(), Err(errno::EBUSY));
    assert_eq!(pair.load(pair.src), Some(WORD));
    let closed = pair.kernel.close(pair.who, fd);
    pair.runner.now(pair.who, closed).expect("no waiting").expect("a descriptor");
    assert_eq!(pair.move_page(), Ok(0));
    assert_eq!(pair.load(pair.dst), Some(WORD));
}

#[test]
fn a_merged_page_is_nobodys_own_until_it_is_written() {
    let mut pair = pair();
    let twin = Va(pair.src.0 - 64 * PAGE);
    let request = faultless_mm::MapRequest {
        at: twin,
        fixed: true,
        ..faultless_mm::MapRequest::anonymous(Bytes(PAGE))
    };
    let mapped = pair.kernel.map(pair.who, request);
    pair.runner.now(pair.who, mapped).expect("no waiting").expect("room");
    pair.store(twin, WORD);
    pair.advise(pair.src, Advice::Mergeable);
    pair.advise(twin, Advice::Mergeable);
    let frames = pair.kernel.usage().frames;
    let merged = pair.kernel.merge_pages(pair.who, pair.src, twin);
    assert_eq!(pair.runner.now(pair.who, merged), Some(true));
    assert_eq!(pair.kernel.usage().frames, frames - 1);
    assert_eq!(pair.move_page(), Err(errno::EBUSY));
    pair.store(pair.src, WORD + 1);
    assert_eq!(pair.move_page(), Ok(0));
    assert_eq!((pair.load(pair.dst), pair.load(twin)), (Some(WORD + 1), Some(WORD)));
    pair.kernel.audit().expect("the books agree");
}

#[test]
fn a_page_in_swap_moves_without_coming_back() {
    let mut pair = pair();
    let out = pair.kernel.swap_out(pair.who, pair.src);
    assert_eq!(pair.runner.now(pair.who, out), Some(true));
    let frames = pair.kernel.usage().frames;
    assert_eq!(pair.move_page(), Ok(0));
    assert_eq!(pair.kernel.usage().frames, frames);
    assert_eq!(pair.load(pair.dst), Some(WORD));
}

#[test]
fn pages_nobody_needs_are_dropped_by_reclaim_unless_written() {
    let mut pair = pair();
    pair.advise(pair.src, Advice::Free);
    assert_eq!(pair.load(pair.src), Some(WORD));
    pair.advise(pair.src, Advice::PageOut);
    assert_eq!(pair.load(pair.src), Some(0));
    pair.store(pair.src, WORD);
    pair.advise(pair.src, Advice::Free);
    pair.store(pair.src, WORD + 1);
    pair.advise(pair.src, Advice::PageOut);
    assert_eq!(pair.load(pair.src), Some(WORD + 1));
}

#[test]
fn the_race_of_two_moves_has_one_winner_on_every_kernel() {
    for profile in [Profile::linux_6_12(), Profile::linux_6_18(), Profile::linux_7_3()] {
        let profile = Profile { bugs: Bugs::default(), ..profile };
        let mut pair = Pair::new(&profile);
        pair.begin_move();
        pair.begin_move();
        pair.runner.run();
        assert_eq!((pair.load(pair.dst), pair.load(pair.src)), (Some(WORD), Some(0)));
        pair.kernel.audit().expect("the books agree");
    }
}
