//! Other people's tools read our cores: gdb, readelf, zstd. A tool that is not installed is
//! skipped, loudly.

#[path = "../common/mod.rs"]
mod common;
#[cfg(target_arch = "x86_64")]
mod gdb;
mod sleeper;

use std::process::{Command, Output};

use common::{PAGE, cut, layout, page_at, segment, write_compressed, write_raw};
use faultless_image::core::{CoreFile, Dumped, Machine, note};
use sleeper::Sleeper;

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
    let pid = sleeper.pid();
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
