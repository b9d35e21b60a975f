//! USER_MODE_ONLY: faults of system calls are refused, those of instructions served.

use faultless_uapi::UFFD_USER_MODE_ONLY;

use super::prelude::*;

fn registered(w: &mut dyn World, features: u64) -> Verdict<(Stage<'_>, Area)> {
    let mut s = Stage::open_with(w, USUAL | UFFD_USER_MODE_ONLY, features)?;
    let area = s.anon(2)?;
    s.register(area.range(), reg::MISSING)?;
    Ok((s, area))
}

/// Instructions fault, wait and are served as ever (section 9).
pub(super) fn instructions_are_served(w: &mut dyn World) -> Verdict {
    let (mut s, area) = registered(w, 0)?;
    let who = s.blocked_load(area.at(0))?;
    s.expect_fault(area.at(0), 0)?;
    s.fill(area.one(0), 3, 0)?;
    expect("byte", s.loaded(who)?, 3)
}

/// A system call that meets a missing page is EFAULT, and no message is sent (section 9).
pub(super) fn system_calls_fail(w: &mut dyn World) -> Verdict {
    let (mut s, area) = registered(w, 0)?;
    s.refuses(Call::KernelLoad { at: area.at(0), len: 1 }, EFAULT)?;
    s.refuses(Call::KernelStore { at: area.at(0), bytes: vec![1] }, EFAULT)?;
    s.quiet()
}

/// Populating by advice is EFAULT (section 9).
pub(super) fn populating_fails(w: &mut dyn World) -> Verdict {
    let (mut s, area) = registered(w, 0)?;
    s.refuses(advise(area.range(), advice::POPULATE_READ), EFAULT)?;
    s.quiet()
}

/// Another process that reads it gets EFAULT (section 9).
pub(super) fn remote_readers_fail(w: &mut dyn World) -> Verdict {
    let (mut s, area) = registered(w, 0)?;
    let reader = s.world.spawn()?;
    let of = s.me.process;
    let done = s.call_in(reader, Call::RemoteLoad { of, at: area.at(0), len: 1 })?;
    expect("read", done.result, Err(Stop::Refused(EFAULT)))
}

/// A system call's store to a protected page is EFAULT, an instruction's waits (section 9).
pub(super) fn protected_page_fails_system_calls(w: &mut dyn World) -> Verdict {
    let features = FEATURE_PAGEFAULT_FLAG_WP;
    let mut s = Stage::open_with(w, USUAL | UFFD_USER_MODE_ONLY, features)?;
    let area = s.anon(1)?;
    s.store(area.at(0), 1)?;
    s.register(area.range(), reg::WP)?;
    s.protect(area.range())?;
    s.refuses(Call::KernelStore { at: area.at(0), bytes: vec![2] }, EFAULT)?;
    s.blocked_store(area.at(0), 2)?;
    s.expect_fault(area.at(0), fault_flag::WRITE | fault_flag::WP)
}

/// A COPY whose source is missing is a system call like any other: EFAULT (sections 8, 9).
pub(super) fn copying_from_a_missing_page_fails(w: &mut dyn World) -> Verdict {
    let (mut s, area) = registered(w, 0)?;
    s.copy(area.one(0), area.at(1), 0)?.failed(EFAULT)?;
    s.quiet()
}
