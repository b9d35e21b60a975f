//! Chunks: the unit that is compressed, addressed by content and read at once.

use faultless_pages::Bytes;

/// The size of an image's chunks: a power of two from 4 KiB to 2 MiB.
///
/// Small chunks waste little when one page is wanted and share more between layers; large ones
/// compress better and need a smaller index.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ChunkSize {
    bytes: u32,
}

impl ChunkSize {
    /// The smallest: a base page.
    pub const MIN: ChunkSize = ChunkSize { bytes: 4 << 10 };
    /// The largest: a huge page.
    pub const MAX: ChunkSize = ChunkSize { bytes: 2 << 20 };

    /// Accepts a power of two from 4 KiB to 2 MiB.
    #[must_use]
    pub fn new(bytes: Bytes) -> Option<ChunkSize> {
        let bytes = u32::try_from(bytes.0).ok()?;
        let fits = (Self::MIN.bytes..=Self::MAX.bytes).contains(&bytes);
        (fits && bytes.is_power_of_two()).then_some(ChunkSize { bytes })
    }

    /// Returns the size in bytes.
    #[must_use]
    pub fn bytes(self) -> Bytes {
        Bytes(self.bytes.into())
    }

    /// Returns how many chunks `memory` needs; the last may be partly beyond its end.
    #[must_use]
    pub fn count(self, memory: Bytes) -> u64 {
        memory.0.div_ceil(self.bytes.into())
    }

    /// Makes room for one chunk.
    #[must_use]
    pub fn buffer(self) -> Vec<u8> {
        vec![0; self.bytes().as_usize()]
    }
}

/// 64 KiB: a balance of the two, and what a page server fetches around a fault anyway.
impl Default for ChunkSize {
    fn default() -> ChunkSize {
        ChunkSize { bytes: 64 << 10 }
    }
}

/// Returns the word a chunk consists of, if it is one word over and over; zeros are word 0.
///
/// Mostly the first two words differ, and that is all that is looked at.
pub(super) fn fill_word(content: &[u8]) -> Option<u64> {
    let (words, rest) = content.as_chunks::<8>();
    let first = words.first()?;
    let same = rest.is_empty() && words.iter().all(|word| word == first);
    same.then(|| u64::from_le_bytes(*first))
}

/// Makes a chunk, or a part of one that starts at a multiple of 8, out of its word.
pub(super) fn fill(word: u64, out: &mut [u8]) {
    let word = word.to_le_bytes();
    for piece in out.chunks_mut(word.len()) {
        piece.copy_from_slice(&word[..piece.len()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_two_from_a_page_to_a_huge_page() {
        for good in [4096, 65536, 2 << 20] {
            assert_eq!(ChunkSize::new(Bytes(good)).map(|size| size.bytes().0), Some(good));
        }
        for bad in [0, 2048, 12288, 4 << 20, 1 << 32] {
            assert_eq!(ChunkSize::new(Bytes(bad)), None);
        }
    }

    #[test]
    fn a_word_over_and_over_is_found_and_made_again() {
        let mut chunk = vec![0; 4096];
        assert_eq!(fill_word(&chunk), Some(0));
        fill(0x0102_0304_0506_0708, &mut chunk);
        assert_eq!(fill_word(&chunk), Some(0x0102_0304_0506_0708));
        chunk[4095] ^= 1;
        assert_eq!(fill_word(&chunk), None);
    }
}
