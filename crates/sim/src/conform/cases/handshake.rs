//! UFFDIO_API: versions, features, what a failed handshake leaves behind.

use faultless_uapi::ioctl::UFFDIO_API;
use faultless_uapi::{UFFD_API, UFFD_USER_MODE_ONLY, UffdioApi};

use super::prelude::*;

/// A feature bit no version knows.
const UNKNOWN_FEATURE: u64 = 1 << 40;

fn unbound(w: &mut dyn World) -> Verdict<Stage<'_>> {
    let mut s = Stage::bare(w)?;
    s.fd = s.open_fd(Call::Userfaultfd { flags: USUAL | UFFD_USER_MODE_ONLY })?;
    Ok(s)
}

/// Expects this error and an argument of zeros.
fn refused_with_zeros(s: &mut Stage<'_>, api: u64, features: u64, errno: Errno) -> Verdict {
    let tried = s.send(&request::api(api, features))?;
    tried.gives(errno)?;
    ensure(tried.bytes.iter().all(|byte| *byte == 0), "the argument is not zeroed")
}

/// A version other than 0xAA is EINVAL and zeroes the argument (section 2).
pub(super) fn other_versions_are_invalid(w: &mut dyn World) -> Verdict {
    let mut s = unbound(w)?;
    refused_with_zeros(&mut s, UFFD_API + 1, 0, EINVAL)
}

/// A feature bit the kernel does not know is EINVAL and zeroes the argument (section 2).
pub(super) fn unknown_features_are_invalid(w: &mut dyn World) -> Verdict {
    let mut s = unbound(w)?;
    refused_with_zeros(&mut s, UFFD_API, UNKNOWN_FEATURE, EINVAL)
}

/// After a failed handshake the same descriptor may try again (section 2).
pub(super) fn failed_handshake_may_be_retried(w: &mut dyn World) -> Verdict {
    let mut s = unbound(w)?;
    s.send(&request::api(UFFD_API, UNKNOWN_FEATURE))?.gives(EINVAL)?;
    s.send(&request::api(UFFD_API + 1, 0))?.gives(EINVAL)?;
    s.send(&request::api(UFFD_API, 0))?.ok()
}

/// Success tells every supported feature, not only the enabled ones (section 2).
pub(super) fn success_tells_every_supported_feature(w: &mut dyn World) -> Verdict {
    let mut s = unbound(w)?;
    s.needs(FEATURE_THREAD_ID)?;
    let tried = s.send(&request::api(UFFD_API, FEATURE_THREAD_ID))?;
    tried.ok()?;
    expect("features", tried.out.cast_unsigned(), s.profile().features)
}

/// Success tells the requests of the descriptor: API, REGISTER and UNREGISTER (section 0).
pub(super) fn success_tells_the_requests(w: &mut dyn World) -> Verdict {
    const API_REGISTER_UNREGISTER: u64 = 1 << 0x3f | 1 << 1 | 1;
    let s = unbound(w)?;
    let ioctls = s.profile().api_ioctls;
    // 7.3 adds SET_MODE.
    expect("requests", ioctls & !(1 << 0xa), API_REGISTER_UNREGISTER)
}

/// A second handshake is EINVAL, zeroes the argument and leaves the first in force (section 2).
pub(super) fn second_handshake_is_invalid(w: &mut dyn World) -> Verdict {
    let mut s = unbound(w)?;
    s.send(&request::api(UFFD_API, 0))?.ok()?;
    refused_with_zeros(&mut s, UFFD_API, 0, EINVAL)?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::MISSING)?;
    Ok(())
}

/// An argument that cannot be read is EFAULT (section 2).
pub(super) fn unreadable_argument_faults(w: &mut dyn World) -> Verdict {
    let mut s = unbound(w)?;
    s.refuses(Call::IoctlWord { fd: s.fd, request: UFFDIO_API, word: NOWHERE }, EFAULT)
}

/// An argument that cannot be written is EFAULT, and the handshake has not happened (section 2).
pub(super) fn unwritable_argument_leaves_no_handshake(w: &mut dyn World) -> Verdict {
    let mut s = unbound(w)?;
    let area = s.anon(1)?;
    let argument = UffdioApi { api: UFFD_API, ..UffdioApi::default() };
    s.value(Call::Store { at: area.start, bytes: argument.to_bytes().to_vec() })?;
    s.mprotect(area.range(), prot::READ)?;
    s.refuses(Call::IoctlWord { fd: s.fd, request: UFFDIO_API, word: area.start }, EFAULT)?;
    s.send(&request::api(UFFD_API, 0))?.ok()
}

