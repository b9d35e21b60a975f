//! Reading messages: how many, in which order, what they hold.

use faultless_uapi::UffdMsg;

use super::prelude::*;

/// A buffer too small for one message is EINVAL (section 6).
pub(super) fn short_buffer_is_invalid(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::MISSING)?;
    s.blocked_load(area.at(0))?;
    s.refuses(Call::Read { fd: s.fd, len: 31 }, EINVAL)?;
    s.expect_fault(area.at(0), 0)
}

/// With nothing to read, a non-blocking descriptor says EAGAIN (section 6).
pub(super) fn nothing_to_read_is_eagain(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    expect("read", s.read_from(s.fd, 1)?, Err(EAGAIN))
}

/// A blocking descriptor waits for the first message (section 6).
pub(super) fn blocking_read_waits_for_the_first(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open_with(w, open::CLOEXEC, 0)?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::MISSING)?;
    let reader = s.blocked(Call::Read { fd: s.fd, len: 64 })?;
    s.blocked_load(area.at(0))?;
    let done = s.goes_on(reader)?;
    let messages = messages_in(&done.bytes);
    expect("messages", messages.len(), 1)?;
    expect("address", messages[0].pagefault().address, area.at(0))
}

/// A signal ends a waiting read: EINTR (section 6).
pub(super) fn signal_ends_a_waiting_read(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open_with(w, open::CLOEXEC, 0)?;
    let reader = s.blocked(Call::Read { fd: s.fd, len: 32 })?;
    s.world.interrupt(reader)?;
    expect("read", s.outcome(reader)?.result, Err(Stop::Refused(EINTR)))
}

/// One read brings as many messages as fit, oldest first, whole ones only (section 6).
pub(super) fn one_read_brings_what_fits(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let area = s.anon(4)?;
    s.register(area.range(), reg::MISSING)?;
    for page in [2, 0, 3, 1] {
        s.blocked_load(area.at(page))?;
    }
    let room = 2 * 32 + 31;
    let done = s.call(Call::Read { fd: s.fd, len: room })?;
    expect("bytes", done.result, Ok(64))?;
    let mut messages = messages_in(&done.bytes);
    messages.extend(s.messages()?);
    let addresses: Vec<u64> = messages.iter().map(|m| m.pagefault().address).collect();
    let wanted: Vec<u64> = [2, 0, 3, 1].map(|page| area.at(page)).to_vec();
    expect("order", addresses, wanted)
}

/// A message is put where it cannot be written: EFAULT, and it is lost (section 6).
pub(super) fn bad_buffer_loses_the_message(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::MISSING)?;
    s.blocked_load(area.at(0))?;
    s.refuses(Call::ReadTo { fd: s.fd, at: NOWHERE, len: 32 }, EFAULT)?;
    s.quiet()?;
    expect("counts", s.counts()?, (0, 1))
}

/// Every blocked thread has a message of its own, also on one page (section 5).
pub(super) fn every_thread_has_its_message(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_THREAD_ID)?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::MISSING)?;
    let first = s.blocked_load(area.at(0))?;
    let second = s.blocked_load(area.at(0))?;
    let threads: Vec<u32> = s.messages()?.iter().map(|m| m.pagefault().ptid).collect();
    expect("threads", threads, [first, second].map(|who| s.world.thread_id(who)).to_vec())
}

/// A message is not taken back once read, and not repeated (section 5).
pub(super) fn messages_come_once(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::MISSING)?;
    s.blocked_load(area.at(0))?;
    s.message()?;
    s.quiet()
}

/// Faults come before events, even events that are older (section 6).
pub(super) fn faults_come_before_older_events(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_EVENT_REMOVE)?;
    let area = s.anon(3)?;
    s.register(area.range(), reg::MISSING)?;
    s.blocked_load(area.at(0))?;
    s.blocked(advise(area.one(2), advice::DONTNEED))?;
    s.blocked_load(area.at(1))?;
    let kinds: Vec<u8> = s.messages()?.iter().map(|m| m.event).collect();
    expect("order", kinds, vec![event::PAGEFAULT, event::PAGEFAULT, event::REMOVE])
}

/// Events come in the order they happened (section 6).
pub(super) fn events_come_in_order(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_EVENT_REMOVE | FEATURE_EVENT_UNMAP)?;
    let area = s.anon(4)?;
    s.register(area.range(), reg::MISSING)?;
    s.blocked(advise(area.one(2), advice::DONTNEED))?;
    s.blocked(Call::Unmap { at: area.at(3), len: area.page_size })?;
    s.blocked(advise(area.one(0), advice::DONTNEED))?;
    let messages = s.messages()?;
    let got: Vec<(u8, u64)> = messages.iter().map(|m| (m.event, m.remove().start)).collect();
    let wanted = vec![
        (event::REMOVE, area.at(2)),
        (event::UNMAP, area.at(3)),
        (event::REMOVE, area.at(0)),
    ];
    expect("order", got, wanted)
}

/// A load fault has no flag set, a store fault has WRITE, and all else in the message is zero
/// (sections 0, 9).
pub(super) fn fault_messages_say_how(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let area = s.anon(2)?;
    s.register(area.range(), reg::MISSING)?;
    s.blocked_load(area.at(0))?;
    s.blocked_store(area.at(1), 1)?;
    let wanted = |flags, address| UffdMsg {
        event: event::PAGEFAULT,
        arg0: flags,
        arg1: address,
        ..UffdMsg::default()
    };
    let messages = s.messages()?;
    let want = vec![wanted(0, area.at(0)), wanted(fault_flag::WRITE, area.at(1))];
    expect("messages", messages, want)
}

/// The address is that of the page, unless EXACT_ADDRESS was asked for (section 0).
pub(super) fn address_is_rounded_unless_exact(w: &mut dyn World) -> Verdict {
    const OFFSET: u64 = 0x123;
    let mut s = Stage::open(w, 0)?;
    s.needs(FEATURE_EXACT_ADDRESS)?;
    let area = s.anon(2)?;
    s.register(area.one(0), reg::MISSING)?;
    s.blocked_load(area.at(0) + OFFSET)?;
    s.expect_fault(area.at(0), 0)?;
    s.fd = s.open_another(USUAL, FEATURE_EXACT_ADDRESS)?;
    s.register(area.one(1), reg::MISSING)?;
    s.blocked_load(area.at(1) + OFFSET)?;
    s.expect_fault(area.at(1) + OFFSET, 0)
}

/// Without THREAD_ID no thread is named (section 0).
pub(super) fn threads_are_named_on_request_only(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::MISSING)?;
    s.blocked_load(area.at(0))?;
    expect("thread", s.message()?.pagefault().ptid, 0)
}

/// A fault in kernel mode names the thread in the system call (sections 0, 9).
pub(super) fn kernel_faults_name_their_thread(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_THREAD_ID)?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::MISSING)?;
    let bytes = vec![1];
    let who = s.blocked(Call::KernelStore { at: area.at(0), bytes })?;
    let fault = s.message()?.pagefault();
    expect("thread", fault.ptid, s.world.thread_id(who))?;
    expect("flags", fault.flags, fault_flag::WRITE)
}

/// Of two readers that wait, one gets the message (section 6).
pub(super) fn one_reader_gets_the_message(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open_with(w, open::CLOEXEC, 0)?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::MISSING)?;
    let readers = [(); 2].map(|()| s.blocked(Call::Read { fd: s.fd, len: 32 }));
    s.blocked_load(area.at(0))?;
    let mut got = 0;
    for reader in readers {
        got += usize::from(s.world.settle(reader?)?.is_some());
    }
    expect("readers with a message", got, 1)
}
