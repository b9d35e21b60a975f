//! Who watches a long work: the progress bar, and the user who wants it to end.

use std::sync::atomic::Ordering;

use faultless_pages::Bytes;

use crate::exit::{Exit, Failure};
use crate::progress::Progress;
use crate::signals::Interrupts;

/// A progress bar and the wish to stop.
pub(super) struct Watch {
    progress: Progress,
    interrupts: Interrupts,
    total: Bytes,
}

impl Watch {
    /// Starts a work that passes so many bytes.
    pub(super) fn start(phase: &'static str, total: Bytes) -> Result<Watch, Failure> {
        let interrupts = Interrupts::catch()
            .map_err(|error| Failure::new(Exit::Bug, format_args!("signal handlers: {error}")))?;
        let progress = Progress::start();
        progress.phase(phase);
        Ok(Watch { progress, interrupts, total })
    }

    /// Shows how much was passed; says whether to go on.
    pub(super) fn passed(&self, done: Bytes) -> bool {
        self.progress.advance(done, self.total);
        !self.interrupts.cancel.load(Ordering::Relaxed)
    }

    /// Returns the exit of the signal that came, if one did.
    pub(super) fn exit(&self) -> Option<Exit> {
        self.interrupts.exit()
    }
}
