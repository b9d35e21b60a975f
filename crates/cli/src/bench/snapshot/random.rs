//! Numbers that look random and are the same in every run: content not worth compressing, and the
//! choices of the target's writer.

/// Marsaglia's xorshift64: fast, never zero, and good enough to defeat compression.
pub(super) struct Xorshift(u64);

impl Xorshift {
    /// Starts a sequence; `seed` must not be zero.
    pub(super) fn new(seed: u64) -> Xorshift {
        assert_ne!(seed, 0, "zero is a fixed point of xorshift");
        // Spread, since small seeds give small numbers for the first few steps.
        Xorshift(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// Returns the next number.
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Fills memory whose length is a multiple of 8.
    pub(super) fn fill(&mut self, memory: &mut [u8]) {
        for word in memory.chunks_exact_mut(8) {
            word.copy_from_slice(&self.next().to_ne_bytes());
        }
    }

    /// Returns a number below `bound`.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        let product = u128::from(self.next()) * u128::from(bound);
        u64::try_from(product >> 64).expect("the upper half of 128 bits")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_below_their_bound_and_reach_it() {
        let mut random = Xorshift::new(1);
        let numbers: Vec<u64> = (0..1000).map(|_| random.below(10)).collect();
        assert_eq!((numbers.iter().min(), numbers.iter().max()), (Some(&0), Some(&9)));
    }
}
