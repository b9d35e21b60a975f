//! `faultless snapshot`: a consistent core or image of a running process.
//!
//! The service does the work; here stands what is typed, who watches, and what is said at the
//! end.

mod text;

use std::path::PathBuf;

use faultless_image::flt::Codec;
use faultless_pages::Bytes;
use faultless_services::Class;
use faultless_services::snapshot::{
    self as service, Observer, Options, Phase, SnapshotError, snapshot,
};

use crate::exit::{Exit, Failure};
use crate::image::{open_parent, unwritten};
use crate::output::{self, Format};
use crate::progress::Progress;
use crate::signals::Interrupts;
use crate::size;

/// Take a consistent core of a running process without stopping it.
#[derive(clap::Args)]
#[command(long_about = "\
Take a consistent core of a running process without stopping it.

The process stands still only while its memory is write-protected; its pages are copied while it \
runs on, each before the first write to it goes through. The core shows all threads and all \
private memory at that one instant, as gcore would have, and any debugger opens it.

The process must be one you may trace: your own, or any as root. See faultless doctor.")]
pub(crate) struct Args {
    /// The process
    #[arg(value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pid: u32,

    /// Where the core goes, or, if it ends in .flt, the image; it appears there when it is whole
    #[arg(short, long, value_name = "FILE", help_heading = "Output")]
    output: PathBuf,

    /// Replace the file if it exists
    #[arg(long, help_heading = "Output")]
    force: bool,

    /// Leave the file to the page cache, as gcore does: sooner done where the disk is slow, lost if
    /// the machine crashes before the kernel has written it
    #[arg(long, help_heading = "Output")]
    no_sync: bool,

    /// Compress with zstd, from 1 (fast) to 19 (small) [without a level: 3]; images always are,
    /// at level 1 unless another is chosen
    #[arg(
        long,
        value_name = "LEVEL",
        help_heading = "Output",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "3",
        value_parser = clap::value_parser!(i32).range(1..=19)
    )]
    compress: Option<i32>,

    /// Make the image a layer over this one in the same folder: an earlier snapshot, of which it
    /// stores only what has changed
    #[arg(long, value_name = "IMAGE", help_heading = "Output")]
    parent: Option<PathBuf>,

    /// The most memory that saved pages may take on their way to the disk, but always room for
    /// two of the largest pages; when it is full, the process waits where it writes
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "64MiB",
        value_parser = size::parse,
        help_heading = "Effect on the process"
    )]
    buffer: Bytes,

    /// Hold calls that drop memory (munmap, madvise, brk) back until its pages are saved;
    /// otherwise such pages are missing in the core and counted
    #[arg(long, help_heading = "Effect on the process")]
    exact: bool,

    #[command(flatten)]
    format: Format,
}

/// The level of zstd for images, when none is chosen: writers of the process wait for slow ones.
const FAST: i32 = 1;

/// Takes the snapshot and reports it.
pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    let options = args.options()?;
    let interrupts = Interrupts::catch()
        .map_err(|error| Failure::new(Exit::Bug, format_args!("signal handlers: {error}")))?;
    let report = {
        let watcher = Watcher(Progress::start());
        snapshot(args.pid, &options, &watcher, &interrupts.cancel)
    };
    let report = report.map_err(|error| failure(&error, interrupts.exit()))?;
    output::report(&args.format, &report, text::render)?;
    Ok(Exit::Done)
}

impl Args {
    fn options(&self) -> Result<Options, Failure> {
        Ok(Options {
            output: self.output.clone(),
            force: self.force,
            sync: !self.no_sync,
            format: self.wanted()?,
            buffer: self.buffer,
            exact: self.exact,
            tool_version: concat!("faultless ", env!("CARGO_PKG_VERSION")).to_owned(),
        })
    }

    /// Says what is wanted: the name tells.
    fn wanted(&self) -> Result<service::Format, Failure> {
        let parent = self.parent.as_ref();
        if self.output.extension().is_some_and(|suffix| suffix == "flt") {
            let parent = parent.map(|parent| open_parent(parent, &self.output)).transpose()?;
            let codec = Codec::Zstd { level: self.compress.unwrap_or(FAST) };
            return Ok(service::Format::Image(codec, parent));
        }
        if parent.is_some() {
            let message = format!("{}: a core cannot be a layer", self.output.display());
            return Err(Failure::new(Exit::Usage, message).next("choose a name that ends in .flt"));
        }
        Ok(self.compress.map_or(service::Format::Core, service::Format::CompressedCore))
    }
}

/// Takes an error over, with its next step.
fn failure(error: &SnapshotError, interrupted: Option<Exit>) -> Failure {
    if let SnapshotError::Image(error) = error {
        return unwritten(error, interrupted);
    }
    let failure = Failure::new(exit_of(error, interrupted), error);
    match error.next_step() {
        step if step.is_empty() => failure,
        step => failure.next(step),
    }
}

/// Chooses the exit code; `interrupted` is that of the signal, if one came.
fn exit_of(error: &SnapshotError, interrupted: Option<Exit>) -> Exit {
    match error.class() {
        Class::Usage => Exit::Usage,
        Class::Host => Exit::Host,
        Class::Peer => Exit::Peer,
        Class::Interrupted => interrupted.unwrap_or(Exit::Bug),
        Class::Bug => Exit::Bug,
    }
}

/// Shows the service's progress.
struct Watcher(Progress);

impl Observer for Watcher {
    fn progress(&self, phase: Phase, done: Bytes, total: Bytes) {
        self.0.phase(match phase {
            Phase::Attaching => "attaching",
            Phase::Cutting => "cutting",
            Phase::Saving => "saving",
            Phase::Finishing => "finishing",
        });
        self.0.advance(done, total);
    }
}

#[cfg(test)]
mod tests {
    use faultless_uffd::{Features, Refusal};

    use super::*;

    #[test]
    fn a_kernel_without_write_protection_is_told_the_feature_and_the_next_step() {
        let refusal = Refusal::Lacking(Features::PAGEFAULT_FLAG_WP);
        let error = SnapshotError::Handshake(refusal.to_string());
        assert_eq!(exit_of(&error, None), Exit::Host);
        let text = failure(&error, None).to_string();
        for part in ["PAGEFAULT_FLAG_WP", "Linux 5.7", "; ", "faultless doctor"] {
            assert!(text.contains(part), "{part:?} in {text:?}");
        }
    }

    #[test]
    fn an_interrupted_snapshot_ends_with_the_number_of_the_signal() {
        let interrupted = Some(Exit::Signal(15));
        assert_eq!(exit_of(&SnapshotError::Interrupted, interrupted), Exit::Signal(15));
        // Nobody else can have stopped it.
        assert_eq!(exit_of(&SnapshotError::Interrupted, None), Exit::Bug);
    }
}
