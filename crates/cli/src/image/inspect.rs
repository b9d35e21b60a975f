//! `image inspect`: what an image says of itself; reads footers and tables only.

use std::path::PathBuf;

use super::{place, text};
use crate::exit::{Exit, Failure};
use crate::output::{self, Format};

/// Show what an image and the layers below it hold.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The image
    #[arg(value_name = "IMAGE")]
    image: PathBuf,

    /// List every region, not only their number
    #[arg(long)]
    all: bool,

    #[command(flatten)]
    format: Format,
}

/// Prints the summary.
pub(super) fn run(args: &Args) -> Result<Exit, Failure> {
    let summary = place::open(&args.image)?.summary();
    output::report(&args.format, &summary, |summary| text::summary(summary, args.all))?;
    Ok(Exit::Done)
}
