//! Write tracking without userfaultfd: mprotect, a SIGSEGV at each write, mprotect again.
//!
//! Unlike WRITEPROTECT on and off, which are timed alone, this is timed as a whole: a signal cannot
//! be had without the write that raises it.

use faultless_pages::Bytes;
use faultless_uffd::signal::WriteTrap;

use crate::exit::{Exit, Failure};

use super::arena::{Arena, map, memory};
use super::plain::touch;
use super::{Made, Operation};

/// mprotect of a batch, then for each of its pages a write, a signal, and the mprotect that lets
/// the write through.
pub(super) const MPROTECT_AND_SEGV: &str = "mprotect + SIGSEGV";

struct MprotectAndSegv {
    trap: WriteTrap,
}

/// Makes [`MPROTECT_AND_SEGV`].
pub(super) fn mprotect_and_segv(arena: &Arena) -> Made<'_> {
    let trap = WriteTrap::new(map(arena.len)?).map_err(|error| Failure::new(Exit::Bug, error))?;
    touch(trap.memory(), Bytes::ZERO, arena.len);
    Ok(Some(Box::new(MprotectAndSegv { trap })))
}

impl Operation for MprotectAndSegv {
    fn prepare(&mut self) -> Result<(), Failure> {
        // Every page was written to by the last sample, and is writable since.
        Ok(())
    }

    fn perform(&mut self, offset: Bytes, len: Bytes) -> Result<(), Failure> {
        self.trap.arm(offset, len).map_err(|error| memory(&error))?;
        touch(self.trap.memory(), offset, len);
        Ok(())
    }
}
