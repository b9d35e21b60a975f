//! `faultless vm restore`.

use std::path::PathBuf;

use faultless_pages::Bytes;
use faultless_services::vm::{Restore, Watcher, image_of, restore};

use super::{Qemu, Teller, failure, text};
use crate::exit::{Exit, Failure};
use crate::output::{self, Format};
use crate::serve::{WorkerArgs, spawner};
use crate::signals::Interrupts;
use crate::size;

/// Restore a virtual machine: it goes on at once, its memory follows.
#[derive(clap::Args)]
#[command(long_about = "\
Restore a virtual machine: it goes on at once, its memory follows.

QEMU waits for it, started with the same options and -incoming defer. Memory is brought as the \
guest touches it, and all the rest behind that; when everything is there, the command ends and \
QEMU runs on by itself.

Interrupted, the command fills the memory first. If it is killed, a process in the background \
does that; if that one is killed, another takes over.")]
pub(super) struct Args {
    /// The folder it was saved in
    #[arg(value_name = "DIR")]
    folder: PathBuf,

    #[command(flatten)]
    qemu: Qemu,

    /// Leave the guest stopped, even if it ran when it was saved
    #[arg(long, help_heading = "Effect on the guest")]
    paused: bool,

    /// Bring only what the guest touches, until this command is interrupted
    #[arg(long, help_heading = "Effect on the guest")]
    lazy: bool,

    /// Record what the guest touches, and when first; what is there of FILE is added to. Best with
    /// --lazy, as nothing is recorded once it is there
    #[arg(long, value_name = "FILE", help_heading = "Serving")]
    record: Option<PathBuf>,

    /// Fetch ahead what guests recorded in FILE touched, in their order
    #[arg(long, value_name = "FILE", conflicts_with = "record", help_heading = "Serving")]
    replay: Option<PathBuf>,

    /// How much of the image is kept decompressed
    #[arg(long, value_name = "BYTES", default_value = "64MiB", value_parser = size::parse,
        help_heading = "Serving")]
    cache: Bytes,

    /// Threads that read the image
    #[arg(long, value_name = "N", default_value_t = 2, help_heading = "Serving")]
    threads: usize,

    #[command(flatten)]
    format: Format,
}

/// Restores, and reports it.
pub(super) fn run(args: &Args) -> Result<Exit, Failure> {
    let interrupts = Interrupts::catch()
        .map_err(|error| Failure::new(Exit::Bug, format_args!("signal handlers: {error}")))?;
    let worker = WorkerArgs {
        image: image_of(&args.folder),
        cache: args.cache,
        threads: args.threads,
        record: args.record.clone(),
        replay: args.replay.clone(),
        finish_alone: true,
    };
    let wanted = Restore {
        folder: args.folder.clone(),
        paused: args.paused,
        lazy: args.lazy,
        pid: args.qemu.pid,
        spawn: spawner(&worker),
    };
    let restored = {
        let mut teller = Teller::new("filling");
        let mut told = |step| teller.tell(step);
        let mut watcher = Watcher { told: &mut told, cancel: &interrupts.cancel };
        restore(&args.qemu.monitor, wanted, &mut watcher)
    };
    let restored = restored.map_err(|error| failure(&error, interrupts.exit()))?;
    output::report(&args.format, &restored, text::restored)?;
    Ok(Exit::Done)
}
