//! Proves the conformance suite itself: bodies notice a world that lies, puppets die with their
//! driver, and a signal leaves nothing behind.
//!
//! For every [`Lie`] and each of its topics, the topic's bodies run in the kernel's world with that
//! lie told; at least one must notice, or the suite does not test what it says. Every topic has a
//! lie.

#![forbid(unsafe_code)]

mod custody;
mod liar;
mod likeness;

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use faultless_sim::conform::kernel::{KernelWorld, Machine, probe};
use faultless_sim::conform::stage::Stage;
use faultless_sim::conform::verdict::{Failure, Verdict};
use faultless_sim::conform::{CASES, Call, Profile};
use faultless_uapi::mode::register::MISSING;

use liar::{LIES, Liar, Lie};

/// Turns a run of this program into a driver that holds a puppet until it is killed.
const HOLD: &str = "--hold-a-puppet";
/// Emulated machines are slow.
const PATIENCE: u32 = 20;

fn main() -> ExitCode {
    faultless_uffd::puppet::serve_if_asked();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == HOLD) {
        return hold();
    }
    if arguments.iter().any(|argument| argument == custody::HOLD) {
        return custody::hold();
    }
    let filters: Vec<&String> = arguments.iter().filter(|a| !a.starts_with('-')).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        for (name, _) in tests() {
            say(&format!("{name}: test"));
        }
        return ExitCode::SUCCESS;
    }
    run(&filters)
}

/// A test: passed with a remark, or not.
type Test = Box<dyn Fn(&Profile) -> Result<String, Failure>>;

fn tests() -> Vec<(String, Test)> {
    let mut tests: Vec<(String, Test)> = Vec::new();
    for lie in LIES {
        for topic in lie.topics {
            let test: Test = Box::new(move |profile| notice(lie, topic, profile));
            tests.push((format!("{topic}::notices_that_{}", lie.name), test));
        }
    }
    tests.push(("every_topic_has_a_lie".into(), Box::new(|_| every_topic_has_a_lie())));
    tests.push((
        "likeness::the_kernel_is_like_its_own_release".into(),
        Box::new(|_| likeness::the_kernel_is_like_its_own_release()),
    ));
    tests.push((
        "likeness::a_lie_is_a_difference".into(),
        Box::new(|_| likeness::a_lie_is_a_difference()),
    ));
    tests.push(("puppets_die_with_their_driver".into(), Box::new(|_| puppets_die())));
    let signals: Test = Box::new(|_| custody::signals_give_back());
    tests.push(("signals_give_the_machine_back".into(), signals));
    tests
}

fn run(filters: &[&String]) -> ExitCode {
    let (mut passed, mut failed, mut skipped, mut filtered) = (0, 0, 0, 0);
    let mut machine = Machine::borrow();
    let profile = match probe(PATIENCE) {
        Ok(profile) => profile,
        Err(failure) => {
            say(&format!("no profile: {failure}"));
            return ExitCode::FAILURE;
        }
    };
    for (name, test) in tests() {
        if !filters.is_empty() && !filters.iter().any(|filter| name.contains(filter.as_str())) {
            filtered += 1;
            continue;
        }
        match test(&profile) {
            Ok(remark) => {
                passed += 1;
                say(&format!("test {name} ... ok ({remark})"));
            }
            Err(Failure::Skip(why)) => {
                skipped += 1;
                say(&format!("test {name} ... skipped: {why}"));
            }
            Err(failure) => {
                failed += 1;
                say(&format!("test {name} ... FAILED: {failure}"));
            }
        }
    }
    for line in machine.give_back().err().into_iter().flatten() {
        failed += 1;
        say(&format!("left behind: {line}"));
    }
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    say(&format!(
        "\ntest result: {verdict}. {passed} passed; {failed} failed; {skipped} ignored; \
         0 measured; {filtered} filtered out"
    ));
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn say(line: &str) {
    // Nobody is left to tell when the reader is gone.
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn every_topic_has_a_lie() -> Result<String, Failure> {
    let told = |topic: &str| LIES.iter().any(|lie| lie.topics.contains(&topic));
    match CASES.iter().find(|case| !told(case.topic)) {
        Some(case) => Err(Failure::Diverges(format!("nothing is lied about to {}", case.topic))),
        None => Ok(format!("{} lies", LIES.len())),
    }
}

/// Runs the bodies of a topic until one notices.
fn notice(lie: &'static Lie, topic: &str, profile: &Profile) -> Result<String, Failure> {
    if !profile.offers(lie.needs) {
        return Err(Failure::Skip("this kernel lacks what is lied about".into()));
    }
    let cases = CASES.iter().filter(|case| case.topic == topic);
    let mut ran = 0;
    for case in cases {
        let mut world = Liar::new(KernelWorld::new(profile.clone(), PATIENCE), lie);
        match (case.body)(&mut world) {
            Ok(()) => ran += 1,
            Err(Failure::Skip(_)) => {}
            // A lie may also break what the bodies are written with; an honest world does not.
            Err(_) => return Ok(format!("by {}", case.name)),
        }
    }
    if ran == 0 {
        return Err(Failure::Skip("this kernel runs none of the bodies that would notice".into()));
    }
    Err(Failure::Diverges(format!("{ran} bodies ran and none noticed")))
}

/// Starts a puppet with a thread asleep in a fault, tells its id, and waits to be killed.
fn hold() -> ExitCode {
    let held = probe(PATIENCE).and_then(|profile| {
        let mut world = KernelWorld::new(profile, PATIENCE);
        let pid = fall_asleep(&mut world)?;
        say(&pid.to_string());
        std::thread::sleep(Duration::from_secs(600));
        Ok(())
    });
    if held.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn fall_asleep(world: &mut KernelWorld) -> Verdict<u32> {
    let mut stage = Stage::open(world, 0)?;
    let area = stage.anon(1)?;
    stage.register(area.range(), MISSING)?;
    // The first thread itself, so that nobody in the puppet is left to notice the driver's end.
    stage.world.start(stage.me, Call::Load { at: area.start, len: 1 })?;
    stage.still_blocked(stage.me)?;
    Ok(stage.world.thread_id(stage.me))
}

#[expect(clippy::needless_pass_by_value, reason = "`map_err` hands it over")]
fn broken(error: std::io::Error) -> Failure {
    Failure::Broken(error.to_string())
}

/// Kills a driver whose puppet sleeps in a fault, and watches the puppet go.
fn puppets_die() -> Result<String, Failure> {
    let mut driver =
        Command::new("/proc/self/exe").arg(HOLD).stdout(Stdio::piped()).spawn().map_err(broken)?;
    let mut line = String::new();
    if let Some(stdout) = driver.stdout.take() {
        BufReader::new(stdout).read_line(&mut line).map_err(broken)?;
    }
    driver.kill().map_err(broken)?;
    driver.wait().map_err(broken)?;
    if line.trim().is_empty() {
        return Err(Failure::Skip("no userfaultfd here to put a puppet to sleep with".into()));
    }
    let stat = PathBuf::from(format!("/proc/{}/stat", line.trim()));
    let deadline = Instant::now() + Duration::from_secs(10) * PATIENCE;
    while Instant::now() < deadline {
        // A zombie is dead; whoever inherited it may reap it when it likes.
        let alive = std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z "));
        if !alive {
            return Ok("gone with its sleeping thread".into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Err(Failure::Diverges(format!("puppet {} outlived its driver", line.trim())))
}
