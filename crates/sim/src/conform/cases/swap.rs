//! Pages that are swapped out: they count as present, keep their protection, and move.

use faultless_uapi::scan::{category, pagemap};

use super::prelude::*;

/// How often reclaim is asked before giving up: it passes over pages it just saw used.
const ATTEMPTS: u32 = 20;

/// Swaps a page out, or skips.
fn swap_out(s: &mut Stage<'_>, range: Range) -> Verdict {
    if !s.profile().has_swap {
        return skip("no swap here and no swap file could be made");
    }
    for _ in 0..ATTEMPTS {
        s.advise(range, advice::PAGEOUT)?;
        if s.is_swapped(range.start)? {
            return Ok(());
        }
    }
    skip("the kernel would not swap the page out")
}

/// A swapped-out page of private memory that holds 7.
fn swapped(s: &mut Stage<'_>) -> Verdict<Area> {
    let area = s.anon(1)?;
    s.store(area.at(0), 7)?;
    swap_out(s, area.range())?;
    Ok(area)
}

/// A swapped-out page is not missing: it comes back without a message (section 9).
pub(super) fn swapped_page_is_not_missing(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let area = swapped(&mut s)?;
    s.register(area.range(), reg::MISSING)?;
    expect("byte", s.load(area.at(0))?, 7)?;
    s.quiet()
}

/// Filling over it is EEXIST (section 8).
pub(super) fn filling_over_it_exists(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let area = swapped(&mut s)?;
    let src = s.source(1)?;
    s.register(area.range(), reg::MISSING)?;
    s.copy(area.range(), src, 0)?.failed(EEXIST)?;
    s.zeropage(area.range(), 0)?.failed(EEXIST)?;
    if s.profile().offers(FEATURE_POISON) {
        s.poison(area.range(), 0)?.failed(EEXIST)?;
    }
    expect("still swapped out", s.is_swapped(area.at(0))?, true)
}

/// It is protected where it lies, and still protected when it comes back (section 11).
pub(super) fn it_can_be_protected(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_PAGEFAULT_FLAG_WP)?;
    let area = swapped(&mut s)?;
    s.register(area.range(), reg::WP)?;
    s.protect(area.range())?;
    let bits = pagemap::SWAPPED | pagemap::UFFD_WP;
    expect("entry", s.entry(area.at(0))? & (bits | pagemap::PRESENT), bits)?;
    expect("byte", s.load(area.at(0))?, 7)?;
    expect("protected", s.is_protected(area.at(0))?, true)?;
    s.blocked_store(area.at(0), 1)?;
    s.expect_fault(area.at(0), fault_flag::WRITE | fault_flag::WP)
}

/// A protected page keeps its protection through swap (section 11).
pub(super) fn protection_goes_through_swap(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_PAGEFAULT_FLAG_WP)?;
    let area = s.anon(1)?;
    s.store(area.at(0), 7)?;
    s.register(area.range(), reg::WP)?;
    s.protect(area.range())?;
    swap_out(&mut s, area.range())?;
    let who = s.blocked_store(area.at(0), 8)?;
    s.expect_fault(area.at(0), fault_flag::WRITE | fault_flag::WP)?;
    s.writeprotect(area.range(), 0)?.ok()?;
    s.goes_on(who)?;
    expect("byte", s.load(area.at(0))?, 8)
}

/// Unprotecting a page that lies in swap works too (section 11).
pub(super) fn it_can_be_unprotected(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_PAGEFAULT_FLAG_WP)?;
    let area = s.anon(1)?;
    s.store(area.at(0), 7)?;
    s.register(area.range(), reg::WP)?;
    s.protect(area.range())?;
    swap_out(&mut s, area.range())?;
    s.writeprotect(area.range(), 0)?.ok()?;
    s.store(area.at(0), 8)
}

/// MOVE moves the entry and leaves the page in swap (section 13).
pub(super) fn it_moves_without_coming_back(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_MOVE)?;
    let src = swapped(&mut s)?;
    let dst = s.anon(1)?;
    s.register(dst.range(), reg::MISSING)?;
    s.move_pages(dst.range(), src.start, 0)?.done(dst.page_size)?;
    expect("swapped", s.is_swapped(dst.at(0))?, true)?;
    expect("source", s.entry(src.at(0))? & (pagemap::SWAPPED | pagemap::PRESENT), 0)?;
    expect("byte", s.load(dst.at(0))?, 7)
}

