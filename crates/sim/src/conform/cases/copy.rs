//! COPY: arguments, where it may go, what it finds there, how far it gets.

use faultless_uapi::ioctl::UFFDIO_COPY;

use super::prelude::*;

/// A mode bit no version knows.
const UNKNOWN_MODE: u64 = 1 << 40;

fn registered(w: &mut dyn World, pages: u64) -> Verdict<(Stage<'_>, Area)> {
    let mut s = Stage::open(w, 0)?;
    let area = s.anon(pages)?;
    s.register(area.range(), reg::MISSING)?;
    Ok((s, area))
}

/// COPY fills with the bytes of its source and tells how many (section 8).
pub(super) fn fills_with_its_source(w: &mut dyn World) -> Verdict {
    let (mut s, area) = registered(w, 2)?;
    let src = s.sources(&[5, 6])?;
    s.copy(area.range(), src, 0)?.done(2 * area.page_size)?;
    expect("first", s.load(area.at(0))?, 5)?;
    expect("last", s.load(area.range().end() - 1)?, 6)
}

/// The source may be unaligned (section 8).
pub(super) fn source_may_be_unaligned(w: &mut dyn World) -> Verdict {
    let (mut s, area) = registered(w, 1)?;
    let src = s.sources(&[1, 2])?;
    s.copy(area.range(), src + 100, 0)?.done(area.page_size)?;
    expect("before", s.load(area.range().end() - 101)?, 1)?;
    expect("behind", s.load(area.range().end() - 100)?, 2)
}

/// An argument that cannot be read is EFAULT (section 8).
pub(super) fn unreadable_argument_faults(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    s.refuses(Call::IoctlWord { fd: s.fd, request: UFFDIO_COPY, word: NOWHERE }, EFAULT)
}

/// Unaligned, empty and impossible ranges are EINVAL, out field untouched (section 8).
pub(super) fn ranges_must_be_possible(w: &mut dyn World) -> Verdict {
    let (mut s, area) = registered(w, 1)?;
    let src = s.source(1)?;
    let Range { start, len } = area.range();
    for range in [
        Range { start: start + 1, len },
        Range { start, len: len - 1 },
        Range { start, len: 0 },
        Range { start: 1 << 63, len },
    ] {
        s.copy(range, src, 0)?.refused(EINVAL)?;
    }
    Ok(())
}

/// A source that no user-space range can be is EINVAL, out field untouched; up to 6.5 it was found
/// out by reading it: EFAULT (section 8).
pub(super) fn source_must_be_possible(w: &mut dyn World) -> Verdict {
    let (mut s, area) = registered(w, 1)?;
    for src in [1 << 63, 0_u64.wrapping_sub(area.page_size)] {
        let tried = s.copy(area.range(), src, 0)?;
        match s.profile().copy_checks_its_source() {
            Promise::Yes => tried.refused(EINVAL)?,
            _ => tried.refused(EINVAL).or(tried.failed(EFAULT))?,
        }
    }
    Ok(())
}

/// Unknown modes are EINVAL, out field untouched (section 8).
pub(super) fn modes_must_be_known(w: &mut dyn World) -> Verdict {
    let (mut s, area) = registered(w, 1)?;
    let src = s.source(1)?;
    s.copy(area.range(), src, UNKNOWN_MODE)?.refused(EINVAL)
}

/// A source that is not mapped is EFAULT (section 8).
pub(super) fn unmapped_source_faults(w: &mut dyn World) -> Verdict {
    let (mut s, area) = registered(w, 1)?;
    let gone = s.anon(1)?;
    s.unmap(gone.range())?;
    s.copy(area.range(), gone.start, 0)?.failed(EFAULT)?;
    expect("present", s.is_present(area.at(0))?, false)
}

/// A source that ends half-way stops the copy half-way; going on tells why (section 8).
pub(super) fn source_that_ends_stops_it(w: &mut dyn World) -> Verdict {
    let (mut s, area) = registered(w, 2)?;
    let source = s.anon(2)?;
    s.store(source.at(0), 1)?;
    s.unmap(source.one(1))?;
    s.copy(area.range(), source.start, 0)?.partial(area.page_size)?;
    s.copy(area.one(1), source.at(1), 0)?.failed(EFAULT)
}

/// A destination that is not mapped is ENOENT (section 8).
pub(super) fn unmapped_destination_is_noent(w: &mut dyn World) -> Verdict {
    let (mut s, area) = registered(w, 1)?;
    let src = s.source(1)?;
    s.unmap(area.range())?;
    s.copy(area.range(), src, 0)?.failed(ENOENT)
}

/// A destination that is not registered is ENOENT (section 8).
pub(super) fn unregistered_destination_is_noent(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let area = s.anon(1)?;
    let src = s.source(1)?;
    s.copy(area.range(), src, 0)?.failed(ENOENT)
}

