//! Bytes from anywhere: whatever a file holds, reading it ends in an answer or an error, within
//! little memory.
//!
//! The address space of this test program is limited, so that an allocation of a length the file
//! merely claims ends it.

mod common;

use std::path::Path;

use common::{small, write_compressed, write_raw};
use faultless_image::core::{CoreFile, note};
use faultless_pages::{Bytes, Va};
use proptest::prelude::*;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Room for the test program, its threads' stacks and arenas, and the readers' honest needs.
const ADDRESS_SPACE: u64 = 2 << 30;

fn limit_memory() {
    let maximum = getrlimit(Resource::As).maximum;
    let limit = Rlimit { current: Some(ADDRESS_SPACE), maximum };
    setrlimit(Resource::As, limit).expect("a lower limit is always allowed");
}

/// Does with the file all a reader can do; says whether it passed for a whole core.
fn read_everything(path: &Path) -> bool {
    let Ok(core) = CoreFile::open(path) else {
        return false;
    };
    let _ = core.summary();
    let mut buffer = vec![0; 0x3000];
    for address in [0, 0x40_0000, 0x50_0ff8, 0x70_3000, u64::MAX - 5] {
        let _ = core.residence(Va(address));
        let _ = core.read_memory(Va(address), &mut buffer);
    }
    for thread in core.threads() {
        let _ = core.regset(thread, note::FPREGSET);
    }
    core.verify(|_| ()).is_ok_and(|report| report.is_ok())
}

#[derive(Clone, Debug)]
enum Damage {
    /// A byte becomes another.
    Byte(prop::sample::Index, u8),
    /// A word at a multiple of 4 becomes one of the numbers that break arithmetic.
    Word(prop::sample::Index, u64),
    /// The file ends early.
    Cut(prop::sample::Index),
    /// A piece is copied over another.
    Copy(prop::sample::Index, prop::sample::Index, u8),
}

fn damage() -> impl Strategy<Value = Damage> {
    let index = any::<prop::sample::Index>;
    let words = prop::sample::select(vec![
        0,
        1,
        3,
        0xffff,
        u64::from(u32::MAX),
        1 << 40,
        (1 << 62) - 1,
        u64::MAX / 2,
        u64::MAX - 7,
        u64::MAX,
    ]);
    prop_oneof![
        3 => (index(), any::<u8>()).prop_map(|(at, to)| Damage::Byte(at, to)),
        5 => (index(), words).prop_map(|(at, to)| Damage::Word(at, to)),
        1 => index().prop_map(Damage::Cut),
        1 => (index(), index(), any::<u8>())
            .prop_map(|(from, to, len)| Damage::Copy(from, to, len)),
    ]
}

/// Aims at headers and notes: most of the file is data, which cannot hurt.
fn aim(index: &prop::sample::Index, bytes: &[u8]) -> usize {
    let tail = bytes.len().saturating_sub(5000);
    let spot = index.index(64 + bytes.len() - tail);
    if spot < 64 { spot } else { tail + spot - 64 }
}

fn apply(bytes: &mut Vec<u8>, damage: &Damage) {
    if bytes.len() < 100 {
        return;
    }
    match damage {
        Damage::Byte(at, to) => {
            let at = aim(at, bytes);
            bytes[at] = *to;
        }
        Damage::Word(at, to) => {
            let at = (aim(at, bytes) & !3).min(bytes.len() - 8);
            bytes[at..at + 8].copy_from_slice(&to.to_le_bytes());
        }
        Damage::Cut(at) => bytes.truncate(at.index(bytes.len())),
        Damage::Copy(from, to, len) => {
            let (from, to) = (aim(from, bytes), aim(to, bytes));
            let len = usize::from(*len).min(bytes.len() - from.max(to));
            bytes.copy_within(from..from + len, to);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn damaged_cores_are_read_without_harm(
        compressed in any::<bool>(),
        damages in prop::collection::vec(damage(), 1..6),
    ) {
        limit_memory();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        let (layout, runs, cut) = small();
        let write = if compressed { write_compressed } else { write_raw };
        write(&path, layout, &runs, &cut);
        let mut bytes = std::fs::read(&path).unwrap();
        damages.iter().for_each(|damage| apply(&mut bytes, damage));
        std::fs::write(&path, &bytes).unwrap();
        read_everything(&path);
    }

    #[test]
    fn noise_is_read_without_harm(
        start in 0..4usize,
        noise in prop::collection::vec(any::<u8>(), 0..3000),
    ) {
        limit_memory();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        // Noise behind a true beginning gets further.
        let (layout, runs, cut) = small();
        write_raw(&path, layout, &runs, &cut);
        let header = std::fs::read(&path).unwrap();
        let beginning: &[u8] = match start {
            0 => &[],
            1 => &header[..64],
            2 => &[0x28, 0xb5, 0x2f, 0xfd],
            _ => &[0x28, 0xb5, 0x2f, 0xfd, 0xc0, 0x38],
        };
        std::fs::write(&path, [beginning, &noise].concat()).unwrap();
        prop_assert!(!read_everything(&path));
    }
}

/// A canary: the limit that the tests above rely on does stop a wild allocation.
#[test]
fn the_limit_refuses_what_a_file_might_claim() {
    limit_memory();
    let mut wild: Vec<u8> = Vec::new();
    assert!(wild.try_reserve_exact(1 << 40).is_err());
    assert!(wild.try_reserve_exact(Bytes(ADDRESS_SPACE).as_usize()).is_err());
}

/// Lengths no file of this size can have, each where a reader might believe them.
#[test]
fn claimed_lengths_are_not_believed() {
    limit_memory();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a");
    let (layout, runs, cut) = small();
    write_raw(&path, layout, &runs, &cut);
    let good = std::fs::read(&path).unwrap();
    let phoff = usize::try_from(u64::from_le_bytes(good[32..40].try_into().unwrap())).unwrap();
    let notes = 0xe000;
    // (offset, bytes) of: e_phoff, e_phnum with e_shoff, p_filesz of the notes, n_namesz,
    // n_descsz, p_memsz and p_filesz of the first segment.
    for (at, len) in [
        (32, 8),
        (40, 18),
        (phoff + 32, 8),
        (notes, 4),
        (notes + 4, 4),
        (phoff + 56 + 40, 8),
        (phoff + 56 + 32, 8),
    ] {
        let mut bad = good.clone();
        bad[at..at + len].fill(0xff);
        std::fs::write(&path, &bad).unwrap();
        assert!(!read_everything(&path), "offset {at:#x}");
        // The same in a file that claims to be long: sparse, so nothing is really there.
        std::fs::File::options().write(true).open(&path).unwrap().set_len(1 << 42).unwrap();
        assert!(!read_everything(&path), "offset {at:#x} in a sparse file");
    }
}
