//! UNREGISTER: ranges, who is woken, what remains.

use faultless_uapi::ioctl::UFFDIO_UNREGISTER;

use super::prelude::*;

/// An argument that cannot be read is EFAULT (section 4).
pub(super) fn unreadable_argument_faults(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    s.refuses(Call::IoctlWord { fd: s.fd, request: UFFDIO_UNREGISTER, word: NOWHERE }, EFAULT)
}

/// Unaligned and empty ranges are EINVAL (section 4).
pub(super) fn ranges_must_be_possible(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let area = s.anon(1)?;
    let Range { start, len } = area.range();
    s.register(area.range(), reg::MISSING)?;
    for range in [
        Range { start: start + 1, len },
        Range { start, len: len + 1 },
        Range { start, len: 0 },
        Range { start: 1 << 63, len },
    ] {
        s.unregister(range)?.gives(EINVAL)?;
    }
    Ok(())
}

/// A range without any mapping is EINVAL (section 4).
pub(super) fn unmapped_range_is_invalid(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let area = s.anon(1)?;
    s.unmap(area.range())?;
    s.unregister(area.range())?.gives(EINVAL)
}

/// What is not registered is passed over: twice is as good as once (section 4).
pub(super) fn unregistering_twice_is_fine(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::MISSING)?;
    s.unregister(area.range())?.ok()?;
    s.unregister(area.range())?.ok()
}

/// Holes in the range are passed over (section 4).
pub(super) fn range_may_have_holes(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let area = s.anon(3)?;
    s.register(area.range(), reg::MISSING)?;
    s.unmap(area.one(1))?;
    s.unregister(area.range())?.ok()?;
    expect("first", s.load(area.at(0))?, 0)?;
    expect("last", s.load(area.at(2))?, 0)
}

/// Afterwards missing pages fill with zeros and nothing is reported (section 4).
pub(super) fn memory_is_ordinary_afterwards(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::MISSING)?;
    s.unregister(area.range())?.ok()?;
    expect("byte", s.load(area.at(0))?, 0)?;
    s.quiet()
}

/// A part may be unregistered; the rest goes on faulting (section 4).
pub(super) fn a_part_may_be_unregistered(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let area = s.anon(3)?;
    s.register(area.range(), reg::MISSING)?;
    s.unregister(area.one(1))?.ok()?;
    expect("middle", s.load(area.at(1))?, 0)?;
    s.blocked_load(area.at(0))?;
    s.blocked_load(area.at(2))?;
    expect("messages", s.messages()?.len(), 2)
}

/// Threads waiting for a missing page are woken, and find zeros (section 4).
pub(super) fn missing_waiters_are_woken(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::MISSING)?;
    let unread = s.blocked_load(area.at(0))?;
    s.message()?;
    let read = s.blocked_load(area.at(0))?;
    s.unregister(area.range())?.ok()?;
    expect("byte", s.loaded(unread)?, 0)?;
    expect("byte", s.loaded(read)?, 0)
}

/// A thread waiting for write permission stays asleep where only WP was registered, until an
/// explicit WAKE (section 4).
pub(super) fn write_protect_waiters_stay_asleep(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_PAGEFAULT_FLAG_WP)?;
    let area = s.anon(1)?;
    s.store(area.at(0), 1)?;
    s.register(area.range(), reg::WP)?;
    s.protect(area.range())?;
    let who = s.blocked_store(area.at(0), 2)?;
    s.unregister(area.range())?.ok()?;
    s.still_blocked(who)?;
    s.wake(area.range())?;
    s.goes_on(who)?;
    expect("byte", s.load(area.at(0))?, 2)
}

/// A thread waiting for a minor fault stays asleep where only MINOR was registered, until an
/// explicit WAKE (section 4).
pub(super) fn minor_waiters_stay_asleep(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_MINOR_SHMEM)?;
    let area = s.map(Memory::Shmem, 1)?;
    let alias = s.alias(&area)?;
    s.store(alias.at(0), 3)?;
    s.register(area.range(), reg::MINOR)?;
    let who = s.blocked_load(area.at(0))?;
    s.unregister(area.range())?.ok()?;
    s.still_blocked(who)?;
    s.wake(area.range())?;
    expect("byte", s.loaded(who)?, 3)
}

