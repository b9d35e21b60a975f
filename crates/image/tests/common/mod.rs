//! What the tests of cores share: small layouts, notes, and a way to write a core of them.

#![allow(dead_code, reason = "each test binary uses a part")]

use std::path::Path;

use faultless_image::core::{
    Access, CompressedWriter, Compression, CoreFile, CutRecord, Dumped, Layout, Machine,
    MappedFile, Notes, OnExisting, PendingFile, ProcessNotes, PsInfo, RawWriter, Regset,
    SegmentSpec, ThreadNotes, Written, note,
};
use faultless_pages::{Bytes, PageSize, RangeSet, Va, VaRange};

pub(crate) const PAGE: u64 = 4096;

pub(crate) fn range(start: u64, end: u64) -> VaRange {
    VaRange::new(Va(start), Va(end))
}

pub(crate) fn segment(start: u64, end: u64, dumped: Dumped) -> SegmentSpec {
    SegmentSpec {
        range: range(start, end),
        access: Access { read: true, write: true, execute: false },
        dumped,
    }
}

pub(crate) fn layout(machine: Machine, segments: Vec<SegmentSpec>) -> Layout {
    Layout::new(machine, PageSize::KIB4, segments).expect("a layout")
}

/// A page whose content tells its address.
pub(crate) fn page_at(address: u64) -> Vec<u8> {
    let words = (0..PAGE / 8).map(|i| (address + i * 8).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    words.flat_map(u64::to_le_bytes).collect()
}

pub(crate) fn thread(machine: Machine, tid: u32) -> ThreadNotes {
    let words = machine.general_len() as u64 / 8;
    ThreadNotes {
        tid,
        general: (0..words).flat_map(|i| (u64::from(tid) << 32 | i).to_le_bytes()).collect(),
        regsets: vec![Regset { kind: note::FPREGSET, bytes: vec![tid.to_le_bytes()[0]; 512] }],
        ..ThreadNotes::default()
    }
}

pub(crate) fn notes(machine: Machine) -> Notes {
    Notes {
        threads: vec![thread(machine, 100), thread(machine, 101)],
        process: ProcessNotes {
            info: PsInfo {
                pid: 100,
                name: b"stamp".to_vec(),
                cmdline: b"stamp\0--fast\0".to_vec(),
                state: b'R',
                ..PsInfo::default()
            },
            siginfo: None,
            auxv: vec![0; 32],
            files: vec![MappedFile {
                range: range(0x40_0000, 0x40_1000),
                offset: Bytes(0),
                path: "/usr/bin/stamp".into(),
            }],
        },
    }
}

pub(crate) fn cut(freed: &[VaRange], shared: &[VaRange]) -> CutRecord {
    CutRecord {
        time_unix_ns: 1_700_000_000_000_000_000,
        tool_version: "faultless test".to_string(),
        freed: freed.iter().copied().collect::<RangeSet>(),
        shared: shared.iter().copied().collect(),
    }
}

/// Writes a raw core of the given runs.
pub(crate) fn write_raw(
    path: &Path,
    layout: Layout,
    runs: &[(u64, Vec<u8>)],
    cut: &CutRecord,
) -> Written {
    let notes = notes(layout.machine());
    let pending = PendingFile::create(path, OnExisting::Replace).expect("create");
    let writer = RawWriter::new(pending, layout).expect("start");
    for (address, bytes) in runs {
        writer.write_run(Va(*address), bytes).expect("write");
    }
    writer.finish(&notes, cut).expect("finish")
}

/// Writes a compressed core of the given runs, which are in address order.
pub(crate) fn write_compressed(
    path: &Path,
    layout: Layout,
    runs: &[(u64, Vec<u8>)],
    cut: &CutRecord,
) -> Written {
    let notes = notes(layout.machine());
    let pending = PendingFile::create(path, OnExisting::Replace).expect("create");
    let mut writer = CompressedWriter::new(pending, layout, Compression::default()).expect("start");
    for (address, bytes) in runs {
        writer.page_run(Va(*address), bytes).expect("write");
    }
    writer.finish(&notes, cut).expect("finish")
}

pub(crate) fn open(path: &Path) -> CoreFile {
    CoreFile::open(path).unwrap_or_else(|e| panic!("{e}"))
}

/// A small core with every peculiarity: a hole, a freed range, a first page, an undumped segment.
pub(crate) fn small() -> (Layout, Vec<(u64, Vec<u8>)>, CutRecord) {
    let layout = layout(
        Machine::X86_64,
        vec![
            segment(0x40_0000, 0x40_4000, Dumped::FirstPage),
            segment(0x50_0000, 0x50_8000, Dumped::All),
            segment(0x60_0000, 0x60_2000, Dumped::None),
            segment(0x70_0000, 0x70_4000, Dumped::All),
        ],
    );
    let runs = vec![
        (0x40_0000, page_at(0x40_0000)),
        (0x50_0000, [page_at(0x50_0000), page_at(0x50_1000)].concat()),
        (0x50_4000, [vec![0; 4096], page_at(0x50_5000)].concat()),
        (0x70_3000, page_at(0x70_3000)),
    ];
    let cut = cut(
        // The second page was saved before it was freed: it is not lost.
        &[range(0x50_1000, 0x50_3000)],
        &[range(0x70_0000, 0x70_2000)],
    );
    (layout, runs, cut)
}
