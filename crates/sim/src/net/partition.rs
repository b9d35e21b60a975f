//! Which nodes do not hear each other, and until when.

use std::collections::BTreeMap;

use super::Node;
use crate::clock::{Span, Time};
use crate::random::Random;

/// How long a partition that struck by chance lasts, in microseconds.
const LASTS_MICROS: std::ops::RangeInclusive<u64> = 1_000..=500_000;

/// The pairs of nodes that are parted, each with the time it ends.
#[derive(Clone, Debug, Default)]
pub(super) struct Partitions {
    until: BTreeMap<(Node, Node), Time>,
}

impl Partitions {
    /// Parts two nodes for a while.
    pub(super) fn part(&mut self, now: Time, one: Node, other: Node, random: &mut Random) {
        let until = now + Span::micros(random.within(LASTS_MICROS));
        self.until.insert(pair(one, other), until);
    }

    /// Parts two nodes for ever.
    pub(super) fn part_for_good(&mut self, one: Node, other: Node) {
        self.until.insert(pair(one, other), Time(u64::MAX));
    }

    /// Says whether two nodes are parted, in either direction.
    pub(super) fn are_parted(&self, now: Time, one: Node, other: Node) -> bool {
        let until = self.until.get(&pair(one, other));
        until.is_some_and(|until| now < *until || *until == Time(u64::MAX))
    }
}

/// A pair without direction.
fn pair(one: Node, other: Node) -> (Node, Node) {
    (one.min(other), one.max(other))
}
