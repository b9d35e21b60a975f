//! MOVE: what changes hands, which mappings will do, how far it gets.

use faultless_uapi::mode::move_::{ALLOW_SRC_HOLES, DONTWAKE};

use super::prelude::*;

/// An empty registered destination, and a source whose pages hold 1, 2, 3, ...
fn movable(w: &mut dyn World, pages: u8) -> Verdict<(Stage<'_>, Area, Area)> {
    let mut s = Stage::open(w, FEATURE_MOVE)?;
    let dst = s.anon(pages.into())?;
    let src = filled(&mut s, pages)?;
    s.register(dst.range(), reg::MISSING)?;
    Ok((s, dst, src))
}

fn filled(s: &mut Stage<'_>, pages: u8) -> Verdict<Area> {
    let area = s.anon(pages.into())?;
    for page in 0..pages {
        s.store(area.at(page.into()), page + 1)?;
    }
    Ok(area)
}

/// The content changes hands: the destination has it, the source is empty (section 13).
pub(super) fn content_changes_hands(w: &mut dyn World) -> Verdict {
    let (mut s, dst, src) = movable(w, 3)?;
    s.move_pages(dst.range(), src.start, 0)?.done(dst.range().len)?;
    for page in 0..3 {
        expect("source present", s.is_present(src.at(page))?, false)?;
        expect("destination", u64::from(s.load(dst.at(page))?), page + 1)?;
    }
    s.quiet()?;
    expect("source", s.load(src.at(0))?, 0)
}

/// A moved page is writable at once (section 13).
pub(super) fn moved_page_is_writable(w: &mut dyn World) -> Verdict {
    let (mut s, dst, src) = movable(w, 1)?;
    s.move_pages(dst.range(), src.start, 0)?.done(dst.page_size)?;
    s.store(dst.at(0), 9)?;
    expect("byte", s.load(dst.at(0))?, 9)
}

/// Sleepers on the destination wake, unless told DONTWAKE (section 13).
pub(super) fn sleepers_wake_unless_told_not_to(w: &mut dyn World) -> Verdict {
    let (mut s, dst, src) = movable(w, 2)?;
    let first = s.blocked_load(dst.at(0))?;
    s.move_pages(dst.one(0), src.at(0), 0)?.done(dst.page_size)?;
    expect("byte", s.loaded(first)?, 1)?;
    let second = s.blocked_load(dst.at(1))?;
    s.move_pages(dst.one(1), src.at(1), DONTWAKE)?.done(dst.page_size)?;
    s.still_blocked(second)?;
    s.wake(dst.one(1))?;
    expect("byte", s.loaded(second)?, 2)
}

/// Bad ranges, unaligned sources and unknown modes are EINVAL, out field untouched (section 13).
pub(super) fn arguments_must_be_possible(w: &mut dyn World) -> Verdict {
    let (mut s, dst, src) = movable(w, 1)?;
    let Range { start, len } = dst.range();
    s.move_pages(Range { start: start + 1, len }, src.start, 0)?.refused(EINVAL)?;
    s.move_pages(Range { start, len: 0 }, src.start, 0)?.refused(EINVAL)?;
    s.move_pages(Range { start, len: len - 1 }, src.start, 0)?.refused(EINVAL)?;
    s.move_pages(dst.range(), src.start + 1, 0)?.refused(EINVAL)?;
    s.move_pages(dst.range(), 1 << 63, 0)?.refused(EINVAL)?;
    s.move_pages(dst.range(), src.start, 1 << 40)?.refused(EINVAL)
}

/// A destination or a source that is not mapped is ENOENT (section 13).
pub(super) fn unmapped_ends_are_noent(w: &mut dyn World) -> Verdict {
    let (mut s, dst, src) = movable(w, 1)?;
    let gone = s.anon(1)?;
    s.unmap(gone.range())?;
    s.move_pages(gone.range(), src.start, 0)?.failed(ENOENT)?;
    s.move_pages(dst.range(), gone.start, 0)?.failed(ENOENT)
}

