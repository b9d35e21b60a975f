//! WP_ASYNC: the kernel takes protection off by itself, and the page tables remember.

use super::prelude::*;

/// A store takes the protection off: no message, no waiting (section 11).
pub(super) fn stores_take_it_off_silently(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_WP_ASYNC)?;
    for memory in [Memory::Anon, Memory::Shmem, Memory::PrivateShmem] {
        let area = s.map(memory, 2)?;
        s.store(area.at(0), 1)?;
        s.store(area.at(1), 1)?;
        s.register(area.range(), reg::WP)?;
        s.protect(area.range())?;
        expect("byte", s.load(area.at(0))?, 1)?;
        expect("after a load", s.is_protected(area.at(0))?, true)?;
        s.store(area.at(0), 2)?;
        s.quiet()?;
        expect("written", s.is_protected(area.at(0))?, false)?;
        expect("not written", s.is_protected(area.at(1))?, true)?;
        expect("byte", s.load(area.at(0))?, 2)?;
    }
    Ok(())
}

/// A system call's store does the same (section 11).
pub(super) fn system_calls_take_it_off_too(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_WP_ASYNC)?;
    let area = s.anon(1)?;
    s.store(area.at(0), 1)?;
    s.register(area.range(), reg::WP)?;
    s.protect(area.range())?;
    s.value(Call::KernelStore { at: area.at(0), bytes: vec![3] })?;
    expect("protected", s.is_protected(area.at(0))?, false)
}

/// It brings WP_UNPOPULATED along: pages never touched are protected by markers (sections 0, 11).
pub(super) fn untouched_pages_are_protected(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_WP_ASYNC)?;
    let area = s.anon(2)?;
    s.register(area.range(), reg::WP)?;
    s.protect(area.range())?;
    expect("marker", s.is_protected(area.at(0))?, true)?;
    s.store(area.at(0), 1)?;
    expect("written", s.is_protected(area.at(0))?, false)?;
    expect("not written", s.is_protected(area.at(1))?, true)
}

/// Pages of regular files can be tracked, shared and private mappings alike (section 3, 11).
pub(super) fn regular_files_can_be_tracked(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_WP_ASYNC)?;
    for memory in [Memory::File, Memory::PrivateFile] {
        let area = s.map(memory, 2)?;
        expect("byte", s.load(area.at(0))?, 0)?;
        s.register(area.range(), reg::WP)?;
        s.protect(area.range())?;
        expect("before", s.is_protected(area.at(0))?, true)?;
        s.store(area.at(0), 1)?;
        expect("written", s.is_protected(area.at(0))?, false)?;
        expect("not written", s.is_protected(area.at(1))?, true)?;
        s.quiet()?;
    }
    Ok(())
}

/// Missing faults are still reported where MISSING is registered (section 11).
pub(super) fn missing_faults_are_still_reported(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_WP_ASYNC)?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::MISSING | reg::WP)?;
    let who = s.blocked_store(area.at(0), 2)?;
    s.expect_fault(area.at(0), fault_flag::WRITE)?;
    s.fill(area.range(), 1, mode::copy::WP)?;
    // Protected when it came, and taken off by the very store that waited.
    s.goes_on(who)?;
    expect("protected", s.is_protected(area.at(0))?, false)
}

/// Protection can be put back, again and again (section 11).
pub(super) fn it_can_be_put_back(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_WP_ASYNC)?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::WP)?;
    for round in 1..4 {
        s.protect(area.range())?;
        expect("put back", s.is_protected(area.at(0))?, true)?;
        s.store(area.at(0), round)?;
        expect("taken off", s.is_protected(area.at(0))?, false)?;
    }
    Ok(())
}
