//! Calls that run at once: what a world shows afterwards must be among what the model allows.
//!
//! The order in which a kernel goes on with two calls is its own affair. The model is therefore
//! asked for every outcome there can be, by running the same calls in every interleaving of its
//! locks, with few preemptions.

use faultless_mm::{self as mm, explore};

use super::program::{Op, Program, Step};
use super::seen::Seen;
use super::session::Session;
use crate::conform::linux::advice;
use crate::conform::model::ModelWorld;
use crate::conform::verdict::Verdict;
use crate::conform::{Profile, World};

/// Preemptions of an interleaving: more are seldom needed to see what there is to see.
const PREEMPTIONS: usize = 1;
/// Most interleavings of a race; one with more is not judged.
const INTERLEAVINGS: usize = 120;

/// A program, and what happens at once at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Race {
    /// What comes before.
    pub program: Program,
    /// What happens at once, each in a thread of its own.
    pub racers: Vec<Step>,
}

impl Race {
    /// The race as one program, to be printed.
    #[must_use]
    pub fn as_program(&self) -> Program {
        let mut program = self.program.clone();
        program.steps.extend(self.racers.iter().cloned());
        program
    }

    /// Runs the race once in a fresh world, to the end and with every message read; `None` when
    /// somebody who should race is not free to. `start` begins the calls.
    ///
    /// # Errors
    /// When the world breaks down.
    pub fn run<W: World + ?Sized>(
        &self,
        world: &mut W,
        start: impl FnOnce(&mut W, Vec<super::session::Start>) -> Verdict,
    ) -> Verdict<Option<Seen>> {
        let mut session = Session::begin(world, &self.program)?;
        for step in &self.program.steps {
            session.take_unseen(step)?;
        }
        if !self.racers.iter().all(|step| session.permits(step)) {
            return Ok(None);
        }
        session.race(&self.racers, start).map(Some)
    }

    /// Runs the race once in a world whose calls begin one right after the other.
    ///
    /// # Errors
    /// When the world breaks down.
    pub fn run_freely(&self, world: &mut dyn World) -> Verdict<Option<Seen>> {
        self.run(world, |world, calls| {
            calls.into_iter().try_for_each(|(who, call)| world.start(who, call))
        })
    }

    /// Every outcome the model allows; `None` when there are too many interleavings, or no race.
    ///
    /// # Errors
    /// When the model breaks down.
    pub fn outcomes(&self, profile: &Profile, model: &mm::Profile) -> Verdict<Option<Vec<Seen>>> {
        let mut outcomes: Vec<Seen> = Vec::new();
        let mut failure = None;
        let mut runs = 0;
        let explored = explore(Some(PREEMPTIONS), |trial| {
            runs += 1;
            let mut world = ModelWorld::new(profile.clone(), model.clone());
            let outcome = self.run(&mut world, |world, calls| world.race(calls, trial));
            match outcome {
                Ok(Some(seen)) if runs <= INTERLEAVINGS => {
                    if !outcomes.contains(&seen) {
                        outcomes.push(seen);
                    }
                    Ok(())
                }
                Ok(_) => Err("not judged".into()),
                Err(error) => {
                    failure = Some(error);
                    Err("broken".into())
                }
            }
        });
        match (failure, explored) {
            (Some(failure), _) => Err(failure),
            (None, Ok(_)) => Ok(Some(outcomes)),
            (None, Err(_)) => Ok(None),
        }
    }
}

/// Says whether an operation may be in a race: it is a call that leaves the cast and its
/// descriptors as they are, or adds to them, and one that ends or waits for somebody (putting
/// guards does neither where protected pages of an object are mapped).
#[must_use]
pub fn may_race(op: &Op) -> bool {
    let guards = matches!(op, Op::Advise(_, advice::GUARD_INSTALL));
    !guards
        && !matches!(
            op,
            Op::Open(..)
                | Op::Close(_)
                | Op::Drain(_)
                | Op::Kill(_)
                | Op::Exec
                | Op::Interrupt
                | Op::MakeObject(..)
        )
}