/// A destination that is not registered, or registered with another userfaultfd, is EINVAL
/// (section 13).
pub(super) fn destination_must_be_our_own(w: &mut dyn World) -> Verdict {
    let (mut s, dst, src) = movable(w, 1)?;
    let plain = s.anon(1)?;
    s.move_pages(plain.range(), src.start, 0)?.failed(EINVAL)?;
    let other = s.open_another(USUAL, FEATURE_MOVE)?;
    s.send_to(other, &request::move_(dst.range(), src.start, 0))?.failed(EINVAL)
}

/// Any mode of registration will do (section 13).
pub(super) fn any_registration_will_do(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_MOVE | FEATURE_PAGEFAULT_FLAG_WP)?;
    let dst = s.anon(1)?;
    let src = filled(&mut s, 1)?;
    s.register(dst.range(), reg::WP)?;
    s.move_pages(dst.range(), src.start, 0)?.done(dst.page_size)?;
    expect("byte", s.load(dst.at(0))?, 1)
}

/// A registered source gives its pages too, and is missing afterwards (section 13).
pub(super) fn registered_source_is_missing_afterwards(w: &mut dyn World) -> Verdict {
    let (mut s, dst, src) = movable(w, 1)?;
    s.register(src.range(), reg::MISSING)?;
    s.move_pages(dst.range(), src.start, 0)?.done(dst.page_size)?;
    s.blocked_load(src.at(0))?;
    s.expect_fault(src.at(0), 0)
}

/// Pages may move inside one mapping (section 13).
pub(super) fn pages_may_move_inside_a_mapping(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_MOVE)?;
    let area = s.anon(2)?;
    s.store(area.at(0), 7)?;
    s.register(area.range(), reg::MISSING)?;
    s.move_pages(area.one(1), area.at(0), 0)?.done(area.page_size)?;
    expect("byte", s.load(area.at(1))?, 7)?;
    expect("source present", s.is_present(area.at(0))?, false)
}

/// Overlapping ranges move page by page: down into a hole works, up onto pages is EEXIST
/// (section 13).
pub(super) fn overlap_moves_page_by_page(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_MOVE)?;
    let area = s.anon(4)?;
    for page in 1..3 {
        s.store(area.at(page), 1)?;
    }
    s.register(area.range(), reg::MISSING)?;
    s.move_pages(area.part(2, 2), area.at(1), 0)?.failed(EEXIST)?;
    s.move_pages(area.part(0, 2), area.at(1), 0)?.done(2 * area.page_size)?;
    expect("first", s.is_present(area.at(0))?, true)?;
    expect("last", s.is_present(area.at(2))?, false)
}

/// A range that leaves its mapping is EINVAL, at either end (section 13).
pub(super) fn ranges_must_lie_in_one_mapping(w: &mut dyn World) -> Verdict {
    let (mut s, dst, src) = movable(w, 2)?;
    let beyond = Range { start: dst.at(1), len: 2 * dst.page_size };
    s.move_pages(beyond, src.start, 0)?.failed(EINVAL)?;
    s.move_pages(dst.range(), src.at(1), 0)?.failed(EINVAL)
}

/// Protection must be the same on both sides, and writable: EINVAL (section 13).
pub(super) fn protection_must_be_equal_and_writable(w: &mut dyn World) -> Verdict {
    let (mut s, dst, src) = movable(w, 1)?;
    s.mprotect(src.range(), prot::READ)?;
    s.move_pages(dst.range(), src.start, 0)?.failed(EINVAL)?;
    s.mprotect(dst.range(), prot::READ)?;
    s.move_pages(dst.range(), src.start, 0)?.failed(EINVAL)?;
    s.mprotect(src.range(), prot::ALL)?;
    s.mprotect(dst.range(), prot::READ_WRITE)?;
    s.move_pages(dst.range(), src.start, 0)?.failed(EINVAL)?;
    s.mprotect(src.range(), prot::READ_WRITE)?;
    s.move_pages(dst.range(), src.start, 0)?.done(dst.page_size)
}

/// Memory locked on one side only is EINVAL (section 13).
pub(super) fn locking_must_be_equal(w: &mut dyn World) -> Verdict {
    let (mut s, dst, src) = movable(w, 1)?;
    s.value(Call::Lock { at: src.start, len: src.page_size })?;
    s.move_pages(dst.range(), src.start, 0)?.failed(EINVAL)
}

