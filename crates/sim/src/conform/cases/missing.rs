//! Which accesses to missing pages are reported, in every kind of memory.

use super::prelude::*;

/// Loads and stores to missing pages of every kind of shared memory are reported; stores say so
/// (section 9).
pub(super) fn shared_memory_reports_missing_pages(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_MISSING_SHMEM)?;
    for memory in [Memory::Shmem, Memory::PrivateShmem, Memory::SharedAnon] {
        let area = s.map(memory, 2)?;
        s.register(area.range(), reg::MISSING)?;
        let loader = s.blocked_load(area.at(0))?;
        s.expect_fault(area.at(0), 0)?;
        let storer = s.blocked_store(area.at(1), 5)?;
        s.expect_fault(area.at(1), fault_flag::WRITE)?;
        s.fill(area.one(0), 3, 0)?;
        s.fill(area.one(1), 4, 0)?;
        expect("load", s.loaded(loader)?, 3)?;
        s.goes_on(storer)?;
        expect("store", s.load(area.at(1))?, 5)?;
        expect("beside", s.load(area.at(1) + 1)?, 4)?;
    }
    Ok(())
}

/// A page that is in the object is not missing: it is mapped without a word (section 9).
pub(super) fn pages_of_the_object_are_not_missing(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_MISSING_SHMEM)?;
    let area = s.map(Memory::Shmem, 1)?;
    let alias = s.alias(&area)?;
    s.store(alias.at(0), 8)?;
    s.register(area.range(), reg::MISSING)?;
    expect("byte", s.load(area.at(0))?, 8)?;
    s.quiet()
}

/// Reading the object through its descriptor does not fault (section 9).
pub(super) fn file_access_does_not_fault(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_MISSING_SHMEM)?;
    let area = s.map(Memory::Shmem, 1)?;
    let Some(fd) = area.object else { return Ok(()) };
    s.register(area.range(), reg::MISSING)?;
    s.value(Call::WriteObject { fd, offset: 0, bytes: vec![6] })?;
    s.quiet()?;
    expect("byte", s.load(area.at(0))?, 6)
}

/// Where only MINOR is registered, a hole of the object is filled by the kernel silently
/// (section 9).
pub(super) fn minor_alone_fills_holes_silently(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_MINOR_SHMEM)?;
    let area = s.map(Memory::Shmem, 1)?;
    s.register(area.range(), reg::MINOR)?;
    expect("byte", s.load(area.at(0))?, 0)?;
    s.quiet()
}

/// With MISSING and MINOR a hole is MISSING, and a page of the object is MINOR (section 9).
pub(super) fn holes_are_missing_pages_are_minor(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_MINOR_SHMEM | FEATURE_MISSING_SHMEM)?;
    let area = s.map(Memory::Shmem, 2)?;
    let alias = s.alias(&area)?;
    s.store(alias.at(1), 1)?;
    s.register(area.range(), reg::MISSING | reg::MINOR)?;
    s.blocked_load(area.at(0))?;
    s.expect_fault(area.at(0), 0)?;
    s.blocked_load(area.at(1))?;
    s.expect_fault(area.at(1), fault_flag::MINOR)
}

/// A store to a missing page where WP is registered too is reported as missing, not as protected
/// (section 9).
pub(super) fn missing_comes_before_protection(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_PAGEFAULT_FLAG_WP)?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::MISSING | reg::WP)?;
    let who = s.blocked_store(area.at(0), 2)?;
    s.expect_fault(area.at(0), fault_flag::WRITE)?;
    s.fill(area.range(), 1, mode::copy::WP)?;
    s.still_blocked(who)?;
    s.expect_fault(area.at(0), fault_flag::WRITE | fault_flag::WP)?;
    s.writeprotect(area.range(), 0)?.ok()?;
    s.goes_on(who)?;
    expect("byte", s.load(area.at(0))?, 2)
}

/// System calls that read or write memory fault and wait like instructions (sections 5, 9).
pub(super) fn system_calls_wait_too(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let area = s.anon(2)?;
    s.register(area.range(), reg::MISSING)?;
    let reader = s.blocked(Call::KernelLoad { at: area.at(0), len: 1 })?;
    s.expect_fault(area.at(0), 0)?;
    let writer = s.blocked(Call::KernelStore { at: area.at(1), bytes: vec![3] })?;
    s.expect_fault(area.at(1), fault_flag::WRITE)?;
    s.fill(area.one(0), 2, 0)?;
    s.fill(area.one(1), 2, 0)?;
    expect("read", s.loaded(reader)?, 2)?;
    s.goes_on(writer)?;
    expect("written", s.load(area.at(1))?, 3)
}

/// Populating by advice faults and waits: reads for reading, writes for writing (section 9).
pub(super) fn populating_waits(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let area = s.anon(2)?;
    s.register(area.range(), reg::MISSING)?;
    let reader = s.blocked(advise(area.one(0), advice::POPULATE_READ))?;
    s.expect_fault(area.at(0), 0)?;
    let writer = s.blocked(advise(area.one(1), advice::POPULATE_WRITE))?;
    s.expect_fault(area.at(1), fault_flag::WRITE)?;
    s.zeropage(area.one(0), 0)?.done(area.page_size)?;
    s.zeropage(area.one(1), 0)?.done(area.page_size)?;
    s.goes_on(reader)?;
    s.goes_on(writer).map(|_| ())
}