/// A destination that reaches beyond its mapping is ENOENT, and nothing is copied (section 8).
pub(super) fn destination_must_lie_in_one_mapping(w: &mut dyn World) -> Verdict {
    let (mut s, area) = registered(w, 2)?;
    let src = s.sources(&[1, 2])?;
    let beyond = Range { start: area.at(1), len: 2 * area.page_size };
    s.copy(beyond, src, 0)?.failed(ENOENT)?;
    // A change of protection splits one mapping in two.
    s.mprotect(area.one(1), prot::READ)?;
    s.copy(area.range(), src, 0)?.failed(ENOENT)?;
    expect("present", s.is_present(area.at(0))?, false)
}

/// A page that is there is EEXIST, with its content kept (section 8).
pub(super) fn present_page_exists(w: &mut dyn World) -> Verdict {
    let (mut s, area) = registered(w, 1)?;
    let src = s.source(2)?;
    s.fill(area.range(), 1, 0)?;
    s.copy(area.range(), src, 0)?.failed(EEXIST)?;
    expect("byte", s.load(area.at(0))?, 1)
}

/// The shared zero page counts as a page: EEXIST (section 8).
pub(super) fn zero_page_exists(w: &mut dyn World) -> Verdict {
    let (mut s, area) = registered(w, 1)?;
    let src = s.source(2)?;
    s.zeropage(area.range(), 0)?.done(area.page_size)?;
    s.copy(area.range(), src, 0)?.failed(EEXIST)
}

/// A present page half-way stops the copy: EAGAIN with the bytes done; going on tells why
/// (section 8).
pub(super) fn present_page_stops_it_half_way(w: &mut dyn World) -> Verdict {
    let (mut s, area) = registered(w, 4)?;
    let src = s.sources(&[1, 2, 3, 4])?;
    s.fill(area.one(2), 9, 0)?;
    s.copy(area.range(), src, 0)?.partial(2 * area.page_size)?;
    s.copy(area.part(2, 2), src, 0)?.failed(EEXIST)?;
    expect("before", s.load(area.at(1))?, 2)?;
    expect("kept", s.load(area.at(2))?, 9)?;
    expect("behind", s.is_present(area.at(3))?, false)
}

/// A copy stopped half-way wakes the sleepers of what it filled (section 8).
pub(super) fn partial_copy_wakes_what_it_filled(w: &mut dyn World) -> Verdict {
    let (mut s, area) = registered(w, 3)?;
    let src = s.sources(&[1, 2, 3])?;
    s.fill(area.one(1), 9, 0)?;
    let first = s.blocked_load(area.at(0))?;
    let last = s.blocked_load(area.at(2))?;
    s.copy(area.range(), src, 0)?.partial(area.page_size)?;
    expect("byte", s.loaded(first)?, 1)?;
    s.still_blocked(last)
}

/// Protection of the destination does not matter; the copied page obeys it (section 8).
pub(super) fn protection_does_not_matter(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let readable = s.anon(1)?;
    s.mprotect(readable.range(), prot::READ)?;
    s.register(readable.range(), reg::MISSING)?;
    s.fill(readable.range(), 4, 0)?;
    expect("byte", s.load(readable.at(0))?, 4)?;
    let closed = s.anon(1)?;
    s.mprotect(closed.range(), prot::NONE)?;
    s.register(closed.range(), reg::MISSING)?;
    s.fill(closed.range(), 5, 0)?;
    let stop = s.stopped(Call::Load { at: closed.at(0), len: 1 })?;
    expect("load", stop, Stop::Sigsegv { code: code::SEGV_ACCERR, at: closed.at(0) })?;
    s.mprotect(closed.range(), prot::READ)?;
    expect("byte", s.load(closed.at(0))?, 5)
}

/// A copied page is writable at once (section 8).
pub(super) fn copied_page_is_writable(w: &mut dyn World) -> Verdict {
    let (mut s, area) = registered(w, 1)?;
    s.fill(area.range(), 1, 0)?;
    s.store(area.at(0), 2)?;
    s.quiet()
}

/// MODE_WP where WP is not registered is EINVAL (section 8).
pub(super) fn protecting_needs_the_mode(w: &mut dyn World) -> Verdict {
    let (mut s, area) = registered(w, 1)?;
    s.needs(FEATURE_PAGEFAULT_FLAG_WP)?;
    let src = s.source(1)?;
    s.copy(area.range(), src, mode::copy::WP)?.failed(EINVAL)
}

