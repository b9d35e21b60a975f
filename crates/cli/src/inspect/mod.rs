//! `faultless inspect`: what a core or an image holds, checked from end to end.
//!
//! Reading, checking and counting is the image crate's; here it is asked and printed. Images are
//! handed on to `image`.

mod date;
mod text;

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use faultless_image::core::{CoreFile, ReadError, Summary, Verification};
use faultless_image::flt::is_image;
use faultless_pages::Bytes;
use serde::Serialize;

pub(crate) use date::utc;

use crate::exit::{Exit, Failure};
use crate::image::inspect_whole;
use crate::output::{self, Format};
use crate::progress::Progress;

/// Show what a core or an image holds and check it from end to end.
#[derive(clap::Args)]
#[command(long_about = "\
Show what a core or an image holds and check it from end to end.

Reads cores of faultless, raw or compressed with zstd, those of other programs, and images with \
the layers below them. Every byte is read; what carries a checksum is compared with it. Ends with \
0 if the file is whole, with 1 if a check failed, and with 4 if it cannot be read at all.")]
pub(crate) struct Args {
    /// The core or image
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// List every thread, segment, mapped file and range, not only their number
    #[arg(long)]
    all: bool,

    #[command(flatten)]
    format: Format,
}

/// What is reported: the summary's fields, and what checking found.
#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    summary: Summary,
    whole: bool,
    verification: Verification,
}

/// Reads and checks the core, prints the report, and answers whether it is whole.
pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    if is_image_file(&args.file) {
        return inspect_whole(&args.file, args.all, &args.format);
    }
    let core = CoreFile::open(&args.file).map_err(unreadable)?;
    let summary = core.summary();
    let verification = {
        let progress = Progress::start();
        progress.phase("checking");
        let total = Bytes(summary.dumped_bytes);
        core.verify(|passed| progress.advance(Bytes(passed), total)).map_err(unreadable)?
    };
    let report = Report { whole: verification.is_ok(), summary, verification };
    output::report(&args.format, &report, |report| {
        text::render(&report.summary, &report.verification, args.all)
    })?;
    Ok(if report.whole { Exit::Done } else { Exit::No })
}

/// Says whether the file begins as images do; what cannot be read is told when it is opened.
fn is_image_file(file: &Path) -> bool {
    let mut first = [0; 8];
    let read = File::open(file).and_then(|mut file| file.read_exact(&mut first));
    read.is_ok() && is_image(&first)
}

/// Takes a file that cannot be read; the error names its own way out where it knows one.
fn unreadable(error: ReadError) -> Failure {
    let step = match &error {
        ReadError::Io { .. } => "check the path and the permissions",
        ReadError::Malformed { .. } => {
            "the file is no ELF core or is damaged: take it again, or copy it again from its source"
        }
        _ => return Failure::new(Exit::Peer, error),
    };
    Failure::new(Exit::Peer, error).next(step)
}
