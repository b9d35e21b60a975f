//! The worker's side of `faultless serve`, started by nobody else.

use std::os::fd::AsFd as _;
use std::path::PathBuf;

use faultless_pages::Bytes;
use faultless_services::serve::{Memory, OpenError, worker};

use crate::exit::{Exit, Failure};
use crate::size;

/// Serve the clients that come over standard input.
#[derive(clap::Args)]
pub(crate) struct WorkerArgs {
    image: PathBuf,
    #[arg(long, value_parser = size::parse)]
    cache: Bytes,
    #[arg(long)]
    threads: usize,
    #[arg(long)]
    record: Option<PathBuf>,
    #[arg(long)]
    replay: Option<PathBuf>,
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
    let options = worker::Options { threads: args.threads, record, replay };
    worker::run(front, memory, &options).map_err(system)?;
    Ok(Exit::Done)
}
