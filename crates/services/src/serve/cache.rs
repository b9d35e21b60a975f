//! Chunks that were decompressed, shared by all clients of an image.
//!
//! # Concurrency
//! The lock is held to look up and to put in, never while a chunk is read. Two readers may so read
//! the same chunk at the same time; that costs time once, where waiting would cost it always.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use faultless_pages::Bytes;

/// A bounded number of chunks, the least recently used given up first.
#[derive(Debug)]
pub(super) struct Cache {
    chunk: u64,
    most: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By number: when it was used last, and its content.
    chunks: BTreeMap<u64, (u64, Arc<[u8]>)>,
    /// The same, by when.
    order: BTreeMap<u64, u64>,
    clock: u64,
}

impl Cache {
    /// Makes a cache for chunks of one size, which always holds one at least.
    pub(super) fn new(chunk: Bytes, most: Bytes) -> Cache {
        let most = usize::try_from(most.0 / chunk.0).unwrap_or(usize::MAX).max(1);
        Cache { chunk: chunk.0, most, state: Mutex::default() }
    }

    /// Fills `buffer` from `offset` on. `read` is asked for whole chunks, or at the end of the
    /// memory for what is left of one: zeros may follow in the buffer it is given.
    pub(super) fn read<E>(
        &self,
        offset: u64,
        buffer: &mut [u8],
        read: impl Fn(u64, &mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut done = 0;
        while done < buffer.len() {
            let at = offset + done as u64;
            let content = self.chunk(at / self.chunk, &read)?;
            let within = usize::try_from(at % self.chunk).expect("a chunk fits the memory");
            let len = (content.len() - within).min(buffer.len() - done);
            buffer[done..done + len].copy_from_slice(&content[within..within + len]);
            done += len;
        }
        Ok(())
    }

    /// Returns how much is held.
    pub(super) fn held(&self) -> Bytes {
        Bytes(self.state().chunks.len() as u64 * self.chunk)
    }

    fn chunk<E>(
        &self,
        number: u64,
        read: impl Fn(u64, &mut [u8]) -> Result<(), E>,
    ) -> Result<Arc<[u8]>, E> {
        if let Some(content) = self.state().get(number) {
            return Ok(content);
        }
        let mut content = vec![0; usize::try_from(self.chunk).expect("a chunk fits the memory")];
        read(number * self.chunk, &mut content)?;
        let content: Arc<[u8]> = content.into();
        self.state().put(number, Arc::clone(&content), self.most);
        Ok(content)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is whole before anything in it can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn get(&mut self, number: u64) -> Option<Arc<[u8]>> {
        self.clock += 1;
        let (used, content) = self.chunks.get_mut(&number)?;
        self.order.remove(used);
        *used = self.clock;
        self.order.insert(self.clock, number);
        Some(Arc::clone(content))
    }

    fn put(&mut self, number: u64, content: Arc<[u8]>, most: usize) {
        self.clock += 1;
        if let Some((used, _)) = self.chunks.insert(number, (self.clock, content)) {
            self.order.remove(&used);
        }
        self.order.insert(self.clock, number);
        while self.chunks.len() > most {
            let Some((_, oldest)) = self.order.pop_first() else { break };
            self.chunks.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn chunks_are_read_once_until_the_oldest_is_given_up() {
        let cache = Cache::new(Bytes(16), Bytes(32));
        let asked = RefCell::new(Vec::new());
        let read = |at: u64, chunk: &mut [u8]| {
            asked.borrow_mut().push(at / 16);
            chunk.fill(at.to_le_bytes()[0]);
            Ok::<(), ()>(())
        };
        let mut buffer = [0; 20];
        cache.read(14, &mut buffer, read).unwrap();
        assert_eq!(buffer, [&[0; 2][..], &[16; 16], &[32; 2]].concat()[..]);
        cache.read(40, &mut buffer[..4], read).unwrap();
        cache.read(0, &mut buffer[..4], read).unwrap();
        assert_eq!(asked.into_inner(), [0, 1, 2, 0]);
        assert_eq!(cache.held(), Bytes(32));
    }

    #[test]
    fn what_cannot_be_read_is_not_kept() {
        let cache = Cache::new(Bytes(16), Bytes(32));
        assert_eq!(cache.read(0, &mut [0; 4], |_, _| Err(7)), Err(7));
        assert_eq!(cache.held(), Bytes(0));
    }
}
