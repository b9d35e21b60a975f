//! MOVE, both ways it is used: with pages that go round, and with pages allocated for it.
//!
//! The first is a compacting collector's: the pages an evacuated region held become those of the
//! next. The second is a pager's that decompresses or receives into memory of its own and hands the
//! page over: it must have that page first.

use faultless_pages::Bytes;
use faultless_uffd::{CopyMode, Features, Mapping, Missing, MoveMode, Registration};

use crate::exit::Failure;

use super::arena::{Arena, complete, empty};
use super::resolve::registered;
use super::{Made, Operation};

/// UFFDIO_MOVE of pages that exist, from one half of a region to the other and back.
pub(super) const RECYCLED: &str = "MOVE, recycled";
/// First touch and fill of a source page, then UFFDIO_MOVE.
pub(super) const ALLOCATED: &str = "allocate + MOVE";

struct Recycled<'a> {
    registration: Registration<'a, 'a, Missing>,
    memory: &'a Mapping,
    half: Bytes,
    /// Whether the pages are in the upper half.
    up: bool,
}

/// Makes [`RECYCLED`], where the kernel has MOVE (6.8).
pub(super) fn recycled(arena: &Arena) -> Made<'_> {
    if !arena.has(Features::MOVE) {
        return Ok(None);
    }
    let registration = registered(arena.uffd.register(&arena.recycled, Missing))?;
    complete(RECYCLED, arena.len, |done, left| {
        let source = &arena.content[done.as_usize()..][..left.as_usize()];
        registration.copy(done, source, CopyMode::default())
    })?;
    // `prepare` swaps first, so the pages that are now below are said to be above.
    Ok(Some(Box::new(Recycled {
        registration,
        memory: &arena.recycled,
        half: arena.len,
        up: true,
    })))
}

impl Operation for Recycled<'_> {
    fn prepare(&mut self) -> Result<(), Failure> {
        // The last sample moved all pages to the other half.
        self.up = !self.up;
        Ok(())
    }

    fn perform(&mut self, offset: Bytes, len: Bytes) -> Result<(), Failure> {
        let (from, to) = if self.up { (self.half, Bytes::ZERO) } else { (Bytes::ZERO, self.half) };
        complete(RECYCLED, len, |done, left| {
            let at = offset.0 + done.0;
            let (to, from) = (Bytes(to.0 + at), Bytes(from.0 + at));
            self.registration.move_pages(to, self.memory, from, left, MoveMode::default())
        })
    }
}

struct Allocated<'a> {
    registration: Registration<'a, 'a, Missing>,
    source: &'a Mapping,
    destination: &'a Mapping,
    content: &'a [u8],
}

/// Makes [`ALLOCATED`], where the kernel has MOVE (6.8).
pub(super) fn allocated(arena: &Arena) -> Made<'_> {
    if !arena.has(Features::MOVE) {
        return Ok(None);
    }
    Ok(Some(Box::new(Allocated {
        registration: registered(arena.uffd.register(&arena.moved, Missing))?,
        source: &arena.fresh,
        destination: &arena.moved,
        content: &arena.content,
    })))
}

impl Operation for Allocated<'_> {
    fn prepare(&mut self) -> Result<(), Failure> {
        empty(self.source)?;
        empty(self.destination)
    }

    fn perform(&mut self, offset: Bytes, len: Bytes) -> Result<(), Failure> {
        self.source.write(offset, &self.content[offset.as_usize()..][..len.as_usize()]);
        complete(ALLOCATED, len, |done, left| {
            let at = Bytes(offset.0 + done.0);
            self.registration.move_pages(at, self.source, at, left, MoveMode::default())
        })
    }
}
