//! Every interleaving of small programs ends as if its operations had happened one after the
//! other, nobody sleeps for ever, and the books agree.
//!
//! What one after the other can lead to is found by doing so in every order. Then every
//! interleaving, at the places where the kernel takes and gives back locks, must end in one of
//! these ways: every load finds the same, every page holds the same and is protected or not, so
//! no page is lost, doubled or comes back from the dead.
//!
//! | file | holds |
//! |---|---|
//! | `ops` | what threads do |
//! | `lab` | the process whose memory they race for |
//! | `racer` | a thread, step by step or preempted anywhere |
//! | `search` | all interleavings up to a bound, against all orders |
//! | `every` | every three operations: the proof, and its short form |
//! | `programs` | longer programs with a bound on preemptions |
//! | `seeds` | long programs, one interleaving each |
//! | `historic` | bugs that must be found |

#![forbid(unsafe_code)]
#![expect(clippy::print_stderr, reason = "how much was tried is part of the result")]

mod every;
mod historic;
mod lab;
mod ops;
mod programs;
mod racer;
mod search;
mod seeds;

use faultless_uapi::feature::{FEATURE_EVENT_FORK, FEATURE_EVENT_REMOVE, FEATURE_EVENT_UNMAP};
use faultless_uapi::mode::register;

use lab::Before;
use ops::Op;
use search::{check_pairs, check_triples};

const MISSING: Before = Before {
    object: false,
    filled: false,
    features: 0,
    modes: register::MISSING,
    protected: false,
    swapped: false,
    yard_protected: false,
    yard_swapped: false,
    forgets_to_wake: false,
};
const FILLED: Before = Before { filled: true, ..MISSING };
const PROTECTED: Before =
    Before { modes: register::MISSING | register::WP, protected: true, ..FILLED };

const EVENTS: u64 = FEATURE_EVENT_REMOVE | FEATURE_EVENT_UNMAP | FEATURE_EVENT_FORK;

/// What the searches over every operation begin with: nothing there, a page there and all
/// protected, the protected page in swap, and the same of the memory that pages are moved from.
const BEGINNINGS: [Before; 5] = [OPEN, PROTECTED, SWAPPED, YARD_PROTECTED, YARD_SWAPPED];
const OPEN: Before = Before { modes: register::MISSING | register::WP, ..MISSING };
const SWAPPED: Before = Before { swapped: true, ..PROTECTED };
const YARD_PROTECTED: Before = Before { yard_protected: true, ..OPEN };
const YARD_SWAPPED: Before = Before { yard_swapped: true, ..YARD_PROTECTED };

const FILLING: [Op; 7] =
    [Op::Load(0), Op::Store(0), Op::Copy(0), Op::Zero(0), Op::Drop(0), Op::Fork, Op::CopyAll];

#[test]
fn two_operations_end_as_one_after_the_other() {
    check_pairs(&[MISSING, FILLED], &FILLING);
}

#[test]
fn three_operations_end_as_one_after_the_other() {
    check_triples(&[MISSING, FILLED], &FILLING);
}

#[test]
fn operations_beside_changes_of_the_map_end_as_one_after_the_other() {
    let changes = [Op::Unmap(0), Op::Unregister, Op::Close, Op::Load(0), Op::CopyAll, Op::Fork];
    check_pairs(&[MISSING, FILLED], &changes);
}

#[test]
fn operations_beside_events_all_end() {
    let told = Before { features: EVENTS, ..MISSING };
    let ops = [Op::Drop(0), Op::Unmap(0), Op::Fork, Op::Copy(0), Op::Load(0), Op::Serve];
    check_pairs(&[told, Before { filled: true, ..told }], &ops);
}

#[test]
fn operations_beside_protection_end_as_one_after_the_other() {
    let open = Before { protected: false, ..PROTECTED };
    let ops = [
        Op::Protect(0, true),
        Op::Protect(0, false),
        Op::Store(0),
        Op::Load(0),
        Op::Copy(0),
        Op::Drop(0),
        Op::Fork,
    ];
    check_pairs(&[PROTECTED, open], &ops);
    check_triples(&[PROTECTED], &ops[..5]);
}

#[test]
fn operations_beside_move_end_as_one_after_the_other() {
    let ops = [
        Op::Move(0),
        Op::Copy(0),
        Op::Load(0),
        Op::DropYard(0),
        Op::StoreYard(0),
        Op::Fork,
        Op::Drop(0),
        Op::MoveAll,
    ];
    check_pairs(&[MISSING, FILLED], &ops);
    check_triples(&[MISSING], &ops[..5]);
}

#[test]
fn operations_beside_swap_end_as_one_after_the_other() {
    let ops = [
        Op::PageOutYard(0),
        Op::PageOut(0),
        Op::Move(0),
        Op::Load(0),
        Op::StoreYard(0),
        Op::Fork,
        Op::LoadYard(0),
        Op::Drop(0),
        Op::Copy(0),
    ];
    let swapped = Before { yard_swapped: true, ..MISSING };
    check_pairs(&[MISSING, FILLED, swapped], &ops);
    check_triples(&[swapped], &ops[..4]);
}

#[test]
fn operations_beside_holes_in_an_object_end_as_one_after_the_other() {
    let missing = Before { object: true, ..MISSING };
    let filled = Before { object: true, ..FILLED };
    let minor = Before { modes: register::MISSING | register::MINOR, ..filled };
    let ops = [
        Op::Punch(0),
        Op::Load(0),
        Op::Store(0),
        Op::Copy(0),
        Op::Zero(0),
        Op::Write(0),
        Op::Read(0),
        Op::Drop(0),
        Op::PageOut(0),
        Op::CopyAll,
    ];
    check_pairs(&[missing, filled, minor], &ops);
    check_triples(&[filled], &ops[..9]);
}
