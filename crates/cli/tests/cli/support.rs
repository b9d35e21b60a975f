//! Running the program and its surroundings.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, OnceLock, PoisonError};

/// How the program ended and what it said.
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    /// Runs a command to its end.
    pub(crate) fn of(command: &mut Command) -> Run {
        let Output { status, stdout, stderr } = command.output().expect("the command starts");
        Run {
            code: status.code(),
            stdout: String::from_utf8(stdout).expect("text"),
            stderr: String::from_utf8(stderr).expect("text"),
        }
    }

    /// Runs the program with these arguments.
    pub(crate) fn faultless(arguments: &[&str]) -> Run {
        Run::of(Command::new(program()).args(arguments))
    }

    /// Reads stdout as one JSON object.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}\n{}", self.stdout, self.stderr))
    }

    /// Checks that the run failed with `code` and one line that contains all `parts` in order.
    pub(crate) fn expect_error(&self, code: i32, parts: &[&str]) {
        let story = format!("exit {:?}, stderr: {}", self.code, self.stderr);
        assert_eq!(self.code, Some(code), "{story}");
        let line = self.stderr.lines().last().unwrap_or_default();
        let mut rest = line.strip_prefix("faultless: ").unwrap_or_else(|| panic!("{story}"));
        for part in parts {
            let found = rest.find(part).unwrap_or_else(|| panic!("no {part:?} in {story}"));
            rest = &rest[found + part.len()..];
        }
        assert_eq!(self.stdout, "", "a failure has no result");
    }
}

/// Returns the path of the program under test.
pub(crate) fn program() -> &'static str {
    env!("CARGO_BIN_EXE_faultless")
}

/// Copies the program under test.
///
/// By another process: a descriptor of ours that is open for writing would be inherited by what
/// other tests start at the same time, and nothing can be executed while it is.
pub(crate) fn copy_program(to: impl AsRef<OsStr>) {
    let copied = Run::of(Command::new("cp").arg(program()).arg(to));
    assert_eq!(copied.code, Some(0), "{}", copied.stderr);
}

/// Says whether the tests run as root.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Says whether this user may take snapshots of own processes here, as doctor finds out.
pub(crate) fn snapshots_work() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| Run::faultless(&["doctor"]).code == Some(0))
}

/// Says whether a program can be found.
pub(crate) fn has(tool: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(tool).is_file()))
}

/// Compiles a C program of `tests/cli/targets`, or says why not.
pub(crate) fn compile(name: &str) -> Result<PathBuf, String> {
    /// Programs compiled by this process: tests run side by side and share them.
    static COMPILED: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    if !has("cc") {
        return Err("needs a C compiler (cc)".into());
    }
    let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    let program = compiled.entry(name.to_owned()).or_insert_with(|| build(name));
    Ok(program.clone())
}

fn build(name: &str) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/cli/targets/{name}.c"));
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    // Renamed when whole: another test process may be running the one it replaces.
    let fresh = program.with_extension(std::process::id().to_string());
    let built = Run::of(
        Command::new("cc").args(["-O2", "-Wall", "-pthread", "-o"]).arg(&fresh).arg(source),
    );
    assert_eq!(built.code, Some(0), "{}", built.stderr);
    std::fs::rename(&fresh, &program).expect("a folder of ours");
    program
}

/// Leaves the test, saying why, when something it needs is not there.
macro_rules! need {
    ($condition:expr, $reason:expr) => {
        if !$condition {
            println!("skipped: {}", $reason);
            return;
        }
    };
}

/// Takes the value, or leaves the test saying why there is none.
macro_rules! need_some {
    ($result:expr) => {
        match $result {
            Ok(value) => value,
            Err(reason) => {
                println!("skipped: {reason}");
                return;
            }
        }
    };
}

pub(crate) use {need, need_some};
