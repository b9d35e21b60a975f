//! What tests borrow from the machine and give back.

use std::fmt;
use std::fs;
use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use faultless_pages::{PageSize, Va, VaRange};

use crate::{Pid, Pidfd};

/// Free huge pages added to a pool, taken back on drop.
pub(crate) struct HugePages {
    path: String,
    added: u64,
    _alone: MutexGuard<'static, ()>,
}

/// Two tests at once would each count the other's pages.
static POOL: Mutex<()> = Mutex::new(());

impl HugePages {
    /// Adds `count` pages of `size` to the pool; `None` if the system does not let it.
    ///
    /// A child of a test relies on the pages its parent has added.
    pub(crate) fn reserve(size: PageSize, count: u64) -> Option<HugePages> {
        let alone = POOL.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let folder = format!("hugepages-{}kB", size.bytes().0 >> 10);
        let path = format!("/sys/kernel/mm/hugepages/{folder}/nr_hugepages");
        if std::env::var_os(CHILD).is_some() {
            return Some(HugePages { path, added: 0, _alone: alone });
        }
        let before = read(&path)?;
        fs::write(&path, (before + count).to_string()).ok()?;
        let added = read(&path)?.saturating_sub(before);
        let pool = HugePages { path, added, _alone: alone };
        (added >= count).then_some(pool)
    }
}

impl Drop for HugePages {
    fn drop(&mut self) {
        if self.added == 0 {
            return;
        }
        // By a difference: another program may have changed the pool meanwhile.
        let left = read(&self.path).unwrap_or(0).saturating_sub(self.added);
        let restored = fs::write(&self.path, left.to_string());
        assert!(restored.is_ok() || std::thread::panicking(), "{} stays changed", self.path);
    }
}

fn read(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// An address that no program of user space has.
// On aarch64 the top byte is a tag that the kernel looks past; bit 55 tells the halves apart.
pub(crate) const BEYOND_USER: Va =
    if cfg!(target_arch = "aarch64") { Va(1 << 55) } else { Va(1 << 62) };

/// A process that waits until it is dropped.
pub(crate) struct Victim(Child);

impl Victim {
    /// Starts the process and waits until it runs its own program.
    ///
    /// Until then it may still share the memory of this process: it was made by `vfork`, and its
    /// parent goes on a moment before it has changed over.
    pub(crate) fn start() -> Victim {
        let child = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a second process");
        let mut victim = Victim(child);
        let (input, output) = (victim.0.stdin.as_mut(), victim.0.stdout.as_mut());
        input.expect("a pipe").write_all(b"x").expect("a reader");
        output.expect("a pipe").read_exact(&mut [0]).expect("an answer");
        victim
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.0)
    }

    /// Returns the addresses of its stack.
    pub(crate) fn stack(&self) -> VaRange {
        let maps = fs::read_to_string(format!("/proc/{}/maps", self.0.id())).expect("maps");
        let line = maps.lines().find(|line| line.ends_with("[stack]")).expect("a stack");
        let (start, end) =
            line.split_once(' ').and_then(|(range, _)| range.split_once('-')).expect("a range");
        let address = |text| Va(u64::from_str_radix(text, 16).expect("a hexadecimal address"));
        VaRange::new(address(start), address(end))
    }

    /// Ends the process; its id is free when this returns.
    pub(crate) fn kill(&mut self) {
        self.0.kill().expect("a child");
        self.0.wait().expect("a child");
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Says why a test is left out; xtask counts such a test as skipped.
#[expect(clippy::print_stdout, reason = "the line belongs to the output of the test")]
pub(crate) fn skip(why: impl fmt::Display) {
    println!("skipped: {why}");
}

/// Names, in the environment of a child, the test it runs.
const CHILD: &str = "FAULTLESS_TEST_CHILD";

/// Runs `body` in a process of its own and returns how that ended; for tests that change what a
/// process has only one of, or end it.
///
/// `test` is the path of the calling test, which runs again there as the only one.
pub(crate) fn in_child(test: &str, body: fn()) -> ExitStatus {
    if std::env::var_os(CHILD).is_some_and(|name| name == test) {
        body();
        std::process::exit(0);
    }
    let (_, path) = test.split_once("::").expect("a path that begins with the crate");
    let mut child = Command::new(std::env::current_exe().expect("a path of this program"))
        .args(["--exact", path, "--nocapture"])
        .env(CHILD, test)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a second process");
    let pidfd = Pidfd::open(Pid::from_child(&child)).expect("a child that was not waited for");
    let ended = pidfd.poll(Some(Duration::from_secs(30))).expect("poll");
    if !ended {
        child.kill().expect("a child that still runs");
    }
    let output = child.wait_with_output().expect("a child");
    relay(&output.stdout);
    relay(&output.stderr);
    assert!(ended, "{test} hung");
    output.status
}

/// Makes what a child printed part of the test's own output.
#[expect(clippy::print_stdout, reason = "a failed child says why")]
fn relay(printed: &[u8]) {
    for line in String::from_utf8_lossy(printed).lines() {
        // xtask reads reasons at the start of a line, and must not read the child's counts.
        let mark = if line.starts_with("skipped: ") { "" } else { "| " };
        println!("{mark}{line}");
    }
}

/// Names the calling test for [`in_child`].
macro_rules! this_test {
    ($name:ident) => {
        concat!(module_path!(), "::", stringify!($name))
    };
}
pub(crate) use this_test;
