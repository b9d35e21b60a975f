//! Room for what is fetched, used again.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Rooms that are kept for each size. More are given back to the allocator.
const KEPT: usize = 32;

/// Rooms nobody uses, by size.
#[derive(Debug, Default)]
pub(super) struct Rooms {
    free: Mutex<BTreeMap<usize, Vec<Box<[u8]>>>>,
}

impl Rooms {
    /// Takes a room of this size, holding anything.
    pub(super) fn take(&self, len: usize) -> Box<[u8]> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = free.get_mut(&len).and_then(Vec::pop);
        drop(free);
        kept.unwrap_or_else(|| vec![0; len].into_boxed_slice())
    }

    /// Gives a room back.
    pub(super) fn give(&self, room: Box<[u8]>) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = free.entry(room.len()).or_default();
        if kept.len() < KEPT {
            kept.push(room);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_are_used_again_and_not_hoarded() {
        let rooms = Rooms::default();
        let room = rooms.take(64);
        let place = room.as_ptr();
        rooms.give(room);
        let again = rooms.take(64);
        assert_eq!(again.as_ptr(), place);
        for _ in 0..2 * KEPT {
            rooms.give(vec![0; 8].into_boxed_slice());
        }
        let free = rooms.free.lock().expect("no panic");
        assert_eq!(free[&8].len(), KEPT);
    }
}
