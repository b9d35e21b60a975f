//! `faultless bench snapshot`: how long does a snapshot stop a process, and how long does gcore?
//!
//! Both tools dump the same process in the same round; what they do to it is measured by the
//! process itself ([`target`]), so that neither is asked how long its own pause was.
//!
//! | module | is |
//! |---|---|
//! | [`target`] | the process under test, a hidden command of this program |
//! | [`control`] | the handle on it |
//! | [`tools`] | `faultless snapshot` and `gcore`, run as programs |
//! | [`disk`] | what the disk by itself takes for as many bytes |
//! | [`random`] | content not worth compressing |
//! | [`session`] | the order of things: targets, marks, dumps |
//! | [`figures`] | samples; ratios, findings and plot of them |
//! | [`rows`] | rows and grid of them |

mod control;
mod disk;
mod figures;
mod random;
mod rows;
mod session;
pub(super) mod target;
mod tools;

use std::collections::BTreeMap;
use std::env;
use std::path::PathBuf;

use clap::ValueEnum;
use serde::Serialize;

use faultless_pages::Bytes;

use crate::exit::{Exit, Failure};
use crate::signals::Interrupts;
use crate::size;

use super::host::Host;
use super::report::Report;
use super::{Output, this_program};
use figures::Case;
use session::Session;
use tools::Tool;

/// Measure the pause of `faultless snapshot` against gcore's
///
/// Starts a process of each size with one thread that reads the clock and one that writes to
/// memory, dumps it with both tools in turn, and reports for each: how long the process stood
/// still, the time of the dump, and what it cost the writing thread. A core of faultless is on the
/// disk when it is done, one of gcore in the page cache, so that times are compared both ways:
/// with `--no-sync`, and until both cores are on the disk. Beside them stands how long the disk by
/// itself takes for as many bytes.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    output: Output,
    /// Memory of the process, one run for each size
    #[arg(long, value_delimiter = ',', default_value = "64M,512M,2G", value_parser = size::parse)]
    sizes: Vec<Bytes>,
    /// Pages of the process
    #[arg(long, value_delimiter = ',', default_value = "4k,thp", value_enum)]
    pages: Vec<PageKind>,
    /// Times each tool dumps each process
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Passed on to `faultless snapshot`
    #[arg(long, default_value = "64M", value_parser = size::parse)]
    buffer: Bytes,
    /// Folder for the core files, with room for one of the largest size
    #[arg(long, default_value_os_t = env::temp_dir())]
    folder: PathBuf,
}

/// The pages a target asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(into = "&'static str")]
pub(crate) enum PageKind {
    /// 4 KiB pages: huge ones are declined.
    #[value(name = "4k")]
    Base,
    /// Transparent huge pages, as far as the host has them.
    Thp,
}

impl PageKind {
    /// Returns the name as typed on the command line.
    const fn name(self) -> &'static str {
        match self {
            PageKind::Base => "4k",
            PageKind::Thp => "thp",
        }
    }
}

impl From<PageKind> for &'static str {
    fn from(kind: PageKind) -> &'static str {
        kind.name()
    }
}

/// Runs the bench and prints its report.
///
/// # Errors
/// Whatever ends a tool or the target early; a missing gcore is a finding, not an error.
pub(super) fn run(args: &Args) -> Result<Exit, Failure> {
    // Caught, so that the folder of cores goes also when the user has had enough.
    let interrupts = Interrupts::catch()
        .map_err(|error| Failure::new(Exit::Host, format_args!("signal handlers: {error}")))?;
    let cases = match Session::new(args, &interrupts.cancel)?.measure_all() {
        // The signal reached the tools and the target as well: what they said is its echo.
        Err(failure) => return interrupts.exit().ok_or(failure),
        Ok(cases) => cases,
    };
    let report = summarise(args, &cases);
    let grid = rows::grid(&report.rows);
    super::print(&args.output, &report, &[grid], &figures::chart(&cases))
}

fn summarise(args: &Args, cases: &[Case]) -> Report<rows::Row> {
    let mut ratios = BTreeMap::new();
    let mut findings = Vec::new();
    for case in cases {
        case.add_ratios(args.buffer, &mut ratios);
        findings.extend(case.findings(args.buffer));
    }
    if !Tool::Gcore.is_installed() {
        findings.push("gcore is not installed, so nothing is compared; install gdb".to_owned());
    }
    Report {
        bench: "snapshot",
        host: Host::probe(),
        rows: cases.iter().flat_map(rows::rows).collect(),
        ratios,
        findings,
    }
}
