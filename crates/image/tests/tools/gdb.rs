//! A core made by hand of a living process, opened by gdb.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use faultless_image::core::{
    Access, CoreFile, Dumped, Layout, Machine, MappedFile, Notes, OnExisting, PendingFile,
    ProcessNotes, PsInfo, RawWriter, SegmentSpec, ThreadNotes,
};
use faultless_pages::{Bytes, PageSize, Va, VaRange};

use super::common::{PAGE, cut};
use super::sleeper::Sleeper;
use super::{run, text};

#[test]
fn gdb_opens_the_core_of_a_living_process() {
    if run("gdb", &["--version"]).is_none() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sh.core");
    let sleeper = Sleeper::start();
    let (_, heap) = dump(&sleeper, &path);
    let core = CoreFile::open(&path).unwrap();
    assert_eq!(core.verify(|_| ()).unwrap().problems, []);
    let (pc, sp) = (core.threads()[0].pc, core.threads()[0].sp);
    let word = core.read_u64(sp).unwrap().expect("the stack is in the core");
    let commands = [
        "info threads".to_string(),
        "backtrace".to_string(),
        "printf \"pc=%#lx sp=%#lx\\n\", $pc, $sp".to_string(),
        format!("printf \"word=%#lx\\n\", *(long *){sp}"),
        format!("x/gx {}", heap.start()),
        format!("x/gx {}", heap.start().add(Bytes(2 * PAGE))),
        "info auxv".to_string(),
        "info sharedlibrary".to_string(),
    ];
    let mut arguments = vec!["-nx", "-batch", "-iex", "set debuginfod enabled off"];
    for command in &commands {
        arguments.extend(["-ex", command.as_str()]);
    }
    arguments.extend(["/bin/sh", path.to_str().unwrap()]);
    let output = run("gdb", &arguments).expect("gdb is there");
    let text = text(&output);
    assert!(text.contains(&format!("LWP {}", sleeper.pid())), "{text}");
    assert!(text.contains("#0 ") && text.contains("#1 "), "{text}");
    assert!(text.contains(&format!("pc={pc} sp={sp}")), "{text}");
    assert!(text.contains(&format!("word={word:#x}")), "{text}");
    let gone = heap.start().add(Bytes(2 * PAGE));
    assert!(text.contains(&format!("Cannot access memory at address {gone}")), "{text}");
    assert!(text.contains("AT_ENTRY"), "{text}");
    assert!(text.contains("libc.so"), "{text}");
    assert!(!text.to_lowercase().contains("warning: core"), "{text}");
}

struct Mapping {
    spec: SegmentSpec,
    file: Option<MappedFile>,
}

/// Reads the mappings the kernel lets others read.
fn mappings(sleeper: &Sleeper) -> Vec<Mapping> {
    let maps = sleeper.proc("maps");
    maps.lines().filter(|line| !line.contains("[v")).map(mapping).collect()
}

fn mapping(line: &str) -> Mapping {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (start, end) = fields[0].split_once('-').unwrap();
    let hex = |text| u64::from_str_radix(text, 16).unwrap();
    let range = VaRange::new(Va(hex(start)), Va(hex(end)));
    let has = |letter| fields[1].contains(letter);
    let access = Access { read: has('r'), write: has('w'), execute: has('x') };
    let path = fields.get(5).filter(|path| path.starts_with('/'));
    // Code lies in the files; the rest may have been written to, relocations for instance.
    let dumped = match access {
        Access { execute: true, .. } => Dumped::None,
        Access { read: true, .. } => Dumped::All,
        _ => Dumped::None,
    };
    Mapping {
        spec: SegmentSpec { range, access, dumped },
        file: path.map(|path| MappedFile {
            range,
            offset: Bytes(hex(fields[2])),
            path: path.into(),
        }),
    }
}

/// Makes the notes of a thread that waits in a system call, of what `/proc` tells.
fn sleeper_notes(sleeper: &Sleeper, files: Vec<MappedFile>) -> Notes {
    let pid = sleeper.pid();
    let syscall = sleeper.proc("syscall");
    let words: Vec<u64> = syscall
        .split_whitespace()
        .map(|word| u64::from_str_radix(word.trim_start_matches("0x"), 16).unwrap())
        .collect();
    let (sp, pc) = (words[7], words[8]);
    let mut general = vec![0u64; 27];
    general[Machine::X86_64.pc_index()] = pc;
    general[Machine::X86_64.sp_index()] = sp;
    general[17] = 0x33; // cs of 64-bit user mode
    general[20] = 0x2b; // ss
    Notes {
        threads: vec![ThreadNotes {
            tid: pid,
            general: general.into_iter().flat_map(u64::to_le_bytes).collect(),
            ..ThreadNotes::default()
        }],
        process: ProcessNotes {
            info: PsInfo {
                pid,
                state: b'S',
                name: b"sh".to_vec(),
                cmdline: sleeper.proc("cmdline").into_bytes(),
                ..PsInfo::default()
            },
            siginfo: None,
            auxv: std::fs::read(format!("/proc/{pid}/auxv")).unwrap(),
            files,
        },
    }
}

/// Writes the core of the sleeper; its heap counts as freed from the second page on.
fn dump(sleeper: &Sleeper, path: &Path) -> (Layout, VaRange) {
    let mappings = mappings(sleeper);
    let heap_line = sleeper.proc("maps");
    let heap_line = heap_line.lines().find(|line| line.contains("[heap]"));
    let heap = mapping(heap_line.expect("a heap")).spec.range;
    let freed = VaRange::new(heap.start().add(Bytes(PAGE)), heap.end());
    let specs = mappings.iter().map(|mapping| mapping.spec).collect();
    let layout = Layout::new(Machine::X86_64, PageSize::KIB4, specs).unwrap();
    let pending = PendingFile::create(path, OnExisting::Refuse).unwrap();
    let writer = RawWriter::new(pending, layout.clone()).unwrap();
    let memory = File::open(format!("/proc/{}/mem", sleeper.pid())).unwrap();
    for dumped in layout.dumped_ranges() {
        let wanted =
            if dumped.covers(freed) { VaRange::new(dumped.start(), freed.start()) } else { dumped };
        for piece in wanted.chunks(Bytes(1 << 20)) {
            let mut bytes = vec![0; piece.len().as_usize()];
            memory.read_exact_at(&mut bytes, piece.start().0).unwrap();
            writer.write_run(piece.start(), &bytes).unwrap();
        }
    }
    let files = mappings.into_iter().filter_map(|mapping| mapping.file);
    let notes = sleeper_notes(sleeper, files.collect());
    writer.finish(&notes, &cut(&[freed], &[])).unwrap();
    (layout, heap)
}
