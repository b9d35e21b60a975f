//! Saving: QEMU stops, writes the state of its devices, and its RAM is read from outside.
//!
//! The order matters. Devices come first, for some write to the guest's memory when their state is
//! taken; the RAM is read before the guest goes on, for nothing holds its writes back.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use faultless_image::core::OnExisting;
use faultless_image::flt::{
    ChunkSize, Codec, Digest, Folder, Image, ImageWriter, Options, Source as _, WriteError, copy,
};
use faultless_pages::Bytes;
use serde::Serialize;
use serde_json::{Value, json};

use super::error::VmError;
use super::folder::NewFolder;
use super::image::Joined;
use super::machine::{self, Machine};
use super::manifest::{MANIFEST, Manifest, RAM, STATE, parts};
use super::qmp::Qmp;
use super::ram::{self, Ram};
use super::{Step, Watcher, ns_since, process_of, stream};

/// What becomes of the VM that was saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Afterwards {
    /// It goes on, if it ran.
    AsBefore,
    /// It stays stopped.
    Paused,
    /// QEMU ends.
    Quit,
}

/// How a VM is to be saved.
#[derive(Clone, Debug)]
pub struct Save {
    /// The folder, which appears when it is whole.
    pub folder: PathBuf,
    /// Replace a VM saved there before.
    pub force: bool,
    /// What becomes of the VM.
    pub afterwards: Afterwards,
    /// QEMU's process, where the monitor does not tell.
    pub pid: Option<u32>,
    /// What the image is compressed with.
    pub codec: Codec,
    /// The program that writes it.
    pub tool_version: String,
}

/// What was saved.
#[derive(Clone, Debug, Serialize)]
pub struct Saved {
    /// The folder.
    pub folder: String,
    /// QEMU's version.
    pub qemu: String,
    /// Its machine.
    pub machine: String,
    /// How much RAM it has.
    pub memory_bytes: u64,
    /// How long the image of it is.
    pub image_bytes: u64,
    /// How long the state of its devices is.
    pub state_bytes: u64,
    /// How long it took to get that state.
    pub state_ns: u64,
    /// How long the guest stood still; all of the time, if it does not go on.
    pub pause_ns: u64,
    /// How long it took in all.
    pub total_ns: u64,
}

/// Saves the VM whose monitor listens at a path.
///
/// # Errors
/// [`VmError`]; the guest goes on as it was, and no folder is left.
pub fn save(monitor: &Path, wanted: &Save, watcher: &mut Watcher<'_>) -> Result<Saved, VmError> {
    let started = Instant::now();
    let mut qmp = Qmp::connect(monitor)?;
    let machine = Machine::ask(&mut qmp)?;
    let pid = process_of(&qmp, wanted.pid)?;
    let ram = ram::find(pid, &machine.backends)?;
    ram.iter().try_for_each(Ram::check_whole)?;
    let (status, running) = machine::status(&mut qmp)?;
    if status == "inmigrate" {
        return Err(VmError::Status { status, wanted: "where it has nothing to save yet" });
    }
    let folder = NewFolder::create(&wanted.folder, wanted.force)?;

    let before = machine::ignore_shared(&mut qmp, true)?;
    let stopped = Instant::now();
    let written = stop(&mut qmp, running)
        .and_then(|()| write(&mut qmp, (&machine, &ram), running, &folder, wanted, watcher));
    // Whatever came of it: QEMU is as it was. Its own refusal to be would be the second error.
    let restored = machine::ignore_shared(&mut qmp, before).map(drop);
    if running && (written.is_err() || wanted.afterwards == Afterwards::AsBefore) {
        qmp.execute::<Value>("cont", &json!({}))?;
    }
    let pause_ns = ns_since(stopped);
    let Written { manifest, state_bytes, state_ns, image_bytes } = written?;
    restored?;

    folder.write(MANIFEST, &manifest.bytes())?;
    folder.publish()?;
    if wanted.afterwards == Afterwards::Quit {
        qmp.execute::<Value>("quit", &json!({}))?;
    }
    Ok(Saved {
        folder: wanted.folder.display().to_string(),
        qemu: machine.version.to_string(),
        machine: machine.kind,
        memory_bytes: ram.iter().map(|it| it.memory.len().0).sum(),
        image_bytes,
        state_bytes,
        state_ns,
        pause_ns,
        total_ns: ns_since(started),
    })
}

fn stop(qmp: &mut Qmp, running: bool) -> Result<(), VmError> {
    if running {
        qmp.execute::<Value>("stop", &json!({}))?;
    }
    Ok(())
}

/// What was written while the guest stood still.
struct Written {
    manifest: Manifest,
    state_bytes: u64,
    state_ns: u64,
    image_bytes: u64,
}

/// Writes state and RAM to the folder.
fn write(
    qmp: &mut Qmp,
    (machine, ram): (&Machine, &[Ram]),
    running: bool,
    folder: &NewFolder,
    wanted: &Save,
    watcher: &mut Watcher<'_>,
) -> Result<Written, VmError> {
    let started = Instant::now();
    let state = stream::receive(qmp)?;
    let state_ns = ns_since(started);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
    let image_bytes = write_ram(machine, ram, now, folder.place(), wanted, watcher)?;
    folder.write(STATE, &state)?;
    let image = Image::open(&Folder::new(folder.place()), RAM)?.id();
    let digests = (image, Digest::of(&state));
    let manifest = Manifest::of(machine, running, digests, (now, &wanted.tool_version));
    Ok(Written { manifest, state_bytes: state.len() as u64, state_ns, image_bytes })
}

/// Makes the image of the RAM, and returns how long it is.
fn write_ram(
    machine: &Machine,
    ram: &[Ram],
    time_unix_ns: u64,
    folder: &Path,
    wanted: &Save,
    watcher: &mut Watcher<'_>,
) -> Result<u64, VmError> {
    let source = Joined::of(ram, &parts(&machine.backends)).map_err(WriteError::from)?;
    let options = Options {
        chunk: ChunkSize::default(),
        codec: wanted.codec,
        time_unix_ns,
        tool_version: wanted.tool_version.clone(),
        ..Options::of(&source)
    };
    let total = source.memory();
    let object = Folder::new(folder).create(RAM, OnExisting::Refuse)?;
    let mut writer = ImageWriter::new(object, options, None)?;
    copy(&source, &mut writer, |done: Bytes| {
        (watcher.told)(Step::Passed(done, total));
        !watcher.cancel.load(Ordering::Relaxed)
    })?;
    Ok(writer.finish()?.object_bytes)
}
