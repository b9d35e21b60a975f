//! Short versions of the soaks, and proofs that the checker sees what it must.

use std::process::Command;
use std::time::Duration;

use super::artifacts::{self, Build, STAMPER};
use super::child::Collected;
use super::scratch::Scratch;
use super::target::Target;
use super::{cut, kill};
use crate::command::{is_root, on_path};

/// Says whether all programs are there; tells which is not.
fn have(programs: &[&str]) -> bool {
    let missing: Vec<&str> = programs.iter().copied().filter(|p| !on_path(p)).collect();
    if !missing.is_empty() {
        println!("skipped: {} is missing", missing.join(" and "));
    }
    missing.is_empty()
}

/// Says whether snapshots can be taken here; tells why not.
fn can_snapshot() -> bool {
    if !is_root() {
        println!("skipped: snapshots of other processes need root");
    }
    is_root() && have(&["gcc"])
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

fn stamper(options: &str) -> Target {
    let program = artifacts::c_target(&STAMPER).unwrap();
    Target::stamper(&program, &words(options)).unwrap()
}

#[test]
fn a_stamper_left_alone_keeps_its_promises() {
    if !have(&["gcc"]) {
        return;
    }
    let mut target = stamper("--size 16 --fork-every 20 --spawn-every 30 --beat-ms 20");
    target.wait_for_progress().unwrap();
    assert_eq!(target.finish().unwrap(), 0);
}

#[test]
fn a_stamper_notices_a_foreign_write() {
    if !have(&["gcc"]) {
        return;
    }
    let target = stamper("--size 16 --beat-ms 20");
    cut::spoil_stamped_page(target.pid()).unwrap();
    assert!(target.finish().unwrap() > 0);
}

#[test]
fn a_dump_of_a_stopped_stamper_is_a_cut() {
    if !have(&["gcc", "gcore"]) {
        return;
    }
    let mut target = stamper("--size 16 --beat-ms 20");
    let scratch = Scratch::new(None).unwrap();
    for _ in 0..3 {
        target.wait_for_progress().unwrap();
        let prefix = scratch.path().join("gcore");
        let pid = target.pid().to_string();
        let mut gcore = Command::new("gcore");
        gcore.arg("-o").arg(&prefix).arg(&pid);
        let ended = Collected::start(&mut gcore).unwrap().end_within(Duration::from_secs(120));
        assert!(ended.unwrap().status.success());
        let verdict = cut::check_file(&prefix.with_extension(&pid)).unwrap();
        assert_eq!(verdict.told, []);
        assert!(verdict.pages > 4000, "only {} pages were compared", verdict.pages);
    }
    assert_eq!(target.finish().unwrap(), 0);
}

#[test]
fn a_dump_of_a_running_stamper_is_caught() {
    if !have(&["gcc"]) {
        return;
    }
    let mut target = stamper("--size 16 --beat-ms 20");
    target.wait_for_progress().unwrap();
    let verdict = cut::check_smear(target.pid()).unwrap();
    assert!(verdict.violations > 0);
    assert_eq!(target.finish().unwrap(), 0);
}

#[test]
fn snapshots_of_a_stamper_are_cuts() {
    if !can_snapshot() {
        return;
    }
    let program = artifacts::faultless(Build::Debug).unwrap();
    for extra in [&[][..], &["--exact"], &["--compress"]] {
        let args = cut::Args {
            snapshots: 2,
            size: 64,
            threads: 4,
            seed: None,
            broken: false,
            dir: None,
            keep: None,
            extra: extra.iter().map(ToString::to_string).collect(),
        };
        let sum = cut::take_and_check(&args, program.clone()).unwrap();
        assert_eq!((sum.snapshots(), sum.violations()), (2, 0), "{extra:?}");
    }
}

fn kill_args(victim: kill::Victim, runs: u32) -> kill::Args {
    kill::Args { runs, victim, size: 64, seed: None, dir: None, extra: Vec::new() }
}

#[test]
fn killing_faultless_leaves_the_target_unharmed() {
    if !can_snapshot() {
        return;
    }
    let program = artifacts::faultless(Build::Debug).unwrap();
    kill::run_with(&kill_args(kill::Victim::Faultless, 20), program).unwrap();
}

#[test]
fn killing_the_target_ends_the_snapshot_cleanly() {
    if !can_snapshot() {
        return;
    }
    let program = artifacts::faultless(Build::Debug).unwrap();
    kill::run_with(&kill_args(kill::Victim::Target, 5), program).unwrap();
}
