//! The target `replies` under libFuzzer; what it does is in the library.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    faultless_fuzz::targets::replies::run(data);
});
