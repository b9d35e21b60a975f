//! Running the program and its surroundings.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

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

/// Says whether the tests run as root.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Says whether a program can be found.
pub(crate) fn has(tool: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(tool).is_file()))
}

/// Compiles a C program of `tests/cli/targets`, or says why not.
pub(crate) fn compile(name: &str) -> Result<PathBuf, String> {
    if !has("cc") {
        return Err("needs a C compiler (cc)".into());
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/cli/targets/{name}.c"));
    // One file a test process: tests of several processes may compile at the same time.
    let target =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    let built = Run::of(
        Command::new("cc").args(["-O2", "-Wall", "-pthread", "-o"]).arg(&target).arg(source),
    );
    assert_eq!(built.code, Some(0), "{}", built.stderr);
    Ok(target)
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
