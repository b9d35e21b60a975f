//! Threads that race, and what came of it.
//!
//! A thread's operations are either one task, which others may preempt anywhere, or are done
//! step by step, each alone, to learn what one after the other can lead to.

use std::fmt::Write as _;

use faultless_mm::{Call, ThreadId};

use crate::lab::Lab;
use crate::ops::{Ending, Op, Site};

/// How often the handler looks for faults before it is called a hang.
const PATIENCE: usize = 20;

/// What came of a race: how the operations of each thread ended, and the words of the memory and
/// of the yard afterwards.
pub(crate) type Outcome = (Vec<Vec<Ending>>, Vec<u64>);

/// A thread and its operations.
pub(crate) struct Racer {
    site: Site,
    ops: Vec<Op>,
    call: Option<Under>,
    /// How those ended that are over.
    endings: Vec<Ending>,
    /// How the steps ended of one that is done step by step.
    steps: Vec<Ending>,
}

/// What is under way.
enum Under {
    /// All operations.
    Whole(Call<Vec<Ending>>),
    /// A step of one.
    Step(Call<Ending>),
}

impl Racer {
    pub(crate) fn new(ops: &[Op], site: Site) -> Racer {
        Racer { site, ops: ops.to_vec(), call: None, endings: Vec::new(), steps: Vec::new() }
    }

    fn is_over(&self) -> bool {
        self.endings.len() == self.ops.len()
    }

    /// Says whether its next step can be done.
    fn can_step(&self) -> bool {
        self.call.is_none() && !self.is_over()
    }

    /// Takes note of what has ended.
    fn collect(&mut self) {
        match &self.call {
            Some(Under::Whole(call)) => {
                let Some(endings) = call.take() else { return };
                self.endings = endings;
            }
            Some(Under::Step(call)) => {
                let Some(ending) = call.take() else { return };
                let op = self.ops[self.endings.len()];
                let refused = ending != Ending::Done;
                self.steps.push(ending);
                // Nothing more of an operation once a step of it was refused.
                if refused || self.steps.len() == op.steps().len() {
                    self.endings.push(Ending::of_steps(op, &std::mem::take(&mut self.steps)));
                }
            }
            None => return,
        }
        self.call = None;
    }
}

impl Lab {
    /// Begins all of a thread's operations; nothing of them is done yet.
    pub(crate) fn begin(&mut self, number: usize) {
        let Racer { site, ops, .. } = &self.racers[number];
        let (who, site, ops) = (site.who, site.clone(), ops.clone());
        let call = self.runner.start(who, async move {
            let mut endings = Vec::new();
            for op in ops {
                endings.push(site.clone().act(op).await);
            }
            endings
        });
        self.racers[number].call = Some(Under::Whole(call));
    }

    /// Which threads can do a step.
    pub(crate) fn ready(&self) -> Vec<usize> {
        (0..self.racers.len()).filter(|number| self.racers[*number].can_step()).collect()
    }

    /// Does the next step of a thread alone, and lets those go on that it wakes.
    pub(crate) fn step(&mut self, number: usize) {
        let Racer { site, ops, endings, steps, .. } = &self.racers[number];
        let step = ops[endings.len()].steps()[steps.len()];
        let call = self.runner.start(site.who, site.clone().act(step));
        self.racers[number].call = Some(Under::Step(call));
        self.go_on();
    }

    /// Lets everybody go on who can.
    pub(crate) fn go_on(&mut self) {
        self.runner.run();
        self.racers.iter_mut().for_each(Racer::collect);
    }

    /// Answers every fault with zeros until nobody waits, and tells what came of the race.
    ///
    /// # Errors
    /// A thread that never goes on, or a contradiction in the kernel's books.
    pub(crate) fn finish(mut self) -> Result<Outcome, String> {
        self.kernel.audit()?;
        for _ in 0..PATIENCE {
            self.go_on();
            while let Some(number) = self.ready().first() {
                self.step(*number);
            }
            if self.racers.iter().all(Racer::is_over) {
                return self.conclude();
            }
            if !self.serve() {
                break;
            }
        }
        let mut text = String::from("never ends:");
        for (number, racer) in self.racers.iter().enumerate() {
            let _ = write!(text, " {number}: {:?} of {:?}", racer.endings, racer.ops);
        }
        Err(text)
    }

    fn conclude(mut self) -> Result<Outcome, String> {
        let mut told = Vec::new();
        for racer in std::mem::take(&mut self.racers) {
            let pairs = racer.ops.into_iter().zip(racer.endings);
            told.push(pairs.map(|(op, ending)| self.tell(op, ending)).collect());
        }
        self.kernel.audit()?;
        let words = self.own_words();
        self.kernel.audit()?;
        Ok((told, words))
    }

    /// An ending as it is compared.
    fn tell(&mut self, op: Op, ending: Ending) -> Ending {
        match ending {
            Ending::Forked(child) => Ending::Child(self.words(ThreadId(child))),
            // MOVE looks at the destination, then at the source, each under its own lock: which
            // of two reasons it gives depends on what comes in between.
            Ending::Refused(_, out) if op.moves() && out <= 0 => Ending::Refused(0, 0),
            other => other,
        }
    }
}
