//! `image squash`: one image of many layers.

use std::path::PathBuf;
use std::time::Instant;

use faultless_image::flt;

use super::failure::unwritten;
use super::make::Report;
use super::place::{self, Output};
use super::text;
use super::watch::Watch;
use crate::exit::{Exit, Failure};
use crate::output::{self, Format};

/// Make one image, which needs no other, of an image and the layers below it.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The image
    #[arg(value_name = "IMAGE")]
    image: PathBuf,

    #[command(flatten)]
    output: Output,

    #[command(flatten)]
    format: Format,
}

/// Writes the image without layers.
pub(super) fn run(args: &Args) -> Result<Exit, Failure> {
    let started = Instant::now();
    let image = place::open(&args.image)?;
    let object = args.output.create()?;
    let watch = Watch::start("squashing", image.memory())?;
    let written = flt::squash(&image, object, args.output.codec, |done| watch.passed(done));
    let written = written.map_err(|error| unwritten(&error, watch.exit()))?;
    drop(watch);
    let report = Report::new(&args.output, written, started);
    output::report(&args.format, &report, text::made)?;
    Ok(Exit::Done)
}
