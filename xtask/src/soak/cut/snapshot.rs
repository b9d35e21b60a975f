//! What the checker asks of a snapshot, whoever made it.
//!
//! Implemented by [`core_file`](super::core_file) for ELF cores, ours and gdb's, by
//! `smear` for the deliberately wrong one, and by the tests.

use anyhow::Result;

/// Bytes in a page of every machine the stamper runs on.
pub(crate) const PAGE: usize = 4096;
/// One page.
pub(crate) type Page = [u8; PAGE];
/// A page nobody has written to.
pub(crate) static ZEROS: Page = [0; PAGE];

/// What a snapshot has to say about a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Content {
    /// Its bytes, zeros included.
    Saved,
    /// It was mapped, and its content was freed before it was saved.
    Freed,
    /// It is not part of the snapshot.
    Absent,
}

/// The registers of one thread that carry the stamper's promises.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Registers {
    /// The thread.
    pub(crate) tid: u64,
    /// r15, or x28 on aarch64.
    pub(crate) seq: u64,
    /// r14, or x27 on aarch64.
    pub(crate) mark: u64,
}

/// One claimed instant of a process.
pub(crate) trait Snapshot {
    /// Fills `into` with the page at `address` if it is saved.
    fn page(&mut self, address: u64, into: &mut Page) -> Result<Content>;

    /// Returns the registers of every thread.
    fn registers(&self) -> Vec<Registers>;
}

/// Returns the little-endian 64-bit word number `at` of a page.
pub(crate) fn word(page: &Page, at: usize) -> u64 {
    page.as_chunks::<8>().0.get(at).copied().map_or(0, u64::from_le_bytes)
}
