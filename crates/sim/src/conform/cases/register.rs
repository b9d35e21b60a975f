//! REGISTER: modes, ranges, whose memory it is, registering again.

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

/// The requests out of the first nine that a registration should offer on this world.
fn offer(s: &Stage<'_>, wanted: &[u8]) -> u64 {
    let profile = s.profile();
    let exists = |number: u8| match number {
        nr::MOVE => profile.offers(FEATURE_MOVE),
        nr::POISON => profile.offers(FEATURE_POISON),
        _ => true,
    };
    wanted.iter().filter(|number| exists(**number)).map(|number| 1 << number).sum()
}

/// Compares offers among the first nine requests; later ones must be tolerated.
fn expect_offer(s: &mut Stage<'_>, range: Range, mode: u64, wanted: &[u8]) -> Verdict {
    let got = s.register(range, mode)? & 0x1ff;
    expect("offered requests", got, offer(s, wanted))
}

/// Private anonymous memory offers WAKE, COPY, ZEROPAGE, MOVE, POISON (section 3).
pub(super) fn anonymous_memory_offers(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let area = s.anon(1)?;
    let wanted = [nr::WAKE, nr::COPY, nr::ZEROPAGE, nr::MOVE, nr::POISON];
    expect_offer(&mut s, area.range(), reg::MISSING, &wanted)
}

/// With the WP mode, WRITEPROTECT is offered too (section 3).
pub(super) fn write_protection_adds_its_request(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_PAGEFAULT_FLAG_WP)?;
    let area = s.anon(1)?;
    let wanted = [nr::WAKE, nr::COPY, nr::ZEROPAGE, nr::MOVE, nr::WRITEPROTECT, nr::POISON];
    expect_offer(&mut s, area.range(), reg::MISSING | reg::WP, &wanted)
}

/// Shared memory with every mode offers everything, MOVE included, though MOVE is then refused:
/// the offer is advice (section 3).
pub(super) fn shared_memory_offers_everything(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_WP_HUGETLBFS_SHMEM | FEATURE_MINOR_SHMEM)?;
    let area = s.map(Memory::Shmem, 1)?;
    let wanted = [
        nr::WAKE,
        nr::COPY,
        nr::ZEROPAGE,
        nr::MOVE,
        nr::WRITEPROTECT,
        nr::CONTINUE,
        nr::POISON,
    ];
    expect_offer(&mut s, area.range(), reg::MISSING | reg::WP | reg::MINOR, &wanted)
}

/// hugetlb memory offers neither ZEROPAGE nor MOVE (section 3).
pub(super) fn hugetlb_offers_no_zeropage_no_move(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_MISSING_HUGETLBFS)?;
    let area = s.map(Memory::Hugetlb, 1)?;
    expect_offer(&mut s, area.range(), reg::MISSING, &[nr::WAKE, nr::COPY, nr::POISON])
}

/// Anonymous memory cannot have minor faults: EINVAL (section 3).
pub(super) fn minor_needs_an_object(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_MINOR_SHMEM)?;
    let area = s.anon(1)?;
    s.send(&request::register(area.range(), reg::MINOR))?.refused(EINVAL)
}

/// Shared memory, mapped shared or private, with or without a name, takes every mode (section 3).
pub(super) fn shared_memory_takes_every_mode(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_WP_HUGETLBFS_SHMEM | FEATURE_MINOR_SHMEM)?;
    for memory in [Memory::Shmem, Memory::PrivateShmem, Memory::SharedAnon] {
        for mode in [reg::MISSING, reg::WP, reg::MINOR, reg::MISSING | reg::WP | reg::MINOR] {
            let area = s.map(memory, 1)?;
            s.register(area.range(), mode)?;
        }
    }
    Ok(())
}

/// hugetlb memory, mapped shared or private, takes every mode (section 3).
pub(super) fn hugetlb_takes_every_mode(w: &mut dyn World) -> Verdict {
    let features = FEATURE_WP_HUGETLBFS_SHMEM | FEATURE_MINOR_HUGETLBFS;
    let mut s = Stage::open(w, features)?;
    for memory in [Memory::Hugetlb, Memory::PrivateHugetlb] {
        for mode in [reg::MISSING, reg::WP, reg::MINOR, reg::MISSING | reg::WP | reg::MINOR] {
            let area = s.map(memory, 1)?;
            s.register(area.range(), mode)?;
            s.unmap(area.range())?;
        }
    }
    Ok(())
}

/// Regular files take neither MISSING nor MINOR, and WP only when it is asynchronous: EINVAL
/// (section 3).
pub(super) fn regular_files_are_refused(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_PAGEFAULT_FLAG_WP)?;
    let area = s.map(Memory::File, 1)?;
    for mode in [reg::MISSING, reg::WP, reg::MINOR] {
        s.send(&request::register(area.range(), mode))?.refused(EINVAL)?;
    }
    Ok(())
}

