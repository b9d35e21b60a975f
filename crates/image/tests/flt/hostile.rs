//! Bytes from anywhere: whatever an image holds, reading it ends in the right memory or an error,
//! within little memory.
//!
//! The address space of this test program is limited, so that an allocation of a length an image
//! merely claims ends it.

use faultless_image::flt::{Codec, Image};
use faultless_pages::Bytes;
use proptest::prelude::*;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::support::{Memory, PAGE, image, noise, read_all, text};

/// Room for the test program, its threads' stacks and arenas, and the readers' honest needs.
const ADDRESS_SPACE: u64 = 2 << 30;

fn limit_memory() {
    let maximum = getrlimit(Resource::As).maximum;
    let limit = Rlimit { current: Some(ADDRESS_SPACE), maximum };
    setrlimit(Resource::As, limit).expect("a lower limit is always allowed");
}

/// Small in every part, and with every kind of entry: a base, and a layer over it.
fn two_layers(store: &Memory) -> Vec<u8> {
    let mut memory = [text(1, PAGE), vec![0; PAGE], vec![7; PAGE], noise(1, 40)].concat();
    image(store, "base.flt", &memory, Codec::Lz4, None);
    memory[PAGE..2 * PAGE].copy_from_slice(&text(2, PAGE));
    memory.extend(text(1, 2 * PAGE));
    memory.truncate(4 * PAGE);
    memory.extend(text(1, PAGE));
    image(store, "top.flt", &memory, Codec::Zstd { level: 1 }, Some("base.flt"));
    memory
}

/// What a reader makes of the store: the memory, if all of it can be read, and whether the check
/// finds nothing.
fn read(store: &Memory) -> Option<(Vec<u8>, bool)> {
    let image = Image::open(store, "top.flt").ok()?;
    let _ = image.summary();
    let whole = image.check(|_| true).is_ok_and(|report| report.unwrap().is_ok());
    let mut piece = vec![0; PAGE];
    let mut memory = Vec::new();
    while (memory.len() as u64) < image.memory().0 {
        let left = image.memory().0 - memory.len() as u64;
        let now = usize::try_from(left.min(PAGE as u64)).unwrap();
        image.read_at(Bytes::from(memory.len()), &mut piece[..now]).ok()?;
        memory.extend(&piece[..now]);
        // A memory longer than any here is nothing this store was made of.
        if memory.len() > 64 * PAGE {
            return None;
        }
    }
    assert!(image.chunks(0).all(|chunk| chunk.is_ok()) || !whole);
    Some((memory, whole))
}

#[test]
fn every_truncation_is_refused() {
    limit_memory();
    for name in ["base.flt", "top.flt"] {
        let store = Memory::default();
        two_layers(&store);
        let good = store.bytes(name);
        for len in 0..good.len() {
            store.set(name, good[..len].to_vec());
            assert_eq!(read(&store), None, "{name} of {len} bytes");
        }
    }
}

#[test]
fn every_flipped_bit_is_refused_or_read_right_and_the_check_finds_it() {
    limit_memory();
    for name in ["base.flt", "top.flt"] {
        let store = Memory::default();
        let memory = two_layers(&store);
        let good = store.bytes(name);
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                store.set(name, bad);
                if let Some((found, whole)) = read(&store) {
                    assert!(found == memory, "{name}: bit {bit} of byte {at}");
                    assert!(!whole, "{name}: bit {bit} of byte {at} passed the check");
                }
            }
        }
    }
}

#[test]
fn a_layer_that_is_its_own_parent_is_refused() {
    let store = Memory::default();
    two_layers(&store);
    store.set("base.flt", store.bytes("top.flt"));
    assert!(Image::open(&store, "top.flt").is_err());
}

#[derive(Clone, Debug)]
enum Damage {
    Byte(prop::sample::Index, u8),
    /// A word becomes one of the numbers that break arithmetic.
    Word(prop::sample::Index, u64),
    Cut(prop::sample::Index),
    Copy(prop::sample::Index, prop::sample::Index, u8),
}

fn damage() -> impl Strategy<Value = Damage> {
    let index = any::<prop::sample::Index>;
    let words = vec![0, 1, 0xffff, 0xffff_ffff, 1 << 40, 1 << 56, u64::MAX / 2, u64::MAX];
    prop_oneof![
        3 => (index(), any::<u8>()).prop_map(|(at, to)| Damage::Byte(at, to)),
        5 => (index(), prop::sample::select(words)).prop_map(|(at, to)| Damage::Word(at, to)),
        1 => index().prop_map(Damage::Cut),
        1 => (index(), index(), any::<u8>())
            .prop_map(|(from, to, len)| Damage::Copy(from, to, len)),
    ]
}

fn apply(bytes: &mut Vec<u8>, damage: &Damage) {
    if bytes.len() < 8 {
        return;
    }
    match damage {
        Damage::Byte(at, to) => {
            let at = at.index(bytes.len());
            bytes[at] = *to;
        }
        Damage::Word(at, to) => {
            let at = at.index(bytes.len() - 7);
            bytes[at..at + 8].copy_from_slice(&to.to_le_bytes());
        }
        Damage::Cut(at) => bytes.truncate(at.index(bytes.len())),
        Damage::Copy(from, to, len) => {
            let (from, to) = (from.index(bytes.len()), to.index(bytes.len()));
            let len = usize::from(*len).min(bytes.len() - from.max(to));
            bytes.copy_within(from..from + len, to);
        }
    }
}

/// Makes the checksums of head, root pages, tables and footer right again, so that damage gets
/// past them to what they guard. The layout is that of the image before it was damaged.
fn seal(bytes: &mut [u8], good: &[u8]) {
    let word =
        |at: usize| usize::try_from(u64::from_le_bytes(good[at..at + 8].try_into().unwrap()));
    let footer = good.len() - 256;
    let (root, tables) = (word(footer + 48).unwrap(), word(footer + 56).unwrap());
    if bytes.len() != good.len() {
        return;
    }
    let put = |bytes: &mut [u8], at: usize, from: usize, to: usize| {
        let crc = crc32c::crc32c(&bytes[from..to]);
        bytes[at..at + 4].copy_from_slice(&crc.to_le_bytes());
    };
    // One block, hence one record in one root page.
    let block = word(footer + 40).unwrap();
    put(bytes, root + 12, block, root);
    put(bytes, tables - 4, root, tables - 4);
    put(bytes, footer + 72, tables, footer);
    put(bytes, 12, 0, 12);
    put(bytes, footer + 252, footer, footer + 252);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(800))]

    #[test]
    fn damage_behind_right_checksums_is_read_without_harm(
        below in any::<bool>(),
        damages in prop::collection::vec(damage(), 1..6),
    ) {
        limit_memory();
        let store = Memory::default();
        two_layers(&store);
        let name = if below { "base.flt" } else { "top.flt" };
        let good = store.bytes(name);
        let mut bytes = good.clone();
        damages.iter().for_each(|damage| apply(&mut bytes, damage));
        seal(&mut bytes, &good);
        store.set(name, bytes);
        read(&store);
    }
}

/// A canary: the images the tests above damage are read right before.
#[test]
fn the_undamaged_image_is_read_and_checked() {
    let store = Memory::default();
    let memory = two_layers(&store);
    assert!(read(&store) == Some((memory, true)));
    assert_eq!(read_all(&store.open("base.flt")).len(), 3 * PAGE + 40);
    let mut bytes = store.bytes("top.flt");
    let good = bytes.clone();
    seal(&mut bytes, &good);
    assert!(bytes == good, "sealing an undamaged image changes nothing");
}