/// With MISSING registered beside WP, write-protect waiters are woken too (section 4).
pub(super) fn missing_beside_protection_wakes_all(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_PAGEFAULT_FLAG_WP)?;
    let area = s.anon(1)?;
    s.store(area.at(0), 1)?;
    s.register(area.range(), reg::MISSING | reg::WP)?;
    s.protect(area.range())?;
    let who = s.blocked_store(area.at(0), 2)?;
    s.unregister(area.range())?.ok()?;
    s.goes_on(who)?;
    expect("byte", s.load(area.at(0))?, 2)
}

/// Write-protection is taken off the pages, and off unpopulated ones of shared memory
/// (section 4).
pub(super) fn protection_is_taken_off(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_PAGEFAULT_FLAG_WP | FEATURE_WP_HUGETLBFS_SHMEM)?;
    for memory in [Memory::Anon, Memory::Shmem] {
        let area = s.map(memory, 2)?;
        s.store(area.at(0), 1)?;
        s.register(area.range(), reg::WP)?;
        s.protect(area.range())?;
        expect("before", s.is_protected(area.at(0))?, true)?;
        s.unregister(area.range())?.ok()?;
        expect("present page", s.is_protected(area.at(0))?, false)?;
        expect("missing page", s.is_protected(area.at(1))?, false)?;
        s.store(area.at(0), 2)?;
    }
    Ok(())
}

/// Poison stays (section 4).
pub(super) fn poison_survives(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_POISON)?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::MISSING)?;
    s.poison(area.range(), 0)?.done(area.page_size)?;
    s.unregister(area.range())?.ok()?;
    let code = s.profile().poison_code();
    let stop = s.stopped(Call::Load { at: area.at(0), len: 1 })?;
    expect("access", stop, Stop::Sigbus { code, at: area.at(0) })
}

/// A regular file inside the range makes the whole call EINVAL (section 4).
pub(super) fn regular_file_in_the_range_is_invalid(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let area = s.anon(2)?;
    let page = s.page();
    let file = s.regular_file(page)?;
    let over = Call::Map {
        at: area.at(1),
        len: page,
        prot: prot::READ_WRITE,
        flags: map::PRIVATE | map::FIXED,
        fd: Some(file),
        offset: 0,
    };
    s.value(over)?;
    s.register(area.one(0), reg::MISSING)?;
    s.unregister(area.range())?.gives(EINVAL)?;
    s.blocked_load(area.at(0))?;
    Ok(())
}

/// Another userfaultfd's memory is EINVAL since 6.17; before, it was unregistered
/// (sections 4, 15).
pub(super) fn memory_of_another_is_invalid(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::MISSING)?;
    let other = s.open_another(USUAL, 0)?;
    let tried = s.send_to(other, &request::unregister(area.range()))?;
    let refused = s.profile().foreign_unregister_is_refused();
    ensure(refused.allows(tried.result.is_err()), format_args!("{:?}", tried.result))?;
    if tried.result.is_ok() {
        return expect("byte", s.load(area.at(0))?, 0);
    }
    tried.gives(EINVAL)?;
    s.blocked_load(area.at(0))?;
    Ok(())
}

/// Afterwards the requests that fill memory find nothing registered: ENOENT (sections 4, 8).
pub(super) fn filling_finds_nothing_afterwards(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::MISSING)?;
    s.unregister(area.range())?.ok()?;
    let src = s.source(1)?;
    s.copy(area.range(), src, 0)?.failed(ENOENT)
}

/// A hugetlb range must begin at a huge page: EINVAL (section 4).
pub(super) fn hugetlb_range_must_be_aligned(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_MISSING_HUGETLBFS)?;
    let area = s.map(Memory::Hugetlb, 2)?;
    let page = s.page();
    s.register(area.range(), reg::MISSING)?;
    let range = Range { start: area.start + page, len: area.page_size };
    s.unregister(range)?.gives(EINVAL)
}
