//! A whole snapshot of a child: the one try that leaves no question open.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use faultless_pages::Bytes;
use faultless_services::Class;
use faultless_services::snapshot::{Format, Options, SnapshotError, snapshot};

use super::child::Idler;
use super::tried::Tried;

/// The core of the rehearsal, removed when dropped.
struct Draft(PathBuf);

impl Draft {
    fn new() -> Draft {
        let name = format!("faultless-doctor-{}.core", std::process::id());
        Draft(std::env::temp_dir().join(name))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // It is not there if the rehearsal failed.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Takes a snapshot of a child into the folder for temporary files.
pub(super) fn snapshot_of_child() -> Tried {
    let child = match Idler::start() {
        Ok(child) => child,
        Err(error) => return Tried::untried(format!("no child to try it on: {error}")),
    };
    let draft = Draft::new();
    let options = Options {
        output: draft.0.clone(),
        force: false,
        sync: true,
        format: Format::Core,
        buffer: Bytes::mib(1),
        exact: false,
        tool_version: String::new(),
    };
    match snapshot(child.pid(), &options, &(), &AtomicBool::new(false)) {
        Ok(_) => Tried::Works,
        // The disk says nothing about this host's snapshots: they may go elsewhere.
        Err(error @ SnapshotError::Write(_)) => Tried::untried(error.to_string()),
        Err(error) => {
            let step = error.next_step();
            let cause = match error.class() {
                Class::Bug => format!("{error}; please report this"),
                _ => format!("{error}; {step}"),
            };
            Tried::Fails { errno: None, cause }
        }
    }
}
