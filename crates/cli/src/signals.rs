//! SIGINT, SIGTERM and SIGHUP as a wish to stop, seen by whoever does the work.
//!
//! The first signal asks, the second ends the program as it would have without us: nobody needs
//! a third key to get rid of a program that does not listen. What the parent has this program
//! ignore (`nohup`, a job in the background of a script) stays ignored.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::flag;

use crate::exit::Exit;

/// The wish to stop.
pub(crate) struct Interrupts {
    /// Set by the first signal; what the work looks at.
    pub(crate) cancel: Arc<AtomicBool>,
    /// The number of the last signal.
    number: Arc<AtomicUsize>,
}

impl Interrupts {
    /// Catches the signals from now on.
    pub(crate) fn catch() -> io::Result<Interrupts> {
        Interrupts::of(&[(SIGINT, 2), (SIGTERM, 15), (SIGHUP, 1)])
    }

    /// The same, for programs to which SIGHUP means something else.
    pub(crate) fn catch_all_but_hangup() -> io::Result<Interrupts> {
        Interrupts::of(&[(SIGINT, 2), (SIGTERM, 15)])
    }

    fn of(signals: &[(i32, usize)]) -> io::Result<Interrupts> {
        let interrupts = Interrupts { cancel: Arc::default(), number: Arc::default() };
        let ignored = ignored();
        for &(signal, number) in signals {
            if ignored >> (number - 1) & 1 == 1 {
                continue;
            }
            // First, so that it does not see the flag set by the same signal.
            flag::register_conditional_default(signal, Arc::clone(&interrupts.cancel))?;
            flag::register_usize(signal, Arc::clone(&interrupts.number), number)?;
            flag::register(signal, Arc::clone(&interrupts.cancel))?;
        }
        // A file beyond `ulimit -f` shall be an error that is told, not a death by signal.
        flag::register(SIGXFSZ, Arc::default())?;
        Ok(interrupts)
    }

    /// Returns the exit that tells of the signal, if one came.
    pub(crate) fn exit(&self) -> Option<Exit> {
        match u8::try_from(self.number.load(Ordering::SeqCst)) {
            Ok(0) | Err(_) => None,
            Ok(number) => Some(Exit::Signal(number)),
        }
    }
}

/// Returns the signals this process ignores, signal n as bit n - 1; none where `/proc` is not
/// there.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0)
}