/// With WP_ASYNC a regular file takes WP alone, and still nothing else (section 3).
pub(super) fn regular_files_take_asynchronous_protection(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_WP_ASYNC)?;
    for memory in [Memory::File, Memory::PrivateFile] {
        let area = s.map(memory, 1)?;
        s.send(&request::register(area.range(), reg::MISSING | reg::WP))?.refused(EINVAL)?;
        let wanted = [nr::WAKE, nr::COPY, nr::ZEROPAGE, nr::MOVE, nr::WRITEPROTECT, nr::POISON];
        expect_offer(&mut s, area.range(), reg::WP, &wanted)?;
    }
    Ok(())
}

/// A shared mapping that may never be written is EPERM (section 3).
pub(super) fn read_only_object_is_not_permitted(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let page = s.page();
    let writable = s.open_fd(Call::Memfd { len: page, huge: false })?;
    let object = s.open_fd(Call::ReopenReadOnly { fd: writable })?;
    let shared = s.map_object(Some(object), 1, page, map::SHARED, prot::READ)?;
    s.send(&request::register(shared.range(), reg::MISSING))?.refused(EPERM)?;
    // A private mapping may be written, to its own copy.
    let private = s.map_object(Some(object), 1, page, map::PRIVATE, prot::READ)?;
    s.register(private.range(), reg::MISSING)?;
    Ok(())
}

/// A shared mapping of a memfd sealed against writing is EPERM (section 3).
pub(super) fn sealed_object_is_not_permitted(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let page = s.page();
    let object = s.open_fd(Call::Memfd { len: page, huge: false })?;
    s.value(Call::Seal { fd: object })?;
    // Up to 6.6 a sealed object could not be mapped shared at all.
    let call = Call::Map {
        at: 0,
        len: page,
        prot: prot::READ,
        flags: map::SHARED,
        fd: Some(object),
        offset: 0,
    };
    let Ok(start) = s.call(call)?.result else {
        return skip("this kernel maps no sealed object shared");
    };
    s.send(&request::register(Range { start, len: page }, reg::MISSING))?.refused(EPERM)
}

/// Memory the kernel maps by raw frames is EINVAL in every mode (section 3).
pub(super) fn special_memory_is_refused(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_PAGEFAULT_FLAG_WP)?;
    let len = s.page();
    let Ok(start) = s.call(Call::SpecialMemory)?.result else {
        return skip("no memory of raw frames in this process");
    };
    for mode in [reg::MISSING, reg::WP, reg::MISSING | reg::WP] {
        s.send(&request::register(Range { start, len }, mode))?.refused(EINVAL)?;
    }
    Ok(())
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

/// Protection of the mapping does not matter: PROT_READ and PROT_NONE register (section 3).
pub(super) fn protection_does_not_matter(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    for prot in [prot::NONE, prot::READ] {
        let area = s.anon(1)?;
        s.mprotect(area.range(), prot)?;
        s.register(area.range(), reg::MISSING)?;
    }
    Ok(())
}

/// A mapping that grows down registers (section 3).
pub(super) fn growing_stack_registers(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let page = s.page();
    let flags = map::PRIVATE | map::ANONYMOUS | map::GROWSDOWN;
    let area = s.map_object(None, 4, page, flags, prot::READ_WRITE)?;
    s.register(area.range(), reg::MISSING)?;
    s.blocked_load(area.at(1))?;
    s.expect_fault(area.at(1), 0)
}

/// Droppable memory is refused since 6.17 (sections 3, 15).
pub(super) fn droppable_memory_is_refused(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let page = s.page();
    let flags = map::DROPPABLE | map::ANONYMOUS;
    let call = Call::Map { at: 0, len: page, prot: prot::READ_WRITE, flags, fd: None, offset: 0 };
    let Ok(start) = s.call(call)?.result else {
        return skip("no droppable memory: it came with 6.11");
    };
    let tried = s.send(&request::register(Range { start, len: page }, reg::MISSING))?;
    let refused = s.profile().droppable_is_refused();
    ensure(refused.allows(tried.result.is_err()), format_args!("REGISTER: {:?}", tried.result))?;
    if tried.result.is_err() { tried.refused(EINVAL) } else { Ok(()) }
}

/// A hugetlb range must begin and end at huge pages: EINVAL (section 3).
pub(super) fn hugetlb_ranges_must_be_aligned(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_MISSING_HUGETLBFS)?;
    let area = s.map(Memory::Hugetlb, 2)?;
    let page = s.page();
    let head = Range { start: area.start + page, len: area.page_size };
    let tail = Range { start: area.start, len: area.page_size + page };
    s.send(&request::register(head, reg::MISSING))?.refused(EINVAL)?;
    s.send(&request::register(tail, reg::MISSING))?.refused(EINVAL)
}
