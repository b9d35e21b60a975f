//! REGISTER: which memory takes which mode, and what it offers then.

use faultless_uapi::ioctl::nr;

use super::prelude::*;

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
