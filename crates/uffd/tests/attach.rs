//! Attaching a userfaultfd to real processes leaves them as they were.

#![expect(clippy::print_stdout, reason = "a skipped test says why")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use faultless_uffd::attach::{AttachError, attach};

/// A child that is ended with the test.
struct Target(Child);

impl Target {
    fn start(command: &mut Command) -> Target {
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        Target(child.expect("the target starts"))
    }

    fn python(code: &str) -> Target {
        Target::start(Command::new("python3").args(["-u", "-c", code]))
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Reads one line the target prints.
    fn line(&mut self) -> String {
        let mut line = String::new();
        let output = self.0.stdout.as_mut().expect("a pipe");
        // One line at a time is all the targets print before they are asked again.
        BufReader::with_capacity(1, output).read_line(&mut line).expect("a line");
        line.trim().to_owned()
    }

    fn say(&mut self, text: &str) {
        writeln!(self.0.stdin.as_mut().expect("a pipe"), "{text}").expect("the target reads");
    }

    fn status(&self, field: &str) -> String {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("alive");
        let line = status.lines().find(|line| line.starts_with(field)).expect("the field");
        line.split_once(':').expect("a field").1.trim().to_owned()
    }

    fn descriptors(&self) -> Vec<String> {
        let entries = fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("alive");
        let mut links: Vec<_> = entries
            .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
            .map(|link| link.display().to_string())
            .collect();
        links.sort();
        links
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Says whether the kernel lets this process attach at all, and why not.
fn cannot() -> bool {
    let mut target = Target::start(&mut Command::new("cat"));
    let outcome = attach(target.pid());
    target.say("");
    match outcome {
        Ok(_) => false,
        Err(error) => {
            println!("skipped: {error}");
            true
        }
    }
}

#[test]
fn a_target_keeps_no_descriptor_no_tracer_and_no_mapping() {
    if cannot() {
        return;
    }
    let mut target = Target::python("print('up'); input(); print('still here')");
    assert_eq!(target.line(), "up");
    let descriptors = target.descriptors();
    let mask = target.status("SigBlk");
    let maps = fs::read_to_string(format!("/proc/{}/maps", target.pid())).expect("alive");
    for _ in 0..20 {
        let attachment = attach(target.pid()).expect("attached");
        assert_eq!(target.descriptors(), descriptors);
        drop(attachment);
    }
    assert_eq!(target.status("TracerPid"), "0");
    assert_eq!(target.status("SigBlk"), mask);
    assert_eq!(fs::read_to_string(format!("/proc/{}/maps", target.pid())).expect("alive"), maps);
    target.say("");
    assert_eq!(target.line(), "still here");
}

#[test]
fn interrupted_calls_go_on_as_if_nothing_had_happened() {
    if cannot() {
        return;
    }
    let calls = [
        "time.sleep(0.3)",
        "select.select([], [], [], 0.3)",
        "select.poll().poll(300)",
        "threading.Event().wait(0.3)",
        "signal.sigtimedwait([signal.SIGUSR1], 0.3)",
    ];
    for call in calls {
        let mut target = Target::python(&format!(
            "import time, select, threading, signal\n\
             begin = time.monotonic()\n\
             print('up')\n\
             {call}\n\
             print('whole' if time.monotonic() - begin >= 0.3 else 'cut short')"
        ));
        assert_eq!(target.line(), "up");
        for _ in 0..5 {
            match attach(target.pid()) {
                // On a busy machine the call is over, and the program, before the fifth time.
                Ok(_) | Err(AttachError::Ended(_) | AttachError::Zombie(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(target.line(), "whole", "{call}");
    }
}

#[test]
fn signals_that_arrive_meanwhile_are_delivered_afterwards() {
    if cannot() {
        return;
    }
    let mut target = Target::python(
        "import signal, time\n\
         seen = [0]\n\
         def count(*_): seen[0] += 1\n\
         signal.signal(signal.SIGALRM, count)\n\
         signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)\n\
         print('up')\n\
         input()\n\
         print('ticking' if seen[0] > 10 else 'silent')",
    );
    assert_eq!(target.line(), "up");
    for _ in 0..50 {
        drop(attach(target.pid()).expect("attached"));
    }
    target.say("");
    assert_eq!(target.line(), "ticking");
}

#[test]
fn computing_threads_are_put_back_exactly() {
    if cannot() {
        return;
    }
    // A sum that any clobbered register would spoil.
    let code = "s = 0\nprint('up')\nfor i in range(3000000): s += i * i\nprint(s)";
    let mut target = Target::python(code);
    assert_eq!(target.line(), "up");
    for _ in 0..30 {
        match attach(target.pid()) {
            Ok(_) | Err(AttachError::Ended(_) | AttachError::Zombie(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    let sum: u64 = (0..3_000_000u64).map(|i| i * i).sum();
    assert_eq!(target.line(), sum.to_string());
}

#[test]
fn a_target_without_rights_is_given_the_device() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can start a target of another user");
        return;
    }
    if cannot() {
        return;
    }
    let mut target =
        Target::start(Command::new("setpriv").args(["--reuid", "65534", "--clear-groups", "cat"]));
    target.say("one");
    assert_eq!(target.line(), "one");
    let descriptors = target.descriptors();
    let attachment = attach(target.pid()).expect("attached");
    assert_eq!(target.descriptors(), descriptors);
    println!("by device: {}", attachment.by_device);
    drop(attachment);
    target.say("two");
    assert_eq!(target.line(), "two");
}

#[test]
fn a_stopped_process_stays_stopped() {
    if cannot() {
        return;
    }
    let mut target = Target::start(&mut Command::new("cat"));
    target.say("one");
    assert_eq!(target.line(), "one");
    let id = rustix::process::Pid::from_raw(target.pid().cast_signed()).expect("an id");
    rustix::process::kill_process(id, rustix::process::Signal::STOP).expect("sent");
    while !target.status("State").starts_with('T') {
        std::thread::yield_now();
    }
    drop(attach(target.pid()).expect("attached"));
    while !target.status("State").starts_with('T') {
        std::thread::yield_now();
    }
    rustix::process::kill_process(id, rustix::process::Signal::CONT).expect("sent");
    target.say("two");
    assert_eq!(target.line(), "two");
}
