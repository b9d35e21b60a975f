//! PAGEMAP_SCAN: arguments, categories, how far it gets, protecting what it finds.

use faultless_uapi::PmScanArg;
use faultless_uapi::scan::category::*;
use faultless_uapi::scan::flag::{CHECK_WPASYNC, WP_MATCHING};

use super::prelude::*;
use crate::conform::stage::Scanned;
use crate::conform::call::SCAN_ROOM;

const ROOM: u64 = 32;

/// A scan of this range for pages with all these categories, which are told.
fn scan_for(range: Range, mask: u64) -> PmScanArg {
    PmScanArg {
        size: size_of::<PmScanArg>() as u64,
        start: range.start,
        end: range.end(),
        vec: SCAN_ROOM,
        vec_len: ROOM,
        category_mask: mask,
        return_mask: mask,
        ..PmScanArg::default()
    }
}

/// The first and last page of each region, as indexes into the area.
fn pages(area: &Area, scanned: &Scanned) -> Vec<(u64, u64)> {
    let index = |at: u64| at.wrapping_sub(area.start) / area.page_size;
    scanned.regions.iter().map(|region| (index(region.start), index(region.end))).collect()
}

#[track_caller]
fn expect_pages(s: &mut Stage<'_>, area: &Area, arg: PmScanArg, want: &[(u64, u64)]) -> Verdict {
    let scanned = s.scan(arg)?;
    expect("result", scanned.result, Ok(want.len() as u64))?;
    expect("regions", pages(area, &scanned).as_slice(), want)
}

/// Private anonymous memory with these pages written.
fn written<'w>(w: &'w mut dyn World, count: u64, written: &[u64]) -> Verdict<(Stage<'w>, Area)> {
    let mut s = Stage::bare(w)?;
    let area = s.anon(count)?;
    for page in written {
        s.store(area.at(*page), 1)?;
    }
    Ok((s, area))
}

#[track_caller]
fn expect_refused(s: &mut Stage<'_>, arg: PmScanArg, errno: Errno) -> Verdict {
    expect("scan", s.scan(arg)?.result, Err(Stop::Refused(errno)))
}

/// A size other than the struct's is EINVAL (section 12).
pub(super) fn size_must_be_right(w: &mut dyn World) -> Verdict {
    let (mut s, area) = written(w, 1, &[])?;
    let right = scan_for(area.range(), PAGE_IS_PRESENT);
    for size in [0, right.size - 8, right.size + 8] {
        expect_refused(&mut s, PmScanArg { size, ..right }, EINVAL)?;
    }
    Ok(())
}

/// Unknown flags are EINVAL (section 12).
pub(super) fn flags_must_be_known(w: &mut dyn World) -> Verdict {
    let (mut s, area) = written(w, 1, &[])?;
    let right = scan_for(area.range(), PAGE_IS_PRESENT);
    expect_refused(&mut s, PmScanArg { flags: 1 << 10, ..right }, EINVAL)
}

/// Unknown categories are EINVAL, in each of the four masks (section 12).
pub(super) fn categories_must_be_known(w: &mut dyn World) -> Verdict {
    const UNKNOWN: u64 = 1 << 40;
    let (mut s, area) = written(w, 1, &[])?;
    let right = scan_for(area.range(), PAGE_IS_PRESENT);
    for arg in [
        PmScanArg { category_mask: UNKNOWN, ..right },
        PmScanArg { category_inverted: UNKNOWN, ..right },
        PmScanArg { category_anyof_mask: UNKNOWN, ..right },
        PmScanArg { return_mask: UNKNOWN, ..right },
    ] {
        expect_refused(&mut s, arg, EINVAL)?;
    }
    Ok(())
}

/// ACCESSED is a category since 7.3; before it is EINVAL (section 12).
pub(super) fn accessed_is_a_category_since_7_3(w: &mut dyn World) -> Verdict {
    let (mut s, area) = written(w, 1, &[0])?;
    let scanned = s.scan(scan_for(area.range(), PAGE_IS_ACCESSED))?;
    let known = s.profile().written_needs_wp();
    ensure(known.allows(scanned.result.is_ok()), format_args!("ACCESSED: {:?}", scanned.result))
}

/// A start inside a page is EINVAL (section 12).
pub(super) fn start_must_be_aligned(w: &mut dyn World) -> Verdict {
    let (mut s, area) = written(w, 1, &[])?;
    let right = scan_for(area.range(), PAGE_IS_PRESENT);
    expect_refused(&mut s, PmScanArg { start: area.start + 1, ..right }, EINVAL)
}

