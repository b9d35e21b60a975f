//! `faultless image`: memory images, made, looked at, checked, flattened, and turned back.
//!
//! The image crate does the work; here stands what is typed, who watches, and what is said at
//! the end.

mod check;
mod export;
mod failure;
mod inspect;
mod make;
mod place;
mod squash;
mod text;
mod watch;

pub(crate) use failure::unwritten;
pub(crate) use inspect::inspect_whole;
pub(crate) use place::{open_parent, parse_codec};

use crate::exit::{Exit, Failure};

/// Make, look at, check, squash and convert memory images.
#[derive(clap::Args)]
#[command(long_about = "\
Make, look at, check, squash and convert memory images.

An image (.flt) holds the memory of a virtual machine or a process in chunks: compressed, each \
stored once, zeros left out, every byte guarded by a checksum. It can be a layer over another \
image in the same folder, of which it then holds only the differences.")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Create(make::CreateArgs),
    Import(make::ImportArgs),
    Inspect(inspect::Args),
    Check(check::Args),
    Squash(squash::Args),
    Export(export::Args),
}

/// Runs the command below `image` that was asked for.
pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    match &args.command {
        Command::Create(args) => make::create(args),
        Command::Import(args) => make::import(args),
        Command::Inspect(args) => inspect::run(args),
        Command::Check(args) => check::run(args),
        Command::Squash(args) => squash::run(args),
        Command::Export(args) => export::run(args),
    }
}
