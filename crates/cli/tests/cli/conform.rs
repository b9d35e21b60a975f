//! `faultless conform`: its report, its exit codes, and a host that does not behave.

use std::process::Command;

use serde_json::Value;

use crate::support::{Run, compile, need, need_some, program};

/// Asks for some behaviours; nothing is borrowed from the host other tests run on.
fn conform(arguments: &[&str]) -> Run {
    Run::faultless(&[&["conform", "--no-borrow"], arguments].concat())
}

/// Asks under a filter that refuses one system call with `errno`.
fn filtered(number: i64, errno: &str, arguments: &[&str]) -> Result<Run, String> {
    let mut command = Command::new(compile("refuse_syscall")?);
    command.args([&number.to_string(), errno, program(), "conform", "--no-borrow"]);
    Ok(Run::of(command.args(arguments)))
}

fn count(report: &Value, verdict: &str) -> u64 {
    let cases = report["cases"].as_array().expect("a list");
    cases.iter().filter(|case| case["verdict"] == verdict).count() as u64
}

#[test]
fn the_report_is_one_json_object_whose_counts_are_those_of_its_cases() {
    let run = conform(&["--json", "wake::", "poll::"]);
    need!(run.code != Some(3), "needs userfaultfd(2)");
    let report = run.json();
    assert_eq!(run.code, Some(0), "{report:#}");
    assert_eq!(run.stdout.lines().count(), 1);
    for (field, verdict) in [("passed", "passed"), ("failed", "failed"), ("skipped", "skipped")] {
        assert_eq!(report[field], count(&report, verdict), "{report:#}");
    }
    for case in report["cases"].as_array().expect("a list") {
        let name = case["name"].as_str().expect("a name");
        assert!(name.starts_with("wake::") || name.starts_with("poll::"), "{name}");
        assert_eq!(case["why"].is_null(), case["verdict"] == "passed", "{case}");
    }
    assert!(report["world"].as_str().is_some_and(|world| world.starts_with("kernel ")));
    assert!(report["host"]["kernel"].is_string());
    assert!(report["abilities"]["features"].is_array());
    assert!(report["notes"].is_array());
}

#[test]
fn the_likest_release_is_named_with_every_difference() {
    let run = conform(&["--json", "poll::"]);
    need!(run.code != Some(3), "needs userfaultfd(2)");
    let report = run.json();
    assert!(report["behaviours"][0]["here"].is_string(), "{report:#}");
    let resembles = &report["resembles"];
    assert!(resembles["release"].is_string(), "{report:#}");
    for difference in resembles["differences"].as_array().expect("a list") {
        for field in ["what", "release", "here"] {
            assert!(difference[field].is_string(), "{difference}");
        }
    }
}

#[test]
fn the_table_is_grouped_by_topic_and_fits_a_terminal_of_100_columns() {
    let run = conform(&["--skip", "swap::"]);
    need!(run.code != Some(3), "needs userfaultfd(2)");
    assert!(run.stdout.lines().all(|line| line.chars().count() <= 100), "{}", run.stdout);
    let topics = ["\ncreation\n", "\nmove_pages\n", "\nforeign\n"];
    assert!(topics.iter().all(|topic| run.stdout.contains(topic)), "{}", run.stdout);
    assert!(!run.stdout.contains("\nswap\n"), "{}", run.stdout);
    assert!(run.stdout.contains(" passed, "), "{}", run.stdout);
}

#[test]
fn a_behaviour_that_diverges_ends_with_1_and_is_told() {
    let mremap = libc::SYS_mremap;
    let name = "events::remap_says_from_where_to_where";
    let run = need_some!(filtered(mremap, "1", &["--json", "--exact", name]));
    need!(run.code != Some(3), "needs userfaultfd(2)");
    let report = run.json();
    need!(report["skipped"] != 1, "needs userfaultfd with events");
    assert_eq!(run.code, Some(1), "{report:#}");
    assert_eq!(report["failed"], 1);
    let why = report["cases"][0]["why"].as_str().expect("a reason");
    assert!(why.contains("EPERM"), "{why}");
    // What hangs on the missing call is a difference from every release.
    let differences = report["resembles"]["differences"].as_array().expect("a list");
    let moves = |d: &&Value| d["what"].as_str().is_some_and(|what| what.contains("moves without"));
    let here = &differences.iter().find(moves).expect("a difference")["here"];
    assert_eq!(here, "something else");

    let run = need_some!(filtered(mremap, "1", &["--exact", name]));
    let told: Vec<&str> = run.stdout.lines().filter(|line| line.contains("FAILED")).collect();
    assert_eq!(told.len(), 1, "{}", run.stdout);
}

#[test]
fn a_host_without_userfaultfd_ends_with_3() {
    let number = i64::from(faultless_uapi::syscall::SYS_USERFAULTFD);
    let run = need_some!(filtered(number, "38", &["--json"]));
    run.expect_error(3, &["userfaultfd(2)", "ENOSYS", "; faultless doctor"]);
}

#[test]
fn the_model_answers_without_a_host_and_is_like_what_it_plays() {
    for release in ["6.12", "6.18", "7.2", "7.3"] {
        let arguments = ["--json", "--world", "model", "--profile", release, "wake::"];
        let report = conform(&arguments).json();
        assert_eq!(report["failed"], 0, "{report:#}");
        assert_ne!(report["passed"], 0, "{report:#}");
        assert!(report["host"].is_null(), "{report:#}");
        assert_eq!(report["world"], format!("model of kernel {release}"));
        assert_eq!(report["resembles"]["release"], release, "{report:#}");
        assert_eq!(report["resembles"]["differences"], serde_json::json!([]), "{report:#}");
    }
}

#[test]
fn the_running_kernel_plays_no_release() {
    conform(&["--profile", "7.2"]).expect_error(2, &["--profile", "; add --world model"]);
}

#[test]
fn a_name_nothing_has_is_a_wrong_command_line() {
    conform(&["no_such_behaviour"]).expect_error(2, &["no_such_behaviour", "; faultless conform"]);
}
