//! Memory of this process.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use faultless_pages::VaRange;
use faultless_uffd::{
    Advice, ContinueMode, CopyMode, MapError, Mapping, Modes, OpError, OwnedRegistration,
    PoisonMode, Uffd, WpMode, ZeropageMode,
};

use super::foreign::ForeignMemory;
use super::messages::Mailbox;
use super::outcome::{outcome, whole};
use crate::port::{Kernel, Message, Outcome, ReadError, Request, Stop};

/// Memory of this process behind one userfaultfd.
///
/// Whoever serves it must not touch it, nor memory that waits for it: a reader that faults on what
/// it serves waits for itself.
#[derive(Debug)]
pub struct OwnMemory {
    uffd: Arc<Uffd>,
    served: Vec<Served>,
    mailbox: Mailbox,
}

#[derive(Debug)]
struct Served {
    registration: OwnedRegistration,
    /// The same memory at another address, to be filled.
    second: Option<Mapping>,
}

impl OwnMemory {
    /// Serves memory of this process by a userfaultfd, which is to be non-blocking.
    #[must_use]
    pub fn new(uffd: Uffd) -> OwnMemory {
        OwnMemory { uffd: Arc::new(uffd), served: Vec::new(), mailbox: Mailbox::default() }
    }

    /// Registers a mapping: from now on its faults wait to be served.
    ///
    /// # Errors
    /// Those of [`Uffd::register_range`].
    pub fn register(&mut self, mapping: Arc<Mapping>, modes: Modes) -> Result<(), OpError> {
        let registration = OwnedRegistration::new(Arc::clone(&self.uffd), mapping, modes)?;
        self.served.push(Served { registration, second: None });
        Ok(())
    }

    /// Registers shared memory that is filled through a second mapping of it.
    ///
    /// # Errors
    /// Those of [`Uffd::register_range`], and of mapping it once more.
    pub fn register_filled(
        &mut self,
        mapping: Arc<Mapping>,
        modes: Modes,
    ) -> Result<Result<(), OpError>, MapError> {
        let second = mapping.alias()?;
        let registered = self.register(mapping, modes);
        if let Some(last) = self.served.last_mut().filter(|_| registered.is_ok()) {
            last.second = Some(second);
        }
        Ok(registered)
    }

    fn find(&self, range: VaRange) -> Option<&Served> {
        self.served.iter().find(|served| served.registration.range().covers(range))
    }

    /// Writes content to memory that is not mapped at its place yet.
    fn fill(served: &Served, range: VaRange, bytes: &[u8]) -> Result<(), Stop> {
        let second = served.second.as_ref().ok_or(Stop::Refused)?;
        second.write(range.start().since(served.registration.range().start()), bytes);
        Ok(())
    }
}

impl AsFd for OwnMemory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        (*self.uffd).as_fd()
    }
}

impl Kernel for OwnMemory {
    fn perform(&self, request: &Request, bytes: &[u8]) -> Outcome {
        let range = request.range();
        let Some(served) = self.find(range) else { return Outcome::stopped(Stop::NotMapped) };
        let registration = &served.registration;
        match *request {
            Request::Copy { protect, wake, .. } => {
                let mode = CopyMode { wp: protect, dontwake: !wake };
                outcome(registration.copy(range.start(), bytes, mode))
            }
            Request::Zero { wake, .. } => {
                outcome(registration.zeropage(range, ZeropageMode { dontwake: !wake }))
            }
            Request::Continue { fill, protect, wake, .. } => {
                if fill.is_some()
                    && let Err(stop) = OwnMemory::fill(served, range, bytes)
                {
                    return Outcome::stopped(stop);
                }
                let mode = ContinueMode { wp: protect, dontwake: !wake };
                outcome(registration.continue_(range, mode))
            }
            Request::Poison { wake, .. } => {
                outcome(registration.poison(range, PoisonMode { dontwake: !wake }))
            }
            Request::Wake { .. } => whole(self.uffd.wake(range), range),
            Request::Unprotect { .. } => {
                let mode = WpMode::Unprotect { dontwake: false };
                outcome(registration.write_protect(range, mode))
            }
            Request::Unregister { .. } => whole(registration.unregister(), range),
            Request::Evict { .. } => {
                let mapping = registration.mapping();
                match mapping.advise(range, Advice::DontNeed) {
                    Ok(()) => Outcome::complete(range),
                    Err(_) => Outcome::stopped(Stop::Refused),
                }
            }
            // There is no pool of pages to be moved: without one that is recycled, a page costs
            // more to allocate and move than to copy.
            Request::Move { .. } => Outcome::stopped(Stop::Refused),
        }
    }

    fn read(&self, messages: &mut Vec<Message>) -> Result<(), ReadError> {
        self.mailbox.read(&self.uffd, messages)
    }

    fn child(&self, child: u64) -> Option<Box<dyn Kernel>> {
        Some(Box::new(ForeignMemory::new(self.mailbox.child(child)?)))
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }
}
