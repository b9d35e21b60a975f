//! The heap: `brk` as an area that grows and shrinks at its end.

use super::prelude::*;

/// A heap that shrinks sends UNMAP of what is given back (section 10).
pub(super) fn shrinking_the_heap_sends_unmap(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_EVENT_UNMAP)?;
    let (before, heap) = grown(&mut s, 4)?;
    s.register(heap.range(), reg::MISSING)?;
    let who = s.blocked(Call::Brk { end: heap.at(1) })?;
    s.expect_gone(event::UNMAP, heap.part(1, 3))?;
    expect("end", s.goes_on(who)?.result, Ok(heap.at(1)))?;
    s.unregister(heap.one(0))?.ok()?;
    expect("given back", s.value(Call::Brk { end: before })?, before)
}

/// A heap grows only where the page behind its new end is free too (section 10).
pub(super) fn it_keeps_a_page_apart(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_EVENT_UNMAP)?;
    let (before, heap) = grown(&mut s, 1)?;
    let (at, len) = (heap.at(4), s.page());
    let flags = map::PRIVATE | map::ANONYMOUS | map::FIXED;
    let prot = prot::READ_WRITE;
    s.value(Call::Map { at, len, prot, flags, fd: None, offset: 0 })?;
    expect("up to it", s.value(Call::Brk { end: at })?, heap.at(1))?;
    expect("a page apart", s.value(Call::Brk { end: heap.at(3) })?, heap.at(3))?;
    s.value(Call::Unmap { at, len })?;
    expect("given back", s.value(Call::Brk { end: before })?, before)
}

/// A heap of which nothing is mapped any more does not shrink (section 10).
pub(super) fn what_is_unmapped_does_not_shrink(w: &mut dyn World) -> Verdict {
    let mut s = Stage::bare(w)?;
    let (before, heap) = grown(&mut s, 4)?;
    let Range { start: at, len } = heap.part(1, 3);
    s.value(Call::Unmap { at, len })?;
    expect("nothing to give", s.value(Call::Brk { end: heap.at(1) })?, heap.at(4))?;
    expect("something", s.value(Call::Brk { end: before })?, before)
}

/// Lets the heap grow by so many whole pages; returns where it ended before, and them.
fn grown(s: &mut Stage<'_>, pages: u64) -> Verdict<(u64, Area)> {
    let page_size = s.page();
    let before = s.value(Call::Brk { end: 0 })?;
    let start = before.next_multiple_of(page_size);
    let end = start + pages * page_size;
    expect("grown", s.value(Call::Brk { end })?, end)?;
    Ok((before, Area { start, pages, page_size, object: None }))
}
