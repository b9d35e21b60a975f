//! Transparent huge pages: faults, filling, moving whole and split, protection.

use faultless_uapi::PmScanArg;
use faultless_uapi::scan::{category, flag};

use super::prelude::*;
use crate::conform::call::SCAN_ROOM;

/// Anonymous memory that is one huge page each time `huge_page` says so.
fn huge_area(s: &mut Stage<'_>) -> Verdict<(Area, u64)> {
    let (area, size) = s.huge_anon(1)?;
    s.store(area.at(0), 5)?;
    if is_huge(s, area.at(0))? {
        return Ok((area, size));
    }
    skip("no huge page was free when one was wanted")
}

fn is_huge(s: &mut Stage<'_>, at: u64) -> Verdict<bool> {
    Ok(s.value(Call::HugeBytes { at })? > 0)
}

/// A huge page registered as destination of MOVE, empty, and a huge page as source.
fn movable(w: &mut dyn World) -> Verdict<(Stage<'_>, Area, Area)> {
    let mut s = Stage::open(w, FEATURE_MOVE)?;
    let (src, _) = huge_area(&mut s)?;
    let (dst, _) = s.huge_anon(1)?;
    s.register(dst.range(), reg::MISSING)?;
    Ok((s, dst, src))
}

/// A missing fault in memory that wants huge pages is told for a base page, and a base page is
/// what comes (section 9).
pub(super) fn missing_faults_are_for_base_pages(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let (area, _) = s.huge_anon(1)?;
    s.register(area.range(), reg::MISSING)?;
    let who = s.blocked_store(area.at(3), 1)?;
    s.expect_fault(area.at(3), fault_flag::WRITE)?;
    s.fill(area.one(3), 2, 0)?;
    s.goes_on(who)?;
    expect("huge", is_huge(&mut s, area.at(3))?, false)?;
    expect("neighbour present", s.is_present(area.at(4))?, false)
}

/// A destination under a huge page is EEXIST for every request that fills (section 8).
pub(super) fn filling_over_a_huge_page_exists(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let (area, _) = huge_area(&mut s)?;
    let src = s.source(1)?;
    s.register(area.range(), reg::MISSING)?;
    s.copy(area.one(7), src, 0)?.failed(EEXIST)?;
    s.zeropage(area.one(7), 0)?.failed(EEXIST)?;
    if s.profile().offers(FEATURE_POISON) {
        s.poison(area.one(7), 0)?.failed(EEXIST)?;
    }
    expect("huge", is_huge(&mut s, area.at(0))?, true)
}

/// MOVE onto a huge page is EEXIST (section 13).
pub(super) fn moving_onto_a_huge_page_exists(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_MOVE)?;
    let (area, _) = huge_area(&mut s)?;
    let src = s.source(1)?;
    s.register(area.range(), reg::MISSING)?;
    s.move_pages(area.one(7), src, 0)?.failed(EEXIST)
}

/// An aligned huge page moves whole and stays huge (section 13).
pub(super) fn huge_page_moves_whole(w: &mut dyn World) -> Verdict {
    let (mut s, dst, src) = movable(w)?;
    s.move_pages(dst.range(), src.start, 0)?.done(dst.range().len)?;
    expect("byte", s.load(dst.at(0))?, 5)?;
    expect("huge", is_huge(&mut s, dst.at(0))?, true)?;
    expect("source present", s.is_present(src.at(0))?, false)
}

/// A part of a huge page moves too: it is split (section 13).
pub(super) fn part_of_a_huge_page_moves(w: &mut dyn World) -> Verdict {
    let (mut s, dst, src) = movable(w)?;
    s.store(src.at(1), 6)?;
    s.move_pages(dst.one(0), src.at(1), 0)?.done(dst.page_size)?;
    expect("moved", s.load(dst.at(0))?, 6)?;
    expect("left behind", s.load(src.at(0))?, 5)?;
    expect("huge", is_huge(&mut s, src.at(0))?, false)?;
    expect("source present", s.is_present(src.at(1))?, false)
}

/// A huge page shared with a child is EBUSY, whole and in part (section 13).
pub(super) fn huge_page_shared_with_a_child_is_busy(w: &mut dyn World) -> Verdict {
    let (mut s, dst, src) = movable(w)?;
    s.fork()?;
    s.move_pages(dst.range(), src.start, 0)?.failed(EBUSY)?;
    s.move_pages(dst.one(0), src.start, 0)?.failed(EBUSY)
}

/// Protecting a huge page whole keeps it huge; any store in it waits (section 11).
pub(super) fn huge_page_is_protected_whole(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_PAGEFAULT_FLAG_WP)?;
    let (area, _) = huge_area(&mut s)?;
    s.register(area.range(), reg::WP)?;
    s.protect(area.range())?;
    expect("huge", is_huge(&mut s, area.at(0))?, true)?;
    expect("protected", s.is_protected(area.at(9))?, true)?;
    let who = s.blocked_store(area.at(9), 1)?;
    s.expect_fault(area.at(9), fault_flag::WRITE | fault_flag::WP)?;
    s.writeprotect(area.range(), 0)?.ok()?;
    s.goes_on(who).map(|_| ())
}

