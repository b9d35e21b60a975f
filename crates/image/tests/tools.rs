//! Other people's tools read our cores: gdb, readelf, zstd. A tool that is not installed is
//! skipped, loudly.

mod common;

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use common::{PAGE, cut, layout, page_at, segment, write_compressed, write_raw};
use faultless_image::core::{
    Access, CoreFile, Dumped, Layout, Machine, MappedFile, Notes, OnExisting, PendingFile,
    ProcessNotes, PsInfo, RawWriter, SegmentSpec, ThreadNotes, note,
};
use faultless_pages::{Bytes, PageSize, Va, VaRange};

/// Says that a test was left out, in the words the test runner counts.
#[expect(clippy::print_stdout, reason = "a skipped test says so")]
fn skip(why: &str) {
    println!("skipped: {why}");
}

/// Runs a tool; `None`, with a word about it, if it is not installed.
fn run(tool: &str, arguments: &[&str]) -> Option<Output> {
    let output = Command::new(tool).args(arguments).output();
    if let Err(error) = &output {
        skip(&format!("{tool} cannot be run ({error}); install it to have this tested"));
    }
    output.ok()
}

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

#[test]
fn readelf_counts_more_segments_than_16_bits_can() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("many.core");
    let count = 70_000;
    let segments = (0..count)
        .map(|i| segment(0x10_0000 + i * 2 * PAGE, 0x10_0000 + (i * 2 + 1) * PAGE, Dumped::All));
    let layout = layout(Machine::X86_64, segments.collect());
    let last = 0x10_0000 + (count - 1) * 2 * PAGE;
    write_raw(&path, layout, &[(last, page_at(last))], &cut(&[], &[]));
    let core = common::open(&path);
    assert_eq!(core.segments().len(), 70_000);
    assert_eq!(core.verify(|_| ()).unwrap().problems, []);
    let Some(output) = run("readelf", &["-lW", path.to_str().unwrap()]) else {
        return;
    };
    let text = text(&output);
    assert!(text.contains("There are 70001 program headers"), "{}", &text[..400]);
    assert!(!text.contains("Warning") && !text.contains("Error"), "{}", &text[..400]);
    assert_eq!(text.lines().filter(|line| line.contains("LOAD")).count(), 70_000);
}

#[test]
fn readelf_names_our_notes_and_everyone_elses() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.core");
    let (layout, runs, cut) = common::small();
    write_raw(&path, layout, &runs, &cut);
    let Some(output) = run("readelf", &["-nW", path.to_str().unwrap()]) else {
        return;
    };
    let text = text(&output);
    for name in ["NT_PRSTATUS", "NT_PRPSINFO", "NT_SIGINFO", "NT_AUXV", "NT_FILE", "NT_FPREGSET"] {
        assert!(text.contains(name), "{name} in {text}");
    }
    // Not the file table's content: readelf 2.40 cannot print that of any 64-bit core.
    assert!(text.contains("faultless"), "{text}");
    assert_eq!(text.matches("NT_PRSTATUS").count(), 2, "{text}");
    assert!(!text.contains("Warning") && !text.contains("Error"), "{text}");
}

#[test]
fn zstd_makes_the_raw_core_of_a_compressed_one() {
    let directory = tempfile::tempdir().unwrap();
    let (raw, zst) = (directory.path().join("a"), directory.path().join("b.zst"));
    let base = 0x10_0000;
    let layout = layout(Machine::X86_64, vec![segment(base, base + (64 << 20), Dumped::All)]);
    let data: Vec<u8> = (0..1000).flat_map(|i| page_at(base + i * PAGE)).collect();
    let far = base + (63 << 20);
    let runs = vec![(base, data), (far, page_at(far))];
    write_raw(&raw, layout.clone(), &runs, &cut(&[], &[]));
    write_compressed(&zst, layout, &runs, &cut(&[], &[]));
    let Some(output) = run("zstd", &["-dcq", zst.to_str().unwrap()]) else {
        return;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout == std::fs::read(&raw).unwrap(), "byte for byte");
}

