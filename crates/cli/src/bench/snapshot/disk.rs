//! The physical limit: how long the disk itself takes for as many bytes as a core has.
//!
//! [`write()`] is called by `session` once a round, in turn with the tools.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use faultless_pages::Bytes;

use crate::bench::stats::nanoseconds;
use crate::exit::{Exit, Failure};

use super::random::Xorshift;

/// Written with one call: a direct write costs a turn of the disk, whatever its length.
const PIECE: usize = 2 << 20;
/// What direct writes are a multiple of, in memory and in the file, with any disk in use.
const ALIGNMENT: usize = 4096;

/// What the disk took, and how long that took.
#[derive(Debug)]
pub(super) struct Written {
    /// From opening the file until all is on the disk.
    pub(super) took: Duration,
    /// How much it was.
    pub(super) bytes: Bytes,
    /// Past the page cache; otherwise through it, since the file system has no other way.
    pub(super) direct: bool,
}

impl Written {
    pub(super) fn took_ns(&self) -> f64 {
        nanoseconds(self.took)
    }
}

/// Writes `bytes`, rounded up to whole pages, to a file in `folder`, which goes again.
///
/// # Errors
/// [`Exit::Peer`] if the disk refuses them, or the user wants no more of it.
pub(super) fn write(folder: &Path, bytes: Bytes, cancel: &AtomicBool) -> Result<Written, Failure> {
    let path = folder.join("disk");
    let bytes = Bytes(bytes.0.next_multiple_of(ALIGNMENT as u64));
    let mut data = Data::new();
    let mut write = |extra| timed(&path, extra, &mut data, bytes, cancel);
    let written = match write(OFlags::DIRECT) {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => {
            write(OFlags::empty()).map(|took| Written { took, bytes, direct: false })
        }
        took => took.map(|took| Written { took, bytes, direct: true }),
    };
    // The folder goes with the bench; what matters here is the room for the next core.
    let _ = fs::remove_file(&path);
    written.map_err(|error| {
        Failure::new(Exit::Peer, format_args!("{}: {error}", path.display()))
            .next("choose another --folder")
    })
}

/// Returns how long it took until all was on the disk.
fn timed(
    path: &Path,
    extra: OFlags,
    data: &mut Data,
    bytes: Bytes,
    cancel: &AtomicBool,
) -> io::Result<Duration> {
    let begin = Instant::now();
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | extra;
    let mut file = File::from(rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)?);
    let mut left = bytes.as_usize();
    while left > 0 {
        if cancel.load(Ordering::Relaxed) {
            return Err(io::Error::other("interrupted"));
        }
        let piece = data.piece(left.min(PIECE));
        file.write_all(piece)?;
        left -= piece.len();
    }
    file.sync_data()?;
    Ok(begin.elapsed())
}

/// Makes pieces that no disk can compress, and of which no page is like another.
struct Data {
    /// A little more than needed, as memory comes unaligned.
    memory: Box<[u8]>,
    start: usize,
    pages: u64,
}

impl Data {
    fn new() -> Data {
        let mut memory = vec![0; PIECE + ALIGNMENT].into_boxed_slice();
        Xorshift::new(1).fill(&mut memory);
        let start = memory.as_ptr().align_offset(ALIGNMENT);
        Data { memory, start, pages: 0 }
    }

    /// Returns the next piece, of so many bytes.
    fn piece(&mut self, len: usize) -> &[u8] {
        let piece = &mut self.memory[self.start..][..len];
        // Fresh numbers throughout would cost a part of the time that is measured.
        for page in piece.chunks_exact_mut(ALIGNMENT) {
            page[..8].copy_from_slice(&self.pages.to_ne_bytes());
            self.pages += 1;
        }
        piece
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_bytes_as_asked_for_are_written_and_gone_again() {
        let folder = std::env::temp_dir().join(format!("faultless-disk.{}", std::process::id()));
        fs::create_dir(&folder).expect("a folder");
        let wanted = Bytes(PIECE as u64 + 1);
        let written = write(&folder, wanted, &AtomicBool::new(false)).expect("room");
        assert_eq!(written.bytes, Bytes((PIECE + ALIGNMENT) as u64));
        assert!(written.took > Duration::ZERO);
        let stopped = write(&folder, wanted, &AtomicBool::new(true)).expect_err("cancelled");
        assert!(stopped.to_string().contains("interrupted"), "{stopped}");
        fs::remove_dir(&folder).expect("nothing is left in it");
    }

    #[test]
    fn no_page_is_like_another_and_each_may_be_written_directly() {
        let mut data = Data::new();
        let first = data.piece(PIECE).to_vec();
        let second = data.piece(2 * ALIGNMENT);
        assert_eq!(second.as_ptr().align_offset(ALIGNMENT), 0);
        let pages = || first.chunks(ALIGNMENT).chain(second.chunks(ALIGNMENT));
        let distinct: std::collections::BTreeSet<_> = pages().collect();
        assert_eq!(distinct.len(), pages().count());
    }
}