/// Room for regions without an address for them is EINVAL, a bad address EFAULT (section 12).
pub(super) fn regions_need_room(w: &mut dyn World) -> Verdict {
    let (mut s, area) = written(w, 1, &[0])?;
    let right = scan_for(area.range(), PAGE_IS_PRESENT);
    expect_refused(&mut s, PmScanArg { vec: 0, ..right }, EINVAL)?;
    // An address of the kernel by every bit: aarch64 ignores the topmost byte.
    expect_refused(&mut s, PmScanArg { vec: 0xffff_ffff_ffff_0000, ..right }, EFAULT)
}

/// Runs of pages with equal categories are one region each; the walk ends at the end
/// (section 12).
pub(super) fn equal_neighbours_are_one_region(w: &mut dyn World) -> Verdict {
    let (mut s, area) = written(w, 8, &[1, 2, 5])?;
    let arg = scan_for(area.range(), PAGE_IS_PRESENT);
    expect_pages(&mut s, &area, arg, &[(1, 3), (5, 6)])?;
    let scanned = s.scan(arg)?;
    expect("walk end", scanned.walk_end, area.range().end())
}

/// The end is rounded up to a page (section 12).
pub(super) fn end_is_rounded_up(w: &mut dyn World) -> Verdict {
    let (mut s, area) = written(w, 2, &[0, 1])?;
    let arg = scan_for(area.range(), PAGE_IS_PRESENT);
    expect_pages(&mut s, &area, PmScanArg { end: area.at(1) + 1, ..arg }, &[(0, 2)])
}

/// It stops when the room is used up, and tells where (section 12).
pub(super) fn it_stops_when_the_room_is_full(w: &mut dyn World) -> Verdict {
    let (mut s, area) = written(w, 6, &[0, 2, 4])?;
    let arg = PmScanArg { vec_len: 2, ..scan_for(area.range(), PAGE_IS_PRESENT) };
    let scanned = s.scan(arg)?;
    expect("regions", pages(&area, &scanned), vec![(0, 1), (2, 3)])?;
    ensure(
        (area.at(3)..=area.at(4)).contains(&scanned.walk_end),
        format_args!("the walk ended at page {}", (scanned.walk_end - area.start) / area.page_size),
    )?;
    let rest = PmScanArg { start: scanned.walk_end, ..arg };
    expect_pages(&mut s, &area, rest, &[(4, 5)])
}

/// It stops after `max_pages` pages, and tells where (section 12).
pub(super) fn it_stops_after_so_many_pages(w: &mut dyn World) -> Verdict {
    let (mut s, area) = written(w, 6, &[0, 1, 2, 3, 4])?;
    let arg = PmScanArg { max_pages: 3, ..scan_for(area.range(), PAGE_IS_PRESENT) };
    let scanned = s.scan(arg)?;
    expect("regions", pages(&area, &scanned), vec![(0, 3)])?;
    expect("walk end", scanned.walk_end, area.at(3))
}

/// Holes and other memory in between are passed over (section 12).
pub(super) fn holes_are_passed_over(w: &mut dyn World) -> Verdict {
    let (mut s, area) = written(w, 5, &[0, 4])?;
    s.unmap(area.one(2))?;
    let arg = scan_for(area.range(), PAGE_IS_PRESENT);
    expect_pages(&mut s, &area, arg, &[(0, 1), (4, 5)])
}

/// Inverted categories match pages without them (section 12).
pub(super) fn inverted_categories_match_their_absence(w: &mut dyn World) -> Verdict {
    let (mut s, area) = written(w, 4, &[1])?;
    let arg = PmScanArg {
        category_inverted: PAGE_IS_PRESENT,
        ..scan_for(area.range(), PAGE_IS_PRESENT)
    };
    expect_pages(&mut s, &area, arg, &[(0, 1), (2, 4)])
}

/// Of the any-of categories one is enough, of the others all are needed (section 12).
pub(super) fn masks_combine(w: &mut dyn World) -> Verdict {
    let (mut s, area) = written(w, 4, &[0])?;
    // Page 1 becomes the zero page, the others stay untouched.
    expect("byte", s.load(area.at(1))?, 0)?;
    let any = PmScanArg {
        category_anyof_mask: PAGE_IS_PFNZERO | PAGE_IS_PRESENT,
        ..scan_for(area.range(), 0)
    };
    expect_pages(&mut s, &area, any, &[(0, 2)])?;
    let all = scan_for(area.range(), PAGE_IS_PFNZERO | PAGE_IS_PRESENT);
    expect_pages(&mut s, &area, all, &[(1, 2)])?;
    let both = PmScanArg { category_mask: PAGE_IS_PFNZERO, ..any };
    expect_pages(&mut s, &area, both, &[(1, 2)])
}

