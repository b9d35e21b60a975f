//! What outlives whatever is killed while a guest is restored.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::qemu::{Qemu, RAM, Round, scratch, wait};
use crate::report;
use crate::restored::expect_continues;

/// A restore that brings only what is touched, once its guest goes on.
struct Lazy {
    child: Child,
}

impl Lazy {
    fn start(folder: &Path, monitor: &Path) -> Lazy {
        let mut child = Command::new(env!("CARGO_BIN_EXE_faultless"))
            .args(["vm", "restore", "--lazy"])
            .arg(folder)
            .arg("--qmp")
            .arg(monitor)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut told = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        told.read_line(&mut line).unwrap();
        assert!(line.contains("the guest goes on"), "{line}");
        // It goes on talking, and shall not wait for somebody to listen.
        std::thread::spawn(move || std::io::copy(&mut told, &mut std::io::sink()));
        Lazy { child }
    }

    fn worker(&self) -> Option<Pid> {
        let id = self.child.id();
        let tasks = std::fs::read_dir(format!("/proc/{id}/task")).ok()?.flatten();
        let children =
            tasks.filter_map(|it| std::fs::read_to_string(it.path().join("children")).ok());
        let first = children.flat_map(|it| it.split(' ').map(str::to_owned).collect::<Vec<_>>());
        first.filter_map(|pid| pid.trim().parse().ok()).find_map(Pid::from_raw)
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Lazy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A guest that was saved to its end, and is being restored into another QEMU.
struct Moved {
    lazy: Lazy,
    restored: Qemu,
    /// What it told before it was saved.
    before: Vec<Round>,
    /// Where its memory and the saved one lie; last, as it goes last.
    _scratch: TempDir,
}

impl Moved {
    /// `None` where there is no QEMU, which is said.
    fn lazily() -> Option<Moved> {
        let scratch = scratch()?;
        let saved = scratch.path().join("vm");
        let source = Qemu::boot(scratch.path(), "source", RAM);
        let before = source.wait_for(1);
        report(&["save", "--quit"], &saved, &source.monitor);
        let restored = Qemu::waiting(scratch.path(), "restored", RAM);
        let lazy = Lazy::start(&saved, &restored.monitor);
        Some(Moved { lazy, restored, before, _scratch: scratch })
    }
}

#[test]
fn no_byte_is_lost_when_workers_are_killed_nor_when_the_command_is() {
    let Some(moved) = Moved::lazily() else { return };
    let Moved { lazy, restored, before, .. } = &moved;
    for _ in 0..3 {
        let worker = wait("a worker", || lazy.worker());
        kill_process(worker, Signal::KILL).unwrap();
        wait("another worker", || lazy.worker().filter(|next| *next != worker));
    }
    assert!(restored.is_paged() && restored.holds_userfaultfd());
    lazy.signal(Signal::KILL);
    // Whoever is left fills the memory and lets it go.
    wait("end of serving", || (!restored.is_paged()).then_some(()));
    let now = restored.rounds().len();
    expect_continues(before, &restored.wait_for(now + 2));
}

#[test]
fn a_guest_waits_and_reads_no_zeros_when_everybody_is_killed() {
    let Some(moved) = Moved::lazily() else { return };
    let Moved { lazy, restored, before, .. } = &moved;
    let worker = wait("a worker", || lazy.worker());
    // The command first: it would start another worker.
    lazy.signal(Signal::KILL);
    kill_process(worker, Signal::KILL).unwrap();
    std::thread::sleep(std::time::Duration::from_secs(2));
    if restored.is_paged() {
        assert!(restored.holds_userfaultfd());
        assert!(restored.rounds().len() <= 1, "it has its memory: {:?}", restored.rounds());
    }
    // The worker may have been quicker than we: then every byte is right.
    if let [round, ..] = &restored.rounds()[..] {
        assert_eq!(round.sum, before[0].sum);
    }
}

#[test]
fn an_interrupted_restore_fills_the_memory_first() {
    let Some(mut moved) = Moved::lazily() else { return };
    let Moved { lazy, restored, before, .. } = &mut moved;
    lazy.signal(Signal::INT);
    assert!(lazy.child.wait().unwrap().success());
    assert!(!restored.is_paged() && !restored.holds_userfaultfd());
    expect_continues(before, &restored.wait_for(2));
}
