//! `image create` and `image import`: an image of memory that lies in files.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use faultless_image::flt::{
    ChunkSize, ImageWriter, Options, RawFile, Source, Written, copy, criu_processes, is_image,
    open_core, open_criu,
};
use serde::Serialize;

use super::failure::{unimportable, unwritten};
use super::place::{Output, open_parent, parse_chunk};
use super::text;
use super::watch::Watch;
use crate::exit::{Exit, Failure};
use crate::output::{self, Format};

/// Make an image of a raw memory file, such as a Firecracker snapshot's.
#[derive(clap::Args)]
pub(super) struct CreateArgs {
    /// The memory, from its first byte to its last
    #[arg(value_name = "MEMORY")]
    memory: PathBuf,

    #[command(flatten)]
    making: Making,
}

/// Make an image of an ELF core, or of what CRIU saved of a process.
#[derive(clap::Args)]
#[command(long_about = "\
Make an image of an ELF core, or of what CRIU saved of a process.

The image holds the memory with its addresses, and of a core also registers and notes. Of a dump \
of CRIU all other state stays behind.")]
pub(super) struct ImportArgs {
    /// The core, raw or compressed, or the folder of CRIU's images
    #[arg(value_name = "SOURCE")]
    source: PathBuf,

    /// Which process of the folder, if it has several
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,

    #[command(flatten)]
    making: Making,
}

#[derive(clap::Args)]
struct Making {
    #[command(flatten)]
    output: Output,

    /// Make it a layer over this image in the same folder, holding only what differs
    #[arg(long, value_name = "IMAGE", help_heading = "Output")]
    parent: Option<PathBuf>,

    /// The unit that is compressed and read at once, from 4KiB to 2MiB [default: 64KiB, or that
    /// of the parent]
    #[arg(long, value_name = "SIZE", value_parser = parse_chunk, help_heading = "Output")]
    chunk: Option<ChunkSize>,

    #[command(flatten)]
    format: Format,
}

/// What is reported.
#[derive(Serialize)]
pub(super) struct Report {
    pub(super) file: String,
    #[serde(flatten)]
    pub(super) written: Written,
    pub(super) total_ns: u64,
}

impl Report {
    pub(super) fn new(output: &Output, written: Written, started: Instant) -> Report {
        let total_ns = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Report { file: output.output.display().to_string(), written, total_ns }
    }
}

/// What stands in bytes 16 and 17 of an ELF core; memory may well begin with another ELF header.
const ET_CORE: [u8; 2] = [4, 0];

/// Makes an image of a raw memory file.
pub(super) fn create(args: &CreateArgs) -> Result<Exit, Failure> {
    make(&args.making, |_| {
        refuse_formats(&args.memory)?;
        let raw = RawFile::open(&args.memory).map_err(|error| unimportable(&error))?;
        Ok(Box::new(raw))
    })
}

/// Makes an image of a core or of CRIU's images.
pub(super) fn import(args: &ImportArgs) -> Result<Exit, Failure> {
    make(&args.making, |chunk| {
        if !args.source.is_dir() {
            return open_core(&args.source, chunk).map_err(|error| unimportable(&error));
        }
        let pid = choose_process(&args.source, args.pid)?;
        open_criu(&args.source, pid, chunk).map_err(|error| unimportable(&error))
    })
}

fn make(
    making: &Making,
    open: impl FnOnce(ChunkSize) -> Result<Box<dyn Source>, Failure>,
) -> Result<Exit, Failure> {
    let started = Instant::now();
    let parent = match &making.parent {
        Some(parent) => Some(open_parent(parent, &making.output.output)?),
        None => None,
    };
    let inherited = parent.as_ref().map(|(_, image)| image.chunk_size());
    let chunk = making.chunk.or(inherited).unwrap_or_default();
    let source = open(chunk)?;
    let object = making.output.create()?;
    let options = Options {
        chunk,
        codec: making.output.codec,
        time_unix_ns: now_unix_ns(),
        tool_version: concat!("faultless ", env!("CARGO_PKG_VERSION")).to_owned(),
        ..Options::of(&*source)
    };
    let watch = Watch::start("writing", source.memory())?;
    let written = ImageWriter::new(object, options, parent).and_then(|mut writer| {
        copy(&*source, &mut writer, |done| watch.passed(done))?;
        writer.finish()
    });
    let written = written.map_err(|error| unwritten(&error, watch.exit()))?;
    drop(watch);
    let report = Report::new(&making.output, written, started);
    output::report(&making.format, &report, text::made)?;
    Ok(Exit::Done)
}

fn now_unix_ns() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

/// Refuses what is plainly no raw memory.
fn refuse_formats(file: &Path) -> Result<(), Failure> {
    let mut first = [0; 18];
    // What cannot be opened is told when it is opened as memory.
    let read = File::open(file).and_then(|mut file| file.read(&mut first)).unwrap_or(0);
    let first = &first[..read];
    let (what, step) = if is_image(first) {
        ("is an image already", "squash makes one without layers of it")
    } else if first.starts_with(b"\x7fELF") && first.ends_with(&ET_CORE) {
        ("is an ELF core, no raw memory", "use faultless image import")
    } else {
        return Ok(());
    };
    Err(Failure::new(Exit::Usage, format_args!("{} {what}", file.display())).next(step))
}

/// Chooses the process whose memory is taken.
fn choose_process(folder: &Path, wanted: Option<u32>) -> Result<u32, Failure> {
    let processes = criu_processes(folder).map_err(|error| unimportable(&error))?;
    let list = processes.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
    match (wanted, processes.as_slice()) {
        (_, []) => {
            let message = format!("{}: no pagemap-PID.img in this folder", folder.display());
            Err(Failure::new(Exit::Peer, message).next("name a folder criu dump wrote to"))
        }
        (Some(pid), all) if all.contains(&pid) => Ok(pid),
        (None, &[pid]) => Ok(pid),
        _ => {
            let message = format!("{} holds processes {list}", folder.display());
            Err(Failure::new(Exit::Usage, message).next("choose one of them with --pid"))
        }
    }
}