/// Only the categories asked for are told, and regions that differ in others are one
/// (section 12).
pub(super) fn only_what_is_asked_is_told(w: &mut dyn World) -> Verdict {
    let (mut s, area) = written(w, 2, &[1])?;
    // Page 0 becomes the zero page, page 1 is a page of its own.
    expect("byte", s.load(area.at(0))?, 0)?;
    let arg = scan_for(area.range(), PAGE_IS_PRESENT);
    expect_pages(&mut s, &area, arg, &[(0, 2)])?;
    let arg = PmScanArg { return_mask: PAGE_IS_PRESENT | PAGE_IS_PFNZERO, ..arg };
    let scanned = s.scan(arg)?;
    let told: Vec<u64> = scanned.regions.iter().map(|region| region.categories).collect();
    expect("told", told, vec![PAGE_IS_PRESENT | PAGE_IS_PFNZERO, PAGE_IS_PRESENT])
}

/// FILE is told of shared memory, not of anonymous (section 12).
pub(super) fn shared_memory_is_file(w: &mut dyn World) -> Verdict {
    let mut s = Stage::bare(w)?;
    for (memory, file) in [(Memory::Anon, 0), (Memory::Shmem, PAGE_IS_FILE)] {
        let area = s.map(memory, 1)?;
        s.store(area.at(0), 1)?;
        let told = s.categories(area.at(0))? & (PAGE_IS_FILE | PAGE_IS_PRESENT);
        expect("told", told, PAGE_IS_PRESENT | file)?;
    }
    Ok(())
}

/// GUARD is told of guarded pages, since 6.15 (section 12).
pub(super) fn guards_are_told(w: &mut dyn World) -> Verdict {
    let (mut s, area) = written(w, 2, &[0])?;
    if !s.profile().shows_guards() {
        return skip("guards are shown since 6.15");
    }
    s.advise(area.one(1), advice::GUARD_INSTALL)?;
    let arg = scan_for(area.range(), PAGE_IS_GUARD);
    expect_pages(&mut s, &area, arg, &[(1, 2)])
}

/// WPALLOWED is told of memory with asynchronous protection registered (section 12).
pub(super) fn protectable_memory_is_told(w: &mut dyn World) -> Verdict {
    let (mut s, area) = tracked(w, 2)?;
    let plain = s.anon(1)?;
    s.store(plain.at(0), 1)?;
    let told = s.categories(area.at(0))? & PAGE_IS_WPALLOWED;
    expect("tracked", told, PAGE_IS_WPALLOWED)?;
    expect("plain", s.categories(plain.at(0))? & PAGE_IS_WPALLOWED, 0)
}

/// Memory with asynchronous write-protection registered and in force.
fn tracked(w: &mut dyn World, count: u64) -> Verdict<(Stage<'_>, Area)> {
    let mut s = Stage::open(w, FEATURE_WP_ASYNC)?;
    let area = s.anon(count)?;
    for page in 0..count {
        s.store(area.at(page), 1)?;
    }
    s.register(area.range(), reg::WP)?;
    s.protect(area.range())?;
    Ok((s, area))
}

/// WRITTEN is told of pages whose protection was taken off by a store (section 12).
pub(super) fn written_pages_are_told(w: &mut dyn World) -> Verdict {
    let (mut s, area) = tracked(w, 4)?;
    let arg = scan_for(area.range(), PAGE_IS_WRITTEN);
    expect_pages(&mut s, &area, arg, &[])?;
    s.store(area.at(1), 2)?;
    s.store(area.at(2), 2)?;
    expect_pages(&mut s, &area, arg, &[(1, 3)])
}

/// A page that is not there counts as written, unless a marker protects it (section 12).
pub(super) fn missing_pages_count_as_written(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_WP_ASYNC)?;
    let area = s.anon(2)?;
    s.register(area.range(), reg::WP)?;
    s.protect(area.one(0))?;
    let arg = scan_for(area.range(), PAGE_IS_WRITTEN);
    expect_pages(&mut s, &area, arg, &[(1, 2)])
}

