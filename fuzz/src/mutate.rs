//! Changing inputs.

/// Numbers that break arithmetic.
const NUMBERS: &[u64] = &[
    0,
    1,
    0xff,
    0x1000,
    0xffff,
    0x20_0000,
    0xffff_ffff,
    1 << 40,
    1 << 56,
    u64::MAX - 4095,
    u64::MAX,
];

/// The longest input.
const LEN_MAX: usize = 1 << 20;

/// SplitMix64: small, fast, and the same everywhere.
#[derive(Clone, Debug)]
pub struct Rng(pub u64);

impl Rng {
    /// Returns the next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number below `end`, 0 if that is 0.
    pub fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.next() % end).unwrap_or(0)
    }
}

/// Changes `input` a few times; `other` is another input to take pieces of.
pub fn mutate(input: &mut Vec<u8>, other: &[u8], rng: &mut Rng) {
    for _ in 0..=rng.below(4) {
        once(input, other, rng);
    }
    input.truncate(LEN_MAX);
}

fn once(input: &mut Vec<u8>, other: &[u8], rng: &mut Rng) {
    let at = rng.below(input.len());
    match rng.below(8) {
        0 if !input.is_empty() => input[at] ^= 1 << rng.below(8),
        1 if !input.is_empty() => input[at] = rng.next().to_le_bytes()[0],
        2 => number(input, at, rng),
        3 => input.truncate(at),
        4 => {
            let end = input.len().min(at + rng.below(64));
            input.drain(at..end);
        }
        5 => insert(input, at, other, rng),
        6 => digits(input, at, rng),
        _ => {
            let piece = input[at..input.len().min(at + rng.below(64))].to_vec();
            let to = rng.below(input.len());
            input.splice(to..to, piece);
        }
    }
}

/// Writes a number that breaks arithmetic, in one of the widths.
fn number(input: &mut [u8], at: usize, rng: &mut Rng) {
    let bytes = NUMBERS[rng.below(NUMBERS.len())].to_le_bytes();
    let width = 1 << rng.below(4);
    for (place, byte) in input.iter_mut().skip(at).zip(&bytes[..width]) {
        *place = *byte;
    }
}

/// Puts a piece of another input in.
fn insert(input: &mut Vec<u8>, at: usize, other: &[u8], rng: &mut Rng) {
    let from = rng.below(other.len());
    let to = other.len().min(from + rng.below(256));
    input.splice(at..at, other[from..to].iter().copied());
}

/// Replaces a number that is written out, if there is one behind `at`.
fn digits(input: &mut Vec<u8>, at: usize, rng: &mut Rng) {
    let Some(start) = input[at..].iter().position(u8::is_ascii_digit) else {
        return;
    };
    let start = at + start;
    let len = input[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let number = NUMBERS[rng.below(NUMBERS.len())];
    input.splice(start..start + len, number.to_string().into_bytes());
}
