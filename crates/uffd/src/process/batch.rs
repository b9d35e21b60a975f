//! Long lists of ranges cut into what one system call takes.

use std::mem::MaybeUninit;
use std::ptr;

use faultless_pages::{Bytes, VaRange};
use rustix::io::Errno;

/// How many ranges go into one system call; longer lists are cut.
// The kernel's own limit on an iovec (UIO_MAXIOV).
pub const RANGES_PER_CALL: usize = 1024;

/// How many bytes go into one system call; longer lists are cut.
// The kernel stops below 2 GiB (MAX_RW_COUNT), where a short count would read as a fault.
const BYTES_PER_CALL: u64 = 1 << 30;

/// Calls `step` with the bytes done so far and the next batch of ranges until the list is done,
/// a batch is cut short, or the kernel refuses.
pub(super) fn in_batches(
    ranges: &[VaRange],
    mut step: impl FnMut(usize, &[libc::iovec]) -> Result<usize, Errno>,
) -> Result<usize, Errno> {
    let mut iovecs = [const { MaybeUninit::uninit() }; RANGES_PER_CALL];
    let mut rest = Rest { ranges, skip: 0 };
    let mut done = 0;
    loop {
        let (batch, asked) = rest.take(&mut iovecs);
        if asked == 0 {
            return Ok(done);
        }
        match step(done, batch) {
            Ok(copied) if copied < asked => return Ok(done + copied),
            Ok(copied) => done += copied,
            Err(errno) if done == 0 => return Err(errno),
            Err(_) => return Ok(done),
        }
    }
}

/// The part of a list of ranges not yet handed to the kernel.
struct Rest<'r> {
    ranges: &'r [VaRange],
    /// Bytes of the first range that are done.
    skip: u64,
}

impl Rest<'_> {
    /// Fills `iovecs` with as much as one call takes; returns them and their total length.
    fn take<'v>(
        &mut self,
        iovecs: &'v mut [MaybeUninit<libc::iovec>; RANGES_PER_CALL],
    ) -> (&'v [libc::iovec], usize) {
        let mut count = 0;
        let mut total = 0;
        while count < RANGES_PER_CALL && total < BYTES_PER_CALL {
            let Some((first, others)) = self.ranges.split_first() else {
                break;
            };
            let left = first.len().0 - self.skip;
            let len = left.min(BYTES_PER_CALL - total);
            // An empty range would make an empty batch, which reads as the end of the list.
            if len > 0 {
                let base = Bytes(first.start().0 + self.skip);
                iovecs[count].write(libc::iovec {
                    iov_base: ptr::without_provenance_mut(base.as_usize()),
                    iov_len: Bytes(len).as_usize(),
                });
                count += 1;
                total += len;
            }
            if len == left {
                self.ranges = others;
                self.skip = 0;
            } else {
                self.skip += len;
            }
        }
        // SAFETY: the loop above has written the first `count` elements.
        let filled = unsafe { iovecs[..count].assume_init_ref() };
        (filled, Bytes(total).as_usize())
    }
}
