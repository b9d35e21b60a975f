//! Addresses and sizes as types of their own.

use core::fmt;

/// A virtual address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Va(pub u64);

impl Va {
    /// Moves up by `bytes`.
    ///
    /// # Panics
    /// On overflow: no address range of Linux reaches the top of the 64-bit space.
    #[must_use]
    pub const fn add(self, bytes: Bytes) -> Va {
        match self.0.checked_add(bytes.0) {
            Some(address) => Va(address),
            None => panic!("address overflow"),
        }
    }

    /// Returns the distance from `base` up to `self`.
    ///
    /// # Panics
    /// If `self` lies below `base`.
    #[must_use]
    pub const fn since(self, base: Va) -> Bytes {
        match self.0.checked_sub(base.0) {
            Some(distance) => Bytes(distance),
            None => panic!("address below its base"),
        }
    }

    /// Rounds down to a multiple of `size`.
    #[must_use]
    pub const fn align_down(self, size: PageSize) -> Va {
        Va(self.0 & !(size.bytes().0 - 1))
    }

    /// Rounds up to a multiple of `size`.
    #[must_use]
    pub const fn align_up(self, size: PageSize) -> Va {
        Va((self.0 + size.bytes().0 - 1) & !(size.bytes().0 - 1))
    }

    /// Says whether the address is a multiple of `size`.
    #[must_use]
    pub const fn is_aligned(self, size: PageSize) -> bool {
        self.0 & (size.bytes().0 - 1) == 0
    }
}

impl fmt::Debug for Va {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::Display for Va {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// A length in bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Bytes(pub u64);

impl Bytes {
    /// No bytes at all.
    pub const ZERO: Bytes = Bytes(0);

    /// Counts kibibytes.
    #[must_use]
    pub const fn kib(n: u64) -> Bytes {
        Bytes(n << 10)
    }

    /// Counts mebibytes.
    #[must_use]
    pub const fn mib(n: u64) -> Bytes {
        Bytes(n << 20)
    }

    /// Counts gibibytes.
    #[must_use]
    pub const fn gib(n: u64) -> Bytes {
        Bytes(n << 30)
    }

    /// Returns how many whole pages of `size` fit.
    #[must_use]
    pub const fn pages(self, size: PageSize) -> u64 {
        self.0 >> size.shift()
    }

    /// Returns the length as an index into memory of this process.
    ///
    /// # Panics
    /// If the length exceeds the address space of this process.
    #[must_use]
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).expect("a length within the address space")
    }
}

impl From<usize> for Bytes {
    fn from(len: usize) -> Bytes {
        Bytes(len as u64)
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} B", self.0)
    }
}

/// Prints in the largest unit that keeps one digit before the point: `4 KiB`, `1.5 GiB`.
impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
        for (unit, shift) in UNITS {
            let one = 1u64 << shift;
            if self.0 >= one {
                // Tenths in integers: floats are not needed to print a size.
                let tenths = u128::from(self.0) * 10 / u128::from(one);
                return match tenths % 10 {
                    0 => write!(f, "{} {unit}", tenths / 10),
                    tenth => write!(f, "{}.{tenth} {unit}", tenths / 10),
                };
            }
        }
        write!(f, "{} B", self.0)
    }
}

/// The size of a page: a power of two, at least 4 KiB.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageSize {
    shift: u8,
}

impl PageSize {
    /// 4 KiB: the base page of x86-64 and of most aarch64 kernels.
    pub const KIB4: PageSize = PageSize { shift: 12 };
    /// 2 MiB: a huge page of x86-64, and of aarch64 with 4 KiB base pages.
    pub const MIB2: PageSize = PageSize { shift: 21 };
    /// 1 GiB: the largest huge page of x86-64.
    pub const GIB1: PageSize = PageSize { shift: 30 };

    /// Accepts a power of two from 4 KiB up.
    #[must_use]
    pub const fn new(bytes: Bytes) -> Option<PageSize> {
        if bytes.0.is_power_of_two() && bytes.0 >= 4096 {
            #[expect(clippy::cast_possible_truncation, reason = "at most 63")]
            let shift = bytes.0.trailing_zeros() as u8;
            Some(PageSize { shift })
        } else {
            None
        }
    }

    /// Returns the size in bytes.
    #[must_use]
    pub const fn bytes(self) -> Bytes {
        Bytes(1 << self.shift)
    }

    /// Returns the size's binary logarithm.
    #[must_use]
    pub const fn shift(self) -> u32 {
        self.shift as u32
    }
}

impl fmt::Debug for PageSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for PageSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.bytes(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn sizes_print_in_the_largest_fitting_unit() {
        assert_eq!(Bytes(512).to_string(), "512 B");
        assert_eq!(Bytes::kib(4).to_string(), "4 KiB");
        assert_eq!(Bytes(3 << 29).to_string(), "1.5 GiB");
        assert_eq!(Bytes(u64::MAX).to_string(), "16777215.9 TiB");
    }

    #[test]
    fn page_sizes_are_powers_of_two_from_4_kib() {
        assert_eq!(PageSize::new(Bytes(4096)), Some(PageSize::KIB4));
        assert_eq!(PageSize::new(Bytes(2048)), None);
        assert_eq!(PageSize::new(Bytes(12288)), None);
        assert_eq!(PageSize::new(Bytes::mib(2)), Some(PageSize::MIB2));
    }

    #[test]
    fn alignment_rounds_to_the_page() {
        let address = Va(0x1_2345);
        assert_eq!(address.align_down(PageSize::KIB4), Va(0x1_2000));
        assert_eq!(address.align_up(PageSize::KIB4), Va(0x1_3000));
        assert!(Va(0x20_0000).is_aligned(PageSize::MIB2));
    }
}
