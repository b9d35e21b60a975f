//! What a page costs without userfaultfd: copied where memory exists, or touched for the first
//! time.

use std::hint::black_box;

use faultless_pages::{Bytes, PageSize};
use faultless_uffd::Mapping;

use crate::exit::Failure;

use super::arena::{Arena, empty};
use super::{Made, Operation};

/// A copy of the same bytes into memory that is there: the floor under COPY.
pub(super) const MEMCPY: &str = "memcpy";
/// A write to each page of empty private memory: the kernel's own answer to a missing page.
pub(super) const FIRST_TOUCH: &str = "first touch";

struct Memcpy<'a> {
    source: &'a [u8],
    destination: Vec<u8>,
}

/// Makes [`MEMCPY`].
pub(super) fn memcpy(arena: &Arena) -> Made<'_> {
    Ok(Some(Box::new(Memcpy { source: &arena.content, destination: arena.content.clone() })))
}

impl Operation for Memcpy<'_> {
    fn prepare(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    fn perform(&mut self, offset: Bytes, len: Bytes) -> Result<(), Failure> {
        let (from, to) = (offset.as_usize(), offset.as_usize() + len.as_usize());
        self.destination[from..to].copy_from_slice(black_box(&self.source[from..to]));
        black_box(&mut self.destination);
        Ok(())
    }
}

struct FirstTouch<'a> {
    memory: &'a Mapping,
}

/// Makes [`FIRST_TOUCH`]. There is no call that takes a batch: each page is a fault of its own.
pub(super) fn first_touch(arena: &Arena) -> Made<'_> {
    Ok(Some(Box::new(FirstTouch { memory: &arena.touched })))
}

impl Operation for FirstTouch<'_> {
    fn prepare(&mut self) -> Result<(), Failure> {
        empty(self.memory)
    }

    fn perform(&mut self, offset: Bytes, len: Bytes) -> Result<(), Failure> {
        touch(self.memory, offset, len);
        Ok(())
    }
}

/// Writes a word to each page.
pub(super) fn touch(memory: &Mapping, offset: Bytes, len: Bytes) {
    for at in (offset.0..offset.0 + len.0).step_by(PageSize::KIB4.bytes().as_usize()) {
        memory.store_u64(Bytes(at), at);
    }
}
