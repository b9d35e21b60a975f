//! A VM saved, and restored lazily: an unmodified QEMU whose RAM is shared memory.
//!
//! [`save()`] asks QEMU over its monitor to stop and to write the state of its devices, and makes
//! an image of the RAM, which other processes can read. [`restore()`] takes a QEMU that waits for a
//! migration, puts a userfaultfd on its RAM from outside, has it load the state, and lets the guest
//! go on at once: what it touches is brought as it touches it, everything else after that.
//!
//! | file | holds |
//! |---|---|
//! | `qmp` | the monitor |
//! | `machine` | what QEMU says of its machine |
//! | `ram` | where the RAM is, in the process |
//! | `stream` | the state of the devices, on its way |
//! | `manifest`, `folder` | a saved VM on the disk |
//! | `save`, `image` | saving |
//! | `restore`, `takeover` | restoring |
//!
//! # Invariants
//! - The wrong memory is worse than none: what cannot be told apart is refused.
//! - A guest never reads zeros that are not its own. QEMU itself is given a copy of the userfaultfd
//!   until its memory is whole, so that if all of our processes are killed it waits.
//! - Whatever becomes of saving, the guest goes on as it was.

mod error;
mod folder;
mod image;
mod machine;
mod manifest;
mod qmp;
mod ram;
mod restore;
mod save;
mod stream;
mod takeover;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use faultless_pages::Bytes;

pub use crate::serve::keeper::News;
pub use error::VmError;
pub use qmp::{QmpError, Version};
pub use restore::{Restore, Restored, restore};
pub use save::{Afterwards, Save, Saved, save};

/// Something a user wants to know while it happens.
#[derive(Clone, Debug)]
pub enum Step {
    /// So much of the RAM is done, of so much.
    Passed(Bytes, Bytes),
    /// The guest goes on.
    GoesOn {
        /// How long it took from the beginning.
        after_ns: u64,
        /// How much of its memory is there.
        there: Bytes,
    },
    /// The user wants it to end; so much is still to come, which comes first.
    Filling(Bytes),
    /// Something about the page server.
    Server(News),
}

/// Who watches, and may want it to end.
pub struct Watcher<'a> {
    /// Is told what happens.
    pub told: &'a mut dyn FnMut(Step),
    /// Set when the user wants it to end.
    pub cancel: &'a AtomicBool,
}

/// Returns where the image of the RAM lies in a saved VM's folder.
#[must_use]
pub fn image_of(folder: &Path) -> PathBuf {
    folder.join(manifest::RAM)
}

/// Finds out which process QEMU is, unless that is known.
fn process_of(qmp: &qmp::Qmp, known: Option<u32>) -> Result<u32, VmError> {
    if let Some(pid) = known {
        return Ok(pid);
    }
    let peer = qmp.peer().map_err(|errno| VmError::NoProcess(errno.into()))?;
    Ok(peer.pid().as_raw_nonzero().get().cast_unsigned())
}

/// Returns how long ago that was.
fn ns_since(moment: std::time::Instant) -> u64 {
    u64::try_from(moment.elapsed().as_nanos()).unwrap_or(u64::MAX)
}
