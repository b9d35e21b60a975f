//! REGISTER: modes, ranges, whose memory it is, registering again; what registered memory is
//! kept from.

use faultless_uapi::ioctl::{UFFDIO_REGISTER, nr};

use super::prelude::*;

/// A mode bit no version knows.
const UNKNOWN_MODE: u64 = 1 << 20;

/// An argument that cannot be read is EFAULT (section 3).
pub(super) fn unreadable_argument_faults(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    s.refuses(Call::IoctlWord { fd: s.fd, request: UFFDIO_REGISTER, word: NOWHERE }, EFAULT)
}

/// No mode at all, and modes nobody knows, are EINVAL (section 3).
pub(super) fn modes_must_be_known(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let area = s.anon(1)?;
    for mode in [0, UNKNOWN_MODE, reg::MISSING | UNKNOWN_MODE] {
        s.send(&request::register(area.range(), mode))?.refused(EINVAL)?;
    }
    Ok(())
}

/// Ranges that no user-space range can be: unaligned, empty, beyond the end, wrapping.
fn impossible_ranges(range: Range, page: u64) -> [Range; 5] {
    let Range { start, len } = range;
    [
        Range { start: start + 1, len },
        Range { start, len: len - 1 },
        Range { start, len: 0 },
        Range { start: 1 << 63, len: page },
        Range { start, len: 0_u64.wrapping_sub(page) },
    ]
}

/// Unaligned, empty and impossible ranges are EINVAL (section 3).
pub(super) fn ranges_must_be_possible(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let area = s.anon(2)?;
    for range in impossible_ranges(area.range(), area.page_size) {
        s.send(&request::register(range, reg::MISSING))?.refused(EINVAL)?;
    }
    Ok(())
}

/// A range without any mapping is EINVAL (section 3).
pub(super) fn unmapped_range_is_invalid(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let area = s.anon(2)?;
    s.unmap(area.range())?;
    s.send(&request::register(area.range(), reg::MISSING))?.refused(EINVAL)
}

/// A range may have holes; what is mapped on both sides is registered (section 3).
pub(super) fn range_may_have_holes(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let area = s.anon(3)?;
    s.unmap(area.one(1))?;
    s.register(area.range(), reg::MISSING)?;
    s.blocked_load(area.at(0))?;
    s.blocked_load(area.at(2))?;
    expect("messages", s.messages()?.len(), 2)
}

/// A range may span mappings of different protection (section 3).
pub(super) fn range_may_span_mappings(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let area = s.anon(2)?;
    s.mprotect(area.one(1), prot::READ)?;
    s.register(area.range(), reg::MISSING)?;
    s.blocked_load(area.at(0))?;
    s.blocked_load(area.at(1))?;
    expect("messages", s.messages()?.len(), 2)
}

/// Only what is registered faults: neighbours in the same mapping fill with zeros (section 3).
pub(super) fn neighbours_stay_ordinary(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let area = s.anon(3)?;
    s.register(area.one(1), reg::MISSING)?;
    expect("before", s.load(area.at(0))?, 0)?;
    expect("behind", s.load(area.at(2))?, 0)?;
    s.quiet()?;
    s.blocked_load(area.at(1))?;
    s.expect_fault(area.at(1), 0)
}

/// Pages present before do not fault (section 3).
pub(super) fn present_pages_do_not_fault(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let area = s.anon(1)?;
    s.store(area.at(0), 9)?;
    s.register(area.range(), reg::MISSING)?;
    expect("byte", s.load(area.at(0))?, 9)?;
    s.quiet()
}

/// Memory of another userfaultfd is EBUSY (section 3).
pub(super) fn memory_of_another_is_busy(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::MISSING)?;
    let other = s.open_another(USUAL, 0)?;
    s.send_to(other, &request::register(area.range(), reg::MISSING))?.refused(EBUSY)
}

