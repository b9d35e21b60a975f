//! One run: a process with a program and its pager, what happens to it by chance, and its end.
//!
//! # Invariants
//! - A run is a function of its seed and the pager's flaw.

use std::fmt;

use super::Flaw;
use super::scene::Scene;
use super::server::SERVER_NODE;
use crate::check::{Finding, Step, check};
use crate::random::Odds;
use crate::swarm::{Fault, Swarm};

/// Most steps one deed may take: many times what any took in a run without flaws.
pub(super) const PATIENCE: Step = 20_000;
/// A run that takes more steps than this does not end by itself.
const STEPS_MAX: Step = 60_000;

/// What a pager was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// To serve.
    Serve,
    /// To bring what is missing, and let go.
    Finish,
    /// Its process was killed.
    Die,
}

/// What became of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// The faults it injected.
    pub swarm: Swarm,
    /// How many steps it took.
    pub steps: Step,
    /// The rules that were broken.
    pub findings: Vec<Finding>,
    /// Who went on when, and what was done, if it was recorded.
    pub interleaving: Option<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "SEED={} ({}), {} steps", self.seed, self.swarm, self.steps)?;
        if let Some(interleaving) = &self.interleaving {
            writeln!(f, "{interleaving}")?;
        }
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        Ok(())
    }
}

/// Runs a seed.
#[must_use]
pub fn run(seed: u64, flaw: Option<Flaw>) -> Report {
    Scene::new(seed, flaw).play(false)
}

/// Runs a seed once more and records who went on when.
#[must_use]
pub fn replay(seed: u64, flaw: Option<Flaw>) -> Report {
    Scene::new(seed, flaw).play(true)
}

impl Scene {
    /// Lets everybody go on until all have ended, or nobody can, or it takes too long.
    fn play(mut self, record: bool) -> Report {
        if record {
            self.play.runner.record();
        }
        let steps = loop {
            let now = self.history.borrow().now;
            self.interfere(now);
            if now > STEPS_MAX || !self.play.advance(&self.environment) {
                break now;
            }
            self.history.borrow_mut().now = self.play.steps();
        };
        self.end();
        let mut findings = check(&self.history.borrow());
        // What the memory manager keeps twice must agree, whatever its users do.
        let contradiction = self.kernel.audit().err();
        findings.extend(contradiction.map(|what| Finding { checker: "audit", what }));
        Report {
            seed: self.seed,
            steps,
            findings,
            interleaving: record.then(|| self.story()),
            swarm: self.swarm,
        }
    }

    /// Who went on when, and what was done from which of these steps to which.
    fn story(&self) -> String {
        let trace = self.play.runner.trace().map(ToString::to_string).unwrap_or_default();
        format!("{trace}\n{}", self.history.borrow())
    }

    /// Does what happens by chance before this step.
    fn interfere(&mut self, now: Step) {
        let (step, order) = self.turn;
        if self.order.get() == Order::Serve && (now >= step || self.running.get() == 1) {
            self.order.set(order);
            match order {
                Order::Die => self.kernel.kill(self.process),
                // It may sleep until a message comes.
                _ => self.kernel.interrupt(self.pager),
            }
        }
        // The odds are meant for deeds, of which each takes many steps.
        let may = self.random.happens(Odds::one_in(32));
        let strikes = self.swarm.strikes(Fault::Signal, &mut self.random);
        let who = self.random.pick(&self.programs).copied();
        if let (true, true, Some(who)) = (may, strikes, who) {
            self.kernel.interrupt(who);
        }
        if may && self.swarm.strikes(Fault::Kill, &mut self.random) {
            self.environment.crash(SERVER_NODE);
        }
    }

    /// Ends the processes, and counts what they leave behind.
    fn end(&mut self) {
        if self.running.get() > 0 {
            // Nobody will ever go on: patience runs out.
            self.history.borrow_mut().now += PATIENCE + 1;
            return;
        }
        for process in [Some(self.process), self.server].into_iter().flatten() {
            let kernel = self.kernel.clone();
            self.now(kernel.exit(process));
        }
        let left = self.kernel.usage().counts();
        self.history.borrow_mut().left = left.map(|(what, count)| (what, count as u64)).into();
    }
}
