//! WRITEPROTECT: arguments, what is protected, who waits, how long it lasts.

use faultless_uapi::ioctl::UFFDIO_WRITEPROTECT;
use faultless_uapi::mode::writeprotect::{DONTWAKE, WP};

use super::prelude::*;

/// The flags of a write-protect fault.
const WP_FAULT: u64 = fault_flag::WRITE | fault_flag::WP;

/// Populated anonymous pages, each holding its index, registered for WP alone.
fn populated(w: &mut dyn World, pages: u8) -> Verdict<(Stage<'_>, Area)> {
    let mut s = Stage::open(w, FEATURE_PAGEFAULT_FLAG_WP)?;
    let area = s.anon(pages.into())?;
    for page in 0..pages {
        s.store(area.at(page.into()), page)?;
    }
    s.register(area.range(), reg::WP)?;
    Ok((s, area))
}

/// A store to a protected page is reported and waits; loads do not (section 9).
pub(super) fn stores_wait_loads_do_not(w: &mut dyn World) -> Verdict {
    let (mut s, area) = populated(w, 2)?;
    s.protect(area.range())?;
    expect("byte", s.load(area.at(1))?, 1)?;
    s.quiet()?;
    let who = s.blocked_store(area.at(1), 5)?;
    s.expect_fault(area.at(1), WP_FAULT)?;
    expect("byte", s.load(area.at(1))?, 1)?;
    s.writeprotect(area.range(), 0)?.ok()?;
    s.goes_on(who)?;
    expect("byte", s.load(area.at(1))?, 5)
}

/// A system call that writes memory waits too (sections 5, 9).
pub(super) fn system_calls_wait_too(w: &mut dyn World) -> Verdict {
    let (mut s, area) = populated(w, 1)?;
    s.protect(area.range())?;
    let who = s.blocked(Call::KernelStore { at: area.at(0), bytes: vec![7] })?;
    s.expect_fault(area.at(0), WP_FAULT)?;
    s.writeprotect(area.range(), 0)?.ok()?;
    s.goes_on(who)?;
    expect("byte", s.load(area.at(0))?, 7)
}

/// Only the range is protected (section 11).
pub(super) fn only_the_range_is_protected(w: &mut dyn World) -> Verdict {
    let (mut s, area) = populated(w, 3)?;
    s.protect(area.one(1))?;
    s.store(area.at(0), 9)?;
    s.store(area.at(2), 9)?;
    s.blocked_store(area.at(1), 9)?;
    s.expect_fault(area.at(1), WP_FAULT)
}

/// An argument that cannot be read is EFAULT (section 11).
pub(super) fn unreadable_argument_faults(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_PAGEFAULT_FLAG_WP)?;
    s.refuses(Call::IoctlWord { fd: s.fd, request: UFFDIO_WRITEPROTECT, word: NOWHERE }, EFAULT)
}

/// Bad ranges and modes are EINVAL, and so is protecting with DONTWAKE, which means nothing
/// (section 11).
pub(super) fn arguments_must_be_possible(w: &mut dyn World) -> Verdict {
    let (mut s, area) = populated(w, 1)?;
    let Range { start, len } = area.range();
    s.writeprotect(Range { start: start + 1, len }, WP)?.gives(EINVAL)?;
    s.writeprotect(Range { start, len: 0 }, WP)?.gives(EINVAL)?;
    s.writeprotect(area.range(), 1 << 40)?.gives(EINVAL)?;
    s.writeprotect(area.range(), WP | DONTWAKE)?.gives(EINVAL)
}

/// A range without any mapping is ENOENT (section 11).
pub(super) fn unmapped_range_is_noent(w: &mut dyn World) -> Verdict {
    let (mut s, area) = populated(w, 1)?;
    s.unmap(area.range())?;
    s.writeprotect(area.range(), WP)?.gives(ENOENT)
}

/// Memory registered without WP is ENOENT (section 11).
pub(super) fn memory_without_the_mode_is_noent(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_PAGEFAULT_FLAG_WP)?;
    let area = s.anon(1)?;
    s.writeprotect(area.range(), WP)?.gives(ENOENT)?;
    s.register(area.range(), reg::MISSING)?;
    s.writeprotect(area.range(), WP)?.gives(ENOENT)
}

/// Skips where a range must lie in one mapping.
fn needs_spanning(s: &Stage<'_>) -> Verdict {
    if s.profile().protection_spans_mappings() {
        return Ok(());
    }
    skip("a range of WRITEPROTECT spans mappings since 6.4; before that is ENOENT")
}

