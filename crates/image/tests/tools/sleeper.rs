//! A process that waits in a system call and does nothing else.

use std::io::Read;
use std::process::{Child, Command, Stdio};

/// A child that sleeps; killed and reaped when dropped.
pub(crate) struct Sleeper(Child);

impl Sleeper {
    /// Starts the shell and waits until it waits.
    pub(crate) fn start() -> Sleeper {
        // The shell says that it is up; from then on it waits for a line that never comes.
        let mut child = Command::new("/bin/sh")
            .args(["-c", "echo up; read line"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let mut up = [0; 3];
        child.stdout.as_mut().unwrap().read_exact(&mut up).unwrap();
        let sleeper = Sleeper(child);
        // The state stands behind the name, which ends at the last parenthesis.
        while !sleeper.proc("stat").contains(") S ") {
            std::thread::yield_now();
        }
        sleeper
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Reads a file of its `/proc` directory.
    pub(crate) fn proc(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.0.id())).unwrap_or_default()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
