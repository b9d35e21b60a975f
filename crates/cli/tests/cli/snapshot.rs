//! `faultless snapshot`: what it makes, and every error with its next step.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::{
    Run, compile, copy_program, has, is_root, need, need_some, program, snapshots_work,
};
use crate::target::{Folder, Reaped, Target};

/// Snapshots `pid` and expects the error `parts`, with nothing left in the folder.
fn expect_refusal(name: &str, pid: &str, code: i32, parts: &[&str]) {
    let folder = Folder::new(name);
    Run::faultless(&["snapshot", pid, "-o", &folder.file("core")]).expect_error(code, parts);
    assert_eq!(folder.names(), [""; 0], "no file is left behind");
}

#[test]
fn a_running_process_is_saved_and_runs_on() {
    need!(snapshots_work(), "needs the right to take snapshots; see faultless doctor");
    let mut target = need_some!(Target::start(&["busy", "16"]));
    let folder = Folder::new("saved");
    let file = folder.file("core");
    let run = Run::faultless(&["snapshot", &target.pid(), "-o", &file, "--json"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let report = run.json();
    assert_eq!(report["pid"].to_string(), target.pid());
    assert_eq!(report["file"], file.as_str());
    for field in ["pause_ns", "total_ns", "bytes", "pages"] {
        assert!(report[field].as_u64().is_some_and(|n| n > 0), "{field}: {report}");
    }
    for field in ["faults", "freed_pages", "shared_pages", "peak_buffer_bytes"] {
        assert!(report[field].is_u64(), "{field}: {report}");
    }
    for field in ["p50", "p99", "max"] {
        assert!(report["fault_latency_ns"][field].is_u64(), "{field}: {report}");
    }
    assert_eq!(folder.names(), ["core"]);
    let mode = fs::metadata(&file).expect("the core").permissions().mode();
    assert_eq!(mode & 0o077, 0, "a core is its owner's alone");
    target.expect_alive();
}

#[test]
fn a_core_left_to_the_page_cache_is_as_whole() {
    need!(snapshots_work(), "needs the right to take snapshots; see faultless doctor");
    let mut target = need_some!(Target::start(&["busy", "16"]));
    let folder = Folder::new("unsynced");
    let file = folder.file("core");
    let run = Run::faultless(&["snapshot", &target.pid(), "-o", &file, "--no-sync"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let check = Run::faultless(&["inspect", &file]);
    assert_eq!(check.code, Some(0), "{}", check.stderr);
    target.expect_alive();
}

#[test]
fn a_later_image_is_a_layer_over_an_earlier_one() {
    need!(snapshots_work(), "needs the right to take snapshots; see faultless doctor");
    let mut target = need_some!(Target::start(&["busy", "16"]));
    let folder = Folder::new("layers");
    let [base, top, core] = ["base.flt", "top.flt", "top.core"].map(|name| folder.file(name));
    let run = |arguments: &[&str]| {
        let run = Run::faultless(arguments);
        assert_eq!(run.code, Some(0), "{arguments:?}: {}", run.stderr);
        run
    };
    run(&["snapshot", &target.pid(), "-o", &base]);
    run(&["snapshot", &target.pid(), "-o", &top, "--parent", &base]);
    target.expect_alive();
    let report = run(&["inspect", &top, "--json"]).json();
    assert_eq!(
        (&report["whole"], report["layers"].as_array().map(Vec::len)),
        (&true.into(), Some(2))
    );
    let stored = |layer: usize| report["layers"][layer]["stored_chunks"].as_u64();
    assert!(stored(0) < stored(1), "{report}");
    run(&["image", "export", &top, "--to", "core", "-o", &core]);
    assert_eq!(run(&["inspect", &core, "--json"]).json()["whole"], true);
    let refused = Run::faultless(&["snapshot", "1", "-o", &core, "--parent", &base, "--force"]);
    refused.expect_error(2, &["a core cannot be a layer", "; choose a name that ends in .flt"]);
}

#[test]
fn a_process_that_resizes_its_mappings_never_notices() {
    need!(snapshots_work(), "needs the right to take snapshots; see faultless doctor");
    let mut target = need_some!(Target::start(&["resizing"]));
    let folder = Folder::new("resizing");
    let file = folder.file("core");
    for _ in 0..20 {
        let run = Run::faultless(&["snapshot", &target.pid(), "-o", &file, "--force"]);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        target.expect_alive();
    }
}

#[test]
fn a_shell_has_itself_saved() {
    need!(snapshots_work(), "needs the right to take snapshots; see faultless doctor");
    let folder = Folder::new("shell");
    // What follows the snapshot keeps the shell from replacing itself by it.
    let script = r#""$1" snapshot $$ -o "$2"; exit $?"#;
    let file = folder.file("core");
    let run = Run::of(Command::new("sh").args(["-c", script, "sh", program(), &file]));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(folder.names(), ["core"]);
}

#[test]
fn root_saves_a_process_whose_filter_would_end_it_for_a_userfaultfd() {
    need!(is_root(), "needs root, to have the filter suspended");
    need!(snapshots_work(), "needs the right to take snapshots; see faultless doctor");
    let refuse = need_some!(compile("refuse_syscall"));
    let number = faultless_uapi::syscall::SYS_USERFAULTFD.to_string();
    // `cat` answers as long as it lives, and is the program itself once the filter is installed.
    let mut cat = Command::new(refuse)
        .args([number.as_str(), "0", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map(Reaped)
        .expect("the filter starts");
    expect_echo(&mut cat);
    let folder = Folder::new("filtered");
    let run = Run::faultless(&["snapshot", &cat.pid(), "-o", &folder.file("core")]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    expect_echo(&mut cat);
}

/// Checks that `cat` copies a line.
fn expect_echo(cat: &mut Reaped) {
    let mut line = [0; 6];
    let stdin = cat.0.stdin.as_mut().expect("it is piped");
    stdin.write_all(b"alive\n").expect("cat reads");
    let stdout = cat.0.stdout.as_mut().expect("it is piped");
    stdout.read_exact(&mut line).expect("cat writes");
    assert_eq!(&line, b"alive\n");
}

#[test]
fn the_text_report_ends_the_run_with_one_line_of_totals() {
    need!(snapshots_work(), "needs the right to take snapshots; see faultless doctor");
    let target = need_some!(Target::start(&["busy", "4"]));
    let folder = Folder::new("text");
    let run = Run::faultless(&["snapshot", &target.pid(), "-o", &folder.file("core")]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stdout.contains("paused"), "{}", run.stdout);
    assert!(!run.stderr.contains('\r'), "no progress where nobody watches");
}

#[test]
fn no_such_process() {
    // One more than the kernel ever gives out.
    expect_refusal("nobody", "4194305", 2, &["no process 4194305", "; ", "ps -e"]);
}

#[test]
fn a_process_id_that_is_none_is_a_usage_error() {
    for pid in ["0", "-1", "bash", "99999999999"] {
        let run = Run::faultless(&["snapshot", "-o", "core", "--", pid]);
        assert_eq!(run.code, Some(2), "{pid}: {}", run.stderr);
    }
}

#[test]
fn a_kernel_thread() {
    let name = fs::read_to_string("/proc/2/comm").unwrap_or_default();
    need!(name.trim() == "kthreadd", "needs the process ids of the host");
    expect_refusal("kthread", "2", 2, &["process 2 is a kernel thread", "; name a user process"]);
}

#[test]
fn a_zombie() {
    let zombie = Reaped::spawn(&mut Command::new("true"));
    let stat = format!("/proc/{}/stat", zombie.pid());
    while !fs::read_to_string(&stat).expect("not yet waited for").contains(") Z ") {
        std::thread::sleep(Duration::from_millis(1));
    }
    expect_refusal("zombie", &zombie.pid(), 4, &["is a zombie", "; ", "ps -o ppid="]);
}

#[test]
fn a_process_of_somebody_else() {
    need!(is_root(), "needs root, to give its rights up");
    need!(has("setpriv"), "needs setpriv");
    let target = Reaped::spawn(Command::new("sleep").arg("1000"));
    let installed = Folder::new("somebody");
    let copy = installed.file("faultless");
    fs::set_permissions(installed.path(), fs::Permissions::from_mode(0o777)).expect("ours");
    copy_program(&copy);
    let run = Run::of(
        Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all"])
            .args([&copy, "snapshot", &target.pid(), "-o", &installed.file("core")]),
    );
    run.expect_error(3, &["not permitted to trace process", "; run as root"]);
    assert_eq!(installed.names(), ["faultless"]);
}

/// A 32-bit program for x86 that sleeps for ever: an ELF header, one segment, five bytes of code.
fn sleeper_for_32_bit() -> Vec<u8> {
    const LOADED_AT: u32 = 0x0804_8000;
    const HEADERS: u32 = 52 + 32;
    // mov eax, 29 (pause); int 0x80; jmp back
    const CODE: [u8; 9] = [0xb8, 29, 0, 0, 0, 0xcd, 0x80, 0xeb, 0xf7];
    let mut elf = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let mut words = |values: &[u32]| values.iter().for_each(|v| elf.extend(v.to_le_bytes()));
    let halves = |low: u32, high: u32| high << 16 | low;
    // Type EXEC, machine 386; version; entry; program headers; sections; flags; sizes and counts.
    words(&[halves(2, 3), 1, LOADED_AT + HEADERS, 52, 0, 0, halves(52, 32), halves(1, 0), 0]);
    let len = HEADERS + 9;
    // LOAD, from the start of the file, readable and executable.
    words(&[1, 0, LOADED_AT, LOADED_AT, len, len, 5, 0x1000]);
    elf.extend(CODE);
    elf
}

#[test]
fn a_32_bit_program() {
    let folder = Folder::new("sleeper32");
    let path = folder.file("sleeper");
    fs::write(&path, sleeper_for_32_bit()).expect("room for a program");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("ours");
    let started = Command::new(&path).spawn();
    let child = Reaped(need_some!(started.map_err(|_| "this kernel runs no 32-bit programs")));
    expect_refusal("32", &child.pid(), 4, &["is a 32-bit program", "; ", "gcore"]);
}

#[test]
fn a_process_that_is_traced_already() {
    let target = need_some!(Target::start(&["traced"]));
    let traced = &target.story[0];
    expect_refusal("traced", traced, 4, &["is already traced by process", "; detach or end"]);
}

#[test]
fn a_range_that_belongs_to_another_userfaultfd() {
    need!(snapshots_work(), "needs the right to take snapshots; see faultless doctor");
    let mut target = need_some!(Target::start(&["registered"]));
    expect_refusal("owned", &target.pid(), 4, &["another userfaultfd", "; "]);
    target.expect_alive();
}

#[test]
fn an_output_that_exists_is_kept_unless_forced() {
    need!(snapshots_work(), "needs the right to take snapshots; see faultless doctor");
    let target = need_some!(Target::start(&["busy", "1"]));
    let folder = Folder::new("exists");
    let file = folder.file("core");
    fs::write(&file, "precious").expect("room for a word");
    let arguments = ["snapshot", &target.pid(), "-o", &file];
    Run::faultless(&arguments).expect_error(2, &["core", "exists", "; ", "--force"]);
    assert_eq!(fs::read_to_string(&file).expect("kept"), "precious");

    let forced = Run::faultless(&[&arguments[..], &["--force"]].concat());
    assert_eq!(forced.code, Some(0), "{}", forced.stderr);
    assert!(fs::read(&file).expect("replaced").starts_with(b"\x7fELF"));
    assert_eq!(folder.names(), ["core"]);
}

#[test]
fn a_folder_that_is_not_there() {
    let target = need_some!(Target::start(&["busy", "1"]));
    let run = Run::faultless(&["snapshot", &target.pid(), "-o", "/nonexistent/core"]);
    run.expect_error(4, &["/nonexistent", "; "]);
}

#[test]
fn a_disk_that_fills_up() {
    need!(snapshots_work(), "needs the right to take snapshots; see faultless doctor");
    need!(is_root(), "needs root, to mount a small disk in a namespace of its own");
    need!(has("unshare"), "needs unshare");
    let mut target = need_some!(Target::start(&["busy", "16"]));
    let folder = Folder::new("full");
    // The mount is seen in the private namespace alone and ends with it.
    let script = r#"mount -t tmpfs -o size=1m none "$1" || exit 77
        "$2" snapshot "$3" -o "$1/core"; code=$?
        ls -A "$1"; exit $code"#;
    let run = Run::of(
        Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"])
            .arg(folder.path())
            .args([program(), &target.pid()]),
    );
    need!(run.code != Some(77), "needs to mount a tmpfs");
    run.expect_error(4, &["no space left", "core", "; free some"]);
    target.expect_alive();
}

#[test]
fn a_core_beyond_the_file_size_limit() {
    need!(snapshots_work(), "needs the right to take snapshots; see faultless doctor");
    let mut target = need_some!(Target::start(&["busy", "16"]));
    let folder = Folder::new("limited");
    let script = r#"ulimit -f 1024; "$1" snapshot "$2" -o "$3"; code=$?; exit $code"#;
    let core = folder.file("core");
    let run =
        Run::of(Command::new("sh").args(["-c", script, "sh", program(), &target.pid(), &core]));
    run.expect_error(4, &["core grows beyond the largest file", "; raise `ulimit -f`"]);
    assert_eq!(folder.names(), [""; 0]);
    target.expect_alive();
}

#[test]
fn a_signal_that_the_parent_ignores_does_not_interrupt() {
    need!(snapshots_work(), "needs the right to take snapshots; see faultless doctor");
    let target = need_some!(Target::start(&["busy", "64"]));
    let folder = Folder::new("ignored");
    let file = folder.file("core");
    // As `nohup` does.
    let script = r#"trap '' HUP; exec "$1" snapshot "$2" -o "$3""#;
    let mut snapshot = Command::new("sh")
        .args(["-c", script, "sh", program(), &target.pid(), &file])
        .stdout(Stdio::null())
        .spawn()
        .map(Reaped)
        .expect("the shell starts");
    wait_until_attached(&mut snapshot.0);
    let sent = Run::of(Command::new("kill").args(["-HUP", &snapshot.pid()]));
    assert_eq!(sent.code, Some(0), "{}", sent.stderr);
    assert_eq!(snapshot.0.wait().expect("a child of ours").code(), Some(0));
    assert_eq!(folder.names(), ["core"]);
}

/// Waits until a snapshot has its userfaultfd, which it holds from attaching to its end.
fn wait_until_attached(snapshot: &mut Child) {
    let folder = format!("/proc/{}/fd", snapshot.id());
    let is_attached = || {
        fs::read_dir(&folder).into_iter().flatten().flatten().any(|descriptor| {
            let link = fs::read_link(descriptor.path()).unwrap_or_default();
            link.as_os_str() == "anon_inode:[userfaultfd]"
        })
    };
    while snapshot.try_wait().expect("a child of ours").is_none() && !is_attached() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn an_interrupted_snapshot_leaves_no_file_and_the_target_running() {
    need!(snapshots_work(), "needs the right to take snapshots; see faultless doctor");
    for (name, signal, code) in [("INT", "-INT", 130), ("TERM", "-TERM", 143)] {
        let mut target = need_some!(Target::start(&["busy", "256"]));
        let folder = Folder::new(&format!("interrupted-{name}"));
        let mut snapshot = Command::new(program())
            .args(["snapshot", &target.pid(), "-o", &folder.file("core")])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        wait_until_attached(&mut snapshot);
        let killed = Run::of(Command::new("kill").args([signal, &snapshot.id().to_string()]));
        assert_eq!(killed.code, Some(0), "{}", killed.stderr);
        let end = snapshot.wait_with_output().expect("the program ends");
        let story = String::from_utf8_lossy(&end.stderr);
        assert_eq!(end.status.code(), Some(code), "{story}");
        assert!(story.contains("; the process runs on"), "{story}");
        assert_eq!(folder.names(), [""; 0], "{name}");
        target.expect_alive();
    }
}
