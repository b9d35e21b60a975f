//! QMP, the protocol of QEMU's monitor: one JSON object a line, over a Unix socket.
//!
//! Called by everything in [`super`] that asks QEMU for something. Commands go one at a time, each
//! with a number that its answer repeats; events, which come in between, are passed over.
//!
//! # Invariants
//! - No wait is without an end: a monitor that says nothing is an error that names it.
//! - What comes is bounded before it is kept.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use faultless_uffd::{Peer, send_fds};
use rustix::io::Errno;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// How long the greeting is waited for. QEMU sends it at once, unless somebody else is connected:
/// it talks to one at a time.
const GREETING: Duration = Duration::from_secs(5);
/// How long an answer is waited for. A busy host takes a while to schedule QEMU's main loop.
const ANSWER: Duration = Duration::from_secs(60);
/// The longest line: the largest answer asked for takes some kilobytes.
const LINE_MAX: usize = 16 << 20;
/// Bytes of a line that an error shows.
const SHOWN: usize = 80;

/// Why a monitor could not be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QmpError {
    /// Nobody listens.
    #[error("cannot connect to QEMU's monitor {}: {source}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It said nothing.
    #[error("QEMU's monitor {} said nothing for {seconds} s", path.display())]
    Silent {
        /// The socket.
        path: PathBuf,
        /// How long it was given.
        seconds: u64,
        /// Whether it was to greet: it may be talking to somebody else.
        greeting: bool,
    },
    /// It is gone.
    #[error("QEMU has closed its monitor {} {}", path.display(), while_doing(command))]
    Closed {
        /// The socket.
        path: PathBuf,
        /// What was asked of it; empty if nothing.
        command: &'static str,
    },
    /// What it says is no QMP.
    #[error("{} is no QMP monitor: it says `{line}`", path.display())]
    NotQmp {
        /// The socket.
        path: PathBuf,
        /// What it said.
        line: String,
    },
    /// QEMU refuses a command.
    #[error("QEMU refuses {command}: {description} ({class})")]
    Refused {
        /// The command.
        command: &'static str,
        /// The class of the error.
        class: String,
        /// QEMU's words.
        description: String,
    },
    /// QEMU answers something else than it should.
    #[error("QEMU's answer to {command} is not understood: {why}")]
    Answer {
        /// The command.
        command: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// A descriptor could not be sent, or the socket fails.
    #[error("QEMU's monitor {}: {why}", path.display())]
    Socket {
        /// The socket.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

fn while_doing(command: &str) -> String {
    if command.is_empty() { "at once".to_owned() } else { format!("while it did {command}") }
}

/// A version of QEMU.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Version {
    /// The first number.
    pub major: u32,
    /// The second.
    pub minor: u32,
    /// The third.
    pub micro: u32,
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.micro)
    }
}

/// A monitor that is ready for commands.
#[derive(Debug)]
pub(super) struct Qmp {
    stream: UnixStream,
    path: PathBuf,
    version: Version,
    /// What was read and belongs to no line that was taken yet.
    pending: Vec<u8>,
    number: u64,
}

/// A line of the monitor, whichever it is.
#[derive(Deserialize)]
struct Line {
    #[serde(rename = "QMP")]
    greeting: Option<Greeting>,
    #[serde(rename = "return", default, deserialize_with = "present")]
    answer: Option<Value>,
    error: Option<Refusal>,
    id: Option<u64>,
}

/// Keeps `null` apart from nothing.
fn present<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(from).map(Some)
}

#[derive(Deserialize)]
struct Greeting {
    version: Versions,
}

#[derive(Deserialize)]
struct Versions {
    qemu: Version,
}

#[derive(Deserialize)]
struct Refusal {
    class: String,
    desc: String,
}

impl Qmp {
    /// Connects and agrees to talk.
    pub(super) fn connect(path: &Path) -> Result<Qmp, QmpError> {
        let connect = |source| QmpError::Connect { path: path.to_owned(), source };
        let stream = UnixStream::connect(path).map_err(connect)?;
        let mut qmp = Qmp {
            stream,
            path: path.to_owned(),
            version: Version::default(),
            pending: Vec::new(),
            number: 0,
        };
        let greeting = qmp.line(GREETING, "", true)?;
        match serde_json::from_slice(&greeting) {
            Ok(Line { greeting: Some(greeting), .. }) => qmp.version = greeting.version.qemu,
            _ => return Err(qmp.not_qmp(&greeting)),
        }
        qmp.execute::<Value>("qmp_capabilities", &json!({}))?;
        Ok(qmp)
    }

