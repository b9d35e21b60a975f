//! One bit a page.

use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

/// A fixed number of bits, all clear at first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bitmap {
    words: Vec<u64>,
    len: usize,
}

impl Bitmap {
    /// Makes `len` clear bits.
    #[must_use]
    pub fn new(len: usize) -> Bitmap {
        Bitmap { words: vec![0; len.div_ceil(64)], len }
    }

    /// Returns the number of bits.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Says whether there are no bits at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns bit `index`.
    ///
    /// # Panics
    /// If there is no such bit.
    #[must_use]
    pub fn get(&self, index: usize) -> bool {
        assert!(index < self.len, "bit {index} of {}", self.len);
        self.words[index / 64] & (1 << (index % 64)) != 0
    }

    /// Sets the bits in `range` and returns how many of them were clear.
    ///
    /// # Panics
    /// If the range ends behind the last bit.
    pub fn set(&mut self, range: Range<usize>) -> usize {
        assert!(range.end <= self.len, "bits {range:?} of {}", self.len);
        let mut fresh = 0;
        for (word, mask) in words(range) {
            fresh += (mask & !self.words[word]).count_ones() as usize;
            self.words[word] |= mask;
        }
        fresh
    }

    /// Counts the set bits in `range`.
    ///
    /// # Panics
    /// If the range ends behind the last bit.
    #[must_use]
    pub fn count(&self, range: Range<usize>) -> usize {
        assert!(range.end <= self.len, "bits {range:?} of {}", self.len);
        words(range).map(|(word, mask)| (self.words[word] & mask).count_ones() as usize).sum()
    }

    /// Returns the runs of bits in `range` that equal `value`, in order.
    pub fn runs(&self, range: Range<usize>, value: bool) -> impl Iterator<Item = Range<usize>> {
        let mut next = range.start;
        core::iter::from_fn(move || {
            let start = self.find(next..range.end, value)?;
            let end = self.find(start..range.end, !value).unwrap_or(range.end);
            next = end;
            Some(start..end)
        })
    }

    /// Finds the first bit in `range` that equals `value`.
    fn find(&self, range: Range<usize>, value: bool) -> Option<usize> {
        words(range).find_map(|(word, mask)| {
            let bits = if value { self.words[word] } else { !self.words[word] } & mask;
            (bits != 0).then(|| word * 64 + bits.trailing_zeros() as usize)
        })
    }
}

/// Returns the words a range of bits touches, each with the mask of its bits in the range.
fn words(range: Range<usize>) -> impl Iterator<Item = (usize, u64)> {
    let last = range.end.div_ceil(64);
    (range.start / 64..last).filter_map(move |word| {
        let from = range.start.saturating_sub(word * 64);
        let to = (range.end - word * 64).min(64);
        (from < to).then(|| (word, (u64::MAX >> (64 - (to - from))) << from))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_found_across_words() {
        let mut bits = Bitmap::new(200);
        assert_eq!(bits.set(10..150), 140);
        assert_eq!(bits.set(60..160), 10);
        assert_eq!(bits.count(0..200), 150);
        let held: Vec<_> = bits.runs(0..200, true).collect();
        assert_eq!((held.len(), held[0].clone()), (1, 10..160));
        assert_eq!(bits.runs(0..200, false).collect::<Vec<_>>(), [0..10, 160..200]);
        assert_eq!(bits.runs(64..64, true).count(), 0);
        assert!(bits.get(159));
        assert!(!bits.get(160));
    }
}
