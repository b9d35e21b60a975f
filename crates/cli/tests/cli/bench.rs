//! `faultless bench`: the shape of what it reports. What the figures are is no test's business.

use serde_json::Value;

use crate::support::{Run, has, is_root, need};

/// Checks what the reports of all benches have in common.
fn check_outline(report: &Value, bench: &str) {
    assert_eq!(report["bench"], bench);
    for member in ["kernel", "cpu", "cores", "thp", "build"] {
        assert!(!report["host"][member].is_null(), "host.{member} of {report}");
    }
    assert!(report["rows"].as_array().is_some_and(|rows| !rows.is_empty()), "{report}");
    let ratios = report["ratios"].as_object().expect("an object of ratios");
    assert!(!ratios.is_empty() && ratios.values().all(Value::is_number), "{ratios:?}");
    assert!(report["findings"].is_array(), "{report}");
}

/// Returns a path for a plot that goes with the folder of this test run.
fn plot(name: &str) -> String {
    format!("{}/{name}.{}.svg", env!("CARGO_TARGET_TMPDIR"), std::process::id())
}

/// Reads a plot and removes it.
fn take_plot(path: &str) -> String {
    let svg = std::fs::read_to_string(path).expect("a plot");
    std::fs::remove_file(path).expect("a file of ours");
    svg
}

#[test]
fn bench_ops_compares_every_operation_with_copy() {
    let svg = plot("ops");
    let run = Run::faultless(&["bench", "ops", "--quick", "--json", "--svg", &svg]);
    need!(run.code != Some(3), run.stderr);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let report = run.json();
    check_outline(&report, "ops");
    for batch in [1, 4, 16, 64, 512] {
        for load in ["alone", "busy"] {
            assert_eq!(report["ratios"][format!("copy_{batch}_{load}")], 1.0);
            assert!(report["ratios"][format!("mprotect_sigsegv_{batch}_{load}")].is_number());
        }
    }
    assert!(take_plot(&svg).contains("COPY"));
}

#[test]
fn bench_fault_compares_every_way_with_the_minimal_loop() {
    let svg = plot("fault");
    let run = Run::faultless(&["bench", "fault", "--quick", "--json", "--svg", &svg]);
    need!(run.code != Some(3), run.stderr);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let report = run.json();
    check_outline(&report, "fault");
    for name in ["threads_p50", "threads_p99", "inline_p50", "inline_p99", "foreign_p50"] {
        assert!(report["ratios"][name].is_number(), "{name} of {report}");
        for threads in [1, 2, 4, 16] {
            assert!(
                report["ratios"][format!("{name}_{threads}")].is_number(),
                "{name} of {threads}"
            );
        }
    }
    for contender in ["inline", "threads", "foreign", "loop", "kernel", "mmap"] {
        let rows = report["rows"].as_array().expect("rows").iter();
        let own = rows.filter(|row| row["contender"] == contender && row["around"] == 0);
        let threads: Vec<_> = own.map(|row| row["threads"].as_u64()).collect();
        assert_eq!(threads, [1, 2, 4, 16].map(Some), "{contender}");
    }
    assert!(take_plot(&svg).contains("loop"));
}

#[test]
fn bench_snapshot_pauses_the_same_process_with_both_tools() {
    need!(is_root(), "attaching to another process may need root");
    let svg = plot("snapshot");
    let arguments = ["--sizes", "4M", "--pages", "4k", "--rounds", "1", "--json", "--svg", &svg];
    let run = Run::faultless(&[&["bench", "snapshot"], &arguments[..]].concat());
    need!(run.code != Some(3), run.stderr);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let report = run.json();
    check_outline(&report, "snapshot");
    assert!(report["ratios"]["throughput_4m_4k"].is_number());
    assert!(report["rows"][0]["own"]["pause_parts_ns"]["protect"].is_number());
    assert!(take_plot(&svg).contains("faultless"));
    check_disk(&report);
    need!(has("gcore"), "comparing needs gcore (package gdb)");
    assert!(report["ratios"]["pause_4m_4k"].is_number());
    let rows = report["rows"].as_array().expect("rows");
    assert!(rows.iter().any(|row| row["tool"] == "gcore"), "{report}");
}

/// Checks the row of the disk by itself, the last one of its case.
fn check_disk(report: &Value) {
    let disk = report["rows"].as_array().and_then(|rows| rows.last()).expect("a row");
    assert_eq!(disk["tool"], "disk");
    assert!(disk["written_bytes"].as_u64().is_some_and(|bytes| bytes >= 4 << 20), "{disk}");
    assert!(disk["direct"].is_boolean() && disk["synced_ns"]["median"].is_number(), "{disk}");
    assert!(report["ratios"]["disk_4m_4k"].is_number());
}

#[test]
fn the_target_of_the_bench_ends_with_its_input() {
    let mut target = std::process::Command::new(crate::support::program());
    target.args(["bench", "__target", "--size", "1", "--pages", "4k"]);
    let run = Run::of(target.stdin(std::process::Stdio::null()));
    assert_eq!((run.code, run.stdout.as_str()), (Some(0), ""), "{}", run.stderr);
}

#[test]
fn a_size_that_is_none_is_a_usage_error() {
    let run = Run::faultless(&["bench", "snapshot", "--sizes", "many"]);
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("--sizes"), "{}", run.stderr);
}
