//! `faultless doctor` with and without rights.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::{Run, compile, copy_program, has, is_root, need, need_some, program};

/// The program where every user can reach it, gone when dropped.
struct Installed(PathBuf);

impl Installed {
    fn new(name: &str) -> Installed {
        let folder = std::env::temp_dir().join(format!("faultless-{name}-{}", std::process::id()));
        fs::create_dir(&folder).expect("a folder of our own");
        let everyone = fs::Permissions::from_mode(0o755);
        fs::set_permissions(&folder, everyone.clone()).expect("our folder");
        let installed = Installed(folder);
        copy_program(installed.program());
        fs::set_permissions(installed.program(), everyone).expect("our copy");
        installed
    }

    fn program(&self) -> PathBuf {
        self.0.join("faultless")
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Finds what is missing by the beginning of its name.
fn lack<'a>(report: &'a Value, name: &str) -> &'a Value {
    let lacks = report["lacks"].as_array().expect("a list");
    lacks
        .iter()
        .find(|lack| lack["what"].as_str().is_some_and(|what| what.starts_with(name)))
        .unwrap_or_else(|| panic!("no {name:?} in {lacks:#?}"))
}

/// Says whether a text of the report contains a word.
fn says(value: &Value, word: &str) -> bool {
    value.as_str().is_some_and(|text| text.contains(word))
}

fn setpriv(arguments: &[&str], program: &Path) -> Run {
    let mut command = Command::new("setpriv");
    Run::of(command.args(arguments).arg(program).args(["doctor", "--json"]))
}

/// Runs doctor as nobody in particular, without capabilities.
fn as_nobody(program: &Path) -> Run {
    setpriv(&["--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all"], program)
}

#[test]
fn the_report_is_one_json_object_and_the_exit_code_its_verdict() {
    let run = Run::faultless(&["doctor", "--json"]);
    let report = run.json();
    let works = report["snapshot_works"].as_bool().expect("a verdict");
    assert_eq!(run.code, Some(if works { 0 } else { 1 }));
    assert_eq!(run.stdout.lines().count(), 1);
    assert!(report["host"]["kernel"].is_string());
    assert!(report["lacks"].is_array());
}

#[test]
fn every_feature_and_every_operation_is_reported() {
    let report = Run::faultless(&["doctor", "--json"]).json();
    let features = report["features"].as_array().expect("a list");
    let names: Vec<&str> = features.iter().filter_map(|feature| feature["name"].as_str()).collect();
    let known: Vec<&str> =
        faultless_uapi::feature::HISTORY.iter().map(|known| known.name).collect();
    assert_eq!(names, known);
    let since = if cfg!(target_arch = "aarch64") { "6.10" } else { "5.7" };
    assert_eq!(features[0]["since"], since);

    need!(report["userfaultfd"]["device"]["result"] == "works", "needs /dev/userfaultfd");
    let memory = report["memory"].as_array().expect("a list");
    let kind = |name| memory.iter().find(|kind| kind["name"] == name).expect("a type of memory");
    let (anonymous, shared) = (kind("anonymous"), kind("shared"));
    assert_eq!(anonymous["modes"]["MISSING"]["result"], "works");
    assert_eq!(anonymous["modes"]["MINOR"]["errno"], "EINVAL");
    assert_eq!(anonymous["operations"]["COPY"]["result"], "works");
    // The kernel lists MOVE for shared memory and refuses it: bits are not tries.
    assert_eq!(shared["operations"]["MOVE"]["result"], "fails");
}

#[test]
fn the_text_fits_a_terminal_of_100_columns() {
    let run = Run::faultless(&["doctor"]);
    assert!(run.stdout.lines().all(|line| line.chars().count() <= 100), "{}", run.stdout);
}

