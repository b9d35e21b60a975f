//! Chains of layers that do not fit, and writers that are used wrongly.

use std::sync::Arc;

use faultless_image::flt::{ChunkSize, Codec, Image, ImageWriter, Options, ReadError, WriteError};
use faultless_pages::Bytes;

use crate::support::{Memory, PAGE, image, noise, options, read_all, text};

fn base_and_top(store: &Memory) {
    image(store, "base", &noise(1, 3 * PAGE), Codec::None, None);
    image(store, "top", &noise(2, 3 * PAGE), Codec::None, Some("base"));
}

#[test]
fn a_missing_layer_is_named() {
    let (store, other) = (Memory::default(), Memory::default());
    base_and_top(&store);
    other.set("top", store.bytes("top"));
    let error = Image::open(&other, "top").err().unwrap();
    assert!(matches!(&error, ReadError::NoParent { parent, .. } if parent == "base"), "{error}");
    assert!(matches!(Image::open(&other, "none"), Err(ReadError::Io { .. })));
}

#[test]
fn a_layer_made_anew_is_not_taken_for_the_old_one() {
    let store = Memory::default();
    base_and_top(&store);
    image(&store, "base", &noise(9, 3 * PAGE), Codec::None, None);
    let error = Image::open(&store, "top").err().unwrap();
    assert!(matches!(error, ReadError::OtherParent { .. }), "{error}");
}

#[test]
fn a_layer_has_the_chunks_of_the_one_below() {
    let store = Memory::default();
    base_and_top(&store);
    let below = Arc::new(store.open("top"));
    let options = Options { chunk: ChunkSize::MAX, ..options(PAGE, Codec::None) };
    let refused = ImageWriter::new(store.create("a"), options, Some(("top".into(), below))).err();
    assert!(matches!(refused, Some(WriteError::OtherChunkSize { .. })));
}

#[test]
fn layers_end_at_the_limit_and_squashing_is_named_as_the_way_out() {
    let store = Memory::default();
    image(&store, "0", &text(0, PAGE), Codec::None, None);
    for number in 1..64 {
        let (name, parent) = (number.to_string(), (number - 1).to_string());
        image(&store, &name, &text(number, PAGE), Codec::None, Some(&parent));
    }
    let top = Arc::new(store.open("63"));
    assert!(read_all(&top) == text(63, PAGE));
    let options = options(PAGE, Codec::None);
    let refused = ImageWriter::new(store.create("64"), options, Some(("63".into(), top))).err();
    let refused = refused.unwrap().to_string();
    assert!(refused.contains("squash"), "{refused}");
}

#[test]
fn chunks_outside_of_a_wrong_length_or_twice_are_refused() {
    let store = Memory::default();
    let mut writer =
        ImageWriter::new(store.create("a"), options(2 * PAGE, Codec::None), None).unwrap();
    let page = noise(1, PAGE);
    let refused = [writer.put(2, &page), writer.put(0, &page[1..])];
    assert!(refused.iter().all(|r| matches!(r, Err(WriteError::NotAChunk { .. }))));
    writer.put(1, &page).unwrap();
    assert!(matches!(writer.put(1, &page), Err(WriteError::WrittenTwice { chunk: 1 })));
}

#[test]
fn memory_behind_the_end_of_a_shorter_layer_is_zeros() {
    let store = Memory::default();
    image(&store, "long", &noise(1, 4 * PAGE), Codec::None, None);
    image(&store, "short", &noise(1, PAGE), Codec::None, Some("long"));
    // Nothing is put: all is as in the layer below.
    let below = Arc::new(store.open("short"));
    let options = options(4 * PAGE, Codec::None);
    let writer = ImageWriter::new(store.create("again"), options, Some(("short".into(), below)));
    writer.unwrap().finish().unwrap();
    let memory = read_all(&store.open("again"));
    assert!(memory[..PAGE] == noise(1, PAGE));
    assert!(memory[PAGE..].iter().all(|&byte| byte == 0));
}

#[test]
fn reads_beyond_the_end_are_refused() {
    let store = Memory::default();
    base_and_top(&store);
    let image = store.open("top");
    let end = 3 * PAGE as u64;
    for (at, len) in [(end, 1), (end - 1, 2), (u64::MAX, 1)] {
        let read = image.read_at(Bytes(at), &mut vec![0; len]);
        assert!(matches!(read, Err(ReadError::OutOfRange { .. })), "{len} bytes at {at}");
    }
    assert!(image.read_at(Bytes(end), &mut []).is_ok());
}
