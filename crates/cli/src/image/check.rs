//! `image check`: every byte of an image and the layers below it.

use std::path::PathBuf;

use faultless_image::flt::{CheckReport, Image};
use faultless_pages::Bytes;
use serde::Serialize;

use super::failure::{stopped, unreadable};
use super::watch::Watch;
use super::{place, text};
use crate::exit::{Exit, Failure};
use crate::output::{self, Format};

/// Read every byte of an image and the layers below it, and compare all checksums.
#[derive(clap::Args)]
#[command(long_about = "\
Read every byte of an image and the layers below it, and compare all checksums.

Ends with 0 if the image is whole, with 1 if a check failed, and with 4 if it cannot be opened.")]
pub(super) struct Args {
    /// The image
    #[arg(value_name = "IMAGE")]
    image: PathBuf,

    #[command(flatten)]
    format: Format,
}

/// What is reported.
#[derive(Serialize)]
struct Report {
    file: String,
    whole: bool,
    #[serde(flatten)]
    checked: CheckReport,
}

/// Checks the image and answers whether it is whole.
pub(super) fn run(args: &Args) -> Result<Exit, Failure> {
    let checked = check(&place::open(&args.image)?)?;
    let (file, whole) = (args.image.display().to_string(), checked.is_ok());
    let report = Report { file, whole, checked };
    output::report(&args.format, &report, |report| text::checked(&report.file, &report.checked))?;
    Ok(if whole { Exit::Done } else { Exit::No })
}

/// Reads every byte of an image, and tells how far it is.
pub(super) fn check(image: &Image) -> Result<CheckReport, Failure> {
    let total = image.summary().layers.iter().map(|layer| layer.object_bytes).sum();
    let watch = Watch::start("checking", Bytes(total))?;
    let checked = image.check(|done| watch.passed(done)).map_err(|error| unreadable(&error))?;
    checked.ok_or_else(|| stopped(watch.exit()))
}
