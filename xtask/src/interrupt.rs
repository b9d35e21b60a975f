//! SIGINT and SIGTERM as a wish to stop, for chores that would leave something behind.
//!
//! [`catch`] is called by such a chore; its waiting loops call [`check`], and the error unwinds
//! through everything that gives itself back on drop: processes, directories. A second signal ends
//! the program at once. Chores that do not call [`catch`] end as ever.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::{Result, bail};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// The number of the signal that came, 0 before.
static NUMBER: OnceLock<Arc<AtomicUsize>> = OnceLock::new();

/// Catches the signals from now on.
pub(crate) fn catch() -> Result<()> {
    let number = NUMBER.get_or_init(Arc::default);
    let seen: Arc<AtomicBool> = Arc::default();
    for (signal, value) in [(SIGINT, 2), (SIGTERM, 15)] {
        // First, so that it does not see the flag set by the same signal.
        flag::register_conditional_default(signal, Arc::clone(&seen))?;
        flag::register_usize(signal, Arc::clone(number), value)?;
        flag::register(signal, Arc::clone(&seen))?;
    }
    Ok(())
}

/// The number of the signal that came.
pub(crate) fn number() -> Option<u8> {
    let number = NUMBER.get()?.load(Ordering::SeqCst);
    u8::try_from(number).ok().filter(|number| *number != 0)
}

/// Ends what is under way when a signal has come.
pub(crate) fn check() -> Result<()> {
    match number() {
        Some(number) => bail!("interrupted by signal {number}"),
        None => Ok(()),
    }
}
