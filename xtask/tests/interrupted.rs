//! A soak that is interrupted ends what it started and removes what it wrote.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a test that skips says why")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Only what is stuck takes this long.
const PATIENCE: Duration = Duration::from_secs(120);

/// A directory of this test, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let name = format!("faultless-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(path.join("cores")).unwrap();
        Folder(path)
    }

    /// A program that tells that it runs, and then sleeps: a snapshot that does not end.
    fn sleeper(&self) -> PathBuf {
        let program = self.0.join("faultless");
        let mark = self.mark();
        fs::write(&program, format!("#!/bin/sh\n: > {}\nexec sleep 1000\n", mark.display()))
            .unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        program
    }

    fn mark(&self) -> PathBuf {
        self.0.join("running")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "{what} in vain");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn end_of(child: &mut Child) -> ExitStatus {
    wait_until("waited for the end", || child.try_wait().unwrap().is_some());
    child.wait().unwrap()
}

fn children_of(pid: u32) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let lists =
        tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect()
}

#[test]
fn a_soak_that_is_interrupted_leaves_nothing_behind() {
    let has_gcc = Command::new("gcc").arg("--version").stdout(Stdio::null()).status();
    if !has_gcc.is_ok_and(|status| status.success()) {
        println!("skipped: gcc is missing");
        return;
    }
    let folder = Folder::new("interrupted");
    let cores = folder.0.join("cores");
    let mut soak = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["soak", "cut", "--snapshots", "1", "--size", "16", "--dir"])
        .arg(&cores)
        .env("FAULTLESS_BIN", folder.sleeper())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_until("waited for a snapshot", || {
        assert_eq!(soak.try_wait().unwrap(), None, "the soak ended by itself");
        folder.mark().exists()
    });
    let children = children_of(soak.id());
    assert!(children.len() >= 2, "a target and a snapshot should run, not {children:?}");
    kill_process(Pid::from_child(&soak), Signal::TERM).unwrap();
    assert_eq!(end_of(&mut soak).code(), Some(128 + 15));
    let left: Vec<_> = fs::read_dir(&cores).unwrap().flatten().map(|entry| entry.path()).collect();
    assert_eq!(left, Vec::<PathBuf>::new());
    let alive: Vec<_> =
        children.iter().filter(|pid| Path::new("/proc").join(pid).exists()).collect();
    assert_eq!(alive, Vec::<&String>::new());
}
