//! A network of nodes that send each other packets, and everything that can become of a packet.
//!
//! Whoever runs the simulation sends, moves the time on, and takes what has arrived. A packet is
//! bytes; nobody tells its sender what became of it.
//!
//! # Invariants
//! - Without [`Fault::Reordering`], packets from one node to another arrive in the order they
//!   were sent.
//! - Every choice is drawn from the stream of this network alone.

mod partition;

use std::collections::BTreeMap;

use crate::clock::{Agenda, Span, Time};
use crate::random::Random;
use crate::swarm::{Fault, Swarm};
use partition::Partitions;

/// A host on the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node(pub u32);

/// Bytes on their way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Who sent it.
    pub from: Node,
    /// Whom it is for.
    pub to: Node,
    /// What it carries.
    pub bytes: Vec<u8>,
}

/// How long a packet takes without trouble.
const USUAL: std::ops::RangeInclusive<u64> = 50_000..=100_000;
/// A delayed packet takes up to this many times as long.
const DELAYED: std::ops::RangeInclusive<u64> = 2..=1_000;

/// A network.
#[derive(Clone, Debug)]
pub struct Network {
    swarm: Swarm,
    random: Random,
    under_way: Agenda<Packet>,
    partitions: Partitions,
    /// When the last packet of each direction arrives: the next one does not overtake it.
    last: BTreeMap<(Node, Node), Time>,
}

impl Network {
    /// Makes a network without nodes; a node exists by being sent to.
    #[must_use]
    pub fn new(seed: u64, swarm: Swarm) -> Network {
        Network {
            swarm,
            random: Random::stream(seed, "net"),
            under_way: Agenda::default(),
            partitions: Partitions::default(),
            last: BTreeMap::new(),
        }
    }

    /// Sends a packet, which arrives once, several times, or not at all.
    pub fn send(&mut self, now: Time, packet: Packet) {
        let parts = self.swarm.strikes(Fault::Partition, &mut self.random);
        // Who is parted already is not parted anew: asking again would never get through.
        if parts && !self.partitions.are_parted(now, packet.from, packet.to) {
            self.partitions.part(now, packet.from, packet.to, &mut self.random);
        }
        let lost = self.swarm.strikes(Fault::Loss, &mut self.random);
        if lost || self.partitions.are_parted(now, packet.from, packet.to) {
            return;
        }
        if self.swarm.strikes(Fault::Duplication, &mut self.random) {
            self.dispatch(now, packet.clone());
        }
        self.dispatch(now, packet);
    }

    fn dispatch(&mut self, now: Time, packet: Packet) {
        let mut takes = Span(self.random.within(USUAL));
        if self.swarm.strikes(Fault::Delay, &mut self.random) {
            takes = takes * self.random.within(DELAYED);
        }
        let mut arrives = now + takes;
        let overtaken = self.swarm.strikes(Fault::Reordering, &mut self.random);
        if overtaken {
            arrives = arrives + Span(self.random.within(USUAL)) * 4;
        } else {
            let last = self.last.entry((packet.from, packet.to)).or_default();
            arrives = arrives.max(*last);
            *last = arrives;
        }
        self.under_way.add(arrives, packet);
    }

    /// When the next packet arrives.
    #[must_use]
    pub fn next_time(&self) -> Option<Time> {
        self.under_way.next_time()
    }

    /// Takes the next packet that has arrived at `now`. One whose nodes were parted meanwhile is
    /// lost.
    pub fn receive(&mut self, now: Time) -> Option<Packet> {
        while let Some(packet) = self.under_way.take(now) {
            if !self.partitions.are_parted(now, packet.from, packet.to) {
                return Some(packet);
            }
        }
        None
    }

    /// Parts two nodes, in both directions, until they are healed.
    pub fn part(&mut self, one: Node, other: Node) {
        self.partitions.part_for_good(one, other);
    }

    /// Lets everybody hear each other again.
    pub fn heal(&mut self) {
        self.partitions = Partitions::default();
    }

    /// Loses everything on its way to or from a node, as its crash does.
    pub fn forget(&mut self, node: Node) {
        self.under_way.strike(|packet| packet.from == node || packet.to == node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Odds;

    const A: Node = Node(0);
    const B: Node = Node(1);

    fn packet(number: u8) -> Packet {
        Packet { from: A, to: B, bytes: vec![number] }
    }

    /// Sends 100 packets a microsecond apart, and takes what arrives, in order.
    fn arrivals(seed: u64, swarm: Swarm) -> Vec<u8> {
        let mut net = Network::new(seed, swarm);
        for number in 0..100 {
            net.send(Time(u64::from(number) * 1_000), packet(number));
        }
        let mut numbers = Vec::new();
        while let Some(now) = net.next_time() {
            numbers.extend(net.receive(now).map(|packet| packet.bytes[0]));
        }
        numbers
    }

    fn always(fault: Fault) -> Swarm {
        Swarm::default().with(fault, Odds::ALWAYS)
    }

    fn often(fault: Fault) -> Swarm {
        Swarm::default().with(fault, Odds::one_in(4))
    }

    #[test]
    fn a_calm_network_delivers_everything_once_in_order() {
        let all: Vec<u8> = (0..100).collect();
        assert_eq!(arrivals(1, Swarm::default()), all);
        assert_eq!(arrivals(1, often(Fault::Delay)), all);
    }

    #[test]
    fn lost_packets_do_not_arrive() {
        assert!(arrivals(1, always(Fault::Loss)).is_empty());
        let some = arrivals(1, often(Fault::Loss)).len();
        assert!((50..95).contains(&some), "{some}");
    }

    #[test]
    fn duplicates_arrive_twice() {
        let twice: Vec<u8> = (0..100).flat_map(|number| [number, number]).collect();
        assert_eq!(arrivals(1, always(Fault::Duplication)), twice);
    }

    #[test]
    fn reordered_packets_all_arrive() {
        let mut numbers = arrivals(1, often(Fault::Reordering));
        assert!(!numbers.is_sorted());
        numbers.sort_unstable();
        assert_eq!(numbers, (0..100).collect::<Vec<u8>>());
    }

    #[test]
    fn parted_nodes_do_not_hear_each_other_until_healed() {
        let mut net = Network::new(1, Swarm::default());
        net.send(Time(0), packet(0));
        net.part(B, A);
        assert_eq!(net.receive(Time(u64::MAX)), None, "sent before and parted meanwhile");
        net.send(Time(0), packet(1));
        net.heal();
        assert_eq!(net.receive(Time(u64::MAX)), None, "sent while parted");
        net.send(Time(0), packet(2));
        assert_eq!(net.receive(Time(u64::MAX)), Some(packet(2)));
    }

    #[test]
    fn partitions_that_strike_pass() {
        let numbers = arrivals(3, Swarm::default().with(Fault::Partition, Odds::one_in(64)));
        assert!(numbers.len() < 100, "none struck");
        let mut net = Network::new(3, always(Fault::Partition));
        net.send(Time(0), packet(0));
        net.swarm = Swarm::default();
        net.send(Time(0) + Span::millis(1_000), packet(1));
        assert_eq!(net.receive(Time(u64::MAX)), Some(packet(1)));
    }

    #[test]
    fn what_is_under_way_to_a_crashed_node_is_lost() {
        let mut net = Network::new(1, Swarm::default());
        net.send(Time(0), packet(0));
        net.forget(B);
        assert_eq!(net.next_time(), None);
    }

    #[test]
    fn a_seed_replays() {
        for seed in 0..20 {
            assert_eq!(arrivals(seed, Swarm::draw(seed)), arrivals(seed, Swarm::draw(seed)));
        }
    }
}
