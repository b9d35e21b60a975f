//! WRITEPROTECT: what it costs to guard a page that exists, and to let it go.

use faultless_pages::Bytes;
use faultless_uffd::{Features, Mapping, Registration, WpMode, WriteProtect};

use crate::exit::Failure;

use super::arena::{Arena, complete};
use super::resolve::registered;
use super::{Made, Operation};

/// UFFDIO_WRITEPROTECT that protects.
pub(super) const PROTECT: &str = "WRITEPROTECT on";
/// UFFDIO_WRITEPROTECT that unprotects, and wakes whoever waits.
pub(super) const UNPROTECT: &str = "WRITEPROTECT off";

const OFF: WpMode = WpMode::Unprotect { dontwake: false };

struct Protect<'a> {
    registration: Registration<'a, 'a, WriteProtect>,
    name: &'static str,
    /// What is timed ...
    timed: WpMode,
    /// ... and what goes before it.
    before: WpMode,
    len: Bytes,
}

/// Makes [`PROTECT`], where the kernel has it (5.7).
pub(super) fn protect(arena: &Arena) -> Made<'_> {
    make(arena, &arena.protected, PROTECT, WpMode::Protect, OFF)
}

/// Makes [`UNPROTECT`], where the kernel has it (5.7).
pub(super) fn unprotect(arena: &Arena) -> Made<'_> {
    make(arena, &arena.unprotected, UNPROTECT, OFF, WpMode::Protect)
}

fn make<'a>(
    arena: &'a Arena,
    memory: &'a Mapping,
    name: &'static str,
    timed: WpMode,
    before: WpMode,
) -> Made<'a> {
    if !arena.has(Features::PAGEFAULT_FLAG_WP) {
        return Ok(None);
    }
    let registration = registered(arena.uffd.register(memory, WriteProtect))?;
    Ok(Some(Box::new(Protect { registration, name, timed, before, len: arena.len })))
}

impl Protect<'_> {
    fn apply(&self, mode: WpMode, offset: Bytes, len: Bytes) -> Result<(), Failure> {
        // A part that is done is not reported; doing it again is harmless.
        complete(self.name, len, |_, _| self.registration.write_protect(offset, len, mode))
    }
}

impl Operation for Protect<'_> {
    fn prepare(&mut self) -> Result<(), Failure> {
        self.apply(self.before, Bytes::ZERO, self.len)
    }

    fn perform(&mut self, offset: Bytes, len: Bytes) -> Result<(), Failure> {
        self.apply(self.timed, offset, len)
    }
}
