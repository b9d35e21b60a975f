//! Memory from elsewhere becomes an image with the same content.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use faultless_image::flt::{
    Codec, ImageWriter, ImportError, Options, RawFile, Source, WriteError, copy,
};

use crate::support::{Memory, PAGE, image, noise, options, read_all};

#[test]
fn a_sparse_memory_file_is_read_and_its_holes_are_zeros() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mem");
    let file = File::create(&path).unwrap();
    let len = 600 * PAGE + 10;
    file.set_len(len as u64).unwrap();
    file.write_all_at(&noise(1, 5000), 100 * PAGE as u64 + 50).unwrap();
    file.write_all_at(&noise(2, 10), 600 * PAGE as u64).unwrap();
    let raw = RawFile::open(&path).unwrap();
    let store = Memory::default();
    // Over a layer that is noise where the file has holes.
    image(&store, "base", &noise(3, 90 * PAGE), Codec::None, None);
    let base = Arc::new(store.open("base"));
    for below in [None, Some(("base".to_owned(), Arc::clone(&base)))] {
        let options =
            Options { memory: raw.memory(), regions: raw.regions(), ..options(0, Codec::None) };
        let mut writer = ImageWriter::new(store.create("a"), options, below).unwrap();
        copy(&raw, &mut writer, |_| true).unwrap();
        let written = writer.finish().unwrap();
        let kinds = [written.stored_chunks, written.filled_chunks, written.inherited_chunks];
        assert_eq!(kinds.iter().sum::<u64>(), 601, "every chunk is counted: {written:?}");
        let image = store.open("a");
        assert!(read_all(&image) == std::fs::read(&path).unwrap());
        assert_eq!(image.regions(), raw.regions());
    }
}

#[test]
fn whoever_watches_can_stop_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mem");
    std::fs::write(&path, noise(1, 10 * PAGE)).unwrap();
    let raw = RawFile::open(&path).unwrap();
    let store = Memory::default();
    let mut writer = ImageWriter::new(store.create("a"), Options::of(&raw), None).unwrap();
    assert!(matches!(copy(&raw, &mut writer, |_| false), Err(WriteError::Stopped)));
    assert!(matches!(RawFile::open(directory.path()), Err(ImportError::NotAFile { .. })));
}
