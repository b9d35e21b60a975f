//! MOVE and huge pages: what keeps one whole, and what is left of it. How huge pages come about.

use faultless_uapi::mode::move_::ALLOW_SRC_HOLES;
use faultless_uapi::scan::pagemap;

use super::prelude::*;

fn is_huge(s: &mut Stage<'_>, at: u64) -> Verdict<bool> {
    Ok(s.value(Call::HugeBytes { at })? > 0)
}

/// A huge page whose first byte is 5.
fn huge_source(s: &mut Stage<'_>) -> Verdict<Area> {
    let (area, _) = s.huge_anon(1)?;
    s.store(area.at(0), 5)?;
    if is_huge(s, area.at(0))? {
        return Ok(area);
    }
    skip("no huge page was free when one was wanted")
}

/// A page table at the destination, though nothing is in it, keeps a huge page from moving whole:
/// it arrives in base pages (section 13).
pub(super) fn empty_table_splits_it(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_MOVE)?;
    let src = huge_source(&mut s)?;
    let (dst, size) = s.huge_anon(1)?;
    s.register(dst.range(), reg::MISSING)?;
    s.fill(dst.one(3), 1, 0)?;
    s.advise(dst.one(3), advice::DONTNEED)?;
    s.move_pages(dst.range(), src.start, 0)?.done(size)?;
    expect("huge", is_huge(&mut s, dst.at(0))?, false)?;
    expect("byte", s.load(dst.at(0))?, 5)?;
    expect("source present", s.is_present(src.at(0))?, false)
}

/// A destination that does not begin where a huge page may lie gets base pages (section 13).
pub(super) fn shifted_destination_splits_it(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_MOVE)?;
    let src = huge_source(&mut s)?;
    let (dst, size) = s.huge_anon(2)?;
    s.register(dst.range(), reg::MISSING)?;
    let shifted = Range { start: dst.at(1), len: size };
    s.move_pages(shifted, src.start, 0)?.done(size)?;
    expect("huge", is_huge(&mut s, dst.at(1))?, false)?;
    expect("byte", s.load(dst.at(1))?, 5)?;
    expect("before", s.is_present(dst.at(0))?, false)
}

/// The huge page of zeros, which loads share, moves whole as well (section 13).
pub(super) fn huge_zero_page_moves(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_MOVE)?;
    let (src, size) = s.huge_anon(1)?;
    let (dst, _) = s.huge_anon(1)?;
    expect("byte", s.load(src.at(7))?, 0)?;
    s.register(dst.range(), reg::MISSING)?;
    s.move_pages(dst.range(), src.start, ALLOW_SRC_HOLES)?.done(size)?;
    expect("byte", s.load(dst.at(7))?, 0)?;
    s.quiet()?;
    expect("source present", s.is_present(src.at(7))?, false)
}

/// A pinned huge page is EBUSY (section 13).
pub(super) fn pinned_huge_page_is_busy(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_MOVE)?;
    let src = huge_source(&mut s)?;
    if !s.profile().has_pinning {
        return skip("no io_uring here to pin pages with");
    }
    let (dst, _) = s.huge_anon(1)?;
    s.register(dst.range(), reg::MISSING)?;
    s.open_fd(Call::Pin { at: src.at(9), len: src.page_size })?;
    s.move_pages(dst.range(), src.start, 0)?.failed(EBUSY)?;
    expect("huge", is_huge(&mut s, src.at(0))?, true)
}

/// A store into memory that only loads have touched brings a huge page in place of the shared one
/// of zeros since 6.13, a base page before.
pub(super) fn store_over_huge_zeros(w: &mut dyn World) -> Verdict {
    let mut s = Stage::bare(w)?;
    let (area, _) = s.huge_anon(1)?;
    expect("byte", s.load(area.at(1))?, 0)?;
    s.store(area.at(0), 1)?;
    let (huge, grows) = (is_huge(&mut s, area.at(0))?, s.profile().huge_zeros_grow());
    if grows && !huge {
        // It tells nothing unless a huge page can be had.
        huge_source(&mut s)?;
    }
    expect("huge", huge, grows)?;
    expect("neighbour", s.load(area.at(1))?, 0)
}

