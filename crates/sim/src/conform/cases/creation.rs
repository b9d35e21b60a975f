//! Making a userfaultfd: flags, permission, what kind of descriptor it is.

use faultless_uapi::ioctl::{UFFDIO_API, USERFAULTFD_IOC_NEW};
use faultless_uapi::{UFFD_API, UFFD_USER_MODE_ONLY};

use super::prelude::*;

/// A flag no version knows.
const UNKNOWN_FLAG: u32 = 1 << 10;

/// Flags other than CLOEXEC, NONBLOCK and USER_MODE_ONLY are EINVAL (sections 0, 1).
pub(super) fn unknown_flags_are_invalid(w: &mut dyn World) -> Verdict {
    let mut s = Stage::bare(w)?;
    if !s.profile().privileged {
        return skip("without privileges the answer is EPERM; run as root");
    }
    for flag in [2, 4, UNKNOWN_FLAG, 1 << 31] {
        s.refuses(Call::Userfaultfd { flags: USUAL | flag }, EINVAL)?;
    }
    Ok(())
}

/// Each accepted flag is accepted alone (section 0).
pub(super) fn known_flags_are_accepted(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    for flags in [0, open::CLOEXEC, open::NONBLOCK, UFFD_USER_MODE_ONLY] {
        s.open_another(flags, 0)?;
    }
    Ok(())
}

/// A process that has given up its privileges, where that makes a difference.
fn unprivileged(w: &mut dyn World) -> Verdict<Stage<'_>> {
    let mut s = Stage::bare(w)?;
    if s.profile().unprivileged_allowed {
        return skip("vm.unprivileged_userfaultfd=1 allows everybody");
    }
    s.value(Call::DropPrivileges)?;
    Ok(s)
}

/// Without CAP_SYS_PTRACE and the setting, handling kernel faults is EPERM (section 1).
pub(super) fn unprivileged_open_is_refused(w: &mut dyn World) -> Verdict {
    let mut s = unprivileged(w)?;
    s.refuses(Call::Userfaultfd { flags: USUAL }, EPERM)
}

/// Permission is looked at before flags: a bad flag is EPERM to who may not open anyway, and
/// EINVAL to who may (section 1).
pub(super) fn permission_is_checked_before_flags(w: &mut dyn World) -> Verdict {
    let mut s = unprivileged(w)?;
    s.refuses(Call::Userfaultfd { flags: USUAL | UNKNOWN_FLAG }, EPERM)?;
    let flags = USUAL | UFFD_USER_MODE_ONLY | UNKNOWN_FLAG;
    s.refuses(Call::Userfaultfd { flags }, EINVAL)
}

/// USER_MODE_ONLY needs no privilege (section 1).
pub(super) fn user_mode_only_needs_no_privilege(w: &mut dyn World) -> Verdict {
    let mut s = unprivileged(w)?;
    s.fd = s.open_another(USUAL | UFFD_USER_MODE_ONLY, 0)?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::MISSING)?;
    Ok(())
}

fn device(s: &mut Stage<'_>) -> Verdict<Fd> {
    if !s.profile().has_device {
        return skip("no /dev/userfaultfd: it came with 6.1, and needs a device node");
    }
    match s.call(Call::OpenDevice)?.result {
        Ok(number) => u32::try_from(number).map(Fd).map_err(|e| Failure::Broken(e.to_string())),
        Err(stop) => skip(format!("/dev/userfaultfd cannot be opened: {stop:?}")),
    }
}

/// The device makes userfaultfds like the system call's (section 1).
pub(super) fn device_makes_descriptors(w: &mut dyn World) -> Verdict {
    let mut s = Stage::bare(w)?;
    let device = device(&mut s)?;
    let new = Call::IoctlWord { fd: device, request: USERFAULTFD_IOC_NEW, word: USUAL.into() };
    s.fd = s.open_fd(new)?;
    s.send(&request::api(UFFD_API, 0))?.ok()?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::MISSING)?;
    let who = s.blocked_load(area.at(0))?;
    s.fill(area.range(), 5, 0)?;
    expect("byte", s.loaded(who)?, 5)
}

/// The device checks flags as the system call does (section 1).
pub(super) fn device_refuses_unknown_flags(w: &mut dyn World) -> Verdict {
    let mut s = Stage::bare(w)?;
    let fd = device(&mut s)?;
    let word = (USUAL | UNKNOWN_FLAG).into();
    s.refuses(Call::IoctlWord { fd, request: USERFAULTFD_IOC_NEW, word }, EINVAL)
}

/// The device knows one request; any other is EINVAL (section 1).
pub(super) fn device_knows_one_request(w: &mut dyn World) -> Verdict {
    let mut s = Stage::bare(w)?;
    let fd = device(&mut s)?;
    s.refuses(Call::IoctlWord { fd, request: UFFDIO_API, word: 0 }, EINVAL)
}

/// Who holds the device needs no capability: its file mode is the permission (section 1).
pub(super) fn device_asks_for_no_capability(w: &mut dyn World) -> Verdict {
    let mut s = Stage::bare(w)?;
    let fd = device(&mut s)?;
    s.value(Call::DropPrivileges)?;
    let new = Call::IoctlWord { fd, request: USERFAULTFD_IOC_NEW, word: USUAL.into() };
    s.fd = s.open_fd(new)?;
    s.send(&request::api(UFFD_API, 0))?.ok()
}

/// Opening the device obeys its file mode (section 1).
pub(super) fn device_open_obeys_its_mode(w: &mut dyn World) -> Verdict {
    let mut s = Stage::bare(w)?;
    device(&mut s)?;
    s.value(Call::DropPrivileges)?;
    match s.call(Call::OpenDevice)?.result {
        Ok(_) => skip("this machine opens the device to everybody"),
        Err(stop) => expect("open without rights", stop, Stop::Refused(EACCES)),
    }
}

/// The descriptor is read-only: write is EBADF (section 1).
pub(super) fn writing_is_refused(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    s.refuses(Call::Write { fd: s.fd }, EBADF)
}

/// Seeking does nothing and succeeds (section 1).
pub(super) fn seeking_does_nothing(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let position = s.value(Call::Seek { fd: s.fd, offset: 100 })?;
    expect("position", position, 0)
}

/// fdinfo tells the enabled features and counts unread and unresolved faults (section 1).
pub(super) fn fdinfo_tells_features_and_counts(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_THREAD_ID)?;
    let text = s.fdinfo()?;
    // Bit 31 marks a finished handshake.
    let wanted = format!("API:\taa:{:x}:", FEATURE_THREAD_ID | 1 << 31);
    ensure(text.contains(&wanted), format_args!("fdinfo {text:?} lacks {wanted:?}"))?;
    let area = s.anon(2)?;
    s.register(area.range(), reg::MISSING)?;
    expect("before", s.counts()?, (0, 0))?;
    s.blocked_load(area.at(0))?;
    s.blocked_load(area.at(1))?;
    expect("two unread", s.counts()?, (2, 2))?;
    s.read_from(s.fd, 1)?.ok();
    expect("one read", s.counts()?, (1, 2))?;
    s.fill(area.one(0), 1, 0)?;
    expect("that one resolved", s.counts()?, (1, 1))
}

/// With no descriptor left it is EMFILE (section 1).
pub(super) fn no_free_descriptor_is_emfile(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    s.value(Call::LimitDescriptors { count: u64::from(s.fd.0) + 1 })?;
    let restricted = if s.profile().privileged { 0 } else { UFFD_USER_MODE_ONLY };
    s.refuses(Call::Userfaultfd { flags: USUAL | restricted }, EMFILE)
}
