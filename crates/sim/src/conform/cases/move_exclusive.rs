//! MOVE wants pages for itself: what fork and pinning do to it, and the ways out.

use super::prelude::*;

/// An empty registered destination, and a written source, both of `pages` pages.
fn movable(w: &mut dyn World, pages: u64) -> Verdict<(Stage<'_>, Area, Area)> {
    let mut s = Stage::open(w, FEATURE_MOVE)?;
    let (dst, src) = (s.anon(pages)?, s.anon(pages)?);
    for page in 0..pages {
        s.store(src.at(page), 5)?;
    }
    s.register(dst.range(), reg::MISSING)?;
    Ok((s, dst, src))
}

/// A page shared with a child is EBUSY (section 13).
pub(super) fn page_shared_with_a_child_is_busy(w: &mut dyn World) -> Verdict {
    let (mut s, dst, src) = movable(w, 1)?;
    s.fork()?;
    s.move_pages(dst.range(), src.start, 0)?.failed(EBUSY)?;
    expect("kept", s.load(src.at(0))?, 5)
}

/// Writing gives the parent a page of its own, which moves while the child keeps the old one
/// (section 13).
pub(super) fn writing_makes_it_movable(w: &mut dyn World) -> Verdict {
    let (mut s, dst, src) = movable(w, 1)?;
    let child = s.fork()?;
    s.store(src.at(0), 6)?;
    s.move_pages(dst.range(), src.start, 0)?.done(dst.page_size)?;
    expect("moved", s.load(dst.at(0))?, 6)?;
    let byte = s.call_in(child, Call::Load { at: src.at(0), len: 1 })?;
    expect("child", byte.bytes, vec![5])
}

/// After the child is gone the page stays EBUSY until it is written (section 13).
pub(super) fn it_stays_busy_after_the_child(w: &mut dyn World) -> Verdict {
    let (mut s, dst, src) = movable(w, 1)?;
    let child = s.fork()?;
    s.world.kill(child.process)?;
    s.move_pages(dst.range(), src.start, 0)?.failed(EBUSY)?;
    s.store(src.at(0) + 1, 1)?;
    s.move_pages(dst.range(), src.start, 0)?.done(dst.page_size)?;
    expect("byte", s.load(dst.at(0))?, 5)
}

/// Memory kept out of children moves while a child lives (section 13).
pub(super) fn memory_kept_out_of_children_moves(w: &mut dyn World) -> Verdict {
    let (mut s, dst, src) = movable(w, 1)?;
    s.advise(src.range(), advice::DONTFORK)?;
    s.fork()?;
    s.move_pages(dst.range(), src.start, 0)?.done(dst.page_size)
}

/// Shared pages stop a move half-way: EAGAIN with the bytes done (section 13).
pub(super) fn shared_page_stops_it_half_way(w: &mut dyn World) -> Verdict {
    let (mut s, dst, src) = movable(w, 3)?;
    s.fork()?;
    s.store(src.at(0), 1)?;
    s.store(src.at(2), 1)?;
    s.move_pages(dst.range(), src.start, 0)?.partial(dst.page_size)?;
    s.move_pages(dst.part(1, 2), src.at(1), 0)?.failed(EBUSY)
}

/// The way out that always works: COPY, then drop the source (section 13).
pub(super) fn copying_and_dropping_is_the_way_out(w: &mut dyn World) -> Verdict {
    let (mut s, dst, src) = movable(w, 1)?;
    s.fork()?;
    s.move_pages(dst.range(), src.start, 0)?.failed(EBUSY)?;
    s.copy(dst.range(), src.start, 0)?.done(dst.page_size)?;
    s.advise(src.range(), advice::DONTNEED)?;
    expect("destination", s.load(dst.at(0))?, 5)?;
    expect("source", s.load(src.at(0))?, 0)
}

/// Pages made after the fork are the parent's own and move (section 13).
pub(super) fn pages_made_after_the_fork_move(w: &mut dyn World) -> Verdict {
    let (mut s, dst, _) = movable(w, 1)?;
    s.fork()?;
    let src = s.source(7)?;
    s.move_pages(dst.range(), src, 0)?.done(dst.page_size)?;
    expect("byte", s.load(dst.at(0))?, 7)
}

/// A moved page can be shared with a child in turn, and reads the same there (section 13).
pub(super) fn moved_pages_are_inherited(w: &mut dyn World) -> Verdict {
    let (mut s, dst, src) = movable(w, 1)?;
    s.move_pages(dst.range(), src.start, 0)?.done(dst.page_size)?;
    let child = s.fork()?;
    let byte = s.call_in(child, Call::Load { at: dst.at(0), len: 1 })?;
    expect("child", byte.bytes, vec![5])?;
    s.store(dst.at(0), 6)?;
    let byte = s.call_in(child, Call::Load { at: dst.at(0), len: 1 })?;
    expect("child", byte.bytes, vec![5])
}

/// A pinned page is EBUSY until it is unpinned (section 13).
pub(super) fn pinned_page_is_busy(w: &mut dyn World) -> Verdict {
    let (mut s, dst, src) = movable(w, 1)?;
    if !s.profile().has_pinning {
        return skip("no io_uring here to pin pages with");
    }
    let ring = s.open_fd(Call::Pin { at: src.start, len: src.page_size })?;
    s.move_pages(dst.range(), src.start, 0)?.failed(EBUSY)?;
    s.value(Call::Close { fd: ring })?;
    let tried = s.move_pages(dst.range(), src.start, 0)?;
    // The ring gives its pins back in the background.
    tried.done(dst.page_size).or(tried.failed(EBUSY))
}
