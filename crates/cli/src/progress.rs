//! A progress bar on stderr, where somebody watches.

use faultless_pages::Bytes;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Redrawn at most this often a second.
const REDRAWS_HZ: u8 = 10;

/// What is shown while nobody knows how much there is to do, and afterwards.
const WORDS: &str = "{spinner} {msg}";
const COUNT: &str = "{msg} {wide_bar} {pos}/{len}";
const BAR: &str = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec}";

/// The progress of one command; silent unless stderr is a terminal.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// Starts without knowing how much there is to do.
    pub(crate) fn start() -> Progress {
        // Hidden by the target itself where stderr is no terminal.
        let target = ProgressDrawTarget::stderr_with_hz(REDRAWS_HZ);
        Progress(ProgressBar::with_draw_target(None, target).with_style(style(WORDS)))
    }

    /// Names what is being done now.
    pub(crate) fn phase(&self, name: &'static str) {
        self.0.set_message(name);
    }

    /// Says how many of how many are done.
    pub(crate) fn count(&self, done: usize, total: usize) {
        if self.0.length().is_none() {
            self.0.set_style(style(COUNT));
        }
        self.0.set_length(total as u64);
        self.0.set_position(done as u64);
    }

    /// Says how much of how much is done; nothing of nothing is not known yet.
    pub(crate) fn advance(&self, done: Bytes, total: Bytes) {
        if total == Bytes::ZERO {
            return;
        }
        if self.0.length().is_none() {
            self.0.set_style(style(BAR));
        }
        self.0.set_length(total.0);
        self.0.set_position(done.0);
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("a template of known keys")
}

/// Takes the bar off the screen: what stays is the result.
impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