/// MODE_WP installs the page protected: loads work, the first store is reported (section 8).
pub(super) fn page_can_come_protected(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_PAGEFAULT_FLAG_WP)?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::MISSING | reg::WP)?;
    s.fill(area.range(), 1, mode::copy::WP)?;
    expect("protected", s.is_protected(area.at(0))?, true)?;
    expect("byte", s.load(area.at(0))?, 1)?;
    let who = s.blocked_store(area.at(0), 2)?;
    s.expect_fault(area.at(0), fault_flag::WRITE | fault_flag::WP)?;
    s.writeprotect(area.range(), 0)?.ok()?;
    s.goes_on(who).map(|_| ())
}

/// A write-protect marker gives way, and without MODE_WP the page is not protected (section 8).
pub(super) fn protect_marker_gives_way(w: &mut dyn World) -> Verdict {
    let features = FEATURE_PAGEFAULT_FLAG_WP | FEATURE_WP_HUGETLBFS_SHMEM | FEATURE_WP_UNPOPULATED;
    let mut s = Stage::open(w, features)?;
    for memory in [Memory::Anon, Memory::Shmem] {
        let area = s.map(memory, 1)?;
        s.register(area.range(), reg::MISSING | reg::WP)?;
        s.protect(area.range())?;
        expect("marker", s.is_protected(area.at(0))?, true)?;
        s.fill(area.range(), 1, 0)?;
        expect("protected", s.is_protected(area.at(0))?, false)?;
        s.store(area.at(0), 2)?;
    }
    Ok(())
}

/// COPY overwrites poison, in 7.2 too, though guards are safe there (sections 8, 15).
pub(super) fn poison_gives_way_or_exists(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_POISON)?;
    let area = s.anon(1)?;
    let src = s.source(3)?;
    s.register(area.range(), reg::MISSING)?;
    s.poison(area.range(), 0)?.done(area.page_size)?;
    let tried = s.copy(area.range(), src, 0)?;
    let respects = s.profile().copy_respects_poison();
    ensure(respects.allows(tried.result.is_err()), format_args!("COPY: {:?}", tried.result))?;
    if tried.result.is_err() {
        return tried.failed(EEXIST);
    }
    tried.done(area.page_size)?;
    expect("byte", s.load(area.at(0))?, 3)
}

/// Up to 6.18 COPY overwrites a guard; since 7.2 that is EEXIST (sections 8, 15).
pub(super) fn guard_gives_way_or_exists(w: &mut dyn World) -> Verdict {
    let (mut s, area) = registered(w, 1)?;
    if !s.profile().has_guards() {
        return skip("no guard markers: they came with 6.13");
    }
    let src = s.source(3)?;
    s.advise(area.range(), advice::GUARD_INSTALL)?;
    let tried = s.copy(area.range(), src, 0)?;
    if s.profile().copy_respects_guards() == Promise::Yes {
        return tried.failed(EEXIST);
    }
    tried.done(area.page_size)?;
    expect("byte", s.load(area.at(0))?, 3)
}

/// In a private mapping of an object COPY installs a private page, whatever the object holds
/// (section 8).
pub(super) fn private_mapping_gets_a_private_page(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_MISSING_SHMEM)?;
    let area = s.map(Memory::PrivateShmem, 1)?;
    let Some(fd) = area.object else { return Ok(()) };
    s.value(Call::WriteObject { fd, offset: 0, bytes: vec![7] })?;
    s.register(area.range(), reg::MISSING)?;
    s.fill(area.range(), 3, 0)?;
    expect("mapping", s.load(area.at(0))?, 3)?;
    let object = s.call(Call::ReadObject { fd, offset: 0, len: 1 })?;
    expect("object", object.bytes, vec![7])
}

/// In a shared mapping COPY fills the object, and a page the object has is EEXIST even where it
/// is not mapped (section 8).
pub(super) fn shared_mapping_fills_the_object(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_MISSING_SHMEM)?;
    let area = s.map(Memory::Shmem, 2)?;
    let alias = s.alias(&area)?;
    let src = s.source(3)?;
    s.register(area.range(), reg::MISSING)?;
    s.copy(area.one(0), src, 0)?.done(area.page_size)?;
    expect("through the alias", s.load(alias.at(0))?, 3)?;
    s.store(alias.at(1), 8)?;
    expect("mapped", s.is_present(area.at(1))?, false)?;
    s.copy(area.one(1), src, 0)?.failed(EEXIST)?;
    expect("kept", s.load(area.at(1))?, 8)
}

