//! A progress bar on stderr, where somebody watches.

use faultless_pages::Bytes;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Redrawn at most this often a second.
const REDRAWS_HZ: u8 = 10;

/// The progress of one command; silent unless stderr is a terminal.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// Starts a bar without a length.
    pub(crate) fn start() -> Progress {
        // Hidden by the target itself where stderr is no terminal.
        let target = ProgressDrawTarget::stderr_with_hz(REDRAWS_HZ);
        let bar = ProgressBar::with_draw_target(None, target);
        bar.set_style(
            ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec}")
                .expect("a template of known keys"),
        );
        Progress(bar)
    }

    /// Names what is being done now.
    pub(crate) fn phase(&self, name: &str) {
        self.0.set_message(name.to_owned());
    }

    /// Says how much of how much is done.
    pub(crate) fn advance(&self, done: Bytes, total: Bytes) {
        self.0.set_length(total.0);
        self.0.set_position(done.0);
    }
}

/// Takes the bar off the screen: what stays is the result.
impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
