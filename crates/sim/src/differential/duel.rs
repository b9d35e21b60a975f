//! One program in two worlds, step by step, up to the first difference.

use faultless_mm::PageKind;

use super::coverage::Coverage;
use super::program::Program;
use super::seen::Seen;
use super::session::Session;
use crate::conform::World;
use crate::conform::verdict::Verdict;

/// How far a program came without a difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// To its end; so many steps were taken, not skipped.
    Equal(u64),
    /// To a step after which the worlds differ.
    Different(Box<Difference>),
}

/// A difference between two worlds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// After which step.
    pub step: usize,
    /// What one world shows.
    pub left: Seen,
    /// What the other does.
    pub right: Seen,
    /// What the step met, page by page, as far as the second world tells.
    pub met: Vec<(u64, PageKind)>,
}

/// Runs a program in two fresh worlds. What the second tells of its page tables is noted.
///
/// # Errors
/// When a world breaks down.
pub fn duel<L, R>(
    program: &Program,
    left: &mut L,
    right: &mut R,
    coverage: &mut Coverage,
) -> Verdict<Outcome>
where
    L: World + ?Sized,
    R: World + ?Sized,
{
    let mut left = Session::begin(left, program)?;
    let mut right = Session::begin(right, program)?;
    let mut taken = 0;
    for (index, step) in program.steps.iter().enumerate() {
        let met = if right.permits(step) {
            coverage.note(program.arena, step, &mut right)
        } else {
            Vec::new()
        };
        let (ours, theirs) = (left.step(step)?, right.step(step)?);
        if ours != theirs {
            let difference = Difference { step: index, left: ours, right: theirs, met };
            return Ok(Outcome::Different(Box::new(difference)));
        }
        taken += u64::from(!ours.skipped);
    }
    Ok(Outcome::Equal(taken))
}
