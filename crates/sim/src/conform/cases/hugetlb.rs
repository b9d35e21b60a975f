//! hugetlb memory: faults and filling, by huge pages.

use super::prelude::*;

fn registered(
    w: &mut dyn World,
    memory: Memory,
    features: u64,
    mode: u64,
) -> Verdict<(Stage<'_>, Area)> {
    let mut s = Stage::open(w, features)?;
    let area = s.map(memory, 2)?;
    s.register(area.range(), mode)?;
    Ok((s, area))
}

/// Anonymous memory the size of `count` huge pages, its first byte set.
fn source(s: &mut Stage<'_>, area: &Area, count: u64) -> Verdict<u64> {
    let flags = map::PRIVATE | map::ANONYMOUS;
    let src = s.map_object(None, count, area.page_size, flags, prot::READ_WRITE)?;
    for page in 0..count {
        s.store(src.at(page), 5)?;
    }
    Ok(src.start)
}

/// A missing huge page is reported by its own address, and COPY fills it whole (sections 8, 9).
pub(super) fn missing_page_is_filled_whole(w: &mut dyn World) -> Verdict {
    for memory in [Memory::Hugetlb, Memory::PrivateHugetlb] {
        let (mut s, area) = registered(w, memory, FEATURE_MISSING_HUGETLBFS, reg::MISSING)?;
        let src = source(&mut s, &area, 1)?;
        let inside = area.at(1) + s.page();
        let who = s.blocked_load(inside)?;
        s.expect_fault(area.at(1), 0)?;
        s.copy(area.one(1), src, 0)?.done(area.page_size)?;
        s.goes_on(who)?;
        expect("first byte", s.load(area.at(1))?, 5)?;
        s.world.kill(s.me.process)?;
    }
    Ok(())
}

/// Destination and length must be whole huge pages: EINVAL (section 8).
pub(super) fn filling_is_by_huge_pages(w: &mut dyn World) -> Verdict {
    let (mut s, area) =
        registered(w, Memory::Hugetlb, FEATURE_MISSING_HUGETLBFS, reg::MISSING)?;
    let src = source(&mut s, &area, 1)?;
    let page = s.page();
    let short = Range { start: area.start, len: page };
    s.copy(short, src, 0)?.failed(EINVAL)?;
    let shifted = Range { start: area.start + page, len: area.page_size };
    s.copy(shifted, src, 0)?.failed(EINVAL)
}

/// A present huge page is EEXIST; half-way it stops the copy: EAGAIN with the bytes done
/// (section 8).
pub(super) fn present_page_exists(w: &mut dyn World) -> Verdict {
    let (mut s, area) =
        registered(w, Memory::Hugetlb, FEATURE_MISSING_HUGETLBFS, reg::MISSING)?;
    let src = source(&mut s, &area, 2)?;
    s.copy(area.one(1), src, 0)?.done(area.page_size)?;
    s.copy(area.one(1), src, 0)?.failed(EEXIST)?;
    s.copy(area.range(), src, 0)?.partial(area.page_size)
}

/// A page the shared object holds is EEXIST even where it is not mapped (section 8).
pub(super) fn page_of_the_object_exists(w: &mut dyn World) -> Verdict {
    let (mut s, area) =
        registered(w, Memory::Hugetlb, FEATURE_MISSING_HUGETLBFS, reg::MISSING)?;
    let alias = s.alias(&area)?;
    let src = source(&mut s, &area, 1)?;
    s.store(alias.at(0), 8)?;
    s.copy(area.one(0), src, 0)?.failed(EEXIST)?;
    expect("byte", s.load(area.at(0))?, 8)
}

/// A source that is not mapped is EFAULT (section 8).
pub(super) fn unmapped_source_faults(w: &mut dyn World) -> Verdict {
    let (mut s, area) =
        registered(w, Memory::Hugetlb, FEATURE_MISSING_HUGETLBFS, reg::MISSING)?;
    let src = source(&mut s, &area, 1)?;
    s.unmap(Range { start: src, len: area.page_size })?;
    s.copy(area.one(0), src, 0)?.failed(EFAULT)
}

/// A page the object holds and the mapping lacks is a minor fault, which CONTINUE resolves;
/// what the object lacks is EFAULT, what is mapped EEXIST (sections 8, 9).
pub(super) fn minor_faults_are_continued(w: &mut dyn World) -> Verdict {
    let features = FEATURE_MINOR_HUGETLBFS;
    let (mut s, area) = registered(w, Memory::Hugetlb, features, reg::MINOR)?;
    let alias = s.alias(&area)?;
    s.store(alias.at(0), 4)?;
    let who = s.blocked_load(area.at(0) + 1)?;
    s.expect_fault(area.at(0), fault_flag::MINOR)?;
    s.continue_(area.one(1), 0)?.failed(EFAULT)?;
    s.continue_(area.one(0), 0)?.done(area.page_size)?;
    s.goes_on(who)?;
    expect("byte", s.load(area.at(0))?, 4)?;
    s.continue_(area.one(0), 0)?.failed(EEXIST)
}

/// CONTINUE by less than a huge page is EINVAL (section 8).
pub(super) fn continuing_is_by_huge_pages(w: &mut dyn World) -> Verdict {
    let features = FEATURE_MINOR_HUGETLBFS;
    let (mut s, area) = registered(w, Memory::Hugetlb, features, reg::MINOR)?;
    let short = Range { start: area.start, len: s.page() };
    s.continue_(short, 0)?.failed(EINVAL)
}

