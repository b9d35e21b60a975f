//! What is under way, for somebody who looks on from another thread: a program may hang in the
//! kernel, or in the model, where the thread that runs it can do nothing about it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::program::Program;

/// The program that runs at this moment, and since when.
#[derive(Debug, Default)]
pub struct Watch {
    under_way: Mutex<Option<(Instant, Program)>>,
}

impl Watch {
    /// Runs something while others can see that it is about this program.
    pub fn during<T>(&self, program: &Program, run: impl FnOnce() -> T) -> T {
        *self.locked() = Some((Instant::now(), program.clone()));
        let result = run();
        *self.locked() = None;
        result
    }

    /// The program under way, if it takes longer than this.
    #[must_use]
    pub fn overdue(&self, limit: Duration) -> Option<Program> {
        let under_way = self.locked();
        let (since, program) = under_way.as_ref()?;
        (since.elapsed() > limit).then(|| program.clone())
    }

    fn locked(&self) -> MutexGuard<'_, Option<(Instant, Program)>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::differential::program::Arena;

    #[test]
    fn a_program_is_overdue_only_while_it_runs() {
        let watch = Watch::default();
        let program = Program { arena: Arena::Huge, steps: Vec::new() };
        assert_eq!(watch.overdue(Duration::ZERO), None);
        watch.during(&program, || {
            std::thread::sleep(Duration::from_millis(1));
            assert_eq!(watch.overdue(Duration::ZERO), Some(program.clone()));
            assert_eq!(watch.overdue(Duration::from_secs(1000)), None);
        });
        assert_eq!(watch.overdue(Duration::ZERO), None);
    }
}
