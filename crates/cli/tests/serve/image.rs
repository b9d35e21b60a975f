//! Memory whose every page tells which it is, in each kind of file that can be served.

use std::path::{Path, PathBuf};

use faultless_image::core::OnExisting;
use faultless_image::flt::{Folder, ImageWriter, Options, RawFile, copy};
use faultless_uffd::Mapping;

pub(crate) const PAGE: usize = 4096;

/// What a page holds: every fifth is zeros.
pub(crate) fn page(number: usize) -> Vec<u8> {
    if number % 5 == 4 {
        return vec![0; PAGE];
    }
    let word = |n: usize| ((number * PAGE + n) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (0..PAGE / 8).flat_map(|n| word(n).to_le_bytes()).collect()
}

/// Writes a raw memory file of so many pages.
pub(crate) fn raw(directory: &Path, pages: usize) -> PathBuf {
    let path = directory.join("memory.raw");
    let memory: Vec<u8> = (0..pages).flat_map(page).collect();
    std::fs::write(&path, memory).unwrap();
    path
}

/// Makes an image of a raw memory file.
pub(crate) fn image(raw: &Path) -> PathBuf {
    let path = raw.with_extension("flt");
    let source = RawFile::open(raw).unwrap();
    let (folder, name) = Folder::of(&path).unwrap();
    let object = folder.create(&name, OnExisting::Refuse).unwrap();
    let mut writer = ImageWriter::new(object, Options::of(&source), None).unwrap();
    copy(&source, &mut writer, |_| true).unwrap();
    writer.finish().unwrap();
    path
}

/// Compares pages of a mapping, whose first is page `first` of the image, with what they must be.
pub(crate) fn compare(mapping: &Mapping, first: usize, pages: std::ops::Range<usize>) {
    let mut found = vec![0; PAGE];
    for number in pages {
        mapping.read(faultless_pages::Bytes::from(number * PAGE), &mut found);
        assert!(found == page(first + number), "page {number} of a client from {first} on");
    }
}
