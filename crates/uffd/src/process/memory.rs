//! Copying memory between this process and another.

use std::io::IoSliceMut;
use std::ptr;

use faultless_pages::{Bytes, VaRange};
use rustix::process::Pid;

use super::batch::{RANGES_PER_CALL, in_batches};
use super::{ProcessError, ProcessOp};
use crate::sys::last_errno;

/// Copies `ranges` of the memory of process `pid`, one after the other, into `into`.
///
/// Returns how many bytes were copied. Fewer than asked for means that the page at that point
/// of the list could not be read; call again from there to learn why. The copy is not atomic:
/// a process that runs meanwhile may be seen in the middle of a write.
///
/// Reads through the page table, so an anonymous page that was never touched reads as zeros
/// and a page on swap is brought in. A missing page in a range that belongs to a userfaultfd
/// raises a fault message there and **blocks** until it is resolved, or is refused with `FAULT`
/// if that userfaultfd handles user-mode faults only or raises signals.
///
/// # Errors
/// Only if nothing at all was copied.
///
/// | errno | meaning |
/// |---|---|
/// | `FAULT` | the first address is not mapped, not readable, or its fault was refused |
/// | `SRCH` | no such process, or it has no memory (zombie, kernel thread) |
/// | `PERM` | no `PTRACE_MODE_ATTACH` right over it |
/// | `NOSYS` | a seccomp filter, or `CONFIG_CROSS_MEMORY_ATTACH` off |
///
/// # Panics
/// If the lengths of `ranges` do not add up to that of `into`.
///
/// # Kernel
/// Linux 3.2, `process_vm_readv(2)`. One call for each
/// [`RANGES_PER_CALL`] ranges.
pub fn read_memory(pid: Pid, ranges: &[VaRange], into: &mut [u8]) -> Result<usize, ProcessError> {
    check_lengths(ranges, into.len());
    in_batches(ranges, |done, remote| {
        let local =
            libc::iovec { iov_base: into[done..].as_mut_ptr().cast(), iov_len: into.len() - done };
        // SAFETY: `local` is the unwritten rest of an exclusively borrowed slice and `remote`
        // points to initialised iovecs; the kernel writes to `local` only, within its length
        // [K1]. Addresses in `remote` are never dereferenced by this process.
        let copied = unsafe {
            libc::process_vm_readv(
                pid.as_raw_nonzero().get(),
                ptr::from_ref(&local),
                1,
                remote.as_ptr(),
                remote.len() as libc::c_ulong,
                0,
            )
        };
        usize::try_from(copied).map_err(|_| last_errno())
    })
    .map_err(|errno| ProcessError { op: ProcessOp::ReadMemory, pid, errno })
}

/// Copies `range` of the memory of process `pid` into slices, filling one after the other.
///
/// Returns how many bytes were copied: as many as could be read, and no more than fit into the
/// first [`RANGES_PER_CALL`] slices. As [`read_memory`] in all else.
///
/// # Errors
/// Only if nothing at all was copied: those of [`read_memory`].
///
/// # Kernel
/// Linux 3.2, `process_vm_readv(2)`.
pub fn read_memory_scattered(
    pid: Pid,
    range: VaRange,
    into: &mut [IoSliceMut<'_>],
) -> Result<usize, ProcessError> {
    let count = into.len().min(RANGES_PER_CALL);
    let start = Bytes(range.start().0).as_usize();
    let remote = libc::iovec {
        iov_base: ptr::without_provenance_mut(start),
        iov_len: range.len().as_usize(),
    };
    // SAFETY: `IoSliceMut` is a `libc::iovec` by its documentation, each of memory that is
    // exclusively borrowed; the kernel writes to them only, within their lengths [K1]. The address
    // in `remote` is never dereferenced by this process.
    let copied = unsafe {
        libc::process_vm_readv(
            pid.as_raw_nonzero().get(),
            into.as_ptr().cast(),
            count as libc::c_ulong,
            ptr::from_ref(&remote),
            1,
            0,
        )
    };
    usize::try_from(copied).map_err(|_| ProcessError {
        op: ProcessOp::ReadMemory,
        pid,
        errno: last_errno(),
    })
}

/// Copies `from` into `ranges` of the memory of process `pid`, one after the other.
///
/// Returns how many bytes were copied; fewer than asked for means that the page at that point
/// could not be written. Obeys the protection of the memory: a read-only page is refused.
///
/// # Errors
/// As for [`read_memory`].
///
/// # Panics
/// - If the lengths of `ranges` do not add up to that of `from`.
/// - If `pid` is a thread of the calling process: its memory is governed by Rust's rules, which
///   a write from behind would break. Memory shared by a `vfork` is not told apart from
///   another process's, just as a write to `/proc/PID/mem` would not be.
///
/// # Kernel
/// Linux 3.2, `process_vm_writev(2)`.
pub fn write_memory(pid: Pid, ranges: &[VaRange], from: &[u8]) -> Result<usize, ProcessError> {
    check_lengths(ranges, from.len());
    assert!(!is_own_thread(pid), "process {pid} is this very process");
    in_batches(ranges, |done, remote| {
        let local = libc::iovec {
            iov_base: from[done..].as_ptr().cast_mut().cast(),
            iov_len: from.len() - done,
        };
        // SAFETY: `local` is the unread rest of a borrowed slice, which the kernel only reads
        // [K1]; `remote` points to initialised iovecs whose addresses belong to another
        // process (asserted above), so no memory of ours is written.
        let copied = unsafe {
            libc::process_vm_writev(
                pid.as_raw_nonzero().get(),
                ptr::from_ref(&local),
                1,
                remote.as_ptr(),
                remote.len() as libc::c_ulong,
                0,
            )
        };
        usize::try_from(copied).map_err(|_| last_errno())
    })
    .map_err(|errno| ProcessError { op: ProcessOp::WriteMemory, pid, errno })
}

fn check_lengths(ranges: &[VaRange], local: usize) {
    let remote: u64 = ranges.iter().map(|range| range.len().0).sum();
    assert_eq!(Bytes(remote), Bytes::from(local), "ranges against buffer");
}

/// Says whether `pid` names this process or a thread of it.
fn is_own_thread(pid: Pid) -> bool {
    let group = rustix::process::getpid().as_raw_nonzero().get();
    // SAFETY: signal 0 is only checked for, never sent.
    let answer = unsafe { libc::syscall(libc::SYS_tgkill, group, pid.as_raw_nonzero().get(), 0) };
    answer == 0
}

#[cfg(test)]
mod tests;
