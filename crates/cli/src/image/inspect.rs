//! What an image holds: `image inspect` shows what it says of itself and reads footers and tables
//! only; `faultless inspect` checks every byte as well, as it does with cores.

use std::path::{Path, PathBuf};

use faultless_image::flt::{CheckReport, Summary};
use serde::Serialize;

use super::{check, place, text};
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

/// What is reported of an image that was checked, too.
#[derive(Serialize)]
struct Checked {
    #[serde(flatten)]
    summary: Summary,
    whole: bool,
    verification: CheckReport,
}

/// Checks an image, prints what it holds, and answers whether it is whole.
pub(crate) fn inspect_whole(file: &Path, all: bool, format: &Format) -> Result<Exit, Failure> {
    let image = place::open(file)?;
    let (summary, verification) = (image.summary(), check::check(&image)?);
    let report = Checked { summary, whole: verification.is_ok(), verification };
    output::report(format, &report, |report| {
        let checked = text::checked(&file.display().to_string(), &report.verification);
        format!("{}\n{checked}", text::summary(&report.summary, all))
    })?;
    Ok(if report.whole { Exit::Done } else { Exit::No })
}
