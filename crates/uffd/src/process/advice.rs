//! Advice on the memory of another process.

use std::os::fd::{AsFd, AsRawFd};

use faultless_pages::{Bytes, VaRange};

use super::batch::in_batches;
use super::{Pidfd, ProcessError, ProcessOp};
use crate::sys::last_errno;

/// Advice that is taken on behalf of another process. None of it changes what memory holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProcessAdvice {
    /// Makes the pages the next to be reclaimed.
    Cold,
    /// Reclaims the pages now: to swap, or to their file.
    PageOut,
    /// Reads the pages ahead.
    WillNeed,
    /// Joins the pages to huge ones, now (Linux 6.1).
    Collapse,
}

impl ProcessAdvice {
    fn number(self) -> libc::c_int {
        match self {
            ProcessAdvice::Cold => libc::MADV_COLD,
            ProcessAdvice::PageOut => libc::MADV_PAGEOUT,
            ProcessAdvice::WillNeed => libc::MADV_WILLNEED,
            ProcessAdvice::Collapse => libc::MADV_COLLAPSE,
        }
    }
}

/// Gives `advice` for `ranges` of the memory of a process, each starting at a page.
///
/// Returns for how many bytes, counted along the list, the advice was taken; fewer than asked
/// for means that the range at that point was refused.
///
/// # Errors
/// Only if the first range was refused.
///
/// | errno | meaning |
/// |---|---|
/// | `NOMEM` | part of the range is not mapped |
/// | `INVAL` | not at a page boundary, or advice this kernel or memory does not take |
/// | `PERM` | no `PTRACE_MODE_READ` right over it, or no `CAP_SYS_NICE` |
/// | `SRCH` | it has ended |
/// | `NOSYS` | kernel older than 5.10, or a seccomp filter |
///
/// # Kernel
/// Linux 5.10, `process_madvise(2)`.
pub fn madvise(
    process: &Pidfd,
    ranges: &[VaRange],
    advice: ProcessAdvice,
) -> Result<Bytes, ProcessError> {
    in_batches(ranges, |_, remote| {
        // SAFETY: `remote` points to initialised iovecs, which the kernel only reads [K1]. No
        // advice of the enum changes what memory holds, should it be our own.
        let advised = unsafe {
            libc::syscall(
                libc::SYS_process_madvise,
                process.as_fd().as_raw_fd(),
                remote.as_ptr(),
                remote.len(),
                advice.number(),
                0,
            )
        };
        usize::try_from(advised).map_err(|_| last_errno())
    })
    .map(Bytes::from)
    .map_err(|errno| ProcessError { op: ProcessOp::Advise, pid: process.pid(), errno })
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;
    use rustix::process::getpid;

    use super::*;
    use crate::{Mapping, Pagemap};

    #[test]
    fn advice_counts_the_ranges_it_was_taken_for() {
        let mapping = Mapping::anonymous(Bytes::kib(64)).unwrap();
        mapping.write(Bytes::ZERO, &[1; 65536]);
        let process = Pidfd::open(getpid()).unwrap();
        let [low, high] = [
            mapping.range_of(Bytes(0), Bytes::kib(4)),
            mapping.range_of(Bytes::kib(32), Bytes::kib(8)),
        ];

        let advised = madvise(&process, &[low, high], ProcessAdvice::Cold).unwrap();

        assert_eq!(advised, Bytes::kib(12));
        let entry = Pagemap::of_self().unwrap().entry(low.start()).unwrap();
        assert!(entry.is_present() || entry.is_swapped(), "{entry:?}");
        let nothing = VaRange::new(faultless_pages::Va(0x1000), faultless_pages::Va(0x2000));
        assert_eq!(madvise(&process, &[low, nothing, high], ProcessAdvice::Cold), Ok(low.len()),);
        let refused = madvise(&process, &[nothing], ProcessAdvice::Cold).unwrap_err();
        assert_eq!(refused.errno, Errno::NOMEM);
    }
}
