//! The saver in a simulated world: a program that writes, discards, unmaps, moves and maps memory
//! between any two steps of the saver, by seed.
//!
//! The program and its kernel are [`world`], what the saver sees of them [`ports`]. Four canaries
//! switch off something the saver relies on, and must be caught.

mod ports;
mod world;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use faultless_pages::{Bytes, PageSize, Va, VaRange};

use super::super::live::LiveMap;
use super::super::pages::{Pages, Run};
use super::super::port::Piece;
use super::*;
use ports::Core;
use world::{Missing, Thread, World};

const PAGE: u64 = 4096;
/// Pages of address space; the cut holds those from 8 to 40.
const SPACE: u64 = 64;
const CUT: std::ops::Range<u64> = 8..40;
/// Pages of the cut that are shared memory: one object of 8 pages, mapped twice.
const SHARED: std::ops::Range<u64> = 24..40;
const TWIN: u64 = 32;

/// The page of the shared object that is mapped at `page` at the cut.
fn object_at(page: u64) -> Option<u64> {
    SHARED.contains(&page).then_some(if page < TWIN { page } else { page - 8 })
}

/// The other page of the cut that shows the same shared memory.
fn twin_of(page: u64) -> Option<u64> {
    SHARED.contains(&page).then_some(if page < TWIN { page + 8 } else { page - 8 })
}

/// What a page holds at the cut.
fn content_at_cut(page: u64) -> u64 {
    1_000 + object_at(page).unwrap_or(page)
}

fn range(start: u64, end: u64) -> VaRange {
    VaRange::new(Va(start * PAGE), Va(end * PAGE))
}

fn pages(range: VaRange) -> std::ops::Range<u64> {
    range.start().0 / PAGE..range.end().0 / PAGE
}

fn move_(from: u64, to: u64, len: u64) -> Move {
    Move { from: Va(from * PAGE), to: Va(to * PAGE), len: Bytes(len * PAGE) }
}

struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// Runs one world to its end and returns what is wrong with the result.
fn violations(seed: u64, missing: Missing) -> Vec<String> {
    let mut world = World::new(seed, missing);
    let mut core = Core {
        rng: Rng(!seed),
        saved: BTreeMap::new(),
        twice: false,
        is_stream: seed.is_multiple_of(2),
        streamed: 0,
        out_of_order: false,
    };
    let runs = vec![Run { range: range(CUT.start, CUT.end), grain: PageSize::KIB4 }];
    let live = LiveMap::new([range(CUT.start, CUT.end)]);
    let shared: RangeSet = match missing {
        Missing::Announcement => RangeSet::new(),
        _ => [range(SHARED.start, SHARED.end)].into_iter().collect(),
    };
    let pages_of_cut = Pages::new(PageSize::KIB4, runs);
    let halves = [range(SHARED.start, TWIN), range(TWIN, SHARED.end)];
    let twins = match missing {
        Missing::Twins => Twins::default(),
        _ => Twins::of(halves.map(|half| (1, Bytes(0), half))),
    };
    let mut saver = Saver::new(pages_of_cut, live, Vec::new(), shared, twins, VecDeque::new());
    let mut done = Done::default();
    let mut wrong = Vec::new();
    let mut holds = Vec::new();
    for turn in 0.. {
        if turn == 20_000 {
            wrong.push("the snapshot does not end".to_owned());
            break;
        }
        world.run();
        if world.rng.below(10) == 0 {
            let (start, end) = world.span();
            holds.push(range(start, end));
            saver.hold(holds.len() as u64 - 1, range(start, end));
        }
        let served = saver.serve(&mut world, &mut core, turn, &mut done).unwrap();
        for ticket in done.settled.drain(..) {
            let held = holds[usize::try_from(ticket).unwrap()];
            for place in saver.live.at(held) {
                if saver.pages().pending_in(place.cut).next().is_some() {
                    wrong.push(format!("a hold of {held} was settled too early"));
                }
            }
        }
        if served == Turn::Done && saver.work(&mut world, &mut core).unwrap() == Turn::Done {
            break;
        }
    }
    let freed: BTreeSet<u64> = saver.pages().freed().iter().flat_map(pages).collect();
    for page in CUT {
        match core.saved.get(&page) {
            Some(&content) if content == content_at_cut(page) => {}
            Some(content) => wrong.push(format!("page {page} was saved with content {content}")),
            None if !freed.contains(&page) => wrong.push(format!("page {page} is forgotten")),
            None if world.dropped.contains(&page) || world.entangled.contains(&page) => {}
            None => wrong.push(format!("page {page} is missing")),
        }
        if core.saved.contains_key(&page) && freed.contains(&page) {
            wrong.push(format!("page {page} was both saved and recorded as freed"));
        }
    }
    if core.twice {
        wrong.push("a page was saved twice".to_owned());
    }
    if core.out_of_order {
        wrong.push("a page was saved behind a stream that had passed it".to_owned());
    }
    // Let the program finish what it began: nobody may wait for ever.
    world.lively = false;
    for turn in 0..200 {
        let _ = saver.serve(&mut world, &mut core, turn, &mut done);
        for thread in 0..world.threads.len() {
            world.step(thread);
        }
    }
    if let Some(thread) = world.threads.iter().find(|thread| !matches!(thread, Thread::Idle)) {
        wrong.push(format!("a thread waits for ever: {thread:?}"));
    }
    wrong
}

#[test]
fn every_page_is_saved_as_it_was_at_the_cut_or_freed_by_the_program() {
    let first = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0);
    for seed in first..first + 3_000 {
        let wrong = violations(seed, Missing::Nothing);
        assert!(wrong.is_empty(), "SEED={seed}: {wrong:#?}");
    }
}

#[test]
fn a_kernel_that_does_not_refuse_while_the_mapping_changes_is_caught() {
    assert!((0..3_000).any(|seed| !violations(seed, Missing::ChangeCheck).is_empty()));
}

#[test]
fn a_saver_that_does_not_look_at_the_protection_is_caught() {
    assert!((0..3_000).any(|seed| !violations(seed, Missing::ArmedCheck).is_empty()));
}

#[test]
fn a_saver_that_trusts_the_protection_of_shared_memory_is_caught() {
    assert!((0..3_000).any(|seed| !violations(seed, Missing::Announcement).is_empty()));
}

#[test]
fn a_saver_that_forgets_the_other_address_of_a_page_is_caught() {
    assert!((0..3_000).any(|seed| !violations(seed, Missing::Twins).is_empty()));
}
