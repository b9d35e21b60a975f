//! Any layout, any pages saved in any order, anything freed: the core holds what a model of one
//! flag a page says it must.

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use common::{PAGE, cut, notes, open, page_at, range, segment, write_compressed, write_raw};
use faultless_image::core::{
    CoreFile, Dumped, Layout, Machine, OnExisting, PendingFile, Residence, SegmentSpec,
};
use faultless_image::flt::{
    self, ChunkSize, Folder, Image, ImageWriter, NewFile, Parent, ProcessWriter, export_core,
};
use faultless_pages::{Bytes, Va, VaRange};
use proptest::prelude::*;

/// The model's address space in pages.
const PAGES: u64 = 64;
/// Its first address.
const BASE: u64 = 0x5555_0000_0000;

fn address(page: u64) -> u64 {
    BASE + page * PAGE
}

#[derive(Clone, Debug)]
struct Case {
    segments: Vec<SegmentSpec>,
    /// (first page, pages) of each freed range.
    freed: Vec<(u64, u64)>,
    /// Which pages to save, in which order; `true` for content, `false` for zeros.
    pages: Vec<(u64, bool)>,
}

fn case() -> impl Strategy<Value = Case> {
    let dumped = prop_oneof![
        4 => Just(Dumped::All),
        1 => Just(Dumped::FirstPage),
        1 => Just(Dumped::None)
    ];
    // (gap before the segment, its pages, how much of it is dumped)
    let segments = prop::collection::vec((0..4u64, 1..12u64, dumped), 0..10);
    let freed = prop::collection::vec((0..PAGES, 1..10u64), 0..6);
    let order: Vec<u64> = (0..PAGES).collect();
    let pages =
        (Just(order).prop_shuffle(), prop::collection::vec(0..3u8, Bytes(PAGES).as_usize()));
    (segments, freed, pages).prop_map(|(segments, freed, (order, fate))| Case {
        segments: place(&segments),
        freed,
        pages: order
            .into_iter()
            .zip(fate)
            .filter(|&(_, fate)| fate < 2)
            .map(|(page, fate)| (page, fate == 1))
            .collect(),
    })
}

fn place(pieces: &[(u64, u64, Dumped)]) -> Vec<SegmentSpec> {
    let mut next = 0;
    let mut segments = Vec::new();
    for &(gap, len, dumped) in pieces {
        let start = next + gap;
        next = start + len;
        if next <= PAGES {
            segments.push(segment(address(start), address(next), dumped));
        }
    }
    segments
}

/// Says for each page what the core must know of it.
fn residences(case: &Case) -> Vec<Residence> {
    let mut all = vec![Residence::Unmapped; Bytes(PAGES).as_usize()];
    for segment in &case.segments {
        let first = (segment.range.start().0 - BASE) / PAGE;
        let len = segment.range.len().0 / PAGE;
        for page in 0..len {
            let held = match segment.dumped {
                Dumped::All => true,
                Dumped::FirstPage => page == 0,
                Dumped::None => false,
            };
            let index = usize::try_from(first + page).unwrap();
            all[index] = if held { Residence::InFile } else { Residence::NotDumped };
        }
    }
    let saved: BTreeMap<u64, bool> = case.pages.iter().copied().collect();
    for &(first, len) in &case.freed {
        for page in first..(first + len).min(PAGES) {
            let index = usize::try_from(page).unwrap();
            if all[index] == Residence::InFile && !saved.contains_key(&page) {
                all[index] = Residence::Freed;
            }
        }
    }
    all
}

fn assert_core_is(core: &CoreFile, case: &Case) {
    let report = core.verify(|_| ()).expect("readable");
    assert_eq!(report.problems, []);
    let content: BTreeMap<u64, bool> = case.pages.iter().copied().collect();
    for (page, expected) in (0..).zip(residences(case)) {
        let at = address(page);
        assert_eq!(core.residence(Va(at)), expected, "page {page}");
        let mut bytes = vec![0xee; Bytes(PAGE).as_usize()];
        let read = core.read_memory(Va(at), &mut bytes).expect("readable");
        if expected == Residence::InFile {
            let full = content.get(&page) == Some(&true);
            let wanted = if full { page_at(at) } else { vec![0; Bytes(PAGE).as_usize()] };
            assert_eq!(read, bytes.len());
            assert!(bytes == wanted, "page {page}");
        } else {
            assert_eq!(read, 0, "page {page}");
        }
    }
}

/// Some pages one by one, then the others as long runs.
fn in_parts(mut runs: Vec<(u64, Vec<u8>)>) -> Vec<(u64, Vec<u8>)> {
    let mut rest = runs.split_off(runs.len() / 3);
    rest.sort();
    for (at, page) in rest {
        match runs.last_mut() {
            Some((start, run)) if *start + run.len() as u64 == at => run.extend(page),
            _ => runs.push((at, page)),
        }
    }
    runs
}