/// It is not atomic: mappings before the one refused are protected (section 11).
pub(super) fn a_refusal_leaves_the_beginning_protected(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_PAGEFAULT_FLAG_WP)?;
    needs_spanning(&s)?;
    let area = s.anon(2)?;
    s.store(area.at(0), 1)?;
    s.register(area.one(0), reg::WP)?;
    s.writeprotect(area.range(), WP)?.gives(ENOENT)?;
    expect("first", s.is_protected(area.at(0))?, true)
}

/// Holes between mappings are passed over (section 11).
pub(super) fn holes_are_passed_over(w: &mut dyn World) -> Verdict {
    let (mut s, area) = populated(w, 3)?;
    needs_spanning(&s)?;
    s.unmap(area.one(1))?;
    s.protect(area.range())?;
    expect("first", s.is_protected(area.at(0))?, true)?;
    expect("last", s.is_protected(area.at(2))?, true)
}

/// The range may span mappings (section 11).
pub(super) fn range_may_span_mappings(w: &mut dyn World) -> Verdict {
    let (mut s, area) = populated(w, 2)?;
    needs_spanning(&s)?;
    s.mprotect(area.one(1), prot::READ)?;
    s.protect(area.range())?;
    expect("first", s.is_protected(area.at(0))?, true)?;
    expect("last", s.is_protected(area.at(1))?, true)
}

/// Any userfaultfd of the process may protect, not only the one registered (section 11).
pub(super) fn any_descriptor_may_protect(w: &mut dyn World) -> Verdict {
    let (mut s, area) = populated(w, 1)?;
    let other = s.open_another(USUAL, FEATURE_PAGEFAULT_FLAG_WP)?;
    s.send_to(other, &request::writeprotect(area.range(), WP))?.ok()?;
    expect("protected", s.is_protected(area.at(0))?, true)?;
    // The fault is reported to the one registered.
    s.blocked_store(area.at(0), 1)?;
    s.expect_fault(area.at(0), WP_FAULT)
}

/// Protecting never wakes; unprotecting does, unless told DONTWAKE (section 11).
pub(super) fn unprotecting_wakes_unless_told_not_to(w: &mut dyn World) -> Verdict {
    let (mut s, area) = populated(w, 2)?;
    s.protect(area.range())?;
    let who = s.blocked_store(area.at(0), 8)?;
    s.message()?;
    s.protect(area.range())?;
    s.still_blocked(who)?;
    s.quiet()?;
    s.writeprotect(area.range(), DONTWAKE)?.ok()?;
    expect("protected", s.is_protected(area.at(0))?, false)?;
    s.still_blocked(who)?;
    s.wake(area.range())?;
    s.goes_on(who).map(|_| ())
}

/// Unprotecting wakes the whole range, missing waiters too, who fault again (section 11).
pub(super) fn unprotecting_wakes_everybody_in_the_range(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_PAGEFAULT_FLAG_WP)?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::MISSING | reg::WP)?;
    let who = s.blocked_load(area.at(0))?;
    s.message()?;
    s.writeprotect(area.range(), 0)?.ok()?;
    s.still_blocked(who)?;
    s.expect_fault(area.at(0), 0)
}

/// A writer woken while its page is still protected faults again (sections 5, 11).
pub(super) fn waking_alone_faults_again(w: &mut dyn World) -> Verdict {
    let (mut s, area) = populated(w, 1)?;
    s.protect(area.range())?;
    let who = s.blocked_store(area.at(0), 8)?;
    s.message()?;
    s.wake(area.range())?;
    s.still_blocked(who)?;
    s.expect_fault(area.at(0), WP_FAULT)
}

/// Without WP_UNPOPULATED, anonymous pages that were never touched are not protected
/// (section 11).
pub(super) fn untouched_anonymous_pages_are_left_out(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_PAGEFAULT_FLAG_WP)?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::WP)?;
    s.protect(area.range())?;
    expect("protected", s.is_protected(area.at(0))?, false)?;
    s.store(area.at(0), 1)?;
    s.quiet()
}

/// With WP_UNPOPULATED they are: by a marker (section 11).
pub(super) fn untouched_anonymous_pages_can_be_protected(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_PAGEFAULT_FLAG_WP | FEATURE_WP_UNPOPULATED)?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::WP)?;
    s.protect(area.range())?;
    expect("protected", s.is_protected(area.at(0))?, true)?;
    expect("present", s.is_present(area.at(0))?, false)?;
    let who = s.blocked_store(area.at(0), 1)?;
    s.expect_fault(area.at(0), WP_FAULT)?;
    s.writeprotect(area.range(), 0)?.ok()?;
    s.goes_on(who).map(|_| ())
}

