//! Every three of the operations that move, fill, protect, drop, copy and swap pages, over two
//! pages, from every beginning: the proof that no interleaving with two preemptions loses, doubles
//! or resurrects a page.
//!
//! All of it, three million interleavings, takes a few minutes of two processors:
//!
//! ```text
//! cargo test --release -p faultless-mm --test exhaustive -- --ignored --nocapture
//! ```
//!
//! The everyday run tries the same with none: who comes first, and who goes on when somebody has
//! to wait.

use crate::ops::Op;
use crate::search::{check_all, preemptions};
use crate::{BEGINNINGS, OPEN, PROTECTED, SWAPPED, YARD_PROTECTED, YARD_SWAPPED};

const OPS: [Op; 12] = [
    Op::Move(0),
    Op::MoveAll,
    Op::Copy(0),
    Op::CopyAll,
    Op::Zero(1),
    Op::Protect(0, true),
    Op::Store(0),
    Op::Load(1),
    Op::Fork,
    Op::Drop(0),
    Op::PageOut(0),
    Op::PageOutYard(0),
];

#[test]
fn three_operations_that_only_wait_end_as_one_after_the_other() {
    check_all(&BEGINNINGS, &OPS, 3, |_| Some(0));
}

/// A test a beginning, so that they run side by side.
macro_rules! proof {
    ($($name:ident: $beginning:expr;)*) => {$(
        #[test]
        #[ignore = "takes minutes: every three of twelve operations, with two preemptions"]
        fn $name() {
            check_all(&[$beginning], &OPS, 3, |_| preemptions(2));
        }
    )*};
}

proof! {
    every_three_operations_on_empty_memory: OPEN;
    every_three_operations_on_protected_pages: PROTECTED;
    every_three_operations_on_a_page_in_swap: SWAPPED;
    every_three_operations_beside_protected_sources: YARD_PROTECTED;
    every_three_operations_beside_a_source_in_swap: YARD_SWAPPED;
}
