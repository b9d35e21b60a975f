//! Processes to be snapshotted.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::support::compile;

/// A process of `targets/target.c`, ended when dropped.
pub(crate) struct Target {
    child: Child,
    answers: BufReader<ChildStdout>,
    /// What it printed before it was ready.
    pub(crate) story: Vec<String>,
}

impl Target {
    /// Starts one and waits until it is ready, or says why it cannot be had.
    pub(crate) fn start(arguments: &[&str]) -> Result<Target, String> {
        let program = compile("target")?;
        let mut child = Command::new(&program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the target starts");
        let answers = BufReader::new(child.stdout.take().expect("its standard output"));
        let mut target = Target { child, answers, story: Vec::new() };
        loop {
            match target.line()?.as_str() {
                "ready" => return Ok(target),
                line => target.story.push(line.to_owned()),
            }
        }
    }

    /// Returns its process id, as it is typed.
    pub(crate) fn pid(&self) -> String {
        self.child.id().to_string()
    }

    /// Checks that it still runs and answers.
    pub(crate) fn expect_alive(&mut self) {
        let stdin = self.child.stdin.as_mut().expect("its standard input");
        stdin.write_all(b"?\n").expect("the target still reads");
        assert_eq!(self.line().as_deref(), Ok("alive"));
    }

    fn line(&mut self) -> Result<String, String> {
        let mut line = String::new();
        match self.answers.read_line(&mut line) {
            Ok(0) | Err(_) => Err("the target could not do its part here".into()),
            Ok(_) => Ok(line.trim_end().to_owned()),
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A child that is ended and waited for when dropped.
pub(crate) struct Reaped(pub(crate) Child);

impl Reaped {
    pub(crate) fn spawn(command: &mut Command) -> Reaped {
        Reaped(command.spawn().expect("the command starts"))
    }

    pub(crate) fn pid(&self) -> String {
        self.0.id().to_string()
    }
}

impl Drop for Reaped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An empty folder, gone when dropped.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Folder {
        let name = format!("faultless-test-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder).expect("a folder of our own");
        Folder(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Returns the path of a file in it, as it is typed.
    pub(crate) fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("a path of ours").to_owned()
    }

    /// Lists the names in it.
    pub(crate) fn names(&self) -> Vec<String> {
        fs::read_dir(&self.0)
            .expect("our folder")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