/// Locking memory faults its missing pages in, and waits for them (section 9).
pub(super) fn locking_waits(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    s.needs_kernel_faults()?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::MISSING)?;
    let who = s.blocked(Call::Lock { at: area.start, len: area.page_size })?;
    s.expect_fault(area.at(0), fault_flag::WRITE)?;
    s.zeropage(area.range(), 0)?.done(area.page_size)?;
    s.goes_on(who).map(|_| ())
}

/// Reading another process's missing page waits and is reported there, under the reader's id
/// (section 16).
pub(super) fn remote_readers_wait_too(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_THREAD_ID)?;
    s.needs_kernel_faults()?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::MISSING)?;
    let reader = s.world.spawn()?;
    let of = s.me.process;
    s.world.start(reader, Call::RemoteLoad { of, at: area.at(0), len: 1 })?;
    s.still_blocked(reader)?;
    let fault = s.message()?.pagefault();
    expect("thread", fault.ptid, s.world.thread_id(reader))?;
    s.fill(area.range(), 7, 0)?;
    expect("byte", s.loaded(reader)?, 7)
}

/// An access that spans two missing pages faults once for each (section 9).
pub(super) fn spanning_access_faults_twice(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let area = s.anon(2)?;
    s.register(area.range(), reg::MISSING)?;
    let who = s.blocked(Call::Load { at: area.at(1) - 4, len: 8 })?;
    s.expect_fault(area.at(0), 0)?;
    s.fill(area.one(0), 1, 0)?;
    s.still_blocked(who)?;
    s.expect_fault(area.at(1), 0)?;
    s.fill(area.one(1), 2, 0)?;
    expect("bytes", s.goes_on(who)?.bytes, vec![1, 1, 1, 1, 2, 2, 2, 2])
}

/// A page dropped by the program is missing again (section 9).
pub(super) fn dropped_pages_are_missing_again(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::MISSING)?;
    s.fill(area.range(), 1, 0)?;
    s.advise(area.range(), advice::DONTNEED)?;
    s.blocked_load(area.at(0))?;
    s.expect_fault(area.at(0), 0)
}

/// An access the mapping forbids is SIGSEGV at once, not a fault to be served (section 9).
pub(super) fn forbidden_access_is_not_reported(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let area = s.anon(1)?;
    s.mprotect(area.range(), prot::READ)?;
    s.register(area.range(), reg::MISSING)?;
    let stop = s.stopped(Call::Store { at: area.at(0), bytes: vec![1] })?;
    expect("store", stop, Stop::Sigsegv { code: code::SEGV_ACCERR, at: area.at(0) })?;
    s.quiet()
}

/// A seal against writes keeps holes from an object, and not the end: `ftruncate` cuts what
/// `fallocate` may not punch, and what was behind the end is a bus error (section 9).
pub(super) fn sealed_objects_are_cut_and_not_punched(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_MISSING_SHMEM)?;
    let page = s.page();
    let fd = s.open_fd(Call::Memfd { len: 2 * page, huge: false })?;
    s.value(Call::WriteObject { fd, offset: page, bytes: vec![7] })?;
    s.value(Call::Seal { fd })?;
    let area = s.map_object(Some(fd), 2, page, map::PRIVATE, prot::READ_WRITE)?;
    s.register(area.range(), reg::MISSING)?;
    s.refuses(Call::Punch { fd, offset: page, len: page }, EPERM)?;
    expect("byte", s.load(area.at(1))?, 7)?;
    s.value(Call::Resize { fd, len: page })?;
    let stop = s.stopped(Call::Load { at: area.at(1), len: 1 })?;
    ensure(matches!(stop, Stop::Sigbus { .. }), format!("stopped by {stop:?}"))
}

/// A load brings neighbours along that the object has: sixteen pages from a border on, or from
/// where the mapping begins if that is later (section 9).
pub(super) fn neighbours_come_along_with_a_load(w: &mut dyn World) -> Verdict {
    const WINDOW: u64 = 16;
    const TABLE: u64 = 512;
    let mut s = Stage::bare(w)?;
    let area = s.map(Memory::Shmem, 4 * WINDOW)?;
    let page = s.page();
    let border = (area.start.next_multiple_of(WINDOW * page) - area.start) / page;
    // A window ends with its page table: this one shall not.
    let last_of_table = area.at(border) / page % TABLE == TABLE - WINDOW;
    let first = border + 1 + if last_of_table { WINDOW } else { 0 };
    s.value(Call::Unmap { at: area.start, len: first * page })?;
    let Some(fd) = area.object else { return skip("the mapping has no object") };
    for index in [first, first + WINDOW - 1, first + WINDOW] {
        s.value(Call::WriteObject { fd, offset: index * page, bytes: vec![1] })?;
    }
    expect("byte", s.load(area.at(first))?, 1)?;
    expect("last of the window", s.is_present(area.at(first + WINDOW - 1))?, true)?;
    expect("next", s.is_present(area.at(first + WINDOW))?, false)
}
