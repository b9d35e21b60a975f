//! The operations that answer a fault with a page: COPY, ZEROPAGE, CONTINUE.
//!
//! Each starts from memory without pages, as a fault finds it.

use faultless_pages::Bytes;
use faultless_uffd::{
    ContinueMode, CopyMode, Features, Mapping, Minor, Missing, Registration, ZeropageMode,
};

use crate::exit::{Exit, Failure};

use super::arena::{Arena, complete, empty};
use super::{Made, Operation};

/// UFFDIO_COPY: allocate a page, copy into it, map it. What all else is compared with.
pub(super) const COPY: &str = "COPY";
/// UFFDIO_ZEROPAGE: map the kernel's common page of zeros.
pub(super) const ZEROPAGE: &str = "ZEROPAGE";
/// UFFDIO_CONTINUE: map a page the page cache holds.
pub(super) const CONTINUE: &str = "CONTINUE, in cache";

struct Copy<'a> {
    registration: Registration<'a, 'a, Missing>,
    memory: &'a Mapping,
    content: &'a [u8],
}

/// Makes [`COPY`].
pub(super) fn copy(arena: &Arena) -> Made<'_> {
    let registration = registered(arena.uffd.register(&arena.copied, Missing))?;
    Ok(Some(Box::new(Copy { registration, memory: &arena.copied, content: &arena.content })))
}

impl Operation for Copy<'_> {
    fn prepare(&mut self) -> Result<(), Failure> {
        empty(self.memory)
    }

    fn perform(&mut self, offset: Bytes, len: Bytes) -> Result<(), Failure> {
        complete(COPY, len, |done, left| {
            let at = Bytes(offset.0 + done.0);
            let source = &self.content[at.as_usize()..][..left.as_usize()];
            self.registration.copy(at, source, CopyMode::default())
        })
    }
}

struct Zeropage<'a> {
    registration: Registration<'a, 'a, Missing>,
    memory: &'a Mapping,
}

/// Makes [`ZEROPAGE`].
pub(super) fn zeropage(arena: &Arena) -> Made<'_> {
    let registration = registered(arena.uffd.register(&arena.zeroed, Missing))?;
    Ok(Some(Box::new(Zeropage { registration, memory: &arena.zeroed })))
}

impl Operation for Zeropage<'_> {
    fn prepare(&mut self) -> Result<(), Failure> {
        empty(self.memory)
    }

    fn perform(&mut self, offset: Bytes, len: Bytes) -> Result<(), Failure> {
        complete(ZEROPAGE, len, |done, left| {
            self.registration.zeropage(Bytes(offset.0 + done.0), left, ZeropageMode::default())
        })
    }
}

struct Continue<'a> {
    registration: Registration<'a, 'a, Minor>,
    memory: &'a Mapping,
}

/// Makes [`CONTINUE`], where the kernel has it for shared memory (5.14).
pub(super) fn continued(arena: &Arena) -> Made<'_> {
    if !arena.has(Features::MINOR_SHMEM) {
        return Ok(None);
    }
    let registration = registered(arena.uffd.register(&arena.cached, Minor))?;
    Ok(Some(Box::new(Continue { registration, memory: &arena.cached })))
}

impl Operation for Continue<'_> {
    fn prepare(&mut self) -> Result<(), Failure> {
        // Only this mapping lets go of the pages; the page cache keeps them.
        empty(self.memory)
    }

    fn perform(&mut self, offset: Bytes, len: Bytes) -> Result<(), Failure> {
        complete(CONTINUE, len, |done, left| {
            self.registration.continue_(Bytes(offset.0 + done.0), left, ContinueMode::default())
        })
    }
}

/// Reports a refused registration.
pub(super) fn registered<T, E: std::fmt::Display>(result: Result<T, E>) -> Result<T, Failure> {
    result.map_err(|error| Failure::new(Exit::Host, error))
}
