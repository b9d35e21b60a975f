//! `image export`: plain memory again.

use std::path::PathBuf;
use std::time::Instant;

use faultless_image::core::PendingFile;
use faultless_image::flt::{export_core, export_raw};
use serde::Serialize;

use super::failure::{unstored, unwritten};
use super::place;
use super::text;
use super::watch::Watch;
use crate::exit::{Exit, Failure};
use crate::output::{self, Format};

/// Write the memory of an image as a raw, sparse file or as an ELF core.
#[derive(clap::Args)]
#[command(long_about = "\
Write the memory of an image as a raw, sparse file or as an ELF core.

A raw file is what image create took. The memory of a process has several regions, each of which \
lies in the file at the offset that image inspect --all shows. A core can be had of what was \
imported from one.")]
pub(super) struct Args {
    /// The image
    #[arg(value_name = "IMAGE")]
    image: PathBuf,

    /// Where the memory goes; the file appears when it is whole
    #[arg(short, long, value_name = "FILE", help_heading = "Output")]
    output: PathBuf,

    /// What to write
    #[arg(long, value_enum, default_value = "raw", help_heading = "Output")]
    to: FileFormat,

    /// Replace the file if it exists
    #[arg(long, help_heading = "Output")]
    force: bool,

    #[command(flatten)]
    format: Format,
}

/// What memory is written as.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum FileFormat {
    /// From the first byte to the last
    Raw,
    /// A core a debugger opens
    Core,
}

/// What is reported.
#[derive(Serialize)]
pub(super) struct Report {
    pub(super) file: String,
    pub(super) memory_bytes: u64,
    pub(super) total_ns: u64,
}

/// Writes the memory.
pub(super) fn run(args: &Args) -> Result<Exit, Failure> {
    let started = Instant::now();
    let image = place::open(&args.image)?;
    let pending = PendingFile::create(&args.output, place::on_existing(args.force));
    let pending = pending.map_err(|error| unstored(&error))?;
    let watch = Watch::start("exporting", image.memory())?;
    let passed = |done| watch.passed(done);
    let exported = match args.to {
        FileFormat::Raw => export_raw(&image, pending, passed),
        FileFormat::Core => export_core(&image, pending, passed),
    };
    exported.map_err(|error| unwritten(&error, watch.exit()))?;
    drop(watch);
    let report = Report {
        file: args.output.display().to_string(),
        memory_bytes: image.memory().0,
        total_ns: u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX),
    };
    output::report(&args.format, &report, text::exported)?;
    Ok(Exit::Done)
}
