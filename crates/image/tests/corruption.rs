//! A core that is not what was written is noticed: every byte flipped, every length cut.

mod common;

use std::path::Path;

use common::{small, write_compressed, write_raw};
use faultless_image::core::CoreFile;

/// Puts other bytes under the name. A new file: ext4 brings one that was cut to nothing to the
/// disk at once.
fn replace(path: &Path, bytes: &[u8]) {
    std::fs::remove_file(path).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// Says whether opening or verifying complains.
fn is_caught(path: &Path) -> bool {
    match CoreFile::open(path) {
        Ok(core) => core.verify(|_| ()).map_or(true, |report| !report.is_ok()),
        Err(_) => true,
    }
}

#[test]
fn any_flipped_byte_of_a_raw_core_is_caught() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.core");
    let (layout, runs, cut) = small();
    write_raw(&path, layout, &runs, &cut);
    let good = std::fs::read(&path).unwrap();
    assert!(!is_caught(&path));
    // The freed page keeps its place but nobody reads it there: a hole that is not of the core.
    let freed = 0x1000 + 0x1000 + 0x2000..0x1000 + 0x1000 + 0x3000;
    let step = |at: usize| if (64..0xe000).contains(&at) { 173 } else { 1 };
    let mut at = 0;
    let mut tried = 0;
    while at < good.len() {
        if !freed.contains(&at) {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            replace(&path, &bad);
            assert!(is_caught(&path), "byte {at:#x} of {:#x}", good.len());
            tried += 1;
        }
        at += step(at);
    }
    assert!(tried > 1000, "{tried}");
}

#[test]
fn any_flipped_byte_of_a_compressed_core_is_caught() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.zst");
    let (layout, runs, cut) = small();
    write_compressed(&path, layout.clone(), &runs, &cut);
    let good = std::fs::read(&path).unwrap();
    let plain = zstd::decode_all(&good[..]).unwrap();
    assert!(!is_caught(&path));
    for at in (0..good.len()).step_by(7) {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        replace(&path, &bad);
        // A flipped bit the decompressor does not use changes nothing.
        let harmless = zstd::decode_all(&bad[..]).is_ok_and(|now| now == plain);
        assert!(harmless || is_caught(&path), "byte {at:#x}");
    }
}

#[test]
fn any_cut_core_is_caught() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.core");
    let (layout, runs, cut) = small();
    for compressed in [false, true] {
        let write = if compressed { write_compressed } else { write_raw };
        write(&path, layout.clone(), &runs, &cut);
        let good = std::fs::read(&path).unwrap();
        for len in (0..good.len()).step_by(101).chain([good.len() - 1]) {
            replace(&path, &good[..len]);
            assert!(is_caught(&path), "cut at {len} of {}", good.len());
        }
        replace(&path, &[&good[..], b"more"].concat());
        assert!(is_caught(&path), "bytes behind the end");
    }
}

#[test]
fn an_error_names_file_offset_field_and_both_values() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.core");
    let (layout, runs, cut) = small();
    write_raw(&path, layout, &runs, &cut);
    let good = std::fs::read(&path).unwrap();
    let error = |bytes: &[u8]| {
        replace(&path, bytes);
        CoreFile::open(&path).err().expect("an error").to_string()
    };
    let name = path.display().to_string();
    let text = error(&good[..0x3000]);
    assert!(text.starts_with(&name), "{text}");
    assert!(text.contains("program headers at offset 0x"), "{text}");
    assert!(text.contains("cut short"), "{text}");
    let mut object = good.clone();
    object[16] = 2;
    let text = error(&object);
    assert!(text.ends_with("file type at offset 0x10: expected 4 (core), found 2"), "{text}");
    let mut foreign = good.clone();
    foreign[18..20].copy_from_slice(&243u16.to_le_bytes());
    assert!(error(&foreign).contains("found 243"), "{}", error(&foreign));
    assert!(error(b"hello world").contains("magic"), "{}", error(b"hello world"));
    assert!(error(b"").contains("magic"), "{}", error(b""));
}