/// A marker survives the first read, which brings a protected page (section 11).
pub(super) fn marker_survives_the_first_read(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_PAGEFAULT_FLAG_WP | FEATURE_WP_UNPOPULATED)?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::WP)?;
    s.protect(area.range())?;
    expect("byte", s.load(area.at(0))?, 0)?;
    s.quiet()?;
    expect("protected", s.is_protected(area.at(0))?, true)?;
    s.blocked_store(area.at(0), 1)?;
    s.expect_fault(area.at(0), WP_FAULT)
}

/// Unprotecting takes markers off (section 11).
pub(super) fn unprotecting_takes_markers_off(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_PAGEFAULT_FLAG_WP | FEATURE_WP_UNPOPULATED)?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::WP)?;
    s.protect(area.range())?;
    s.writeprotect(area.range(), 0)?.ok()?;
    expect("protected", s.is_protected(area.at(0))?, false)?;
    s.store(area.at(0), 1)
}

/// With MISSING registered too, a store to a marker is reported as missing first, then as
/// protected (section 9).
pub(super) fn marked_page_is_missing_first(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_PAGEFAULT_FLAG_WP | FEATURE_WP_UNPOPULATED)?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::MISSING | reg::WP)?;
    s.protect(area.range())?;
    let who = s.blocked_store(area.at(0), 1)?;
    s.expect_fault(area.at(0), fault_flag::WRITE)?;
    s.fill(area.range(), 1, mode::copy::WP)?;
    s.still_blocked(who)?;
    s.expect_fault(area.at(0), WP_FAULT)
}

/// Dropping anonymous pages by advice drops protection and markers (section 11).
pub(super) fn dropping_anonymous_pages_drops_it(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_PAGEFAULT_FLAG_WP | FEATURE_WP_UNPOPULATED)?;
    let area = s.anon(2)?;
    s.store(area.at(0), 1)?;
    s.register(area.range(), reg::WP)?;
    s.protect(area.range())?;
    expect("marker", s.is_protected(area.at(1))?, true)?;
    s.advise(area.range(), advice::DONTNEED)?;
    expect("page", s.is_protected(area.at(0))?, false)?;
    expect("marker", s.is_protected(area.at(1))?, false)
}

/// It survives mprotect to read-only and back (section 11).
pub(super) fn it_survives_mprotect(w: &mut dyn World) -> Verdict {
    let (mut s, area) = populated(w, 1)?;
    s.protect(area.range())?;
    s.mprotect(area.range(), prot::READ)?;
    s.mprotect(area.range(), prot::READ_WRITE)?;
    expect("protected", s.is_protected(area.at(0))?, true)?;
    s.blocked_store(area.at(0), 1)?;
    s.expect_fault(area.at(0), WP_FAULT)
}

/// The zero page can be protected: a store is reported before it is replaced (section 11).
pub(super) fn zero_page_is_protected(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_PAGEFAULT_FLAG_WP)?;
    let area = s.anon(1)?;
    expect("byte", s.load(area.at(0))?, 0)?;
    s.register(area.range(), reg::WP)?;
    s.protect(area.range())?;
    let who = s.blocked_store(area.at(0), 3)?;
    s.expect_fault(area.at(0), WP_FAULT)?;
    s.writeprotect(area.range(), 0)?.ok()?;
    s.goes_on(who)?;
    expect("byte", s.load(area.at(0))?, 3)
}

/// A page shared with a child after fork is reported when written, and copied only when
/// unprotected (section 11).
pub(super) fn page_shared_with_a_child_is_protected(w: &mut dyn World) -> Verdict {
    let (mut s, area) = populated(w, 2)?;
    let child = s.fork()?;
    s.protect(area.range())?;
    let who = s.blocked_store(area.at(1), 9)?;
    s.expect_fault(area.at(1), WP_FAULT)?;
    s.writeprotect(area.range(), 0)?.ok()?;
    s.goes_on(who)?;
    let byte = s.call_in(child, Call::Load { at: area.at(1), len: 1 })?;
    expect("child", byte.bytes, vec![1])
}

/// Several writers of one page each have a message, and all go on (sections 5, 11).
pub(super) fn all_writers_of_a_page_wait(w: &mut dyn World) -> Verdict {
    let (mut s, area) = populated(w, 1)?;
    s.protect(area.range())?;
    let first = s.blocked_store(area.at(0), 1)?;
    let second = s.blocked_store(area.at(0) + 1, 2)?;
    expect("messages", s.messages()?.len(), 2)?;
    s.writeprotect(area.range(), 0)?.ok()?;
    s.goes_on(first)?;
    s.goes_on(second).map(|_| ())
}
