//! PAGEMAP_SCAN and protection: what is protected beyond what is told, markers, memory nobody ever
//! touched.

use faultless_uapi::PmScanArg;
use faultless_uapi::scan::category::*;
use faultless_uapi::scan::flag::WP_MATCHING;

use super::prelude::*;
use crate::conform::stage::Scanned;
use crate::conform::call::SCAN_ROOM;

/// Pages of an area that has page tables to itself: more than any table spans.
const SPACIOUS: u64 = 2048;

/// A scan for pages with all these categories that tells these.
fn scan_for(range: Range, mask: u64, told: u64) -> PmScanArg {
    PmScanArg {
        size: size_of::<PmScanArg>() as u64,
        start: range.start,
        end: range.end(),
        vec: SCAN_ROOM,
        vec_len: 32,
        category_mask: mask,
        return_mask: told,
        ..PmScanArg::default()
    }
}

/// The same, protecting and telling nothing.
fn silent(range: Range, mask: u64) -> PmScanArg {
    let arg = scan_for(range, mask, mask);
    PmScanArg { flags: WP_MATCHING, vec: 0, vec_len: 0, ..arg }
}

fn told(scanned: &Scanned) -> Vec<u64> {
    scanned.regions.iter().map(|region| region.categories).collect()
}

fn tracked(w: &mut dyn World, pages: u64) -> Verdict<(Stage<'_>, Area)> {
    let mut s = Stage::open(w, FEATURE_WP_ASYNC | FEATURE_POISON)?;
    let area = s.anon(pages)?;
    s.register(area.range(), reg::WP)?;
    Ok((s, area))
}

/// Where nothing is told, everything is protected that is not yet, looked for or not, and however
/// many pages were asked for (section 12 and docs/kernel-notes.md).
pub(super) fn without_room_everything_is_protected(w: &mut dyn World) -> Verdict {
    let (mut s, area) = tracked(w, 4)?;
    s.store(area.at(1), 1)?;
    let arg = PmScanArg { max_pages: 1, ..silent(area.part(0, 3), PAGE_IS_PRESENT) };
    expect("result", s.scan(arg)?.result, Ok(0))?;
    for page in 0..3 {
        expect("in the range", s.is_protected(area.at(page))?, true)?;
    }
    expect("behind it", s.is_protected(area.at(3))?, false)
}

/// Memory that no page table covers is looked at: there only what was asked for is protected
/// (section 12).
pub(super) fn without_tables_only_matches_are_protected(w: &mut dyn World) -> Verdict {
    let (mut s, area) = tracked(w, SPACIOUS)?;
    let middle = area.part(SPACIOUS / 2, 2);
    expect("present", s.scan(silent(middle, PAGE_IS_PRESENT))?.result, Ok(0))?;
    expect("present", s.is_protected(middle.start)?, false)?;
    expect("written", s.scan(silent(middle, PAGE_IS_WRITTEN))?.result, Ok(0))?;
    expect("written", s.is_protected(middle.start)?, true)
}

/// Where write-protection is registered, of whichever kind, memory without page tables counts as
/// written (section 12).
pub(super) fn memory_without_tables_is_written(w: &mut dyn World) -> Verdict {
    for features in [FEATURE_PAGEFAULT_FLAG_WP, FEATURE_WP_ASYNC] {
        let mut s = Stage::open(w, features)?;
        let area = s.anon(SPACIOUS)?;
        s.register(area.range(), reg::WP)?;
        let middle = area.part(SPACIOUS / 2, 2);
        let scanned = s.scan(scan_for(middle, 0, PAGE_IS_WRITTEN | PAGE_IS_PRESENT))?;
        expect("told", told(&scanned), vec![PAGE_IS_WRITTEN])?;
        s.world.kill(s.me.process)?;
    }
    Ok(())
}

/// Elsewhere it does not, in no version (section 12 and docs/kernel-notes.md).
pub(super) fn plain_memory_without_tables_is_not_written(w: &mut dyn World) -> Verdict {
    let mut s = Stage::bare(w)?;
    let area = s.anon(SPACIOUS)?;
    let middle = area.part(SPACIOUS / 2, 2);
    let scanned = s.scan(scan_for(middle, 0, PAGE_IS_WRITTEN | PAGE_IS_PRESENT))?;
    expect("told", told(&scanned), vec![0])
}