/// Once the owner has unregistered or closed, another may register (sections 3, 4).
pub(super) fn memory_is_free_again_after_unregister(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::MISSING)?;
    s.unregister(area.range())?.ok()?;
    s.fd = s.open_another(USUAL, 0)?;
    s.register(area.range(), reg::MISSING)?;
    Ok(())
}

/// Mappings are checked in order: the first that is refused decides the error, and none is
/// registered (section 3).
pub(super) fn first_refused_mapping_decides(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_MINOR_SHMEM)?;
    // Neighbours: shared memory owned by another, anonymous memory that MINOR refuses.
    let area = s.anon(3)?;
    let page = s.page();
    let fd = s.open_fd(Call::Memfd { len: page, huge: false })?;
    let over = Call::Map {
        at: area.at(1),
        len: page,
        prot: prot::READ_WRITE,
        flags: map::SHARED | map::FIXED,
        fd: Some(fd),
        offset: 0,
    };
    s.value(over)?;
    let other = s.open_another(USUAL, 0)?;
    s.send_to(other, &request::register(area.one(1), reg::MISSING))?.ok()?;
    s.send(&request::register(area.part(1, 2), reg::MINOR))?.refused(EBUSY)?;
    s.send(&request::register(area.part(0, 2), reg::MINOR))?.refused(EINVAL)
}

/// A refused registration registers nothing, not even what precedes the mapping refused
/// (section 3).
pub(super) fn refused_registration_registers_nothing(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let area = s.anon(2)?;
    let other = s.open_another(USUAL, 0)?;
    s.send_to(other, &request::register(area.one(1), reg::MISSING))?.ok()?;
    s.send(&request::register(area.range(), reg::MISSING))?.refused(EBUSY)?;
    expect("byte", s.load(area.at(0))?, 0)
}

/// Registering modes that are all there already changes nothing: the superset stays, though the
/// offer tells only of what was asked (section 3).
pub(super) fn asking_for_less_keeps_the_superset(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_PAGEFAULT_FLAG_WP)?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::MISSING | reg::WP)?;
    let again = s.send(&request::register(area.range(), reg::MISSING))?;
    if s.profile().dropping_wp_is_busy() == Promise::Yes {
        return again.refused(EBUSY);
    }
    again.ok()?;
    expect("WRITEPROTECT offered", again.out >> nr::WRITEPROTECT & 1, 0)?;
    s.protect(area.range())
}

/// Registering modes that are not all there replaces the old ones: WP, then MISSING, leaves no
/// write-protection. Since 7.3 that is EBUSY (sections 3, 15).
pub(super) fn asking_for_another_mode_replaces(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_PAGEFAULT_FLAG_WP)?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::WP)?;
    let again = s.send(&request::register(area.range(), reg::MISSING))?;
    if s.profile().dropping_wp_is_busy() == Promise::Yes {
        return again.refused(EBUSY);
    }
    again.ok()?;
    s.writeprotect(area.range(), mode::writeprotect::WP)?.gives(ENOENT)
}

/// A replaced WP mode strands the bits of pages it had protected (section 3).
pub(super) fn replaced_protection_strands_its_bits(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_PAGEFAULT_FLAG_WP)?;
    if s.profile().dropping_wp_is_busy() == Promise::Yes {
        return skip("since 7.3 the mode cannot be replaced");
    }
    let area = s.anon(1)?;
    s.store(area.at(0), 1)?;
    s.register(area.range(), reg::WP)?;
    s.protect(area.range())?;
    s.register(area.range(), reg::MISSING)?;
    expect("protected", s.is_protected(area.at(0))?, true)
}

/// Adding WP to a MISSING registration is no loss and works everywhere (section 3).
pub(super) fn modes_may_be_added(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_PAGEFAULT_FLAG_WP)?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::MISSING)?;
    s.register(area.range(), reg::MISSING | reg::WP)?;
    s.protect(area.range())
}