#[test]
fn without_capabilities_it_names_what_is_lost_and_the_command_that_gives_it() {
    need!(is_root(), "needs root, to give its rights up");
    need!(has("setpriv"), "needs setpriv");
    let installed = Installed::new("nobody");
    let run = as_nobody(&installed.program());
    let report = run.json();
    assert_eq!(report["rights"]["uid"], 65534);
    for capability in report["rights"]["capabilities"].as_array().expect("a list") {
        assert_eq!(capability["effective"], false, "{capability}");
        assert_eq!(capability["bounding"], false, "{capability}");
    }
    let missing = lack(&report, "CAP_SYS_PTRACE");
    assert!(says(&missing["costs"], "other users"), "{missing}");

    need!(is_closed_to_users(&report), "needs a host that closes userfaultfd to users");
    assert_eq!(run.code, Some(1));
    assert_eq!(report["userfaultfd"]["device"]["errno"], "EACCES");
    assert_eq!(report["userfaultfd"]["syscall"]["errno"], "EPERM");
    assert_eq!(report["userfaultfd"]["syscall_user_mode_only"]["result"], "works");
    let missing = lack(&report, "userfaultfd(2)");
    assert_eq!(missing["needed"], true);
    assert!(says(&missing["get"], "setfacl -m u:65534:rw /dev/userfaultfd"), "{missing}");
    assert!(says(&missing["get"], "sysctl -w vm.unprivileged_userfaultfd=1"), "{missing}");
}

/// Says whether an ordinary user gets no whole userfaultfd, as is the default.
fn is_closed_to_users(report: &Value) -> bool {
    let device = fs::metadata("/dev/userfaultfd");
    report["rights"]["unprivileged_userfaultfd"] == 0
        && device.is_ok_and(|device| device.permissions().mode() & 0o006 == 0)
}

#[test]
fn root_of_a_user_namespace_is_told_that_its_capability_does_not_count() {
    need!(has("unshare"), "needs unshare");
    let installed = Installed::new("namespace");
    let run = Run::of(
        Command::new("unshare")
            .args(["--user", "--map-root-user"])
            .arg(installed.program())
            .args(["doctor", "--json"]),
    );
    need!(run.code != Some(1) || !run.stdout.is_empty(), "needs user namespaces");
    let report = run.json();
    assert_eq!(report["rights"]["initial_user_namespace"], false);
    let capability = &report["rights"]["capabilities"][0];
    assert_eq!(capability["name"], "CAP_SYS_PTRACE");
    assert_eq!(capability["effective"], true);
    need!(is_closed_to_users(&report), "needs a host that closes userfaultfd to users");
    assert_eq!(report["userfaultfd"]["syscall"]["errno"], "EPERM");
    assert!(says(&lack(&report, "userfaultfd(2)")["what"], "initial user namespace"));
}

/// Runs doctor under a filter that refuses userfaultfd with `errno`, or ends the caller for 0.
fn filtered(refuse: &Path, errno: &str) -> Run {
    let number = faultless_uapi::syscall::SYS_USERFAULTFD.to_string();
    Run::of(Command::new(refuse).args([number.as_str(), errno, program(), "doctor", "--json"]))
}

#[test]
fn a_filter_that_refuses_userfaultfd_is_named() {
    let refuse = need_some!(compile("refuse_syscall"));
    let run = filtered(&refuse, "1");
    let report = run.json();
    assert_eq!(run.code, Some(1), "{report:#}");
    assert_eq!(report["rights"]["seccomp"], "filter");
    assert_eq!(report["userfaultfd"]["syscall_user_mode_only"]["errno"], "EPERM");
    let missing = lack(&report, "userfaultfd(2) under this seccomp filter");
    assert_eq!(missing["needed"], true);
    assert!(says(&missing["get"], "seccomp"), "{missing}");
}

#[test]
fn a_filter_that_ends_the_caller_does_not_end_doctor() {
    let refuse = need_some!(compile("refuse_syscall"));
    let run = filtered(&refuse, "0");
    let report = run.json();
    assert_eq!(run.code, Some(1), "{report:#}");
    assert!(says(&report["userfaultfd"]["syscall"]["cause"], "SIGSYS"), "{report:#}");
}