/// Expects every page of this range of plain memory to count as written, or none.
#[track_caller]
fn expect_written(s: &mut Stage<'_>, range: Range, written: bool) -> Verdict {
    if s.profile().written_needs_wp() == Promise::Yes {
        return Ok(());
    }
    let scanned = s.scan(scan_for(range, PAGE_IS_WRITTEN, PAGE_IS_WRITTEN))?;
    let ends: Vec<u64> = scanned.regions.iter().map(|region| region.end).collect();
    expect("written to the end", ends, if written { vec![range.end()] } else { Vec::new() })
}

/// Memory where a page was written, and dropped again alone.
fn emptied(w: &mut dyn World) -> Verdict<(Stage<'_>, Area)> {
    let mut s = Stage::bare(w)?;
    let area = s.anon(SPACIOUS)?;
    s.store(area.at(SPACIOUS / 2), 1)?;
    s.advise(area.one(SPACIOUS / 2), advice::DONTNEED)?;
    Ok((s, area))
}

/// A page table outlives the pages in it (section 12).
pub(super) fn a_table_once_made_stays(w: &mut dyn World) -> Verdict {
    let (mut s, area) = emptied(w)?;
    expect_written(&mut s, area.part(SPACIOUS / 2, 2), true)
}

/// A child gets a table, empty as it is, where it gets any entries (section 12).
pub(super) fn plain_memory_of_a_child_is_alike(w: &mut dyn World) -> Verdict {
    let (mut s, area) = emptied(w)?;
    let (child, fd) = (s.fork()?, s.fd);
    s.acting(child, fd, |s| expect_written(s, area.part(SPACIOUS / 2, 2), true))
}

/// A mapping that moves has tables at its new place (section 12).
pub(super) fn a_moved_mapping_has_its_tables(w: &mut dyn World) -> Verdict {
    let (mut s, area) = emptied(w)?;
    let moved = s.move_mapping(&area, remap::MAYMOVE | remap::FIXED)?;
    expect_written(&mut s, moved.part(SPACIOUS / 2, 2), true)
}

/// Poison and guards count as written, and take note of a protecting scan; WRITEPROTECT does not
/// take that off again (section 12 and docs/kernel-notes.md).
pub(super) fn other_markers_take_note(w: &mut dyn World) -> Verdict {
    let (mut s, area) = tracked(w, 2)?;
    s.poison(area.one(0), 0)?.done(area.page_size)?;
    if s.profile().has_guards() {
        s.advise(area.one(1), advice::GUARD_INSTALL)?;
    }
    let arg = scan_for(area.one(0), PAGE_IS_WRITTEN, PAGE_IS_WRITTEN | PAGE_IS_SWAPPED);
    expect("before", told(&s.scan(arg)?), vec![PAGE_IS_WRITTEN | PAGE_IS_SWAPPED])?;
    let protecting = PmScanArg { flags: WP_MATCHING, ..scan_for(area.range(), PAGE_IS_WRITTEN, 0) };
    expect("result", s.scan(protecting)?.result, Ok(1))?;
    expect("after", s.scan(arg)?.result, Ok(0))?;
    s.writeprotect(area.range(), 0)?.ok()?;
    expect("poison", s.is_protected(area.at(0))?, true)?;
    expect("guard", s.is_protected(area.at(1))?, s.profile().has_guards())
}

/// A protecting scan of shared memory puts markers where pages are missing (sections 11, 12).
pub(super) fn missing_shared_pages_are_protected(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_WP_ASYNC | FEATURE_WP_HUGETLBFS_SHMEM)?;
    let area = s.map(Memory::Shmem, 2)?;
    s.store(area.at(0), 1)?;
    s.register(area.range(), reg::WP)?;
    let arg = scan_for(area.range(), PAGE_IS_WRITTEN, PAGE_IS_WRITTEN);
    expect("result", s.scan(PmScanArg { flags: WP_MATCHING, ..arg })?.result, Ok(1))?;
    expect("present", s.is_protected(area.at(0))?, true)?;
    expect("missing", s.is_protected(area.at(1))?, true)?;
    s.store(area.at(1), 2)?;
    let scanned = s.scan(arg)?;
    let regions: Vec<u64> = scanned.regions.iter().map(|region| region.start).collect();
    expect("written", regions, vec![area.at(1)])
}