/// A child that sleeps; killed and reaped when dropped.
struct Sleeper(Child);

impl Sleeper {
    fn start() -> Sleeper {
        // The shell says that it is up; from then on it waits for a line that never comes.
        let mut child = Command::new("/bin/sh")
            .args(["-c", "echo up; read line"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let mut up = [0; 3];
        child.stdout.as_mut().unwrap().read_exact(&mut up).unwrap();
        let sleeper = Sleeper(child);
        while !sleeper.proc("wchan").contains("pipe") && !sleeper.proc("syscall").starts_with("0 ")
        {
            std::thread::yield_now();
        }
        sleeper
    }

    fn proc(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.0.id())).unwrap_or_default()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
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
    let pid = sleeper.0.id();
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
    let memory = File::open(format!("/proc/{}/mem", sleeper.0.id())).unwrap();
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

#[test]
#[cfg(target_arch = "x86_64")]
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
    assert!(text.contains(&format!("LWP {}", sleeper.0.id())), "{text}");
    assert!(text.contains("#0 ") && text.contains("#1 "), "{text}");
    assert!(text.contains(&format!("pc={pc} sp={sp}")), "{text}");
    assert!(text.contains(&format!("word={word:#x}")), "{text}");
    let gone = heap.start().add(Bytes(2 * PAGE));
    assert!(text.contains(&format!("Cannot access memory at address {gone}")), "{text}");
    assert!(text.contains("AT_ENTRY"), "{text}");
    assert!(text.contains("libc.so"), "{text}");
    assert!(!text.to_lowercase().contains("warning: core"), "{text}");
}

/// Checks that a core of another program says what it must about the shell.
fn assert_is_of(core: &CoreFile, pid: u32) {
    assert!(core.record().is_none());
    assert_eq!(core.verify(|_| ()).unwrap().problems, []);
    let summary = core.summary();
    assert_eq!(summary.pid, Some(pid));
    assert_eq!((summary.name.as_deref(), summary.tool_version), (Some("sh"), None));
    let thread = &core.threads()[0];
    assert_eq!(thread.tid, pid);
    assert!(core.read_u64(thread.sp).unwrap().is_some(), "a stack");
    assert!(core.regset(thread, note::FPREGSET).unwrap().is_some());
    assert!(core.files().iter().any(|file| file.path.to_string_lossy().contains("libc")));
    assert!(core.auxv().len() > 100);
}

#[test]
fn a_core_of_gcore_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let prefix = directory.path().join("g");
    let sleeper = Sleeper::start();
    let pid = sleeper.0.id();
    let Some(output) = run("gcore", &["-o", prefix.to_str().unwrap(), &pid.to_string()]) else {
        return;
    };
    let path = directory.path().join(format!("g.{pid}"));
    if !path.exists() {
        return skip(&format!("gcore made no core: {}", text(&output)));
    }
    assert_is_of(&common::open(&path), pid);
    // A single frame of unknown length, as stream compressors write it.
    let plain = std::fs::read(&path).unwrap();
    let zst = directory.path().join("g.zst");
    std::fs::write(&zst, zstd::encode_all(&plain[..], 1).unwrap()).unwrap();
    assert_is_of(&common::open(&zst), pid);
}

#[test]
fn a_core_of_the_kernel_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = Command::new("/bin/sh")
        .args(["-c", "ulimit -c unlimited; kill -SEGV $$"])
        .current_dir(directory.path())
        .spawn()
        .expect("a shell");
    let pid = child.id();
    child.wait().unwrap();
    let made = std::fs::read_dir(directory.path()).unwrap().next();
    let Some(path) = made.map(|entry| entry.unwrap().path()) else {
        return skip("the kernel left no core in the directory; see /proc/sys/kernel/core_pattern");
    };
    let core = common::open(&path);
    assert_is_of(&core, pid);
    assert_eq!(core.threads()[0].signal, 11);
}
