//! The worker of `faultless serve` and of `faultless vm restore`, started by nobody else.

use std::ffi::OsString;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use faultless_pages::Bytes;
use faultless_services::serve::front::Spawn;
use faultless_services::serve::{Memory, OpenError, worker};

use crate::exit::{Exit, Failure};
use crate::size;

/// Serve the clients that come over standard input.
#[derive(clap::Args)]
pub(crate) struct WorkerArgs {
    pub(crate) image: PathBuf,
    #[arg(long, value_parser = size::parse)]
    pub(crate) cache: Bytes,
    #[arg(long)]
    pub(crate) threads: usize,
    #[arg(long)]
    pub(crate) record: Option<PathBuf>,
    #[arg(long)]
    pub(crate) replay: Option<PathBuf>,
    #[arg(long)]
    pub(crate) finish_alone: bool,
}

impl WorkerArgs {
    /// Returns the words that say the same.
    fn words(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec!["__serve-worker".into(), self.image.clone().into()];
        words.extend(["--cache".into(), self.cache.0.to_string().into()]);
        words.extend(["--threads".into(), self.threads.to_string().into()]);
        for (option, file) in [("--record", &self.record), ("--replay", &self.replay)] {
            words.extend(file.iter().flat_map(|file| [option.into(), file.clone().into()]));
        }
        words.extend(self.finish_alone.then(|| "--finish-alone".into()));
        words
    }
}

/// Starts workers: this program once more.
pub(crate) fn spawner(args: &WorkerArgs) -> Spawn {
    let words = args.words();
    // Found once: after an upgrade the link of a running program leads to a deleted file, while
    // the path leads to the new one.
    let program = std::env::current_exe();
    Box::new(move |socket: OwnedFd| {
        let program: &Path = program.as_deref().map_err(std::io::Error::kind)?;
        Command::new(program).args(&words).stdin(Stdio::from(socket)).stdout(Stdio::null()).spawn()
    })
}

/// Opens the image and serves.
pub(crate) fn run(args: &WorkerArgs) -> Result<Exit, Failure> {
    let system = |error: std::io::Error| Failure::new(Exit::Host, format_args!("worker: {error}"));
    // The front decides when serving ends; a terminal's signals go to all its processes.
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, std::sync::Arc::default()).map_err(system)?;
    }
    super::raise_limit();
    let front = std::io::stdin().as_fd().try_clone_to_owned().map_err(system)?;
    let memory = Memory::open(&args.image, args.cache).map_err(|error| match error {
        OpenError::Io { .. } => Failure::new(Exit::Peer, error).next("name a file that is there"),
        _ => Failure::new(Exit::Peer, error),
    })?;
    let (record, replay) = (args.record.clone(), args.replay.clone());
    let finish_alone = args.finish_alone;
    let options = worker::Options { threads: args.threads, record, replay, finish_alone };
    worker::run(front, memory, &options).map_err(system)?;
    Ok(Exit::Done)
}
