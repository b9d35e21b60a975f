//! `faultless vm save`.

use std::path::PathBuf;

use faultless_image::flt::Codec;
use faultless_services::vm::{Afterwards, Save, Watcher, save};

use super::{Qemu, Teller, failure, text};
use crate::exit::{Exit, Failure};
use crate::image::parse_codec;
use crate::output::{self, Format};
use crate::signals::Interrupts;

/// Save a virtual machine: its devices' state, and its RAM as an image.
#[derive(clap::Args)]
#[command(long_about = "\
Save a virtual machine: its devices' state, and its RAM as an image.

The guest stands still while it is saved, and goes on afterwards. Disks are not saved: what the \
guest writes to one after that is not what the saved machine knows.")]
pub(super) struct Args {
    /// The folder it is saved in, which appears when it is whole
    #[arg(value_name = "DIR")]
    folder: PathBuf,

    #[command(flatten)]
    qemu: Qemu,

    /// Leave the guest stopped
    #[arg(long, help_heading = "Afterwards", conflicts_with = "quit")]
    paused: bool,

    /// Have QEMU end
    #[arg(long, help_heading = "Afterwards")]
    quit: bool,

    /// Replace a virtual machine saved there before
    #[arg(long, help_heading = "Output")]
    force: bool,

    /// How the RAM is compressed: zstd, zstd:LEVEL from 1 (fast) to 19 (small), lz4, or none
    #[arg(
        long,
        value_name = "CODEC",
        default_value = "zstd:1",
        value_parser = parse_codec,
        help_heading = "Output"
    )]
    codec: Codec,

    #[command(flatten)]
    format: Format,
}

/// Saves, and reports it.
pub(super) fn run(args: &Args) -> Result<Exit, Failure> {
    let interrupts = Interrupts::catch()
        .map_err(|error| Failure::new(Exit::Bug, format_args!("signal handlers: {error}")))?;
    let wanted = Save {
        folder: args.folder.clone(),
        force: args.force,
        afterwards: match (args.paused, args.quit) {
            (_, true) => Afterwards::Quit,
            (true, _) => Afterwards::Paused,
            _ => Afterwards::AsBefore,
        },
        pid: args.qemu.pid,
        codec: args.codec,
        tool_version: concat!("faultless ", env!("CARGO_PKG_VERSION")).to_owned(),
    };
    let saved = {
        let mut teller = Teller::new("saving");
        let mut told = |step| teller.tell(step);
        let mut watcher = Watcher { told: &mut told, cancel: &interrupts.cancel };
        save(&args.qemu.monitor, &wanted, &mut watcher)
    };
    let saved = saved.map_err(|error| failure(&error, interrupts.exit()))?;
    output::report(&args.format, &saved, text::saved)?;
    Ok(Exit::Done)
}