    /// Returns which QEMU it is.
    pub(super) fn version(&self) -> &Version {
        &self.version
    }

    /// Returns the process that listens.
    pub(super) fn peer(&self) -> Result<Peer, Errno> {
        Peer::of(&self.stream)
    }

    /// Has QEMU carry a command out, and waits for its answer.
    pub(super) fn execute<T: DeserializeOwned>(
        &mut self,
        command: &'static str,
        arguments: &Value,
    ) -> Result<T, QmpError> {
        self.send(command, arguments, &[])
    }

    /// Gives QEMU a descriptor, which it knows by `name` from then on.
    pub(super) fn give(&mut self, name: &str, fd: BorrowedFd<'_>) -> Result<(), QmpError> {
        self.send::<Value>("getfd", &json!({ "fdname": name }), &[fd]).map(drop)
    }

    fn send<T: DeserializeOwned>(
        &mut self,
        command: &'static str,
        arguments: &Value,
        fds: &[BorrowedFd<'_>],
    ) -> Result<T, QmpError> {
        self.number += 1;
        let request = json!({ "execute": command, "arguments": arguments, "id": self.number });
        let request = format!("{request}\n").into_bytes();
        let sent = match fds {
            [] => 0,
            fds => send_fds(self.stream.as_fd(), &request, fds)
                .map_err(|error| self.socket(&error.to_string()))?,
        };
        match self.stream.write_all(&request[sent..]) {
            // It may have said why before.
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                return Err(QmpError::Closed { path: self.path.clone(), command });
            }
            Err(error) => return Err(self.socket(&error.to_string())),
        }
        self.answer(command)
    }

    /// Waits for the answer to the last command.
    fn answer<T: DeserializeOwned>(&mut self, command: &'static str) -> Result<T, QmpError> {
        loop {
            let text = self.line(ANSWER, command, false)?;
            let Ok(line) = serde_json::from_slice::<Line>(&text) else {
                return Err(self.not_qmp(&text));
            };
            // Events, and answers nobody waited for any more.
            if line.id != Some(self.number) {
                continue;
            }
            if let Some(Refusal { class, desc: description }) = line.error {
                return Err(QmpError::Refused { command, class, description });
            }
            let understood = serde_json::from_value(line.answer.unwrap_or_default());
            return understood
                .map_err(|error| QmpError::Answer { command, why: error.to_string() });
        }
    }

    /// Reads a line.
    fn line(
        &mut self,
        patience: Duration,
        command: &'static str,
        greeting: bool,
    ) -> Result<Vec<u8>, QmpError> {
        self.stream
            .set_read_timeout(Some(patience))
            .map_err(|error| self.socket(&error.to_string()))?;
        let mut searched = 0;
        loop {
            if let Some(end) = self.pending[searched..].iter().position(|byte| *byte == b'\n') {
                let rest = self.pending.split_off(searched + end + 1);
                return Ok(std::mem::replace(&mut self.pending, rest));
            }
            searched = self.pending.len();
            if searched > LINE_MAX {
                return Err(self.not_qmp(&self.pending));
            }
            let mut buffer = [0; 8192];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(QmpError::Closed { path: self.path.clone(), command }),
                Ok(read) => self.pending.extend_from_slice(&buffer[..read]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let path = self.path.clone();
                    return Err(QmpError::Silent { path, seconds: patience.as_secs(), greeting });
                }
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                    return Err(QmpError::Closed { path: self.path.clone(), command });
                }
                Err(error) => return Err(self.socket(&error.to_string())),
            }
        }
    }

    fn socket(&self, why: &str) -> QmpError {
        QmpError::Socket { path: self.path.clone(), why: why.to_owned() }
    }

    fn not_qmp(&self, said: &[u8]) -> QmpError {
        let line = String::from_utf8_lossy(&said[..said.len().min(SHOWN)]).trim_end().to_owned();
        QmpError::NotQmp { path: self.path.clone(), line }
    }
}

