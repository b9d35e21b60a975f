//! Names of files: what readers see, and what a crash leaves.

use std::collections::BTreeMap;

use super::FileId;
use crate::random::Random;
use crate::swarm::{Fault, Swarm};

/// A name that was given or taken.
#[derive(Clone, Debug)]
struct Change {
    name: String,
    file: Option<FileId>,
}

/// The names.
#[derive(Clone, Debug, Default)]
pub(super) struct Folder {
    seen: BTreeMap<String, FileId>,
    synced: BTreeMap<String, FileId>,
    /// Changes since, in order: a journal writes them in order.
    changes: Vec<Change>,
}

impl Folder {
    pub(super) fn find(&self, name: &str) -> Option<FileId> {
        self.seen.get(name).copied()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.seen.keys().map(String::as_str)
    }

    pub(super) fn holds(&self, file: FileId) -> bool {
        self.seen.values().any(|held| *held == file)
    }

    pub(super) fn enter(&mut self, name: &str, file: FileId) {
        self.change(Change { name: name.to_owned(), file: Some(file) });
    }

    pub(super) fn leave(&mut self, name: &str) {
        self.change(Change { name: name.to_owned(), file: None });
    }

    fn change(&mut self, change: Change) {
        apply(&mut self.seen, &change);
        self.changes.push(change);
    }

    pub(super) fn sync(&mut self) {
        self.synced.clone_from(&self.seen);
        self.changes.clear();
    }

    /// Keeps what was synced; where the crash tears, the first of the changes since, too.
    pub(super) fn crash(&mut self, swarm: &Swarm, random: &mut Random) {
        let changes = std::mem::take(&mut self.changes);
        let torn = swarm.strikes(Fault::TornWrite, random);
        let kept = if torn { random.index(changes.len() + 1) } else { 0 };
        for change in &changes[..kept] {
            apply(&mut self.synced, change);
        }
        self.seen.clone_from(&self.synced);
    }
}

fn apply(names: &mut BTreeMap<String, FileId>, change: &Change) {
    match change.file {
        Some(file) => names.insert(change.name.clone(), file),
        None => names.remove(&change.name),
    };
}
