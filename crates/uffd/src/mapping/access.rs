//! Copies in and out of memory that anybody may change.
//!
//! Every access is an atomic one: relaxed, by aligned words with single bytes at the edges. A
//! race with another thread, another process or the kernel is thereby defined: the copy sees
//! some mixture of words, each of which was there. With plain accesses or `memcpy` the compiler
//! might assume that nobody else writes; volatile accesses would be no faster.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use faultless_pages::Bytes;

use super::Mapping;

const WORD: usize = size_of::<u64>();

impl Mapping {
    /// Copies memory from `offset` on into `into`. Not atomic as a whole.
    ///
    /// # Panics
    /// If it leaves the mapping.
    pub fn read(&self, offset: Bytes, into: &mut [u8]) {
        let from = self.at(offset, into.len());
        let (first, rest) = into.split_at_mut(from.align_offset(WORD).min(into.len()));
        let (words, last) = rest.as_chunks_mut::<WORD>();
        let middle = from.wrapping_add(first.len());
        let end = middle.wrapping_add(words.len() * WORD);
        load_bytes(from, first);
        for (index, word) in words.iter_mut().enumerate() {
            // SAFETY: inside the mapping (`at`) and at a word (`align_offset`).
            let shared = unsafe { AtomicU64::from_ptr(middle.cast::<u64>().wrapping_add(index)) };
            *word = shared.load(Ordering::Relaxed).to_ne_bytes();
        }
        load_bytes(end, last);
    }

    /// Copies `from` into memory from `offset` on. Not atomic as a whole.
    ///
    /// # Panics
    /// If it leaves the mapping.
    pub fn write(&self, offset: Bytes, from: &[u8]) {
        let into = self.at(offset, from.len());
        let (first, rest) = from.split_at(into.align_offset(WORD).min(from.len()));
        let (words, last) = rest.as_chunks::<WORD>();
        let middle = into.wrapping_add(first.len());
        let end = middle.wrapping_add(words.len() * WORD);
        store_bytes(into, first);
        for (index, word) in words.iter().enumerate() {
            // SAFETY: inside the mapping (`at`) and at a word (`align_offset`).
            let shared = unsafe { AtomicU64::from_ptr(middle.cast::<u64>().wrapping_add(index)) };
            shared.store(u64::from_ne_bytes(*word), Ordering::Relaxed);
        }
        store_bytes(end, last);
    }

    /// Loads the byte at `offset`: the least that touches a page.
    ///
    /// # Panics
    /// If it lies outside the mapping.
    #[must_use]
    pub fn load_u8(&self, offset: Bytes) -> u8 {
        let mut byte = [0];
        load_bytes(self.at(offset, 1), &mut byte);
        byte[0]
    }

    /// Stores the byte at `offset`.
    ///
    /// # Panics
    /// If it lies outside the mapping.
    pub fn store_u8(&self, offset: Bytes, value: u8) {
        store_bytes(self.at(offset, 1), &[value]);
    }

    /// Loads the word at `offset`, sequentially consistent.
    ///
    /// # Panics
    /// If it leaves the mapping, or `offset` is not a multiple of 8.
    #[must_use]
    pub fn load_u64(&self, offset: Bytes) -> u64 {
        self.word(offset).load(Ordering::SeqCst)
    }

    /// Stores the word at `offset`, sequentially consistent.
    ///
    /// # Panics
    /// If it leaves the mapping, or `offset` is not a multiple of 8.
    pub fn store_u64(&self, offset: Bytes, value: u64) {
        self.word(offset).store(value, Ordering::SeqCst);
    }

    /// Sets the `bits` of the word at `offset` and returns what it held before.
    ///
    /// With no bits it asks for write access and changes nothing.
    ///
    /// # Panics
    /// If it leaves the mapping, or `offset` is not a multiple of 8.
    pub fn fetch_or(&self, offset: Bytes, bits: u64) -> u64 {
        self.word(offset).fetch_or(bits, Ordering::SeqCst)
    }

    fn word(&self, offset: Bytes) -> &AtomicU64 {
        let pointer = self.at(offset, WORD).cast::<u64>();
        assert!(pointer.is_aligned(), "{offset:?} is not at a word");
        // SAFETY: inside the mapping (`at`), which outlives the result, and aligned.
        unsafe { AtomicU64::from_ptr(pointer) }
    }

    /// Returns a pointer to `len` bytes at `offset`, all inside the mapping.
    fn at(&self, offset: Bytes, len: usize) -> *mut u8 {
        self.check(offset, Bytes::from(len));
        self.base.as_ptr().wrapping_add(offset.as_usize())
    }
}

/// Fills `into` from as many bytes at `from`, which lie in a mapping.
fn load_bytes(from: *mut u8, into: &mut [u8]) {
    for (index, byte) in into.iter_mut().enumerate() {
        // SAFETY: the caller has checked the length against the mapping.
        let shared = unsafe { AtomicU8::from_ptr(from.wrapping_add(index)) };
        *byte = shared.load(Ordering::Relaxed);
    }
}

/// Stores `from` at `into`, where a mapping holds as many bytes.
fn store_bytes(into: *mut u8, from: &[u8]) {
    for (index, byte) in from.iter().enumerate() {
        // SAFETY: the caller has checked the length against the mapping.
        let shared = unsafe { AtomicU8::from_ptr(into.wrapping_add(index)) };
        shared.store(*byte, Ordering::Relaxed);
    }
}