/// In memory without write-protection every page counts as written, touched or not, until 7.3;
/// since then none does (sections 12, 15).
pub(super) fn plain_memory_counts_as_written(w: &mut dyn World) -> Verdict {
    let (mut s, area) = written(w, 4, &[1])?;
    let arg = scan_for(area.range(), PAGE_IS_WRITTEN);
    if s.profile().written_needs_wp() == Promise::Yes {
        return expect_pages(&mut s, &area, arg, &[]);
    }
    expect_pages(&mut s, &area, arg, &[(0, 4)])
}

/// WP_MATCHING protects what it tells, in the same pass: a second scan finds nothing
/// (section 12).
pub(super) fn telling_and_protecting_is_one_step(w: &mut dyn World) -> Verdict {
    let (mut s, area) = tracked(w, 4)?;
    s.store(area.at(0), 2)?;
    s.store(area.at(3), 2)?;
    let flags = WP_MATCHING | CHECK_WPASYNC;
    let arg = PmScanArg { flags, ..scan_for(area.range(), PAGE_IS_WRITTEN) };
    expect_pages(&mut s, &area, arg, &[(0, 1), (3, 4)])?;
    expect("protected", s.is_protected(area.at(0))?, true)?;
    expect_pages(&mut s, &area, arg, &[])?;
    s.store(area.at(3), 3)?;
    expect_pages(&mut s, &area, arg, &[(3, 4)])
}

/// Without room it protects all the same, and tells no region (section 12).
pub(super) fn protecting_needs_no_room(w: &mut dyn World) -> Verdict {
    let (mut s, area) = tracked(w, 2)?;
    s.store(area.at(1), 2)?;
    let arg = PmScanArg {
        flags: WP_MATCHING | CHECK_WPASYNC,
        vec: 0,
        vec_len: 0,
        ..scan_for(area.range(), PAGE_IS_WRITTEN)
    };
    expect("result", s.scan(arg)?.result, Ok(0))?;
    expect("protected", s.is_protected(area.at(1))?, true)
}

/// What was not told for want of room was not protected either (section 12).
pub(super) fn protecting_stops_with_telling(w: &mut dyn World) -> Verdict {
    let (mut s, area) = tracked(w, 4)?;
    s.store(area.at(0), 2)?;
    s.store(area.at(2), 2)?;
    let flags = WP_MATCHING | CHECK_WPASYNC;
    let arg = PmScanArg { flags, vec_len: 1, ..scan_for(area.range(), PAGE_IS_WRITTEN) };
    let scanned = s.scan(arg)?;
    expect("regions", pages(&area, &scanned), vec![(0, 1)])?;
    expect("told", s.is_protected(area.at(0))?, true)?;
    expect("not told", s.is_protected(area.at(2))?, false)
}

/// CHECK_WPASYNC is EPERM where asynchronous protection is not registered (section 12).
pub(super) fn checking_refuses_other_memory(w: &mut dyn World) -> Verdict {
    let (mut s, area) = written(w, 1, &[0])?;
    let right = scan_for(area.range(), PAGE_IS_WRITTEN);
    let flags = WP_MATCHING | CHECK_WPASYNC;
    expect_refused(&mut s, PmScanArg { flags, ..right }, EPERM)?;
    expect_refused(&mut s, PmScanArg { flags: CHECK_WPASYNC, ..right }, EPERM)
}

/// Synchronous write-protection is not asynchronous: EPERM (section 12).
pub(super) fn checking_refuses_synchronous_protection(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_PAGEFAULT_FLAG_WP)?;
    let area = s.anon(1)?;
    s.store(area.at(0), 1)?;
    s.register(area.range(), reg::WP)?;
    let right = scan_for(area.range(), PAGE_IS_WRITTEN);
    let flags = WP_MATCHING | CHECK_WPASYNC;
    expect_refused(&mut s, PmScanArg { flags, ..right }, EPERM)
}

/// WP_MATCHING without the check silently passes over such memory (section 12).
pub(super) fn protecting_passes_over_other_memory(w: &mut dyn World) -> Verdict {
    let (mut s, area) = written(w, 1, &[0])?;
    let right = scan_for(area.range(), PAGE_IS_WRITTEN);
    let arg = PmScanArg { flags: WP_MATCHING, ..right };
    expect("result", s.scan(arg)?.result, Ok(0))?;
    expect("protected", s.is_protected(area.at(0))?, false)
}

/// An empty range is no error and has no regions (section 12).
pub(super) fn empty_range_has_no_regions(w: &mut dyn World) -> Verdict {
    let (mut s, area) = written(w, 1, &[0])?;
    let empty = Range { start: area.start, len: 0 };
    let scanned = s.scan(scan_for(empty, PAGE_IS_PRESENT))?;
    expect("result", scanned.result, Ok(0))
}