/// Shared memory, at either end, is EINVAL (section 13).
pub(super) fn shared_memory_is_invalid(w: &mut dyn World) -> Verdict {
    let (mut s, dst, src) = movable(w, 1)?;
    let shared = s.map(Memory::SharedAnon, 1)?;
    s.store(shared.at(0), 1)?;
    s.move_pages(dst.range(), shared.start, 0)?.failed(EINVAL)?;
    let shared = s.map(Memory::SharedAnon, 1)?;
    s.register(shared.range(), reg::MISSING)?;
    s.move_pages(shared.range(), src.start, 0)?.failed(EINVAL)
}

/// A private mapping of an object is not anonymous: EINVAL, at either end (section 13).
pub(super) fn private_mapping_of_an_object_is_invalid(w: &mut dyn World) -> Verdict {
    let (mut s, dst, src) = movable(w, 1)?;
    let private = s.map(Memory::PrivateShmem, 1)?;
    s.store(private.at(0), 1)?;
    s.move_pages(dst.range(), private.start, 0)?.failed(EINVAL)?;
    let private = s.map(Memory::PrivateShmem, 1)?;
    s.register(private.range(), reg::MISSING)?;
    s.move_pages(private.range(), src.start, 0)?.failed(EINVAL)
}

/// hugetlb memory is EINVAL, at either end (section 13).
pub(super) fn hugetlb_is_invalid(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_MOVE)?;
    let huge = s.map(Memory::PrivateHugetlb, 1)?;
    let flags = map::PRIVATE | map::ANONYMOUS;
    let plain = s.map_object(None, 1, huge.page_size, flags, prot::READ_WRITE)?;
    s.register(plain.range(), reg::MISSING)?;
    s.move_pages(plain.range(), huge.start, 0)?.failed(EINVAL)?;
    s.register(huge.range(), reg::MISSING)?;
    s.move_pages(huge.range(), plain.start, 0)?.failed(EINVAL)
}

/// Memory that may be merged moves as long as it was not (section 13).
pub(super) fn mergeable_memory_moves(w: &mut dyn World) -> Verdict {
    let (mut s, dst, src) = movable(w, 1)?;
    if s.call(advise(src.range(), advice::MERGEABLE))?.result.is_err() {
        return skip("this kernel merges no pages (CONFIG_KSM)");
    }
    s.move_pages(dst.range(), src.start, 0)?.done(dst.page_size)
}

/// A hole in the source is ENOENT; after some pages, EAGAIN with the bytes done (section 13).
pub(super) fn a_hole_stops_it(w: &mut dyn World) -> Verdict {
    let (mut s, dst, src) = movable(w, 3)?;
    s.advise(src.one(1), advice::DONTNEED)?;
    s.move_pages(dst.range(), src.start, 0)?.partial(dst.page_size)?;
    s.move_pages(dst.part(1, 2), src.at(1), 0)?.failed(ENOENT)?;
    expect("not reached", s.is_present(src.at(2))?, true)
}

/// With ALLOW_SRC_HOLES holes count as moved and stay missing at the destination (section 13).
pub(super) fn holes_count_when_allowed(w: &mut dyn World) -> Verdict {
    let (mut s, dst, src) = movable(w, 3)?;
    s.advise(src.one(1), advice::DONTNEED)?;
    s.move_pages(dst.range(), src.start, ALLOW_SRC_HOLES)?.done(dst.range().len)?;
    expect("first", s.load(dst.at(0))?, 1)?;
    expect("last", s.load(dst.at(2))?, 3)?;
    s.blocked_load(dst.at(1))?;
    s.expect_fault(dst.at(1), 0)
}

/// A source that was never touched, without even a page table, is one hole (section 13).
pub(super) fn an_untouched_source_is_a_hole(w: &mut dyn World) -> Verdict {
    const PAGES: u64 = 1024;
    let mut s = Stage::open(w, FEATURE_MOVE)?;
    let (dst, src) = (s.anon(PAGES)?, s.anon(PAGES)?);
    s.register(dst.range(), reg::MISSING)?;
    s.move_pages(dst.range(), src.start, 0)?.failed(ENOENT)?;
    s.move_pages(dst.range(), src.start, ALLOW_SRC_HOLES)?.done(dst.range().len)
}

