//! Half-open ranges of virtual addresses.

use core::fmt;

use crate::{Bytes, PageSize, Va};

/// A half-open range of addresses, `[start, end)`, never inverted, possibly empty.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct VaRange {
    start: Va,
    end: Va,
}

impl VaRange {
    /// Makes `[start, end)`.
    ///
    /// # Panics
    /// If `end` lies below `start`.
    #[must_use]
    pub const fn new(start: Va, end: Va) -> VaRange {
        assert!(start.0 <= end.0, "inverted range");
        VaRange { start, end }
    }

    /// Makes `[start, start + len)`.
    #[must_use]
    pub const fn of(start: Va, len: Bytes) -> VaRange {
        VaRange { start, end: start.add(len) }
    }

    /// Returns the first address.
    #[must_use]
    pub const fn start(self) -> Va {
        self.start
    }

    /// Returns the first address after the range.
    #[must_use]
    pub const fn end(self) -> Va {
        self.end
    }

    /// Returns the length.
    #[must_use]
    pub const fn len(self) -> Bytes {
        Bytes(self.end.0 - self.start.0)
    }

    /// Says whether the range holds no address.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.start.0 == self.end.0
    }

    /// Says whether `address` lies in the range.
    #[must_use]
    pub const fn contains(self, address: Va) -> bool {
        self.start.0 <= address.0 && address.0 < self.end.0
    }

    /// Says whether every address of `other` lies in the range.
    #[must_use]
    pub const fn covers(self, other: VaRange) -> bool {
        self.start.0 <= other.start.0 && other.end.0 <= self.end.0
    }

    /// Returns the addresses both ranges hold, `None` if there are none.
    #[must_use]
    pub fn intersect(self, other: VaRange) -> Option<VaRange> {
        let start = self.start.max(other.start);
        let end = self.end.min(other.end);
        (start < end).then_some(VaRange { start, end })
    }

    /// Says whether both ends are multiples of `size`.
    #[must_use]
    pub const fn is_aligned(self, size: PageSize) -> bool {
        self.start.is_aligned(size) && self.end.is_aligned(size)
    }

    /// Widens both ends outwards to multiples of `size`.
    #[must_use]
    pub const fn widen(self, size: PageSize) -> VaRange {
        VaRange { start: self.start.align_down(size), end: self.end.align_up(size) }
    }

    /// Returns how many whole pages of `size` the range holds.
    #[must_use]
    pub const fn page_count(self, size: PageSize) -> u64 {
        self.len().pages(size)
    }

    /// Cuts the range into pieces of at most `len`, in order.
    ///
    /// # Panics
    /// If `len` is zero.
    pub fn chunks(self, len: Bytes) -> impl Iterator<Item = VaRange> {
        assert!(len.0 > 0, "pieces of no length");
        let mut next = self.start;
        core::iter::from_fn(move || {
            (next < self.end).then(|| {
                let end = Va(next.0.saturating_add(len.0)).min(self.end);
                let piece = VaRange { start: next, end };
                next = end;
                piece
            })
        })
    }
}

impl fmt::Debug for VaRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Prints as `/proc/PID/maps` does: `7f0000000000-7f0000001000`.
impl fmt::Display for VaRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}", self.start.0, self.end.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn range(start: u64, end: u64) -> VaRange {
        VaRange::new(Va(start), Va(end))
    }

    #[test]
    fn touching_ranges_do_not_intersect() {
        assert_eq!(range(0, 10).intersect(range(10, 20)), None);
        assert_eq!(range(0, 11).intersect(range(10, 20)), Some(range(10, 11)));
    }

    #[test]
    fn chunks_cover_the_range_in_order() {
        let pieces: Vec<_> = range(0, 10).chunks(Bytes(4)).collect();
        assert_eq!(pieces, [range(0, 4), range(4, 8), range(8, 10)]);
        assert_eq!(range(5, 5).chunks(Bytes(4)).count(), 0);
    }
}
