//! The bounded memory between the target and the disk.
//!
//! Every page on its way into the core lies in a block of this pool. When the pool is empty the
//! saver cannot copy, so writers of the target wait: they are slowed by the disk, never failed,
//! and the snapshotter never holds more than it was allowed.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Buf, BytesMut};
use faultless_pages::Bytes;
use faultless_uffd::prefer_huge_pages;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};

use super::port;

/// The size of a block: what a fault takes along with its neighbours.
pub(super) const BLOCK: Bytes = Bytes::kib(64);
/// Blocks begin at multiples of this: so they can be written past the page cache.
const ALIGNMENT: Bytes = Bytes::kib(4);
/// Of so many blocks one is left for writers that wait, when background work takes the others.
const RESERVE: usize = 4;

/// Memory is asked for in stretches of this size, so that the system can give huge pages: less to
/// fault in, and a direct write of them is one stretch for the disk too.
const SLAB: Bytes = Bytes::mib(16);

/// A block of the pool: a part of a slab, at a multiple of [`ALIGNMENT`].
#[derive(Debug)]
struct Block(BytesMut);

impl Block {
    /// Cuts a slab of so many blocks.
    fn slab(count: usize) -> Vec<Block> {
        let len = count * BLOCK.as_usize();
        // A little more than needed, as memory comes unaligned.
        let mut slab = BytesMut::zeroed(len + ALIGNMENT.as_usize());
        // Without them it only takes longer.
        let _ = prefer_huge_pages(&mut slab);
        slab.advance(slab.as_ptr().align_offset(ALIGNMENT.as_usize()));
        (0..count).map(|_| Block(slab.split_to(BLOCK.as_usize()))).collect()
    }

    fn first(&self, len: usize) -> &[u8] {
        &self.0[..len]
    }

    fn first_mut(&mut self, len: usize) -> &mut [u8] {
        &mut self.0[..len]
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
    /// Blocks there are.
    made: usize,
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

    /// Returns the memory they take.
    pub(super) fn takes(&self) -> Bytes {
        Bytes(self.blocks.len() as u64 * BLOCK.0)
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

impl Shelf {
    /// Makes blocks until so many are free; there are never more than `limit`.
    fn make(&mut self, wanted: usize, limit: usize) {
        while self.free.len() < wanted {
            let slab = SLAB.as_usize() / BLOCK.as_usize();
            let count = slab.min(limit - self.made);
            // The first ones first: what follows in memory is one stretch for the disk.
            self.free.extend(Block::slab(count).into_iter().rev());
            self.made += count;
        }
    }
}

impl Pool {
    /// Makes a pool of at most `limit`, but never less than two of the largest pieces.
    ///
    /// # Errors
    /// `EMFILE`, `ENFILE`: no descriptor for waking a waiting saver.
    pub(super) fn new(limit: Bytes, largest: Bytes) -> Result<Arc<Pool>, rustix::io::Errno> {
        let blocks = limit.0 / BLOCK.0;
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
        shelf.make(wanted, self.limit);
        let kept = shelf.free.len() - wanted;
        let blocks = shelf.free.split_off(kept);
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

    /// Says whether half of it is given away.
    pub(super) fn is_half_out(&self) -> bool {
        self.shelf().out > self.limit / 2
    }

    /// Returns what may lie elsewhere for some time: whoever finds no room has given away more.
    pub(super) fn spare(&self) -> Bytes {
        Bytes((self.limit / RESERVE) as u64 * BLOCK.0)
    }

    /// Returns the most that was out at once.
    pub(super) fn peak(&self) -> Bytes {
        Bytes(self.shelf().peak as u64 * BLOCK.0)
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
        let limit = Bytes(16 * BLOCK.0);
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
        let pool = Pool::new(Bytes::mib(20), BLOCK).expect("a pool");
        let aligned = |part: &[u8]| part.as_ptr().align_offset(ALIGNMENT.as_usize()) == 0;
        // More than a slab.
        let blocks = pool.take(Bytes::kib((20 << 10) - 4), true).expect("room");
        assert!(blocks.filled().all(aligned));
        assert_eq!(blocks.filled().map(<[u8]>::len).sum::<usize>(), (20 << 20) - 4096);
    }

    #[test]
    fn who_finds_no_room_has_given_away_more_than_is_held_back() {
        for (limit, largest) in [(0, 64), (0, 2048), (1, 64), (64, 512), (64, 2048)] {
            let pool = Pool::new(Bytes::mib(limit), Bytes::kib(largest)).expect("a pool");
            let mut held = Vec::new();
            while let Some(blocks) = pool.take(Bytes::kib(largest), false) {
                held.push(blocks);
            }
            let given: u64 = held.iter().map(|blocks| blocks.takes().0).sum();
            assert!(given >= pool.spare().0, "{limit} MiB, {largest} KiB");
        }
    }
}