/// A page at the destination is EEXIST and kept, the source too; after some pages, EAGAIN with
/// the bytes done (section 13).
pub(super) fn destination_is_never_overwritten(w: &mut dyn World) -> Verdict {
    let (mut s, dst, src) = movable(w, 3)?;
    s.fill(dst.one(1), 9, 0)?;
    s.move_pages(dst.range(), src.start, 0)?.partial(dst.page_size)?;
    s.move_pages(dst.part(1, 2), src.at(1), 0)?.failed(EEXIST)?;
    expect("destination", s.load(dst.at(1))?, 9)?;
    expect("source", s.load(src.at(1))?, 2)
}

/// A destination page is looked at before the source: EEXIST even where the source is a hole
/// (section 13).
pub(super) fn destination_is_looked_at_first(w: &mut dyn World) -> Verdict {
    let (mut s, dst, src) = movable(w, 1)?;
    s.fill(dst.range(), 9, 0)?;
    s.advise(src.range(), advice::DONTNEED)?;
    s.move_pages(dst.range(), src.start, 0)?.failed(EEXIST)
}

/// The zero page moves as the zero page (section 13).
pub(super) fn zero_page_moves(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_MOVE)?;
    let (dst, src) = (s.anon(1)?, s.anon(1)?);
    expect("byte", s.load(src.at(0))?, 0)?;
    s.register(dst.range(), reg::MISSING)?;
    s.move_pages(dst.range(), src.start, 0)?.done(dst.page_size)?;
    expect("source present", s.is_present(src.at(0))?, false)?;
    expect("destination present", s.is_present(dst.at(0))?, true)?;
    s.store(dst.at(0), 1)
}

/// A protected page loses its protection on the way, up to 7.3: a known bug (section 13).
pub(super) fn protection_is_lost_on_the_way(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_MOVE | FEATURE_PAGEFAULT_FLAG_WP)?;
    let (dst, src) = (s.anon(1)?, filled(&mut s, 1)?);
    s.register(src.range(), reg::MISSING | reg::WP)?;
    s.register(dst.range(), reg::MISSING | reg::WP)?;
    s.protect(src.range())?;
    s.move_pages(dst.range(), src.start, 0)?.done(dst.page_size)?;
    expect("protected", s.is_protected(dst.at(0))?, false)?;
    s.store(dst.at(0), 2)
}

/// Pages that came with COPY move on like any other (section 13).
pub(super) fn copied_pages_move_on(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_MOVE)?;
    let area = s.anon(2)?;
    s.register(area.range(), reg::MISSING)?;
    s.fill(area.one(0), 5, 0)?;
    s.move_pages(area.one(1), area.at(0), 0)?.done(area.page_size)?;
    expect("byte", s.load(area.at(1))?, 5)
}

/// Many pages move in one request, across page tables (section 13).
pub(super) fn many_pages_move_at_once(w: &mut dyn World) -> Verdict {
    const PAGES: u64 = 600;
    let mut s = Stage::open(w, FEATURE_MOVE)?;
    let (dst, src) = (s.anon(PAGES)?, s.anon(PAGES)?);
    s.advise(src.range(), advice::NOHUGEPAGE)?;
    s.advise(dst.range(), advice::NOHUGEPAGE)?;
    s.advise(src.range(), advice::POPULATE_WRITE)?;
    for page in [0, 511, PAGES - 1] {
        s.store(src.at(page), 3)?;
    }
    s.register(dst.range(), reg::MISSING)?;
    s.move_pages(dst.range(), src.start, 0)?.done(dst.range().len)?;
    for page in [0, 511, PAGES - 1] {
        expect("byte", s.load(dst.at(page))?, 3)?;
    }
    expect("source present", s.is_present(src.at(300))?, false)
}

/// Memory the kernel maps by raw frames does not move (section 13).
pub(super) fn special_memory_is_invalid(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_MOVE)?;
    let dst = s.anon(1)?;
    s.register(dst.range(), reg::MISSING)?;
    let src = s.value(Call::SpecialMemory)?;
    s.move_pages(dst.range(), src, 0)?.failed(EINVAL)
}
