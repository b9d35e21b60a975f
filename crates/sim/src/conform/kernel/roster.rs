//! Every puppet there is, for somebody who must end them all: the thread that drives them may be
//! stuck with one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use faultless_uffd::puppet::{Leash, Puppet, PuppetError};

/// The puppets of all worlds of a kind; a world's leave with it.
#[derive(Clone, Debug, Default)]
pub struct Roster {
    leashes: Arc<Mutex<Vec<Leash>>>,
}

impl Roster {
    /// Kills every puppet.
    pub fn end_all(&self) {
        self.locked().iter().for_each(Leash::pull);
    }

    pub(super) fn add(&self, puppet: &Puppet) -> Result<(), PuppetError> {
        self.locked().push(puppet.leash()?);
        Ok(())
    }

    /// Lets go of all: only one world runs at a time.
    pub(super) fn clear(&self) {
        self.locked().clear();
    }

    fn locked(&self) -> MutexGuard<'_, Vec<Leash>> {
        self.leashes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
