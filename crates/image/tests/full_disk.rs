//! Disks that are full and files that may not grow: the error names its cause, and nothing is
//! left behind.
//!
//! A limit is set by a shell around this same test program, which then runs the same test once
//! more, within the limit.

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::{PAGE, layout, page_at, segment};
use faultless_image::core::{
    CompressedWriter, Compression, Dumped, Layout, Machine, OnExisting, PendingFile, RawWriter,
    WriteError,
};
use faultless_pages::Va;

/// Tells a test that it runs within its limit, and the directory to write to.
const DIRECTORY: &str = "FAULTLESS_TEST_DIRECTORY";
const BASE: u64 = 0x10_0000;
/// Eight mebibytes.
const PAGES: u64 = 2048;

fn big() -> Layout {
    layout(Machine::X86_64, vec![segment(BASE, BASE + PAGES * PAGE, Dumped::All)])
}

/// Returns the directory if this process runs within a limit. Otherwise runs `test`, which is the
/// caller, within what `shell` sets up for a directory.
fn limited(test: &str, shell: impl FnOnce(&Path) -> String) -> Option<PathBuf> {
    let given = std::env::var_os(DIRECTORY).map(PathBuf::from);
    if given.is_none() {
        let directory = tempfile::tempdir().unwrap();
        run_within(&shell(directory.path()), directory.path(), test);
    }
    given
}

/// Runs `test` of this program within what `shell` sets up for `directory`.
#[expect(clippy::print_stdout, reason = "a skipped test says so")]
fn run_within(shell: &str, directory: &Path, test: &str) {
    let program = std::env::current_exe().unwrap();
    let script = format!("{shell} && exec \"$0\" --exact {test} --nocapture --test-threads 1");
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", &script])
        .arg(program)
        .env(DIRECTORY, directory)
        .output();
    let text = output.as_ref().map_or_else(ToString::to_string, |output| {
        let (out, err) = (&output.stdout, &output.stderr);
        format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
    });
    if text.contains("running 1 test") {
        assert!(output.is_ok_and(|output| output.status.success()), "{text}");
    } else {
        println!("skipped: a mount namespace of its own needs root and unshare(1): {text}");
    }
}

fn assert_empty(directory: &Path) {
    let left: Vec<_> = std::fs::read_dir(directory).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Mounts a file system over the directory; the namespace takes it along when it ends.
fn mount(options: &str, directory: &Path) -> String {
    format!("mount -t tmpfs -o {options} none '{}'", directory.display())
}

#[test]
fn a_full_disk_is_named_and_leaves_no_file() {
    let test = "a_full_disk_is_named_and_leaves_no_file";
    let Some(directory) = limited(test, |at| mount("size=1m", at)) else { return };
    let pending = PendingFile::create(&directory.join("a.core"), OnExisting::Refuse).unwrap();
    let writer = RawWriter::new(pending, big()).unwrap();
    let error = (0..PAGES)
        .find_map(|page| writer.write_run(Va(BASE + page * PAGE), &page_at(page << 20)).err())
        .expect("8 MiB do not fit 1 MiB");
    assert!(matches!(error, WriteError::NoSpace { .. }), "{error}");
    assert!(error.to_string().contains("a.core"), "{error}");
    drop(writer);
    assert_empty(&directory);
}

#[test]
fn compression_on_a_full_disk_ends_the_same() {
    let test = "compression_on_a_full_disk_ends_the_same";
    let Some(directory) = limited(test, |at| mount("size=1m", at)) else { return };
    let pending = PendingFile::create(&directory.join("a.zst"), OnExisting::Refuse).unwrap();
    let mut writer = CompressedWriter::new(pending, big(), Compression::default()).unwrap();
    let error = (0..PAGES)
        .find_map(|page| writer.page_run(Va(BASE + page * PAGE), &page_at(page << 20)).err())
        .expect("noise does not compress");
    assert!(matches!(error, WriteError::NoSpace { .. }), "{error}");
    drop(writer);
    assert_empty(&directory);
}

#[test]
fn a_limit_on_files_is_named_before_a_page_is_copied() {
    let test = "a_limit_on_files_is_named_before_a_page_is_copied";
    // The shell counts in units of 512 bytes. Without the trap the signal would end us.
    let shell = |_: &Path| "trap '' XFSZ && ulimit -f 1024".to_owned();
    let Some(directory) = limited(test, shell) else { return };
    let pending = PendingFile::create(&directory.join("a.core"), OnExisting::Refuse).unwrap();
    let error = RawWriter::new(pending, big()).err().expect("8 MiB are beyond the limit");
    assert!(matches!(error, WriteError::TooLarge { .. }), "{error}");
    assert_empty(&directory);
}

#[test]
fn a_read_only_file_system_is_named() {
    let test = "a_read_only_file_system_is_named";
    let Some(directory) = limited(test, |at| mount("ro", at)) else { return };
    let error = PendingFile::create(&directory.join("a.core"), OnExisting::Refuse).unwrap_err();
    assert!(matches!(error, WriteError::ReadOnly { .. }), "{error}");
}
