//! What is written is read back: memory, threads, notes, ranges, counts.

mod common;

use common::{
    PAGE, cut, layout, open, page_at, range, segment, small, write_compressed, write_raw,
};
use faultless_image::core::{
    CoreFile, Dumped, Machine, OnExisting, PendingFile, RawWriter, Residence, WriteError, note,
};
use faultless_pages::Va;

fn assert_holds_the_small_core(core: &CoreFile) {
    let mut page = vec![0; 4096];
    for address in [0x40_0000, 0x50_0000, 0x50_1000, 0x50_5000, 0x70_3000] {
        assert_eq!(core.read_memory(Va(address), &mut page).unwrap(), 4096);
        assert_eq!(page, page_at(address), "{address:#x}");
    }
    assert_eq!(core.read_memory(Va(0x50_3000), &mut page).unwrap(), 4096);
    assert!(page.iter().all(|&byte| byte == 0), "a hole reads as zeros");
    // Reads stop where the file holds no more.
    let mut many = vec![0; 0x8000];
    assert_eq!(core.read_memory(Va(0x50_0ff0), &mut many).unwrap(), 0x1010);
    assert_eq!(core.read_memory(Va(0x50_2000), &mut page).unwrap(), 0);
    assert_eq!(core.read_u64(Va(0x50_1ffc)).unwrap(), None);
    for (address, residence) in [
        (0x40_0fff, Residence::InFile),
        (0x40_1000, Residence::NotDumped),
        (0x50_1000, Residence::InFile),
        (0x50_2000, Residence::Freed),
        (0x50_3000, Residence::InFile),
        (0x60_0000, Residence::NotDumped),
        (0x61_0000, Residence::Unmapped),
        (0, Residence::Unmapped),
        (u64::MAX, Residence::Unmapped),
    ] {
        assert_eq!(core.residence(Va(address)), residence, "{address:#x}");
    }
}

fn assert_says_the_small_notes(core: &CoreFile) {
    let threads = core.threads();
    assert_eq!(threads.len(), 2);
    assert_eq!((threads[0].tid, threads[1].tid), (100, 101));
    assert_eq!(threads[1].pc, Va(101 << 32 | 16));
    assert_eq!(threads[1].sp, Va(101 << 32 | 19));
    assert_eq!(threads[1].general.len(), 27);
    let fp = core.regset(&threads[1], note::FPREGSET).unwrap();
    assert_eq!(fp, Some(vec![101; 512]));
    assert_eq!(core.regset(&threads[1], note::X86_XSTATE).unwrap(), None);
    assert_eq!(core.auxv().len(), 32);
    assert_eq!(core.files().len(), 1);
    let record = core.record().unwrap();
    assert_eq!(record.tool_version, "faultless test");
    assert_eq!(record.freed, [range(0x50_2000, 0x50_3000)]);
    assert_eq!(record.shared, [range(0x70_0000, 0x70_2000)]);
    let counts = (record.data_pages, record.zero_pages);
    assert_eq!(counts, (5, 13 - 5 - 1));
    assert_eq!((record.freed_pages, record.shared_pages), (1, 2));
    let summary = core.summary();
    assert_eq!(summary.pid, Some(100));
    assert_eq!(summary.cmdline.as_deref(), Some("stamp --fast"));
    assert_eq!(summary.arch, "x86_64");
    assert_eq!(summary.dumped_bytes, 12 * PAGE);
}

#[test]
fn a_raw_core_is_read_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.core");
    let (layout, runs, cut) = small();
    let backwards: Vec<_> = runs.into_iter().rev().collect();
    let written = write_raw(&path, layout, &backwards, &cut);
    let core = open(&path);
    assert_holds_the_small_core(&core);
    assert_says_the_small_notes(&core);
    assert_eq!(core.record(), Some(&written.record));
    let report = core.verify(|_| ()).unwrap();
    assert_eq!(report.problems, []);
    assert_eq!((report.data_pages, report.checksums), (5, 3));
}

#[test]
fn a_compressed_core_is_read_back_and_decompresses_to_the_raw_one() {
    let directory = tempfile::tempdir().unwrap();
    let (raw, zst) = (directory.path().join("a"), directory.path().join("a.zst"));
    let (layout, runs, cut) = small();
    write_raw(&raw, layout.clone(), &runs, &cut);
    let written = write_compressed(&zst, layout, &runs, &cut);
    let core = open(&zst);
    assert_holds_the_small_core(&core);
    assert_says_the_small_notes(&core);
    assert_eq!(core.verify(|_| ()).unwrap().problems, []);
    let file = std::fs::read(&zst).unwrap();
    assert_eq!(file.len() as u64, written.file_len.0);
    let plain = zstd::decode_all(&file[..]).unwrap();
    assert_eq!(plain.len() as u64, written.core_len.0);
    assert!(plain == std::fs::read(&raw).unwrap(), "byte for byte");
}