/// Before the handshake every other request is EINVAL (section 2).
pub(super) fn requests_before_handshake_are_invalid(w: &mut dyn World) -> Verdict {
    let mut s = unbound(w)?;
    let area = s.anon(1)?;
    let range = area.range();
    for request in [
        request::register(range, reg::MISSING),
        request::unregister(range),
        request::wake(range),
        request::copy(range, area.start, 0),
        request::zeropage(range, 0),
        request::move_(range, area.start, 0),
        request::continue_(range, 0),
        request::poison(range, 0),
        request::writeprotect(range, mode::writeprotect::WP),
    ] {
        s.send(&request)?.refused(EINVAL)?;
    }
    Ok(())
}

/// Before the handshake reading is EINVAL (section 2).
pub(super) fn reading_before_handshake_is_invalid(w: &mut dyn World) -> Verdict {
    let mut s = unbound(w)?;
    expect("read", s.read_from(s.fd, 1)?, Err(EINVAL))
}

/// Before the handshake poll reports an error (section 2).
pub(super) fn polling_before_handshake_is_an_error(w: &mut dyn World) -> Verdict {
    let mut s = unbound(w)?;
    expect("poll", s.poll()?, poll::ERR)
}

/// A request number nobody knows is EINVAL, not ENOTTY (section 2).
pub(super) fn unknown_requests_are_invalid(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    for request in [0xaa3e, 0xc018_aa30, 0x5401] {
        s.refuses(Call::IoctlWord { fd: s.fd, request, word: 0 }, EINVAL)?;
    }
    Ok(())
}

/// Requests of newer kernels are EINVAL where their feature is missing (sections 0, 2).
pub(super) fn requests_of_newer_kernels_are_invalid(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let area = s.anon(1)?;
    let range = area.range();
    let src = s.source(1)?;
    for (feature, request) in [
        (FEATURE_MINOR_SHMEM, request::continue_(range, 0)),
        (FEATURE_POISON, request::poison(range, 0)),
        (FEATURE_MOVE, request::move_(range, src, 0)),
        (FEATURE_RWP, request::rwprotect(range, 0)),
        (FEATURE_RWP, request::set_mode(0, 0)),
    ] {
        if !s.profile().offers(feature) {
            s.send(&request)?.refused(EINVAL)?;
        }
    }
    Ok(())
}

fn unprivileged(w: &mut dyn World) -> Verdict<Stage<'_>> {
    let mut s = unbound(w)?;
    s.value(Call::DropPrivileges)?;
    Ok(s)
}

/// EVENT_FORK without CAP_SYS_PTRACE is EPERM and zeroes the argument; without the bit the same
/// descriptor works (section 2).
pub(super) fn fork_event_needs_privilege(w: &mut dyn World) -> Verdict {
    let mut s = unprivileged(w)?;
    refused_with_zeros(&mut s, UFFD_API, FEATURE_EVENT_FORK, EPERM)?;
    s.send(&request::api(UFFD_API, FEATURE_EVENT_REMAP))?.ok()
}

/// The privilege is checked before unknown bits, and after the version (section 2).
pub(super) fn fork_privilege_comes_after_version_before_bits(w: &mut dyn World) -> Verdict {
    let mut s = unprivileged(w)?;
    refused_with_zeros(&mut s, UFFD_API + 1, FEATURE_EVENT_FORK, EINVAL)?;
    refused_with_zeros(&mut s, UFFD_API, FEATURE_EVENT_FORK | UNKNOWN_FEATURE, EPERM)
}

/// RWP_ASYNC without RWP is EINVAL (sections 2, 14).
pub(super) fn async_read_protection_needs_read_protection(w: &mut dyn World) -> Verdict {
    let mut s = unbound(w)?;
    s.needs(FEATURE_RWP | FEATURE_RWP_ASYNC)?;
    refused_with_zeros(&mut s, UFFD_API, FEATURE_RWP_ASYNC, EINVAL)?;
    s.send(&request::api(UFFD_API, FEATURE_RWP | FEATURE_RWP_ASYNC))?.ok()
}
