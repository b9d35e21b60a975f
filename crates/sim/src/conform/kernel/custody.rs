//! A borrowed machine that is given back whatever ends the run: its end, a signal, or somebody who
//! has waited long enough.
//!
//! # Invariants
//! - SIGINT and SIGTERM end the program with 128 plus their number, with everything given back.
//!   After SIGKILL the next run gives it back ([`Machine`]).

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::Machine;

/// The machine, in hands that several threads share.
#[derive(Clone, Debug)]
pub struct Custody {
    machine: Arc<Mutex<Option<Machine>>>,
}

impl Custody {
    /// Borrows a machine, and has signals give it back from now on.
    ///
    /// # Errors
    /// When signals cannot be caught.
    pub fn take(borrow: impl FnOnce() -> Machine) -> io::Result<Custody> {
        let custody = Custody { machine: Arc::default() };
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        let mine = custody.clone();
        // A signal that comes while something is being borrowed waits until it can be given back.
        let mut machine = custody.locked();
        std::thread::spawn(move || {
            if let Some(signal) = signals.forever().next() {
                mine.end(128 + signal);
            }
        });
        *machine = Some(borrow());
        drop(machine);
        Ok(custody)
    }

    /// What was not lent, and why.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        self.locked().as_ref().map(|machine| machine.notes().to_vec()).unwrap_or_default()
    }

    /// Gives everything back and checks it.
    ///
    /// # Errors
    /// One line for each thing that could not be restored.
    pub fn give_back(&self) -> Result<(), Vec<String>> {
        self.locked().take().map_or(Ok(()), |mut machine| machine.give_back())
    }

    /// Ends the program with everything given back.
    pub fn end(&self, code: i32) -> ! {
        // Nobody is left to tell; what could not be given back, the next run clears up.
        let _ = self.give_back();
        std::process::exit(code);
    }

    fn locked(&self) -> MutexGuard<'_, Option<Machine>> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