/// Makes a process have as many mappings as it may: every other page of a range is protected
/// otherwise.
fn fill_the_map(s: &mut Stage<'_>) -> Verdict {
    const MOST: u64 = 1 << 18;
    let page = s.page();
    let flags = map::PRIVATE | map::ANONYMOUS | map::NORESERVE;
    let call =
        Call::Map { at: 0, len: MOST * page, prot: prot::NONE, flags, fd: None, offset: 0 };
    let start = s.value(call)?;
    for index in (1..MOST).step_by(2) {
        let at = start + index * page;
        match s.call(Call::Protect { at, len: page, prot: prot::READ })?.result {
            Ok(_) => {}
            Err(Stop::Refused(ENOMEM)) => return Ok(()),
            Err(stop) => return Err(Failure::Broken(format!("mprotect: {stop:?}"))),
        }
    }
    skip("a process may have more mappings than a body can make")
}

/// Where a process has all the mappings it may, a registration that needs one more is ENOMEM, and
/// what comes before it in the range is registered (section 3).
pub(super) fn full_map_leaves_the_beginning_registered(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let area = s.anon(3)?;
    s.mprotect(area.one(0), prot::READ)?;
    fill_the_map(&mut s)?;
    s.send(&request::register(area.part(0, 2), reg::MISSING))?.refused(ENOMEM)?;
    s.zeropage(area.one(0), 0)?.done(area.page_size)?;
    s.zeropage(area.one(1), 0)?.failed(ENOENT)
}

/// Two mappings side by side, to be moved by one call, of which the second may be registered.
fn two_side_by_side(s: &mut Stage<'_>, registered: bool) -> Verdict<(Area, Call)> {
    let area = s.anon(2)?;
    s.store(area.at(0), 1)?;
    s.store(area.at(1), 2)?;
    s.mprotect(area.one(0), prot::READ)?;
    if registered {
        s.register(area.one(1), reg::MISSING)?;
    }
    let call = s.moving(&area, 0)?;
    Ok((area, call))
}

/// Several mappings move in one call since 6.17; before, the end of the first is a fault
/// (sections 10, 15).
pub(super) fn mappings_move_together_or_not(w: &mut dyn World) -> Verdict {
    let mut s = Stage::bare(w)?;
    let (area, call) = two_side_by_side(&mut s, false)?;
    if s.profile().mappings_move_together() == Promise::No {
        return s.refuses(call, EFAULT);
    }
    let to = s.value(call)?;
    expect("first", s.load(to)?, 1)?;
    expect("second", s.load(to + area.page_size)?, 2)
}

/// Registered mappings do not move together with others; those before one have moved by then
/// (section 10).
pub(super) fn registered_mappings_do_not_move_together(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_EVENT_REMAP)?;
    let (area, call) = two_side_by_side(&mut s, true)?;
    let Call::Remap { to, .. } = call else { return Ok(()) };
    s.refuses(call, EFAULT)?;
    s.quiet()?;
    expect("still there", s.load(area.at(1))?, 2)?;
    if s.profile().mappings_move_together() == Promise::Yes {
        expect("moved before it", s.load(to)?, 1)?;
    }
    Ok(())
}

/// RWP goes together with MISSING and MINOR: each fault is told for its own reason (section 14).
pub(super) fn read_protection_goes_with_other_modes(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_RWP | FEATURE_MINOR_SHMEM)?;
    let area = s.map(Memory::Shmem, 2)?;
    let alias = s.alias(&area)?;
    s.store(alias.at(0), 1)?;
    s.register(area.range(), reg::MISSING | reg::MINOR | reg::RWP)?;
    s.blocked_load(area.at(0))?;
    s.expect_fault(area.at(0), fault_flag::MINOR)?;
    s.continue_(area.one(0), 0)?.done(area.page_size)?;
    s.blocked_load(area.at(1))?;
    s.expect_fault(area.at(1), 0)?;
    s.send(&request::rwprotect(area.one(0), mode::rwprotect::RWP))?.ok()?;
    s.blocked_load(area.at(0))?;
    s.expect_fault(area.at(0), fault_flag::RWP)
}