/// Collapsing says why it will not: EINVAL where nothing is or a page is protected, EBUSY where a
/// userfaultfd would have to be told of what is missing, whichever comes first (section 9).
pub(super) fn refused_collapse_says_why(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_PAGEFAULT_FLAG_WP)?;
    let (empty, _) = s.huge_anon(1)?;
    expect_no_collapse(&mut s, empty.range(), EINVAL)?;
    let (area, _) = s.huge_anon(1)?;
    s.register(area.range(), reg::MISSING | reg::WP)?;
    s.fill(area.one(0), 1, 0)?;
    expect_awaited(&mut s, area.range())?;
    s.protect(area.one(0))?;
    expect_no_collapse(&mut s, area.range(), EINVAL)?;
    // A page of zeros is missing rather than protected.
    let (zeros, _) = s.huge_anon(1)?;
    s.load(zeros.at(0))?;
    s.register(zeros.range(), reg::WP)?;
    s.protect(zeros.part(0, zeros.pages / 2))?;
    expect_awaited(&mut s, zeros.range())
}

/// Collapsing fails as it does over pages that a userfaultfd would have to be told of.
#[track_caller]
fn expect_awaited(s: &mut Stage<'_>, range: Range) -> Verdict {
    let collapsed = s.call(advise(range, advice::COLLAPSE))?.result;
    let promise = s.profile().awaited_pages_make_collapse_busy();
    let kept = match collapsed {
        Err(Stop::Refused(EBUSY)) => promise.allows(true),
        Err(Stop::Refused(EINVAL)) => promise.allows(false),
        _ => false,
    };
    ensure(kept, format_args!("collapse: {collapsed:?}"))
}

#[track_caller]
fn expect_no_collapse(s: &mut Stage<'_>, range: Range, errno: Errno) -> Verdict {
    let collapsed = s.call(advise(range, advice::COLLAPSE))?.result;
    expect("collapse", collapsed, Err(Stop::Refused(errno)))
}

/// Memory made read-only before it was ever touched is not one mapping with a read-only neighbour
/// that was: a huge page that would lie across both cannot be had (since 6.7, section 9).
pub(super) fn untouched_memory_stays_apart(w: &mut dyn World) -> Verdict {
    let mut s = Stage::bare(w)?;
    let (area, _) = s.huge_anon(2)?;
    let half = area.pages / 4;
    let make_read_only = |s: &mut Stage<'_>, range: Range| {
        s.value(Call::Protect { at: range.start, len: range.len, prot: prot::READ })
    };
    make_read_only(&mut s, area.part(0, half))?;
    s.store(area.at(2 * half), 1)?;
    make_read_only(&mut s, area.part(half, half))?;
    // It touches the border of the second huge page, which is enough to be looked at.
    let last = area.one(2 * half - 1);
    let apart = s.call(advise(last, advice::COLLAPSE))?.result.is_err();
    let allowed = s.profile().untouched_stays_apart().allows(apart);
    ensure(allowed, "whether memory that was never touched stays apart")
}

/// A huge page that MADV_FREE gave up leaves memory whole when it is reclaimed: none of its parts
/// stays as a page of zeros (section 9).
pub(super) fn given_up_page_goes_whole(w: &mut dyn World) -> Verdict {
    let mut s = Stage::bare(w)?;
    let area = huge_source(&mut s)?;
    s.advise(area.range(), advice::FREE)?;
    s.advise(area.range(), advice::PAGEOUT)?;
    if s.is_present(area.at(0))? {
        return skip("the kernel would not reclaim the page");
    }
    expect("last part", s.is_present(area.at(area.pages - 1))?, false)
}

/// A store to a part of a split huge page keeps the page, and a protection nobody reports any
/// more, once no other process maps any of it (since 6.15); before, it is copied (section 11).
pub(super) fn part_is_kept_once_nobody_shares_it(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_PAGEFAULT_FLAG_WP)?;
    if s.profile().dropping_wp_is_busy() == Promise::Yes {
        return skip("no protection is left behind here that would tell");
    }
    let area = huge_source(&mut s)?;
    s.register(area.range(), reg::WP)?;
    // Protecting a part splits the mapping; the page stays whole.
    s.protect(area.part(8, area.pages - 8))?;
    let child = s.fork()?;
    s.register(area.range(), reg::MISSING)?;
    s.world.kill(child.process)?;
    s.store(area.at(8), 1)?;
    let kept = s.entry(area.at(8))? & pagemap::UFFD_WP != 0;
    let allowed = s.profile().large_pages_are_reused().allows(kept);
    ensure(allowed, "whether the part is kept, with its protection")
}