/// An image of nothing but ones, which must not show through.
fn noise_below(folder: &Path, chunk: ChunkSize) -> Image {
    let options = flt::Options { chunk, memory: Bytes::mib(2), ..flt::Options::default() };
    let object = Folder::new(folder).create("below", OnExisting::Refuse).unwrap();
    let mut writer = ImageWriter::new(object, options, None).unwrap();
    let ones = vec![0x11; chunk.bytes().as_usize()];
    for number in 0..chunk.count(Bytes::mib(2)) {
        writer.put(number, &ones).unwrap();
    }
    writer.finish().unwrap();
    Image::open(&Folder::new(folder), "below").unwrap()
}

fn write_image(
    path: &Path,
    chunk: ChunkSize,
    parent: Option<Parent>,
    layout: &Layout,
    runs: &[(u64, Vec<u8>)],
    freed: &[VaRange],
) {
    let object = NewFile::new(PendingFile::create(path, OnExisting::Refuse).unwrap());
    let aside = PendingFile::create(path, OnExisting::Replace).unwrap();
    let options = flt::Options { chunk, ..flt::Options::default() };
    let writer = ProcessWriter::new(object, aside, layout.clone(), options, parent);
    let mut writer = writer.unwrap();
    for (at, run) in runs {
        writer.write_pieces(Va(*at), run.chunks(3 * Bytes(PAGE).as_usize())).unwrap();
    }
    writer.finish(&notes(Machine::X86_64), &cut(freed, &[])).unwrap();
}

/// As [`assert_core_is`], for a core that does not know what became of pages it lacks.
fn assert_memory_is(core: &CoreFile, case: &Case) {
    let content: BTreeMap<u64, bool> = case.pages.iter().copied().collect();
    for (page, expected) in (0..).zip(residences(case)) {
        let at = address(page);
        let held = core.residence(Va(at)) == Residence::InFile;
        assert_eq!(held, expected == Residence::InFile, "page {page}");
        if held {
            let mut bytes = vec![0xee; Bytes(PAGE).as_usize()];
            core.read_memory(Va(at), &mut bytes).expect("readable");
            let full = content.get(&page) == Some(&true);
            let wanted = if full { page_at(at) } else { vec![0; Bytes(PAGE).as_usize()] };
            assert!(bytes == wanted, "page {page}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_core_holds_what_the_model_says(case in case()) {
        let directory = tempfile::tempdir().unwrap();
        let (raw, zst) = (directory.path().join("raw"), directory.path().join("zst"));
        let layout = common::layout(Machine::X86_64, case.segments.clone());
        let runs = runs(&layout, &case);
        let freed: Vec<_> = case.freed.iter()
            .map(|&(first, len)| range(address(first), address(first + len)))
            .collect();
        write_raw(&raw, layout.clone(), &runs, &cut(&freed, &[]));
        assert_core_is(&open(&raw), &case);
        let mut sorted = runs;
        sorted.sort();
        write_compressed(&zst, layout, &sorted, &cut(&freed, &[]));
        assert_core_is(&open(&zst), &case);
        let plain = zstd::decode_all(&std::fs::read(&zst).unwrap()[..]).unwrap();
        prop_assert!(plain == std::fs::read(&raw).unwrap(), "byte for byte");
    }

    #[test]
    fn an_image_holds_what_the_model_says(case in case(), small in any::<bool>()) {
        let directory = tempfile::tempdir().unwrap();
        let layout = common::layout(Machine::X86_64, case.segments.clone());
        let freed: Vec<_> = case.freed.iter()
            .map(|&(first, len)| range(address(first), address(first + len)))
            .collect();
        let chunk = if small { ChunkSize::MIN } else { ChunkSize::default() };
        let runs = in_parts(runs(&layout, &case));
        let below = Arc::new(noise_below(directory.path(), chunk));
        for parent in [None, Some(("below".to_owned(), below))] {
            let name = if parent.is_some() { "over" } else { "alone" };
            write_image(&directory.path().join(name), chunk, parent, &layout, &runs, &freed);
            let image = Image::open(&Folder::new(directory.path()), name).unwrap();
            let core = directory.path().join(name).with_extension("core");
            let pending = PendingFile::create(&core, OnExisting::Refuse).unwrap();
            export_core(&image, pending, |_| true).unwrap();
            assert_memory_is(&open(&core), &case);
        }
    }

    #[test]
    fn offsets_are_aligned_and_belong_to_one_page_each(case in case()) {
        let layout = common::layout(Machine::X86_64, case.segments.clone());
        let mut taken = BTreeMap::new();
        for page in 0..PAGES {
            if let Some(offset) = layout.offset_of(Va(address(page))) {
                prop_assert!(offset.0.is_multiple_of(PAGE));
                prop_assert!(offset.0 >= PAGE && offset < layout.data_end());
                prop_assert_eq!(taken.insert(offset, page), None);
            }
        }
        prop_assert_eq!(taken.len() as u64 * PAGE, layout.data_len().0);
        // In address order, without a gap.
        prop_assert!(taken.values().is_sorted());
    }
}

/// Returns the runs to write: those pages of the case that the layout holds.
fn runs(layout: &Layout, case: &Case) -> Vec<(u64, Vec<u8>)> {
    case.pages
        .iter()
        .map(|&(page, full)| (address(page), full))
        .filter(|&(at, _)| layout.offset_of(Va(at)).is_some())
        .map(|(at, full)| (at, if full { page_at(at) } else { vec![0; Bytes(PAGE).as_usize()] }))
        .collect()
}
