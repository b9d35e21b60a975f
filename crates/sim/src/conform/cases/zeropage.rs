//! ZEROPAGE: where it works, what it installs.

use faultless_uapi::scan::category;

use super::prelude::*;

/// Anonymous memory gets the shared zero page, which is written without another message
/// (section 8).
pub(super) fn anonymous_memory_gets_the_zero_page(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    for memory in [Memory::Anon, Memory::PrivateShmem] {
        let area = s.map(memory, 2)?;
        s.register(area.range(), reg::MISSING)?;
        s.zeropage(area.range(), 0)?.done(2 * area.page_size)?;
        expect("byte", s.load(area.at(0))?, 0)?;
        if s.profile().has_scan {
            let zero = s.categories(area.at(0))? & category::PAGE_IS_PFNZERO;
            expect("zero page", zero, category::PAGE_IS_PFNZERO)?;
        }
        s.store(area.at(1), 3)?;
        expect("byte", s.load(area.at(1))?, 3)?;
        s.quiet()?;
    }
    Ok(())
}

/// Shared memory gets a page of zeros in the object (section 8).
pub(super) fn shared_memory_gets_a_page_of_its_own(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_MISSING_SHMEM)?;
    let area = s.map(Memory::Shmem, 1)?;
    let alias = s.alias(&area)?;
    let src = s.source(1)?;
    s.register(area.range(), reg::MISSING)?;
    s.register(alias.range(), reg::MISSING)?;
    s.zeropage(area.range(), 0)?.done(area.page_size)?;
    s.copy(alias.range(), src, 0)?.failed(EEXIST)?;
    expect("byte", s.load(alias.at(0))?, 0)
}

/// Sleepers wake and read zeros (section 8).
pub(super) fn sleepers_read_zeros(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::MISSING)?;
    let reader = s.blocked_load(area.at(0))?;
    let writer = s.blocked_store(area.at(0) + 1, 9)?;
    s.zeropage(area.range(), 0)?.done(area.page_size)?;
    expect("byte", s.loaded(reader)?, 0)?;
    s.goes_on(writer)?;
    expect("byte", s.load(area.at(0) + 1)?, 9)
}

/// A present page is EEXIST; half-way it stops the request: EAGAIN with the bytes done
/// (section 8).
pub(super) fn present_page_exists(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let area = s.anon(2)?;
    s.store(area.at(1), 1)?;
    s.register(area.range(), reg::MISSING)?;
    s.zeropage(area.one(1), 0)?.failed(EEXIST)?;
    s.zeropage(area.range(), 0)?.partial(area.page_size)
}

/// In private memory any marker is EEXIST: write-protection, poison, guard (section 8).
pub(super) fn markers_exist(w: &mut dyn World) -> Verdict {
    let features = FEATURE_PAGEFAULT_FLAG_WP | FEATURE_WP_UNPOPULATED | FEATURE_POISON;
    let mut s = Stage::open(w, features)?;
    let area = s.anon(3)?;
    s.register(area.range(), reg::MISSING | reg::WP)?;
    s.protect(area.one(0))?;
    s.zeropage(area.one(0), 0)?.failed(EEXIST)?;
    s.poison(area.one(1), 0)?.done(area.page_size)?;
    s.zeropage(area.one(1), 0)?.failed(EEXIST)?;
    if s.profile().has_guards() {
        s.advise(area.one(2), advice::GUARD_INSTALL)?;
        s.zeropage(area.one(2), 0)?.failed(EEXIST)?;
    }
    Ok(())
}

/// hugetlb memory has no zero page: EINVAL (section 8).
pub(super) fn hugetlb_is_invalid(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_MISSING_HUGETLBFS)?;
    let area = s.map(Memory::Hugetlb, 1)?;
    s.register(area.range(), reg::MISSING)?;
    s.zeropage(area.range(), 0)?.failed(EINVAL)
}

/// Bad ranges and modes are EINVAL, out field untouched (section 8).
pub(super) fn arguments_must_be_possible(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let area = s.anon(1)?;
    let Range { start, len } = area.range();
    s.register(area.range(), reg::MISSING)?;
    s.zeropage(Range { start: start + 1, len }, 0)?.refused(EINVAL)?;
    s.zeropage(Range { start, len: 0 }, 0)?.refused(EINVAL)?;
    // The write-protect mode of COPY does not exist here.
    s.zeropage(area.range(), mode::copy::WP)?.refused(EINVAL)
}

/// Memory not mapped, not registered, or beyond its mapping is ENOENT (section 8).
pub(super) fn destination_must_be_registered(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let area = s.anon(2)?;
    s.zeropage(area.range(), 0)?.failed(ENOENT)?;
    s.register(area.range(), reg::MISSING)?;
    let beyond = Range { start: area.at(1), len: 2 * area.page_size };
    s.zeropage(beyond, 0)?.failed(ENOENT)?;
    s.unmap(area.one(0))?;
    s.zeropage(area.one(0), 0)?.failed(ENOENT)
}

/// A zero page can be protected afterwards; the first store is then reported (section 8).
pub(super) fn zero_page_can_be_protected(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_PAGEFAULT_FLAG_WP)?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::MISSING | reg::WP)?;
    s.zeropage(area.range(), 0)?.done(area.page_size)?;
    s.protect(area.range())?;
    s.blocked_store(area.at(0), 1)?;
    s.expect_fault(area.at(0), fault_flag::WRITE | fault_flag::WP)
}

/// In shared memory write-protect markers give way, as they do to COPY, and so do other markers
/// where they do (section 8 and docs/kernel-notes.md).
pub(super) fn markers_of_shared_memory_give_way(w: &mut dyn World) -> Verdict {
    let features = FEATURE_PAGEFAULT_FLAG_WP | FEATURE_WP_HUGETLBFS_SHMEM | FEATURE_POISON;
    let mut s = Stage::open(w, features)?;
    let area = s.map(Memory::Shmem, 2)?;
    s.register(area.range(), reg::MISSING | reg::WP)?;
    s.protect(area.one(0))?;
    s.zeropage(area.one(0), 0)?.done(area.page_size)?;
    expect("protected", s.is_protected(area.at(0))?, false)?;
    s.store(area.at(0), 1)?;
    s.poison(area.one(1), 0)?.done(area.page_size)?;
    let tried = s.zeropage(area.one(1), 0)?;
    let respects = s.profile().copy_respects_poison();
    ensure(respects.allows(tried.result.is_err()), format_args!("ZEROPAGE: {:?}", tried.result))
}
