//! The bounded memory between the target and the disk.
//!
//! Every page on its way into the core lies in a block of this pool. When the pool is empty the
//! saver cannot copy, so writers of the target wait: they are slowed by the disk, never failed,
//! and the snapshotter never holds more than it was allowed.

use std::sync::{Arc, Mutex, PoisonError};

use faultless_pages::Bytes;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};

use super::port;

/// The size of a block: what a fault takes along with its neighbours.
pub(super) const BLOCK: Bytes = Bytes::kib(64);
/// Blocks begin at multiples of this: so they can be written past the page cache.
const ALIGNMENT: Bytes = Bytes::kib(4);
/// Of so many blocks one is left for writers that wait, when background work takes the others.
const RESERVE: usize = 4;

/// A block of the pool.
#[derive(Debug)]
struct Block {
    /// A little more than needed, as memory comes unaligned.
    memory: Box<[u8]>,
    start: usize,
}

impl Block {
    /// What a block takes.
    const TAKES: Bytes = Bytes(BLOCK.0 + ALIGNMENT.0);

    fn new() -> Block {
        let memory = vec![0; Block::TAKES.as_usize()].into_boxed_slice();
        let start = memory.as_ptr().align_offset(ALIGNMENT.as_usize());
        Block { memory, start }
    }

    fn first(&self, len: usize) -> &[u8] {
        &self.memory[self.start..][..len]
    }

    fn first_mut(&mut self, len: usize) -> &mut [u8] {
        &mut self.memory[self.start..][..len]
    }
}

/// The pool.
#[derive(Debug)]
pub(super) struct Pool {
    shelf: Mutex<Shelf>,
    limit: usize,
    /// Written to when blocks come back, so that a waiting saver wakes.
    returned: OwnedFd,
}

#[derive(Debug, Default)]
struct Shelf {
    free: Vec<Block>,
    out: usize,
    peak: usize,
}

/// Blocks taken from the pool for one piece.
#[derive(Debug)]
pub(super) struct Blocks {
    blocks: Vec<Block>,
    len: Bytes,
}

impl Blocks {
    /// Returns how much of them is used.
    pub(super) fn len(&self) -> Bytes {
        self.len
    }

    /// Forgets what lies behind `len`.
    pub(super) fn shorten(&mut self, len: Bytes) {
        self.len = self.len.min(len);
    }

    /// Returns the filled memory, a slice a block.
    pub(super) fn filled(&self) -> impl Iterator<Item = &[u8]> {
        let mut left = self.len.as_usize();
        self.blocks.iter().map(move |block| {
            let filled = left.min(BLOCK.as_usize());
            left -= filled;
            block.first(filled)
        })
    }
}

impl port::Piece for Blocks {
    fn blocks(&mut self) -> Vec<&mut [u8]> {
        let mut left = self.len.as_usize();
        self.blocks
            .iter_mut()
            .map(|block| {
                let wanted = left.min(BLOCK.as_usize());
                left -= wanted;
                block.first_mut(wanted)
            })
            .collect()
    }
}

impl Pool {
    /// Makes a pool of at most `limit`, but never less than two of the largest pieces.
    ///
    /// # Errors
    /// `EMFILE`, `ENFILE`: no descriptor for waking a waiting saver.
    pub(super) fn new(limit: Bytes, largest: Bytes) -> Result<Arc<Pool>, rustix::io::Errno> {
        let blocks = limit.0 / Block::TAKES.0;
        let least = 2 * largest.0.div_ceil(BLOCK.0) + RESERVE as u64;
        let limit = usize::try_from(blocks.max(least)).unwrap_or(usize::MAX);
        let returned = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Arc::new(Pool { shelf: Mutex::default(), limit, returned }))
    }

    /// Takes blocks for `len` bytes; background work leaves a part of the pool for those who wait.
    pub(super) fn take(&self, len: Bytes, urgent: bool) -> Option<Blocks> {
        let wanted = usize::try_from(len.0.div_ceil(BLOCK.0)).ok()?;
        let limit = if urgent { self.limit } else { self.limit - self.limit / RESERVE };
        let mut shelf = self.shelf();
        // A piece larger than what background work may hold still gets through when all is quiet.
        if shelf.out + wanted > limit && !(shelf.out == 0 && wanted <= self.limit) {
            return None;
        }
        shelf.out += wanted;
        shelf.peak = shelf.peak.max(shelf.out);
        let kept = shelf.free.len().saturating_sub(wanted);
        let mut blocks = shelf.free.split_off(kept);
        let fresh = wanted - blocks.len();
        drop(shelf);
        blocks.extend((0..fresh).map(|_| Block::new()));
        Some(Blocks { blocks, len })
    }

    /// Takes blocks back.
    pub(super) fn give_back(&self, piece: Blocks) {
        let mut shelf = self.shelf();
        shelf.out -= piece.blocks.len();
        shelf.free.extend(piece.blocks);
        drop(shelf);
        // A full counter wakes as well as a fresh one.
        let _ = rustix::io::write(&self.returned, &1u64.to_ne_bytes());
    }

    /// Returns the most that was out at once.
    pub(super) fn peak(&self) -> Bytes {
        Bytes(self.shelf().peak as u64 * Block::TAKES.0)
    }

    /// Returns a descriptor that is readable after blocks came back.
    pub(super) fn returned(&self) -> BorrowedFd<'_> {
        self.returned.as_fd()
    }

    /// Forgets earlier returns, so that the descriptor is readable only after the next one.
    pub(super) fn forget_returns(&self) {
        let mut count = [0u8; 8];
        let _ = rustix::io::read(&self.returned, &mut count);
    }

    fn shelf(&self) -> std::sync::MutexGuard<'_, Shelf> {
        // The shelf is consistent between any two statements that can panic.
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn background_work_leaves_room_for_those_who_wait() {
        let limit = Bytes(16 * Block::TAKES.0);
        let pool = Pool::new(limit, Bytes::kib(64)).expect("a pool");
        let mut held = Vec::new();
        while let Some(blocks) = pool.take(BLOCK, false) {
            held.push(blocks);
        }
        assert_eq!(held.len(), 12);
        while let Some(blocks) = pool.take(BLOCK, true) {
            held.push(blocks);
        }
        assert_eq!(held.len(), 16);
        assert_eq!(pool.peak(), limit);
        for blocks in held {
            pool.give_back(blocks);
        }
        assert!(pool.take(BLOCK, false).is_some());
        assert_eq!(pool.peak(), limit);
    }

    #[test]
    fn a_piece_of_the_largest_kind_always_gets_through() {
        let pool = Pool::new(Bytes::ZERO, Bytes::mib(2)).expect("a pool");
        let piece = pool.take(Bytes::mib(2), false).expect("room");
        assert_eq!(piece.filled().map(<[u8]>::len).sum::<usize>(), 2 << 20);
        assert!(pool.take(Bytes::mib(2), true).is_some());
    }

    #[test]
    fn blocks_can_be_written_directly() {
        let pool = Pool::new(Bytes::mib(1), BLOCK).expect("a pool");
        let blocks = pool.take(Bytes::kib(100), true).expect("room");
        let aligned = |part: &[u8]| part.as_ptr().align_offset(ALIGNMENT.as_usize()) == 0;
        assert!(blocks.filled().all(aligned));
    }
}