/// POISON marks a huge page: any access in it is a bus error (section 8).
pub(super) fn huge_page_is_poisoned(w: &mut dyn World) -> Verdict {
    let features = FEATURE_POISON | FEATURE_MISSING_HUGETLBFS;
    let (mut s, area) = registered(w, Memory::Hugetlb, features, reg::MISSING)?;
    s.poison(area.one(0), 0)?.done(area.page_size)?;
    let at = area.at(0) + s.page();
    match s.stopped(Call::Load { at, len: 1 })? {
        Stop::Sigbus { .. } => {}
        stop => return expect("load", stop, Stop::Sigbus { code: code::BUS_MCEERR_AR, at }),
    }
    s.poison(area.one(0), 0)?.failed(EEXIST)
}

/// An untouched private page reads what COPY gave it and can be written (section 8).
pub(super) fn private_page_is_writable(w: &mut dyn World) -> Verdict {
    let (mut s, area) =
        registered(w, Memory::PrivateHugetlb, FEATURE_MISSING_HUGETLBFS, reg::MISSING)?;
    let src = source(&mut s, &area, 1)?;
    s.copy(area.one(0), src, 0)?.done(area.page_size)?;
    s.store(area.at(0), 6)?;
    expect("byte", s.load(area.at(0))?, 6)?;
    s.quiet()
}

/// Dropped pages of a shared mapping come back without a message, for the object still holds
/// them; where a hole was punched they are missing (sections 9, 10).
pub(super) fn punched_pages_are_missing_again(w: &mut dyn World) -> Verdict {
    let (mut s, area) =
        registered(w, Memory::Hugetlb, FEATURE_MISSING_HUGETLBFS, reg::MISSING)?;
    let Some(fd) = area.object else { return Ok(()) };
    let src = source(&mut s, &area, 1)?;
    s.copy(area.one(0), src, 0)?.done(area.page_size)?;
    s.value(Call::Punch { fd, offset: 0, len: area.page_size })?;
    s.blocked_load(area.at(0))?;
    s.expect_fault(area.at(0), 0)
}

/// With SIGBUS a missing huge page is a bus error (section 9).
pub(super) fn sigbus_works_too(w: &mut dyn World) -> Verdict {
    let features = FEATURE_SIGBUS | FEATURE_MISSING_HUGETLBFS;
    let (mut s, area) = registered(w, Memory::Hugetlb, features, reg::MISSING)?;
    let at = area.at(0);
    let stop = s.stopped(Call::Load { at, len: 1 })?;
    expect("load", stop, Stop::Sigbus { code: code::BUS_ADRERR, at })
}

/// A private page that is pinned stays its owner's when it forks; the child gets a copy of all of
/// it (section 6).
pub(super) fn pinned_page_is_copied_for_a_child(w: &mut dyn World) -> Verdict {
    let mut s = Stage::bare(w)?;
    if !s.profile().has_pinning {
        return skip("no pages can be pinned: no io_uring");
    }
    let area = s.map(Memory::PrivateHugetlb, 1)?;
    let last = area.start + area.page_size - s.page();
    for at in [area.start, last] {
        s.store(at, 7)?;
    }
    s.value(Call::Pin { at: area.start, len: s.page() })?;
    let child = s.fork()?;
    s.store(last, 8)?;
    let fd = s.fd;
    s.acting(child, fd, |s| {
        expect("first byte", s.load(area.start)?, 7)?;
        expect("last part", s.load(last)?, 7)
    })?;
    let exclusive = faultless_uapi::scan::pagemap::EXCLUSIVE;
    expect("still its own", s.entry(area.start)? & exclusive, exclusive)
}

/// With no page left in the pool COPY is ENOMEM, or says EEXIST as 6.18 does (sections 8, 15).
pub(super) fn empty_pool_stops_it(w: &mut dyn World) -> Verdict {
    const MOST: u64 = 128;
    let mut s = Stage::open(w, FEATURE_MISSING_HUGETLBFS)?;
    let page_size = s.page_size_of(Memory::PrivateHugetlb)?;
    let flags = map::PRIVATE | map::ANONYMOUS | map::HUGETLB | map::NORESERVE;
    let area = s.map_object(None, MOST, page_size, flags, prot::READ_WRITE)?;
    s.register(area.range(), reg::MISSING)?;
    let src = s.anon(page_size / s.page())?.start;
    for index in 0..MOST {
        let tried = s.copy(area.one(index), src, 0)?;
        if tried.result.is_err() {
            ensure(index > 0, "the pool was empty at once")?;
            return match s.profile().empty_pool_exists() {
                Promise::Yes => tried.failed(EEXIST),
                Promise::No => tried.failed(ENOMEM),
                Promise::Either => tried.failed(EEXIST).or(tried.failed(ENOMEM)),
            };
        }
    }
    skip("the pool has more pages than a body takes")
}

/// In a private mapping COPY and POISON reach beyond the end of the object (section 8).
pub(super) fn private_pages_have_no_end(w: &mut dyn World) -> Verdict {
    let memory = Memory::PrivateHugetlb;
    let (mut s, area) = registered(w, memory, FEATURE_POISON, reg::MISSING)?;
    let src = source(&mut s, &area, 1)?;
    let Some(fd) = area.object else { return skip("the mapping has no object") };
    s.value(Call::Resize { fd, len: 0 })?;
    s.copy(area.one(0), src, 0)?.done(area.page_size)?;
    expect("first byte", s.load(area.at(0))?, 5)?;
    s.poison(area.one(1), 0)?.done(area.page_size)
}
