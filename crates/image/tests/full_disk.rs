//! Disks that are full and files that may not grow: the error names its cause, and nothing is
//! left behind.
//!
//! The limits are set by a shell around this same test program, which then runs one of the
//! bodies below. A body asked for by nobody does nothing.

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::{PAGE, layout, page_at, segment};
use faultless_image::core::{
    CompressedWriter, Compression, Dumped, Layout, Machine, OnExisting, PendingFile, RawWriter,
    WriteError,
};
use faultless_pages::Va;

/// Tells a body the directory it writes to.
const DIRECTORY: &str = "FAULTLESS_TEST_DIRECTORY";
const BASE: u64 = 0x10_0000;
/// Eight mebibytes.
const PAGES: u64 = 2048;

fn big() -> Layout {
    layout(Machine::X86_64, vec![segment(BASE, BASE + PAGES * PAGE, Dumped::All)])
}

/// Returns the directory if this process was started for a body.
fn asked_for() -> Option<PathBuf> {
    std::env::var_os(DIRECTORY).map(PathBuf::from)
}

/// Runs a body of this program within what `shell` sets up; `None` if that cannot be set up.
fn within(shell: &str, directory: &Path, body: &str) -> Option<String> {
    let program = std::env::current_exe().unwrap();
    let script = format!("{shell} && exec \"$0\" --exact {body} --nocapture --test-threads 1");
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", &script])
        .arg(program)
        .env(DIRECTORY, directory)
        .output()
        .ok()?;
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    // Without the right to a mount namespace the body was never reached.
    text.contains("running 1 test").then(|| {
        assert!(output.status.success(), "{text}");
        text
    })
}

#[expect(clippy::print_stdout, reason = "a skipped test says so")]
fn skip() {
    println!("skipped: a mount namespace with a small file system needs root and unshare(1)");
}

fn assert_empty(directory: &Path) {
    let left: Vec<_> = std::fs::read_dir(directory).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_full_disk_is_named_and_leaves_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let mount = format!("mount -t tmpfs -o size=1m none '{}'", directory.path().display());
    for body in ["body_raw_core_on_a_full_disk", "body_compressed_core_on_a_full_disk"] {
        if within(&mount, directory.path(), body).is_none() {
            return skip();
        }
    }
}

#[test]
fn body_raw_core_on_a_full_disk() {
    let Some(directory) = asked_for() else { return };
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
fn body_compressed_core_on_a_full_disk() {
    let Some(directory) = asked_for() else { return };
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
    let directory = tempfile::tempdir().unwrap();
    // The shell counts in units of 512 bytes. Without the trap the signal would end the program.
    let limit = "trap '' XFSZ && ulimit -f 1024";
    if within(limit, directory.path(), "body_core_beyond_the_limit_on_files").is_none() {
        skip();
    }
}

#[test]
fn body_core_beyond_the_limit_on_files() {
    let Some(directory) = asked_for() else { return };
    let pending = PendingFile::create(&directory.join("a.core"), OnExisting::Refuse).unwrap();
    let error = RawWriter::new(pending, big()).err().expect("8 MiB are beyond the limit");
    assert!(matches!(error, WriteError::TooLarge { .. }), "{error}");
    assert_empty(&directory);
}

#[test]
fn a_read_only_file_system_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let mount = format!("mount -t tmpfs -o ro none '{}'", directory.path().display());
    if within(&mount, directory.path(), "body_core_on_a_read_only_file_system").is_none() {
        skip();
    }
}

#[test]
fn body_core_on_a_read_only_file_system() {
    let Some(directory) = asked_for() else { return };
    let error = PendingFile::create(&directory.join("a.core"), OnExisting::Refuse).unwrap_err();
    assert!(matches!(error, WriteError::ReadOnly { .. }), "{error}");
}