/// Beyond the end of the object COPY is EFAULT; ENOMEM in 7.2 (sections 8, 15).
pub(super) fn beyond_the_end_of_the_object_is_refused(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_MISSING_SHMEM)?;
    let page = s.page();
    let object = s.open_fd(Call::Memfd { len: page, huge: false })?;
    let area = s.map_object(Some(object), 2, page, map::SHARED, prot::READ_WRITE)?;
    let src = s.source(1)?;
    s.register(area.range(), reg::MISSING)?;
    let tried = s.copy(area.one(1), src, 0)?;
    match s.profile().tells_the_end_of_an_object() {
        Promise::Yes => tried.failed(EFAULT)?,
        Promise::No => tried.failed(ENOMEM)?,
        Promise::Either => tried.failed(EFAULT).or(tried.failed(ENOMEM))?,
    }
    s.copy(area.one(0), src, 0)?.done(page)
}

/// An out field that cannot be written is EFAULT, after the page was installed (section 8).
pub(super) fn unwritable_argument_comes_too_late(w: &mut dyn World) -> Verdict {
    let (mut s, area) = registered(w, 1)?;
    let src = s.source(6)?;
    let request = request::copy(area.range(), src, 0);
    let argument = s.anon(1)?;
    s.value(Call::Store { at: argument.start, bytes: request.argument.clone() })?;
    s.mprotect(argument.range(), prot::READ)?;
    let call = Call::IoctlWord { fd: s.fd, request: request.number, word: argument.start };
    s.refuses(call, EFAULT)?;
    expect("byte", s.load(area.at(0))?, 6)
}

/// Memory registered with another userfaultfd of the process may be filled, but the wake goes to
/// the sleepers of the descriptor used (section 8).
pub(super) fn memory_of_another_is_filled_not_woken(w: &mut dyn World) -> Verdict {
    let (mut s, area) = registered(w, 1)?;
    let src = s.source(2)?;
    let who = s.blocked_load(area.at(0))?;
    let other = s.open_another(USUAL, 0)?;
    s.send_to(other, &request::copy(area.range(), src, 0))?.done(area.page_size)?;
    s.still_blocked(who)?;
    s.wake(area.range())?;
    expect("byte", s.loaded(who)?, 2)
}

/// A source that is itself missing is reported like any access; the copy waits for it
/// (section 8).
pub(super) fn missing_source_is_reported(w: &mut dyn World) -> Verdict {
    let (mut s, area) = registered(w, 2)?;
    let request = request::copy(area.one(0), area.at(1), 0);
    let copier = s.blocked(request.to(s.fd))?;
    s.expect_fault(area.at(1), 0)?;
    s.fill(area.one(1), 4, 0)?;
    s.sent(copier, &request)?.done(area.page_size)?;
    expect("byte", s.load(area.at(0))?, 4)
}

/// A source that was never written is copied as zeros (section 8).
pub(super) fn empty_source_is_zeros(w: &mut dyn World) -> Verdict {
    let (mut s, area) = registered(w, 1)?;
    let empty = s.anon(1)?;
    s.copy(area.range(), empty.start, 0)?.done(area.page_size)?;
    expect("byte", s.load(area.at(0))?, 0)
}

/// A copier that waits for its source, which is missing, and the page it is to fill.
fn waiting_for_its_source(w: &mut dyn World) -> Verdict<(Stage<'_>, Area, Area, Request, Thread)> {
    let (mut s, area) = registered(w, 1)?;
    let source = s.anon(1)?;
    s.register(source.range(), reg::MISSING)?;
    let request = request::copy(area.range(), source.start, 0);
    let copier = s.blocked(request.to(s.fd))?;
    s.expect_fault(source.at(0), 0)?;
    Ok((s, area, source, request, copier))
}

/// A destination that is unmapped while the source is awaited is ENOENT (section 8).
pub(super) fn destination_gone_meanwhile_is_noent(w: &mut dyn World) -> Verdict {
    let (mut s, area, source, request, copier) = waiting_for_its_source(w)?;
    s.unmap(area.range())?;
    s.fill(source.range(), 4, 0)?;
    s.sent(copier, &request)?.failed(ENOENT)
}

/// So is one that is no longer registered (section 8).
pub(super) fn destination_unregistered_meanwhile_is_noent(w: &mut dyn World) -> Verdict {
    let (mut s, area, source, request, copier) = waiting_for_its_source(w)?;
    s.unregister(area.range())?.ok()?;
    s.fill(source.range(), 4, 0)?;
    s.sent(copier, &request)?.failed(ENOENT)
}

/// One that is there and registered, and is protected otherwise than before, is filled: a change
/// that 7.2, which looks for changes, does not mind (docs/kernel-notes.md).
pub(super) fn destination_protected_meanwhile_is_filled(w: &mut dyn World) -> Verdict {
    let (mut s, area, source, request, copier) = waiting_for_its_source(w)?;
    s.mprotect(area.range(), prot::READ)?;
    s.fill(source.range(), 4, 0)?;
    let tried = s.sent(copier, &request)?;
    tried.done(area.page_size)?;
    expect("byte", s.load(area.at(0))?, 4)
}
