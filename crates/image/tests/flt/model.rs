//! Any stack of layers reads like the plain memory it was made of, also squashed.

use faultless_image::flt::{Codec, squash};
use faultless_pages::Bytes;
use proptest::prelude::*;

use crate::support::{Memory, PAGE, image, noise, read_all, text};

/// What becomes of a page from one layer to the next.
#[derive(Clone, Debug)]
enum Change {
    Zero(usize),
    Word(usize, u64),
    Noise(usize, u64),
    Text(usize, u64),
    Copy(usize, usize),
    Byte(usize, usize, u8),
    Length(usize),
}

/// Pages of the largest memory: more than one block has.
const PAGES: usize = 530;

fn change() -> impl Strategy<Value = Change> {
    // Few pages are hit often, so that layers meet; the last few lie in the second block.
    let page = || prop_oneof![3 => 0..6usize, 1 => 508..PAGES];
    prop_oneof![
        page().prop_map(Change::Zero),
        (page(), 1..3u64).prop_map(|(page, word)| Change::Word(page, word)),
        (page(), 0..4u64).prop_map(|(page, seed)| Change::Noise(page, seed)),
        (page(), 0..4u64).prop_map(|(page, seed)| Change::Text(page, seed)),
        (page(), page()).prop_map(|(from, to)| Change::Copy(from, to)),
        (page(), 0..PAGE, any::<u8>()).prop_map(|(page, at, to)| Change::Byte(page, at, to)),
        (0..PAGES * PAGE).prop_map(Change::Length),
    ]
}

fn apply(memory: &mut Vec<u8>, change: &Change) {
    let len = memory.len();
    // The memory as if it were the longest, cut again at the end.
    memory.resize(PAGES * PAGE, 0);
    let mut page = |page: usize, content: &[u8]| {
        memory[page * PAGE..][..PAGE].copy_from_slice(content);
    };
    match *change {
        Change::Zero(at) => page(at, &[0; PAGE]),
        Change::Word(at, word) => page(at, &word.to_le_bytes().repeat(PAGE / 8)),
        Change::Noise(at, seed) => page(at, &noise(seed, PAGE)),
        Change::Text(at, seed) => page(at, &text(seed, PAGE)),
        Change::Copy(from, to) => memory.copy_within(from * PAGE..(from + 1) * PAGE, to * PAGE),
        Change::Byte(page, at, to) => memory[page * PAGE + at] = to,
        Change::Length(_) => {}
    }
    memory.truncate(len);
    if let Change::Length(len) = *change {
        memory.resize(len, 0);
    }
}

fn codec() -> impl Strategy<Value = Codec> {
    prop::sample::select(vec![Codec::None, Codec::Lz4, Codec::Zstd { level: 1 }])
}

type Layer = (Codec, Vec<Change>);

fn layers() -> impl Strategy<Value = Vec<Layer>> {
    prop::collection::vec((codec(), prop::collection::vec(change(), 0..12)), 1..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn layers_read_as_the_memory_they_were_made_of(
        layers in layers(),
        reads in prop::collection::vec((any::<prop::sample::Index>(), 0..3 * PAGE), 8),
        squashed in codec(),
    ) {
        let store = Memory::default();
        let mut memory = vec![0; PAGES * PAGE - 100];
        let mut names: Vec<String> = Vec::new();
        let mut states = Vec::new();
        for (codec, changes) in &layers {
            changes.iter().for_each(|change| apply(&mut memory, change));
            let name = format!("{}.flt", names.len());
            image(&store, &name, &memory, *codec, names.last().map(String::as_str));
            names.push(name);
            states.push(memory.clone());
        }
        for (name, memory) in names.iter().zip(&states) {
            let image = store.open(name);
            prop_assert!(read_all(&image) == *memory, "{name}");
            for (at, len) in &reads {
                let at = if memory.is_empty() { 0 } else { at.index(memory.len()) };
                let len = (*len).min(memory.len() - at);
                let mut part = vec![0xaa; len];
                image.read_at(Bytes::from(at), &mut part).unwrap();
                prop_assert!(part == memory[at..at + len], "{name}: {len} bytes at {at}");
            }
            let report = image.check(|_| true).unwrap().unwrap();
            prop_assert!(report.is_ok(), "{name}: {report:?}");
        }
        let top = store.open(names.last().unwrap());
        squash(&top, store.create("squashed.flt"), squashed, |_| true).unwrap();
        let alone = store.open("squashed.flt");
        prop_assert!(read_all(&alone) == memory);
        prop_assert_eq!(alone.summary().layers.len(), 1);
        prop_assert!(alone.check(|_| true).unwrap().unwrap().is_ok());
    }
}
