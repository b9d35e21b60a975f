//! Trying every interleaving of a program, or every one with few preemptions.
//!
//! A run is made again and again from its beginning, each time by a script that differs from the
//! one before in its last choice that can be made differently. A preemption is a choice against
//! who ran and could go on; most bugs need one or two of them, so a small bound finds much where
//! all interleavings are too many.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::sched::choice::{Choice, Fork, Script};
use crate::sched::runner::Runner;
use crate::sched::trace::Trace;

/// One run of a search. The program makes its kernel, sets it up, starts what is to race, and
/// hands the runner over; then it looks at what came of it.
#[derive(Debug)]
pub struct Trial {
    script: Script,
    trace: Trace,
}

impl Trial {
    /// Lets what was started race, as this run's script says. Afterwards the runner goes straight
    /// on.
    pub fn race(&mut self, runner: &mut Runner) {
        runner.choose(Choice::Script(core::mem::take(&mut self.script)));
        runner.record();
        runner.run();
        self.trace = runner.take_trace();
        if let Choice::Script(script) = runner.choose(Choice::Straight) {
            self.script = script;
        }
    }
}

/// An interleaving that broke what was claimed.
#[derive(Clone, Debug)]
pub struct Counterexample {
    /// The choices that lead to it.
    pub choices: Vec<usize>,
    /// What was broken.
    pub what: String,
    /// The steps.
    pub trace: Trace,
}

impl fmt::Display for Counterexample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.what)?;
        writeln!(f, "by the choices {:?}:", self.choices)?;
        write!(f, "{}", self.trace)
    }
}

/// Runs a program in every interleaving with at most so many preemptions, all of them without a
/// bound; returns how many there are.
///
/// # Errors
/// The first interleaving that the program says no to.
pub fn explore(
    bound: Option<usize>,
    mut program: impl FnMut(&mut Trial) -> Result<(), String>,
) -> Result<u64, Counterexample> {
    let mut choices = Vec::new();
    let mut runs = 0;
    loop {
        let mut trial = Trial { script: Script::of(choices), trace: Trace::default() };
        let outcome = program(&mut trial);
        runs += 1;
        let forks = &trial.script.forks;
        if let Err(what) = outcome {
            let choices = forks.iter().map(|fork| fork.chosen).collect();
            return Err(Counterexample { choices, what, trace: trial.trace });
        }
        match next(forks, bound) {
            Some(script) => choices = script,
            None => return Ok(runs),
        }
    }
}

/// Runs a program as a script says, to look at a counterexample again.
///
/// # Errors
/// What the program says, with the interleaving.
pub fn replay(
    choices: Vec<usize>,
    program: impl FnOnce(&mut Trial) -> Result<(), String>,
) -> Result<Trace, String> {
    let mut trial = Trial { script: Script::of(choices), trace: Trace::default() };
    match program(&mut trial) {
        Ok(()) => Ok(trial.trace),
        Err(what) => Err(format!("{what}\n{}", trial.trace)),
    }
}

/// The script after that of a run: its last choice that can be made differently, made so.
fn next(forks: &[Fork], bound: Option<usize>) -> Option<Vec<usize>> {
    let spent = |upto: usize| forks[..upto].iter().filter(|fork| fork.is_preemption()).count();
    for (place, fork) in forks.iter().enumerate().rev() {
        let chosen = fork.chosen + 1;
        if chosen >= fork.ready.len() {
            continue;
        }
        let cost = spent(place) + usize::from(fork.preempts);
        if bound.is_none_or(|bound| cost <= bound) {
            let mut script: Vec<usize> = forks[..place].iter().map(|fork| fork.chosen).collect();
            script.push(chosen);
            return Some(script);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::TaskId;

    fn fork(ready: usize, preempts: bool, chosen: usize) -> Fork {
        Fork { ready: (0..ready).map(TaskId).collect(), preempts, chosen }
    }

    #[test]
    fn the_last_choice_that_can_change_changes() {
        let forks = [fork(2, false, 0), fork(3, true, 1), fork(2, true, 1)];
        assert_eq!(next(&forks, None), Some(alloc::vec![0, 2]));
    }

    #[test]
    fn a_bound_forbids_one_more_preemption() {
        let forks = [fork(2, true, 1), fork(2, true, 0)];
        assert_eq!(next(&forks, Some(1)), None);
        assert_eq!(next(&forks, Some(2)), Some(alloc::vec![1, 1]));
    }
}