impl QmpError {
    /// Says what the user can do about it.
    pub(super) fn next_step(&self) -> &'static str {
        match self {
            QmpError::Connect { .. } => {
                "start QEMU with -qmp unix:PATH,server=on,wait=off and name that PATH"
            }
            QmpError::Silent { greeting: true, .. } => {
                "disconnect whoever else talks to this monitor, or give QEMU a second -qmp"
            }
            QmpError::Silent { .. } => "see what QEMU waits for, and try again",
            QmpError::Closed { .. } => "QEMU's own standard error says why it ended",
            QmpError::NotQmp { .. } => "name a socket made by -qmp, not by -monitor or -serial",
            QmpError::Refused { .. } | QmpError::Answer { .. } => {
                "the guide of faultless vm says which QEMU can do what"
            }
            QmpError::Socket { .. } => "try again",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::os::unix::net::UnixListener;
    use std::thread::JoinHandle;

    use super::*;

    const GREETING_LINE: &str = r#"{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2,
        "major": 7}, "package": "x"}, "capabilities": ["oob"]}}"#;

    /// A monitor that answers each command with what `script` says next.
    fn monitor(
        script: &'static [&'static str],
    ) -> (tempfile::TempDir, PathBuf, JoinHandle<Vec<Value>>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("qmp");
        let listener = UnixListener::bind(&path).unwrap();
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            writeln!(stream, "{}", GREETING_LINE.replace('\n', " ")).unwrap();
            let mut heard = Vec::new();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            for answer in script {
                let line = lines.next().unwrap().unwrap();
                let request: Value = serde_json::from_str(&line).unwrap();
                let id = request["id"].to_string();
                heard.push(request);
                writeln!(stream, "{}", answer.replace("ID", &id)).unwrap();
            }
            heard
        });
        (directory, path, thread)
    }

    #[test]
    fn events_and_stale_answers_are_passed_over() {
        let (_directory, path, thread) = monitor(&[
            r#"{"return": {}, "id": ID}"#,
            "{\"event\": \"STOP\", \"timestamp\": {}}\n{\"return\": 7, \"id\": 0}\n\
             {\"return\": [1, 2], \"id\": ID}",
        ]);
        let mut qmp = Qmp::connect(&path).unwrap();
        assert_eq!(qmp.version().to_string(), "7.2.22");
        let answer: Vec<u64> = qmp.execute("query-memdev", &json!({"a": 1})).unwrap();
        assert_eq!(answer, [1, 2]);
        let heard = thread.join().unwrap();
        assert_eq!(heard[0]["execute"], "qmp_capabilities");
        assert_eq!(heard[1]["arguments"]["a"], 1);
    }

    #[test]
    fn a_refusal_carries_the_class_and_the_words() {
        let (_directory, path, _thread) = monitor(&[
            r#"{"return": {}, "id": ID}"#,
            r#"{"error": {"class": "GenericError", "desc": "no such thing"}, "id": ID}"#,
        ]);
        let mut qmp = Qmp::connect(&path).unwrap();
        let refused = qmp.execute::<Value>("qom-get", &json!({})).unwrap_err();
        assert_eq!(refused.to_string(), "QEMU refuses qom-get: no such thing (GenericError)");
        let closed = qmp.execute::<Value>("cont", &json!({})).unwrap_err();
        assert!(matches!(closed, QmpError::Closed { command: "cont", .. }), "{closed}");
    }

    #[test]
    fn what_is_no_monitor_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("qmp");
        let listener = UnixListener::bind(&path).unwrap();
        let thread = std::thread::spawn(move || {
            listener.accept().unwrap().0.write_all(b"QEMU 7.2.22 monitor\r\n(qemu) ").unwrap();
        });
        let error = Qmp::connect(&path).unwrap_err();
        assert!(error.to_string().contains("it says `QEMU 7.2.22 monitor`"), "{error}");
        thread.join().unwrap();
        let error = Qmp::connect(&directory.path().join("none")).unwrap_err();
        assert!(error.next_step().contains("-qmp unix:PATH"), "{error}");
    }
}
