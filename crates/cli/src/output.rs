//! Results on stdout: text for people, JSON for programs.
//!
//! Everything is made in memory first and written in one go, so that a report is either whole or
//! ended by the reader.

use std::io::{self, Write as _};

use serde::Serialize;

use crate::exit::{Exit, Failure};

/// How a report is printed.
#[derive(clap::Args)]
pub(crate) struct Format {
    /// Print one JSON object, on one line, instead of text
    #[arg(long, help_heading = "Output")]
    pub(crate) json: bool,
}

/// Prints `report` as JSON or, through `text`, for people.
pub(crate) fn report<R: Serialize>(
    format: &Format,
    report: &R,
    text: impl FnOnce(&R) -> String,
) -> Result<(), Failure> {
    let mut out = if format.json {
        serde_json::to_string(report)
            .map_err(|error| Failure::new(Exit::Bug, format_args!("report: {error}")))?
    } else {
        text(report)
    };
    if !out.ends_with('\n') {
        out.push('\n');
    }
    write(out.as_bytes())
}

/// Prints what `make` renders.
pub(crate) fn bytes(make: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> Result<Exit, Failure> {
    let mut out = Vec::new();
    make(&mut out).map_err(|error| Failure::new(Exit::Bug, format_args!("output: {error}")))?;
    write(&out)?;
    Ok(Exit::Done)
}

fn write(out: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(out).and_then(|()| stdout.flush()).map_err(|error| Failure::stdout(&error))
}
