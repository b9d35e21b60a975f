//! A server to test, and what it tells.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running server; it ends with this.
pub(crate) struct Server {
    child: Child,
    pub(crate) socket: PathBuf,
    told: Arc<Told>,
}

#[derive(Default)]
struct Told {
    events: Mutex<Vec<Value>>,
    more: Condvar,
}

impl Server {
    /// Starts a server and waits until it listens.
    pub(crate) fn start(image: &Path, directory: &Path, args: &[&str]) -> Server {
        let socket = directory.join("socket");
        let mut child = Command::new(env!("CARGO_BIN_EXE_faultless"))
            .arg("serve")
            .arg(image)
            .arg("--socket")
            .arg(&socket)
            .args(["--json"])
            .args(args)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let told = Arc::new(Told::default());
        let (lines, told_there) = (child.stdout.take().unwrap(), Arc::clone(&told));
        std::thread::spawn(move || {
            for line in BufReader::new(lines).lines() {
                let event = serde_json::from_str(&line.unwrap()).unwrap();
                told_there.events.lock().unwrap().push(event);
                told_there.more.notify_all();
            }
        });
        let server = Server { child, socket, told };
        server.wait_for("listening", 1);
        server
    }

    /// Waits until so many events of a name were told; returns the last of them.
    pub(crate) fn wait_for(&self, name: &str, count: usize) -> Value {
        let start = Instant::now();
        let mut events = self.told.events.lock().unwrap();
        loop {
            let mut found = events.iter().filter(|event| event["event"] == name);
            if let Some(event) = found.nth(count - 1) {
                return event.clone();
            }
            assert!(start.elapsed() < PATIENCE, "no {name}, only {events:?}");
            let waited = self.told.more.wait_timeout(events, Duration::from_millis(100));
            events = waited.unwrap().0;
        }
    }

    /// How often something was told so far.
    pub(crate) fn count(&self, name: &str) -> usize {
        let events = self.told.events.lock().unwrap();
        events.iter().filter(|event| event["event"] == name).count()
    }

    /// The process of the worker that was started last.
    pub(crate) fn worker(&self) -> Pid {
        let events = self.told.events.lock().unwrap();
        let last = events.iter().rfind(|event| event["event"] == "worker").unwrap();
        let pid = i32::try_from(last["pid"].as_i64().unwrap()).unwrap();
        Pid::from_raw(pid).unwrap()
    }

    /// The process of the front.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Waits until it has ended.
    pub(crate) fn wait(mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Its worker ends with the last client, so nothing is left behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
