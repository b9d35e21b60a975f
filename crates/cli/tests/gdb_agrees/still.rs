//! Processes that hold still: started, waited for until nothing moves in them, ended on drop.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A process all of whose threads wait for ever.
pub(crate) struct Still {
    child: Child,
    dir: PathBuf,
}

impl Still {
    /// Starts `tests/targets/still.c`.
    pub(crate) fn c() -> Still {
        let dir = fresh_dir("c");
        let program = dir.join("still");
        crate::run(
            Command::new("gcc")
                .args(["-O1", "-g", "-Wall", "-Wextra", "-pthread", "-o"])
                .arg(&program)
                .arg(targets().join("still.c")),
        );
        Still::start(&mut Command::new(program), dir)
    }

    /// Starts `tests/targets/still.rs`.
    pub(crate) fn rust() -> Still {
        let dir = fresh_dir("rust");
        let program = dir.join("still");
        crate::run(
            Command::new("rustc")
                .args(["--edition", "2024", "-g", "-o"])
                .arg(&program)
                .arg(targets().join("still.rs")),
        );
        Still::start(&mut Command::new(program), dir)
    }

    /// Starts `tests/targets/still.py`.
    pub(crate) fn python() -> Still {
        let mut command = Command::new("python3");
        Still::start(command.arg(targets().join("still.py")), fresh_dir("python"))
    }

    fn start(command: &mut Command, dir: PathBuf) -> Still {
        let mut child = command
            // The kernel writes the number of the CPU into every thread's rseq area whenever the
            // thread was stopped, so even two dumps by gcore would differ there.
            .env("GLIBC_TUNABLES", "glibc.pthread.rseq=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the target program starts");
        let stdout = child.stdout.take().expect("its output is a pipe");
        let still = Still { child, dir };
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).expect("its output is readable");
        assert_eq!(line, "ready\n");
        still.wait_until_still();
        still
    }

    /// Waits until no thread was scheduled between two looks.
    fn wait_until_still(&self) {
        let mut before = String::new();
        loop {
            std::thread::sleep(Duration::from_millis(50));
            let now = self.switches();
            if now == before {
                return;
            }
            before = now;
        }
    }

    /// States and context switches of all threads.
    fn switches(&self) -> String {
        let mut all = String::new();
        for entry in std::fs::read_dir(format!("/proc/{}/task", self.pid())).expect("it runs") {
            let status = entry.expect("it runs").path().join("status");
            let status = std::fs::read_to_string(status).expect("its threads do not end");
            let tells = |line: &&str| line.starts_with("State") || line.contains("ctxt_switches");
            all.extend(status.lines().filter(tells));
        }
        all
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A directory for its cores, removed with it.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The file it executes: not the one started where that was a script.
    pub(crate) fn program(&self) -> PathBuf {
        std::fs::read_link(format!("/proc/{}/exe", self.pid())).expect("it runs")
    }
}

impl Drop for Still {
    fn drop(&mut self) {
        // What is left of either is of no use to anybody.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn targets() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/targets")
}

fn fresh_dir(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("gdb-agrees-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("the directory for test files is writable");
    dir
}