#[test]
fn large_data_and_large_holes_survive_compression() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.zst");
    let base = 0x10_0000_0000;
    let far = base + (1 << 38);
    let layout = layout(Machine::Aarch64, vec![segment(base, far + 0x10_0000, Dumped::All)]);
    // Five mebibytes in three frames, 256 GiB of nothing, one more page.
    let data: Vec<u8> = (0..1280).flat_map(|i| page_at(base + i * PAGE)).collect();
    let runs = vec![(base, data.clone()), (far, page_at(far))];
    let written = write_compressed(&path, layout, &runs, &cut(&[], &[]));
    assert!(written.file_len.0 < 16 << 20, "{:?}", written.file_len);
    let core = open(&path);
    assert_eq!(core.verify(|_| ()).unwrap().problems, []);
    let mut back = vec![0; data.len()];
    assert_eq!(core.read_memory(Va(base), &mut back).unwrap(), data.len());
    assert!(back == data);
    // Backwards and forwards again: the reader starts at any frame.
    assert_eq!(core.read_u64(Va(far)).unwrap(), Some(word(&page_at(far))));
    for page in [1000, 3, 4, 700] {
        let address = base + page * PAGE;
        let found = core.read_u64(Va(address)).unwrap();
        assert_eq!(found, Some(word(&page_at(address))));
    }
    assert_eq!(core.read_u64(Va(far - (1 << 30))).unwrap(), Some(0));
}

fn word(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes[..8].try_into().unwrap())
}

#[test]
fn holes_take_no_room() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.core");
    let layout =
        layout(Machine::X86_64, vec![segment(0x1_0000, 0x1_0000 + (1 << 30), Dumped::All)]);
    let runs = vec![(0x1_0000 + (1 << 29), page_at(7)), (0x1_0000, vec![0; 1 << 20])];
    write_raw(&path, layout, &runs, &cut(&[], &[]));
    let core = open(&path);
    let summary = core.summary();
    assert!(summary.file_bytes > 1 << 30);
    assert!(summary.file_allocated_bytes < 1 << 20, "{}", summary.file_allocated_bytes);
    let report = core.verify(|_| ()).unwrap();
    assert_eq!((report.problems, report.data_pages), (vec![], 1));
}

#[test]
fn many_threads_may_write_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.core");
    let layout =
        layout(Machine::X86_64, vec![segment(0x1_0000, 0x1_0000 + 4096 * PAGE, Dumped::All)]);
    let pending = PendingFile::create(&path, OnExisting::Refuse).unwrap();
    let writer = RawWriter::new(pending, layout).unwrap();
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let writer = &writer;
            scope.spawn(move || {
                for page in (worker..4096).step_by(4) {
                    let address = 0x1_0000 + page * PAGE;
                    writer.write_run(Va(address), &page_at(address)).unwrap();
                }
            });
        }
    });
    let notes = common::notes(Machine::X86_64);
    writer.finish(&notes, &cut(&[], &[])).unwrap();
    let report = open(&path).verify(|_| ()).unwrap();
    assert_eq!((report.problems, report.data_pages), (vec![], 4096));
}

#[test]
fn a_run_may_reach_over_segments_that_touch() {
    let directory = tempfile::tempdir().unwrap();
    let layout = layout(
        Machine::X86_64,
        vec![
            segment(0x1_0000, 0x1_2000, Dumped::All),
            segment(0x1_2000, 0x1_5000, Dumped::All),
            segment(0x1_5000, 0x1_7000, Dumped::FirstPage),
        ],
    );
    let run: Vec<u8> = (0x11..0x16).flat_map(|page| page_at(page * PAGE)).collect();
    for (name, write) in [("raw", write_raw as fn(&_, _, &_, &_) -> _), ("zst", write_compressed)] {
        let path = directory.path().join(name);
        write(&path, layout.clone(), &[(0x1_1000, run.clone())], &cut(&[], &[]));
        let core = open(&path);
        assert_eq!(core.verify(|_| ()).unwrap().problems, []);
        let mut back = vec![0; run.len() + 1];
        assert_eq!(core.read_memory(Va(0x1_1000), &mut back).unwrap(), run.len());
        assert!(back[..run.len()] == run);
    }
}

#[test]
fn misuse_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.core");
    let (layout, _, _) = small();
    let pending = PendingFile::create(&path, OnExisting::Refuse).unwrap();
    let writer = RawWriter::new(pending, layout).unwrap();
    let page = page_at(1);
    let outside = |address, bytes: &[u8]| {
        let result = writer.write_run(Va(address), bytes);
        assert!(matches!(result, Err(WriteError::OutsideLayout { .. })), "{result:?}");
    };
    outside(0x10_0000, &page);
    outside(0x40_1000, &page);
    outside(0x50_0800, &page);
    outside(0x50_0000, &page[..100]);
    outside(0x50_3000, &[&page[..], &page[..100]].concat());
    outside(0x50_7000, &[&page[..], &page].concat());
    outside(0x50_0000, &[]);
    writer.write_run(Va(0x50_0000), &page).unwrap();
    let twice = writer.write_run(Va(0x50_0000), &page);
    assert!(matches!(twice, Err(WriteError::SavedTwice { .. })));
    drop(writer);
    assert!(!path.exists());
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn a_compressed_core_wants_address_order() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.zst");
    let (layout, _, _) = small();
    let pending = PendingFile::create(&path, OnExisting::Refuse).unwrap();
    let mut writer =
        faultless_image::core::CompressedWriter::new(pending, layout, Default::default()).unwrap();
    writer.page_run(Va(0x50_1000), &page_at(1)).unwrap();
    let back = writer.page_run(Va(0x50_0000), &page_at(1));
    assert!(matches!(back, Err(WriteError::OutOfOrder { .. })));
}
