//! What is left out is not there, shown by sizes; what is not needed is not read.

use faultless_image::flt::{Codec, ImageWriter};
use faultless_pages::Bytes;

use crate::support::{Memory, PAGE, image, noise, options, text, write};

/// Head, block, root page, tables, footer of an image with few entries.
const OVERHEAD: u64 = 1024;

#[test]
fn zeros_take_no_room_and_words_an_entry() {
    let store = Memory::default();
    let zeros = image(&store, "zeros.flt", &vec![0; 500 * PAGE], Codec::None, None);
    assert!(zeros.object_bytes < OVERHEAD, "{zeros:?}");
    assert_eq!((zeros.stored_chunks, zeros.inherited_chunks), (0, 500));
    let words = image(&store, "words.flt", &vec![7; 10 * PAGE], Codec::None, None);
    assert!(words.object_bytes < OVERHEAD, "{words:?}");
    assert_eq!((words.stored_chunks, words.filled_chunks), (0, 10));
}

#[test]
fn equal_chunks_are_stored_once_within_an_image_and_across_layers() {
    let store = Memory::default();
    let (one, other) = (noise(1, PAGE), noise(2, PAGE));
    let base = [one.clone(), one.clone(), vec![0; PAGE], one.clone()].concat();
    let written = image(&store, "base.flt", &base, Codec::None, None);
    assert_eq!((written.stored_chunks, written.shared_chunks), (1, 2));
    assert_eq!(written.stored_bytes, PAGE as u64);
    // The third page becomes what the base stores elsewhere; the last one is new.
    let top = [one.clone(), one.clone(), one.clone(), other].concat();
    let written = image(&store, "top.flt", &top, Codec::None, Some("base.flt"));
    assert_eq!((written.stored_chunks, written.shared_chunks), (1, 1));
    assert_eq!(written.inherited_chunks, 2);
    // And what the layer two below stores.
    let last = [vec![0; PAGE], one, vec![0; 2 * PAGE]].concat();
    let written = image(&store, "last.flt", &last, Codec::None, Some("top.flt"));
    assert_eq!((written.stored_chunks, written.filled_chunks), (0, 3));
}

#[test]
fn a_layer_without_changes_is_nearly_nothing() {
    let store = Memory::default();
    let memory = noise(3, 600 * PAGE);
    let base = image(&store, "base.flt", &memory, Codec::None, None);
    assert!(base.object_bytes > 600 * PAGE as u64);
    let same = image(&store, "same.flt", &memory, Codec::None, Some("base.flt"));
    assert!(same.object_bytes < OVERHEAD, "{same:?}");
}

#[test]
fn compression_makes_text_smaller_and_noise_never_longer() {
    let store = Memory::default();
    for codec in [Codec::Lz4, Codec::Zstd { level: 3 }] {
        let words = image(&store, "words.flt", &text(1, 10 * PAGE), codec, None);
        assert!(words.stored_bytes < PAGE as u64 * 3, "{codec:?}: {words:?}");
        let noise = image(&store, "noise.flt", &noise(1, 10 * PAGE), codec, None);
        assert_eq!(noise.stored_bytes, 10 * PAGE as u64, "{codec:?}");
    }
}

#[test]
fn one_page_of_a_large_image_is_found_without_reading_the_index() {
    const CHUNKS: u64 = 20_000;
    let store = Memory::default();
    let memory = Bytes(CHUNKS).as_usize() * PAGE;
    let mut writer =
        ImageWriter::new(store.create("a"), options(memory, Codec::None), None).unwrap();
    let mut page = text(0, PAGE);
    for number in 0..CHUNKS {
        page[..8].copy_from_slice(&number.to_le_bytes());
        writer.put(number, &page).unwrap();
    }
    let written = writer.finish().unwrap();
    let index = written.object_bytes - written.stored_bytes;
    store.take_read();
    let image = store.open("a");
    let opening = store.take_read();
    assert!(opening < OVERHEAD, "opening read {opening} bytes");
    let mut number = [0; 8];
    image.read_at(Bytes(12_345 * PAGE as u64), &mut number).unwrap();
    assert_eq!(u64::from_le_bytes(number), 12_345);
    let read = store.take_read();
    // A root page, a block, the chunk.
    assert!(read < 4096 + 25_000 + PAGE as u64, "{read} bytes of an index of {index}");
    assert!(index > 30 * read);
    image.read_at(Bytes(12_346 * PAGE as u64), &mut number).unwrap();
    assert_eq!(store.take_read(), PAGE as u64, "the block next door is known");
}

#[test]
fn the_same_memory_makes_the_same_image() {
    let store = Memory::default();
    let memory = [noise(1, 5 * PAGE), text(2, 5 * PAGE)].concat();
    for name in ["a", "b"] {
        let options = options(memory.len(), Codec::default());
        write(ImageWriter::new(store.create(name), options, None).unwrap(), &memory);
    }
    assert!(store.bytes("a") == store.bytes("b"));
}