/// Protecting a part of a huge page splits it, and protects that part only (section 11).
pub(super) fn part_of_a_huge_page_is_protected(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_PAGEFAULT_FLAG_WP)?;
    let (area, _) = huge_area(&mut s)?;
    s.register(area.range(), reg::WP)?;
    s.protect(area.part(4, 2))?;
    expect("huge", is_huge(&mut s, area.at(0))?, false)?;
    expect("in", s.is_protected(area.at(5))?, true)?;
    expect("out", s.is_protected(area.at(6))?, false)?;
    s.store(area.at(6), 1)?;
    s.blocked_store(area.at(5), 1)?;
    s.expect_fault(area.at(5), fault_flag::WRITE | fault_flag::WP)
}

/// Unprotecting a part of a protected huge page splits it and leaves the rest protected
/// (section 11).
pub(super) fn part_of_a_huge_page_is_unprotected(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_PAGEFAULT_FLAG_WP)?;
    let (area, _) = huge_area(&mut s)?;
    s.register(area.range(), reg::WP)?;
    s.protect(area.range())?;
    s.writeprotect(area.one(2), 0)?.ok()?;
    s.store(area.at(2), 1)?;
    expect("rest", s.is_protected(area.at(3))?, true)
}

/// With asynchronous protection a store into a huge page takes it off silently (section 11).
pub(super) fn asynchronous_protection_of_a_huge_page(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_WP_ASYNC)?;
    let (area, _) = huge_area(&mut s)?;
    s.register(area.range(), reg::WP)?;
    s.protect(area.range())?;
    s.store(area.at(1), 1)?;
    s.quiet()?;
    expect("protected", s.is_protected(area.at(1))?, false)
}

/// PAGEMAP_SCAN tells HUGE of a huge page, and not of base pages (section 12).
pub(super) fn scanning_tells_huge_pages(w: &mut dyn World) -> Verdict {
    let mut s = Stage::bare(w)?;
    let (area, _) = huge_area(&mut s)?;
    let small = s.source(1)?;
    let huge = s.categories(area.at(3))? & category::PAGE_IS_HUGE;
    expect("huge page", huge, category::PAGE_IS_HUGE)?;
    expect("base page", s.categories(small)? & category::PAGE_IS_HUGE, 0)
}

fn protecting_scan(range: Range) -> PmScanArg {
    PmScanArg {
        size: size_of::<PmScanArg>() as u64,
        flags: flag::WP_MATCHING | flag::CHECK_WPASYNC,
        start: range.start,
        end: range.end(),
        vec: SCAN_ROOM,
        vec_len: 4,
        category_mask: category::PAGE_IS_WRITTEN,
        return_mask: category::PAGE_IS_WRITTEN,
        ..PmScanArg::default()
    }
}

/// PAGEMAP_SCAN protects a huge page whole when all of it is asked for (section 12).
pub(super) fn scanning_protects_it_whole(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_WP_ASYNC)?;
    let (area, _) = huge_area(&mut s)?;
    s.register(area.range(), reg::WP)?;
    expect("regions", s.scan(protecting_scan(area.range()))?.result, Ok(1))?;
    expect("huge", is_huge(&mut s, area.at(0))?, true)?;
    expect("protected", s.is_protected(area.at(100))?, true)
}

/// It splits the huge page when a part is asked for, and protects that part (section 12).
pub(super) fn scanning_splits_it_for_a_part(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_WP_ASYNC)?;
    let (area, _) = huge_area(&mut s)?;
    s.register(area.range(), reg::WP)?;
    expect("regions", s.scan(protecting_scan(area.part(8, 4)))?.result, Ok(1))?;
    expect("huge", is_huge(&mut s, area.at(0))?, false)?;
    expect("in", s.is_protected(area.at(9))?, true)?;
    expect("out", s.is_protected(area.at(12))?, false)
}

/// Memory with MISSING registered is not collapsed behind the handler's back by faults: filling
/// base pages one by one leaves base pages (section 9).
pub(super) fn filled_pages_stay_small(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let (area, size) = s.huge_anon(1)?;
    let src = s.map_object(None, 1, size, map::PRIVATE | map::ANONYMOUS, prot::READ_WRITE)?;
    s.register(area.range(), reg::MISSING)?;
    s.copy(area.range(), src.start, 0)?.done(size)?;
    expect("huge", is_huge(&mut s, area.at(0))?, false)
}

/// Collapsing memory with missing pages registered is refused: no page may appear unasked
/// (section 9).
pub(super) fn missing_pages_are_not_collapsed(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let (area, _) = s.huge_anon(1)?;
    s.register(area.range(), reg::MISSING)?;
    s.fill(area.one(0), 1, 0)?;
    let collapsed = s.call(advise(area.range(), advice::COLLAPSE))?.result;
    ensure(collapsed.is_err(), format_args!("collapse: {collapsed:?}"))?;
    expect("huge", is_huge(&mut s, area.at(0))?, false)?;
    expect("present", s.is_present(area.at(1))?, false)
}

/// Collapsing memory whose pages are all there works, and no message is sent (section 9).
pub(super) fn full_memory_is_collapsed(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let (area, size) = s.huge_anon(1)?;
    let src = s.map_object(None, 1, size, map::PRIVATE | map::ANONYMOUS, prot::READ_WRITE)?;
    s.register(area.range(), reg::MISSING)?;
    s.copy(area.range(), src.start, 0)?.done(size)?;
    s.store(area.at(7), 3)?;
    if s.call(advise(area.range(), advice::COLLAPSE))?.result.is_err() {
        return skip("no huge page was free to collapse into");
    }
    expect("huge", is_huge(&mut s, area.at(0))?, true)?;
    expect("byte", s.load(area.at(7))?, 3)?;
    s.quiet()
}
