//! Fuzzing of everything that reads bytes from outside.
//!
//! A target takes any bytes, gives them to a decoder and everything behind it, and asserts what
//! must hold whatever they are. It returns the way it went as a number: inputs that go a new way
//! are worth changing further. The same targets run under libFuzzer (`fuzz_targets/`) and under
//! the driver (`main.rs`), which needs nothing but a stable compiler.
#![forbid(unsafe_code)]

pub mod mutate;
pub mod targets;

/// Something that can be fuzzed.
pub struct Target {
    /// Its name, and that of its folder under `corpus/`.
    pub name: &'static str,
    /// Decodes; returns which way it went.
    pub run: fn(&[u8]) -> u64,
    /// Makes inputs to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// Every target.
pub const TARGETS: &[Target] = &[
    Target { name: "handshake", run: targets::handshake::run, seeds: targets::handshake::seeds },
    Target { name: "replies", run: targets::replies::run, seeds: targets::replies::seeds },
    Target { name: "migration", run: targets::migration::run, seeds: targets::migration::seeds },
    Target { name: "image", run: targets::image::run, seeds: targets::image::seeds },
    Target { name: "core", run: targets::core::run, seeds: targets::core::seeds },
];

/// The target that must fail: a fuzzer that does not find it finds nothing.
pub const CANARY: Target = Target {
    name: "canary",
    run: targets::handshake::run_canary,
    seeds: targets::handshake::seeds,
};

/// Makes a number of a way through a decoder, of the first words that say it. Words with anything
/// but letters in them are left out: they repeat what the input says, and not every length is a
/// way.
#[must_use]
pub fn way(said: &str) -> u64 {
    let plain = |word: &&str| word.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'-');
    let words = said.split_whitespace().filter(plain).take(10);
    // FNV-1a.
    words.flat_map(|word| word.bytes().chain([b' '])).fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