/// A page that came back from swap for reading only moves too, its copy in the swap cache with
/// it (section 13).
pub(super) fn page_read_back_moves(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_MOVE)?;
    let src = swapped(&mut s)?;
    let dst = s.anon(1)?;
    expect("byte", s.load(src.at(0))?, 7)?;
    s.register(dst.range(), reg::MISSING)?;
    s.move_pages(dst.range(), src.start, 0)?.done(dst.page_size)?;
    expect("byte", s.load(dst.at(0))?, 7)?;
    s.store(dst.at(0), 8)
}

/// A swapped-out page shared with a child is EBUSY (section 13).
pub(super) fn page_shared_with_a_child_is_busy(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_MOVE)?;
    let src = swapped(&mut s)?;
    let dst = s.anon(1)?;
    s.register(dst.range(), reg::MISSING)?;
    s.fork()?;
    s.move_pages(dst.range(), src.start, 0)?.failed(EBUSY)
}

/// MOVE onto it is EEXIST (section 13).
pub(super) fn moving_onto_it_exists(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_MOVE)?;
    let dst = swapped(&mut s)?;
    let src = s.source(1)?;
    s.register(dst.range(), reg::MISSING)?;
    s.move_pages(dst.range(), src, 0)?.failed(EEXIST)
}

/// PAGEMAP_SCAN tells SWAPPED of it, and not PRESENT (section 12).
pub(super) fn scanning_tells_it(w: &mut dyn World) -> Verdict {
    let mut s = Stage::bare(w)?;
    let area = swapped(&mut s)?;
    let told = s.categories(area.at(0))?;
    let bits = category::PAGE_IS_SWAPPED | category::PAGE_IS_PRESENT;
    expect("told", told & bits, category::PAGE_IS_SWAPPED)
}

/// Dropping a swapped-out page makes it missing (section 9).
pub(super) fn dropping_it_makes_it_missing(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let area = swapped(&mut s)?;
    s.register(area.range(), reg::MISSING)?;
    s.advise(area.range(), advice::DONTNEED)?;
    s.blocked_load(area.at(0))?;
    s.expect_fault(area.at(0), 0)
}

/// A page of shared memory in swap is still in the object: a minor fault, which CONTINUE brings
/// back (sections 8, 9).
pub(super) fn shared_page_in_swap_is_minor(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_MINOR_SHMEM)?;
    if !s.profile().has_swap {
        return skip("no swap here and no swap file could be made");
    }
    let area = s.map(Memory::Shmem, 1)?;
    s.store(area.at(0), 7)?;
    s.advise(area.range(), advice::PAGEOUT)?;
    s.advise(area.range(), advice::DONTNEED)?;
    s.register(area.range(), reg::MINOR)?;
    let who = s.blocked_load(area.at(0))?;
    s.expect_fault(area.at(0), fault_flag::MINOR)?;
    s.continue_(area.range(), 0)?.done(area.page_size)?;
    expect("byte", s.loaded(who)?, 7)
}

/// A page of an object that holds 7 in both halves, swapped out.
fn swapped_object(s: &mut Stage<'_>) -> Verdict<(Area, Fd)> {
    if !s.profile().has_swap {
        return skip("no swap here and no swap file could be made");
    }
    let area = s.map(Memory::Shmem, 1)?;
    let Some(fd) = area.object else { return skip("no object") };
    for half in [0, area.page_size / 2] {
        s.store(area.at(0) + half, 7)?;
    }
    s.advise(area.range(), advice::PAGEOUT)?;
    Ok((area, fd))
}

/// Expects the first half of the page to hold what it held, and the second half zeros.
fn expect_cut(s: &mut Stage<'_>, area: &Area) -> Verdict {
    expect("kept", s.load(area.at(0))?, 7)?;
    expect("cut", s.load(area.at(0) + area.page_size / 2)?, 0)
}

/// A cut through a page in swap reads zeros when the object grows again (section 9).
pub(super) fn a_cut_through_it_reads_zeros(w: &mut dyn World) -> Verdict {
    let mut s = Stage::bare(w)?;
    let (area, fd) = swapped_object(&mut s)?;
    s.value(Call::Resize { fd, len: area.page_size / 2 })?;
    s.value(Call::Resize { fd, len: area.page_size })?;
    expect_cut(&mut s, &area)
}

/// A hole in a part of a page in swap reads zeros (section 9).
pub(super) fn a_hole_in_a_part_of_it_reads_zeros(w: &mut dyn World) -> Verdict {
    let mut s = Stage::bare(w)?;
    let (area, fd) = swapped_object(&mut s)?;
    let half = area.page_size / 2;
    s.value(Call::Punch { fd, offset: half, len: half })?;
    expect_cut(&mut s, &area)
}
