//! What surrounds the kernels of a simulation: time, a network, a disk for every node.
//!
//! Tasks of a [`Runner`] sleep, send, receive and use disks through an [`Environment`], which is a
//! handle. [`Play`] lets tasks go on one at a time and moves the time on, when nobody can go on and
//! now and then before: a timer may go off while there is work.
//!
//! # Invariants
//! - Time moves on only to what is due next.
//! - Everything that wakes a task is delivered when it is due, in the order of the agenda.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use faultless_mm::{Kernel, Runner, ThreadId};

use crate::clock::{Agenda, Span, Time};
use crate::disk::Disk;
use crate::net::{Network, Node, Packet};
use crate::random::{Odds, Random};
use crate::swarm::Swarm;

/// How often time moves on though somebody could go on.
const HASTE: Odds = Odds::one_in(64);
/// Bytes of every node's disk.
const DISK: usize = 1 << 20;

/// A handle to what surrounds a kernel.
#[derive(Clone)]
pub struct Environment(Rc<Shared>);

/// Something to rest at; see [`Environment::rest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bell(u64);

struct Shared {
    seed: u64,
    swarm: Swarm,
    kernel: Kernel,
    now: Cell<Time>,
    numbers: Cell<u64>,
    timers: RefCell<Agenda<u64>>,
    net: RefCell<Network>,
    inboxes: RefCell<BTreeMap<Node, Inbox>>,
    disks: RefCell<BTreeMap<Node, Disk>>,
}

/// What arrived at a node, and who waits for it.
#[derive(Debug, Default)]
struct Inbox {
    packets: VecDeque<Packet>,
    waiter: Option<u64>,
}

impl Environment {
    /// Surrounds a kernel, whose tasks are to use it.
    #[must_use]
    pub fn new(seed: u64, swarm: &Swarm, kernel: Kernel) -> Environment {
        Environment(Rc::new(Shared {
            seed,
            swarm: swarm.clone(),
            kernel,
            now: Cell::default(),
            numbers: Cell::default(),
            timers: RefCell::default(),
            net: RefCell::new(Network::new(seed, swarm.clone())),
            inboxes: RefCell::default(),
            disks: RefCell::default(),
        }))
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Time {
        self.0.now.get()
    }

    /// Sleeps for a while, or until a signal comes.
    pub async fn sleep(&self, who: ThreadId, span: Span) {
        let number = self.number();
        self.0.timers.borrow_mut().add(self.now() + span, number);
        self.0.kernel.wait_outside(who, number).await;
    }

    /// Makes a bell: who rests at it goes on when it is rung.
    #[must_use]
    pub fn bell(&self) -> Bell {
        Bell(self.number())
    }

    /// Rests until the bell is rung, a signal comes, or `until`. May end for no reason.
    pub async fn rest(&self, who: ThreadId, bell: Bell, until: Option<Time>) {
        if let Some(until) = until {
            self.0.timers.borrow_mut().add(until.max(self.now()), bell.0);
        }
        self.0.kernel.wait_outside(who, bell.0).await;
    }

    /// Lets go on who rests at the bell.
    pub fn ring(&self, bell: Bell) {
        self.0.kernel.wake_outside(bell.0);
    }

    /// Sends a packet.
    pub fn send(&self, packet: Packet) {
        self.0.net.borrow_mut().send(self.now(), packet);
    }

    /// Takes the next packet for a node, waiting for it for a while. `None` when none came, or a
    /// signal. A node has one receiver.
    pub async fn receive(&self, who: ThreadId, node: Node, patience: Span) -> Option<Packet> {
        if let Some(packet) = self.take(node) {
            return Some(packet);
        }
        let number = self.number();
        self.0.timers.borrow_mut().add(self.now() + patience, number);
        self.0.inboxes.borrow_mut().entry(node).or_default().waiter = Some(number);
        self.0.kernel.wait_outside(who, number).await;
        self.take(node)
    }

    fn take(&self, node: Node) -> Option<Packet> {
        self.0.inboxes.borrow_mut().get_mut(&node)?.packets.pop_front()
    }

    /// Does something with a node's disk, which takes the time disks take.
    pub async fn disk<T>(
        &self,
        who: ThreadId,
        node: Node,
        operation: impl FnOnce(&mut Disk) -> T,
    ) -> T {
        let delay = self.with_disk(node, Disk::delay);
        self.sleep(who, delay).await;
        self.with_disk(node, operation)
    }

    /// Does something with a node's disk at once, as before a run or in a crash.
    pub fn with_disk<T>(&self, node: Node, operation: impl FnOnce(&mut Disk) -> T) -> T {
        let mut disks = self.0.disks.borrow_mut();
        let fresh = || Disk::new(self.0.seed ^ u64::from(node.0), self.0.swarm.clone(), DISK);
        operation(disks.entry(node).or_insert_with(fresh))
    }

    /// Crashes a node: its disk keeps what was synced, and nothing under way to or from it arrives.
    pub fn crash(&self, node: Node) {
        self.with_disk(node, Disk::crash);
        self.0.net.borrow_mut().forget(node);
        self.0.inboxes.borrow_mut().remove(&node);
    }

    fn number(&self) -> u64 {
        let number = self.0.numbers.get();
        self.0.numbers.set(number + 1);
        number
    }

    /// Moves the time on to what is due next and delivers it; false when nothing is.
    fn pass_time(&self) -> bool {
        let timer = self.0.timers.borrow().next_time();
        let packet = self.0.net.borrow().next_time();
        let Some(next) = timer.into_iter().chain(packet).min() else { return false };
        self.0.now.set(next.max(self.now()));
        while let Some(number) = self.0.timers.borrow_mut().take(self.now()) {
            self.0.kernel.wake_outside(number);
        }
        while let Some(packet) = self.0.net.borrow_mut().receive(self.now()) {
            self.deliver(packet);
        }
        true
    }

    fn deliver(&self, packet: Packet) {
        let mut inboxes = self.0.inboxes.borrow_mut();
        let inbox = inboxes.entry(packet.to).or_default();
        inbox.packets.push_back(packet);
        if let Some(number) = inbox.waiter.take() {
            self.0.kernel.wake_outside(number);
        }
    }
}

/// The loop of a simulation.
#[derive(Debug)]
pub struct Play {
    /// Who goes on.
    pub runner: Runner,
    steps: u64,
    random: Random,
}

impl Play {
    /// Makes the loop of a runner.
    #[must_use]
    pub fn new(seed: u64, runner: Runner) -> Play {
        Play { runner, steps: 0, random: Random::stream(seed, "time") }
    }

    /// Lets one task go on, or moves the time on; false when nothing will ever happen any more.
    pub fn advance(&mut self, environment: &Environment) -> bool {
        if self.random.happens(HASTE) {
            environment.pass_time();
        }
        let stepped = self.runner.advance();
        self.steps += u64::from(stepped);
        stepped || environment.pass_time()
    }

    /// How many times a task went on.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }
}

#[cfg(test)]
mod tests;
