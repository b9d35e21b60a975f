//! The interleaving of a run.

use alloc::vec::Vec;
use core::fmt;

use crate::id::{TaskId, ThreadId};
use crate::sched::task::Point;

/// One step: a thread went on from a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its task.
    pub task: TaskId,
    /// The thread.
    pub thread: ThreadId,
    /// What it was about to do.
    pub point: Point,
}

/// The steps of a run, in order. Printed, it is one line a step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// The steps.
    pub steps: Vec<Step>,
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, step) in self.steps.iter().enumerate() {
            writeln!(f, "{number:4}  thread {}  {:?}", step.thread.0, step.point)?;
        }
        Ok(())
    }
}
