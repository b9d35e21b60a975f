//! What the pagemap and its scans show of hugetlb memory, and how they protect it.

use faultless_uapi::PmScanArg;
use faultless_uapi::scan::category::*;
use faultless_uapi::scan::flag::WP_MATCHING;
use faultless_uapi::scan::pagemap;

use super::prelude::*;
use crate::conform::stage::Scanned;
use crate::conform::call::SCAN_ROOM;

const ALL: u64 = PAGE_IS_HUGE | PAGE_IS_PRESENT | PAGE_IS_SWAPPED | PAGE_IS_WRITTEN | PAGE_IS_FILE;

fn scan_for(range: Range, mask: u64, told: u64) -> PmScanArg {
    PmScanArg {
        size: size_of::<PmScanArg>() as u64,
        start: range.start,
        end: range.end(),
        vec: SCAN_ROOM,
        vec_len: 8,
        category_mask: mask,
        return_mask: told,
        ..PmScanArg::default()
    }
}

fn told(scanned: &Scanned) -> Vec<u64> {
    scanned.regions.iter().map(|region| region.categories).collect()
}

/// Two huge pages, the first of them written, registered for tracking writes.
fn tracked(w: &mut dyn World) -> Verdict<(Stage<'_>, Area)> {
    let mut s = Stage::open(w, FEATURE_WP_ASYNC | FEATURE_WP_HUGETLBFS_SHMEM | FEATURE_POISON)?;
    let area = s.map(Memory::Hugetlb, 2)?;
    s.store(area.at(0), 1)?;
    s.register(area.range(), reg::WP)?;
    Ok((s, area))
}

/// A huge page is HUGE, touched or not; written is only one that is there (section 12).
pub(super) fn missing_huge_pages_are_not_written(w: &mut dyn World) -> Verdict {
    let (mut s, area) = tracked(w)?;
    let scanned = s.scan(scan_for(area.range(), 0, ALL))?;
    let written = PAGE_IS_HUGE | PAGE_IS_PRESENT | PAGE_IS_WRITTEN | PAGE_IS_FILE;
    expect("told", told(&scanned), vec![written, PAGE_IS_HUGE])?;
    s.protect(area.range())?;
    let scanned = s.scan(scan_for(area.range(), 0, ALL))?;
    let protected = PAGE_IS_HUGE | PAGE_IS_PRESENT | PAGE_IS_FILE;
    expect("told", told(&scanned), vec![protected, PAGE_IS_HUGE | PAGE_IS_SWAPPED])
}

/// Every base page of a huge page has its bits; a marker has bit 57 alone, and does not look
/// swapped (section 11 and docs/kernel-notes.md).
pub(super) fn markers_do_not_look_swapped(w: &mut dyn World) -> Verdict {
    let (mut s, area) = tracked(w)?;
    s.protect(area.range())?;
    let bits = pagemap::PRESENT | pagemap::SWAPPED | pagemap::FILE_OR_SHARED | pagemap::UFFD_WP;
    let present = pagemap::PRESENT | pagemap::FILE_OR_SHARED | pagemap::UFFD_WP;
    let page = s.page();
    expect("present", s.entry(area.at(0) + 3 * page)? & bits, present)?;
    expect("marker", s.entry(area.at(1) + 3 * page)? & bits, pagemap::UFFD_WP)
}

/// A huge page is protected whole (section 12).
pub(super) fn scanning_protects_whole(w: &mut dyn World) -> Verdict {
    let (mut s, area) = tracked(w)?;
    let arg = scan_for(area.range(), PAGE_IS_WRITTEN, PAGE_IS_WRITTEN);
    let protecting = PmScanArg { flags: WP_MATCHING, ..arg };
    expect("result", s.scan(protecting)?.result, Ok(1))?;
    expect("protected", s.is_protected(area.at(0))?, true)?;
    expect("missing", s.is_protected(area.at(1))?, false)?;
    s.store(area.at(0), 2)?;
    expect("written", s.scan(arg)?.result, Ok(1))
}

/// A part of one cannot be protected: it is passed over, and told as the end of the walk
/// (section 12 and docs/kernel-notes.md).
pub(super) fn parts_are_passed_over(w: &mut dyn World) -> Verdict {
    let (mut s, area) = tracked(w)?;
    s.store(area.at(1), 1)?;
    let start = area.at(1) - 2 * s.page();
    let range = Range { start, len: area.range().end() - start };
    let arg = scan_for(range, PAGE_IS_WRITTEN, PAGE_IS_WRITTEN);
    let scanned = s.scan(PmScanArg { flags: WP_MATCHING, ..arg })?;
    let starts: Vec<u64> = scanned.regions.iter().map(|region| region.start).collect();
    expect("told", starts, vec![area.at(1)])?;
    expect("walk end", scanned.walk_end, start)?;
    expect("part", s.is_protected(area.at(0))?, false)?;
    expect("whole", s.is_protected(area.at(1))?, true)
}

/// Poison has no bits in the pagemap and looks swapped and written to a scan, which cannot protect
/// it (section 12 and docs/kernel-notes.md).
pub(super) fn poison_shows_in_scans_only(w: &mut dyn World) -> Verdict {
    let (mut s, area) = tracked(w)?;
    s.poison(area.one(1), 0)?.done(area.page_size)?;
    let bits = pagemap::PRESENT | pagemap::SWAPPED | pagemap::UFFD_WP;
    expect("pagemap", s.entry(area.at(1))? & bits, 0)?;
    let categories = PAGE_IS_HUGE | PAGE_IS_SWAPPED | PAGE_IS_WRITTEN;
    let arg = scan_for(area.one(1), 0, ALL);
    for _ in 0..2 {
        let scanned = s.scan(PmScanArg { flags: WP_MATCHING, ..arg })?;
        expect("scan", told(&scanned), vec![categories])?;
    }
    Ok(())
}

/// Dropping a protected page by advice leaves a marker, also of a private mapping (section 11).
pub(super) fn dropping_leaves_a_marker(w: &mut dyn World) -> Verdict {
    for memory in [Memory::Hugetlb, Memory::PrivateHugetlb] {
        let mut s = Stage::open(w, FEATURE_PAGEFAULT_FLAG_WP | FEATURE_WP_HUGETLBFS_SHMEM)?;
        let area = s.map(memory, 1)?;
        s.store(area.at(0), 1)?;
        s.register(area.range(), reg::WP)?;
        s.protect(area.range())?;
        s.advise(area.range(), advice::DONTNEED)?;
        expect("present", s.is_present(area.at(0))?, false)?;
        expect("protected", s.is_protected(area.at(0))?, true)?;
        s.world.kill(s.me.process)?;
    }
    Ok(())
}
