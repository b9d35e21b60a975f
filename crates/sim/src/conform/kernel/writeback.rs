//! Pages a disk is still taking. Reclaim leaves such a page alone, and how long it takes is the
//! disk's affair: who has memory reclaimed waits for it first, so that the outcome hangs on the
//! program alone.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use faultless_uapi::scan::pagemap::PRESENT;

/// The bits of a pagemap word that number the page frame; 0 for who may not know.
const FRAME: u64 = (1 << 55) - 1;
/// In `/proc/kpageflags`: on its way to a disk.
const WRITEBACK: u64 = 1 << 8;
/// A disk that takes longer shows as a difference of chance.
const PATIENCE: Duration = Duration::from_secs(2);
const NAP: Duration = Duration::from_micros(200);

/// Waits until no page of a range of a process is on its way to a disk.
///
/// # Errors
/// When the process has no page table to look at; without `/proc/kpageflags` nothing is waited for.
pub(super) fn wait_for_disk(pid: u32, first_page: u64, pages: usize) -> io::Result<()> {
    let Ok(flags) = File::open("/proc/kpageflags") else { return Ok(()) };
    let table = File::open(format!("/proc/{pid}/pagemap"))?;
    let mut words = vec![0; pages * 8];
    table.read_exact_at(&mut words, first_page * 8)?;
    let present = words.as_chunks().0.iter().map(|word| u64::from_ne_bytes(*word));
    let frames = present.filter(|word| word & PRESENT != 0).map(|word| word & FRAME);
    for frame in frames.filter(|frame| *frame != 0) {
        let begun = Instant::now();
        while is_under_way(&flags, frame) && begun.elapsed() < PATIENCE {
            std::thread::sleep(NAP);
        }
    }
    Ok(())
}

fn is_under_way(flags: &File, frame: u64) -> bool {
    let mut word = [0; 8];
    flags.read_exact_at(&mut word, frame * 8).is_ok() && u64::from_ne_bytes(word) & WRITEBACK != 0
}
