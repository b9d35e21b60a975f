//! One mode or one operation, carried out once on memory made for the purpose.

use faultless_pages::Bytes;
use faultless_uffd::{
    MapError, Mapping, Minor, Missing, Outcome, ReadWriteProtect, RegisterMode, Registration,
    RwpMode, Situation, Uffd, WpMode, WriteProtect,
};

use crate::doctor::tried::Tried;

/// Makes a fresh piece of one type of memory, a page long.
pub(super) type Make<'a> = &'a dyn Fn() -> Result<Mapping, MapError>;

/// What is tried on: a userfaultfd and a type of memory.
pub(super) struct Trial<'a> {
    pub(super) uffd: &'a Uffd,
    pub(super) make: Make<'a>,
}

/// Memory that could not be made, or not be prepared.
impl From<MapError> for Tried {
    fn from(error: MapError) -> Tried {
        Tried::untried(error.to_string())
    }
}

impl Trial<'_> {
    /// Registers fresh memory and carries `act` out on it.
    fn with<M: RegisterMode>(
        &self,
        mode: M,
        act: impl FnOnce(&Registration<'_, '_, M>, &Mapping) -> Result<Outcome, MapError>,
    ) -> Tried {
        let memory = match (self.make)() {
            Ok(memory) => memory,
            Err(error) => return error.into(),
        };
        match self.uffd.register(&memory, mode) {
            Ok(registration) => act(&registration, &memory).map_or_else(Tried::from, judge),
            Err(error) => Tried::fails(error.errno, error.to_string()),
        }
    }

    pub(super) fn register<M: RegisterMode>(&self, mode: M) -> Tried {
        self.with(mode, |_, _| Ok(Outcome { done: Bytes::ZERO, stopped: None }))
    }

    pub(super) fn copy(&self) -> Tried {
        self.with(Missing, |registration, memory| {
            let page = vec![1; memory.len().as_usize()];
            Ok(registration.copy(Bytes::ZERO, &page, Default::default()))
        })
    }

    pub(super) fn zeropage(&self) -> Tried {
        self.with(Missing, |registration, memory| {
            Ok(registration.zeropage(Bytes::ZERO, memory.len(), Default::default()))
        })
    }

    pub(super) fn move_pages(&self) -> Tried {
        self.with(Missing, |registration, memory| {
            let source = (self.make)()?;
            source.store_u64(Bytes::ZERO, 1);
            let len = memory.len();
            let mode = Default::default();
            Ok(registration.move_pages(Bytes::ZERO, &source, Bytes::ZERO, len, mode))
        })
    }

    pub(super) fn continue_(&self) -> Tried {
        self.with(Minor, |registration, memory| {
            // Written through another mapping, the page is in the cache and not yet here.
            memory.alias()?.store_u64(Bytes::ZERO, 1);
            Ok(registration.continue_(Bytes::ZERO, memory.len(), Default::default()))
        })
    }

    pub(super) fn write_protect(&self) -> Tried {
        self.with(WriteProtect, |registration, memory| {
            memory.store_u64(Bytes::ZERO, 1);
            Ok(registration.write_protect(Bytes::ZERO, memory.len(), WpMode::Protect))
        })
    }

    pub(super) fn poison(&self) -> Tried {
        self.with(Missing, |registration, memory| {
            Ok(registration.poison(Bytes::ZERO, memory.len(), Default::default()))
        })
    }

    pub(super) fn rw_protect(&self) -> Tried {
        self.with(ReadWriteProtect, |registration, memory| {
            memory.store_u64(Bytes::ZERO, 1);
            Ok(registration.rw_protect(Bytes::ZERO, memory.len(), RwpMode::Protect))
        })
    }
}

/// Says what an outcome means for a single page.
fn judge(outcome: Outcome) -> Tried {
    match outcome.stopped {
        None => Tried::Works,
        Some(Situation::Refused(errno)) => Tried::from_errno(Err(errno)),
        Some(situation) => Tried::Fails { errno: None, cause: situation.to_string() },
    }
}
