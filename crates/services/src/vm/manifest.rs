//! What belongs to a saved VM, and what it must be restored into: `vm.json`.
//!
//! A saved VM is a folder of three files. The manifest is written last, and the folder gets its
//! name when all of it is on the disk: a folder with that name is whole.

use std::fs;
use std::path::{Path, PathBuf};

use faultless_image::flt::{Digest, Folder, Image};
use faultless_pages::Bytes;
use serde::{Deserialize, Serialize};

use super::error::VmError;
use super::machine::{Backend, Machine};
use super::qmp::Version;

/// The manifest's name in the folder.
pub(super) const MANIFEST: &str = "vm.json";
/// QEMU's stream of device state.
pub(super) const STATE: &str = "state";
/// The RAM.
pub(super) const RAM: &str = "ram.flt";
/// The version of this form. Formerly none: it is the first.
const FORMAT: u32 = 1;
/// Backends begin at multiples of this in the image, so that one of huge pages fits anywhere.
const ALIGNMENT: u64 = 2 << 20;
/// The largest state that is believed to be state: devices have some megabytes, video RAM more.
pub(super) const STATE_MAX: Bytes = Bytes(1 << 30);

/// What belongs to a saved VM.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Manifest {
    format: u32,
    /// The program that wrote it.
    tool: String,
    /// When: nanoseconds since the Unix epoch.
    time_unix_ns: u64,
    qemu: Version,
    target: String,
    machine: String,
    /// Whether it ran when it was saved.
    pub(super) running: bool,
    ram: Vec<Part>,
    image: File,
    state: File,
}

/// A backend in the image.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Part {
    pub(super) backend: String,
    pub(super) size: u64,
    pub(super) offset: u64,
}

/// A file and what tells that it is the right one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct File {
    blake3: String,
}

/// Places backends in an image, one behind the other.
pub(super) fn parts(backends: &[Backend]) -> Vec<Part> {
    let mut end: u64 = 0;
    let place = |backend: &Backend| {
        let offset = end.next_multiple_of(ALIGNMENT);
        end = offset + backend.size.0;
        Part { backend: backend.id.clone(), size: backend.size.0, offset }
    };
    backends.iter().map(place).collect()
}

impl Manifest {
    /// Describes a VM; `time` and `tool` are the caller's to know.
    pub(super) fn of(
        machine: &Machine,
        running: bool,
        (image, state): (Digest, Digest),
        (time_unix_ns, tool): (u64, &str),
    ) -> Manifest {
        Manifest {
            format: FORMAT,
            tool: tool.to_owned(),
            time_unix_ns,
            qemu: machine.version.clone(),
            target: machine.target.clone(),
            machine: machine.kind.clone(),
            running,
            ram: parts(&machine.backends),
            image: File { blake3: image.to_string() },
            state: File { blake3: state.to_string() },
        }
    }

    /// Returns its bytes, for people too.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec_pretty(self).expect("plain numbers and words");
        text.push(b'\n');
        text
    }

    /// Reads the manifest of a folder.
    pub(super) fn read(folder: &Path) -> Result<Manifest, VmError> {
        let file = folder.join(MANIFEST);
        let wrong = |why: String| VmError::NotSaved { file: file.clone(), why };
        let text = fs::read(&file).map_err(|error| wrong(error.to_string()))?;
        let form: Form = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
        if form.format != FORMAT {
            let why = format!("its form {} is not known to this version of faultless", form.format);
            return Err(wrong(why));
        }
        serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))
    }

    /// Checks that a machine is like the one that was saved.
    ///
    /// # Errors
    /// [`VmError::Differs`] for the first thing that is not as it was.
    pub(super) fn compare(&self, machine: &Machine) -> Result<(), VmError> {
        let same = |what, saved: &dyn ToString, found: &dyn ToString| {
            let (saved, found) = (saved.to_string(), found.to_string());
            if saved == found { Ok(()) } else { Err(VmError::Differs { what, saved, found }) }
        };
        same("the emulated processor", &self.target, &machine.target)?;
        same("the machine type", &self.machine, &machine.kind)?;
        // Streams of an older QEMU are read by newer ones, not the other way round.
        let (saved, found) = (&self.qemu, &machine.version);
        if (found.major, found.minor) < (saved.major, saved.minor) {
            let (saved, found) = (saved.to_string(), found.to_string());
            return Err(VmError::Differs { what: "the version of QEMU", saved, found });
        }
        let list = |parts: &[Part]| {
            let each = parts.iter().map(|it| format!("{} of {}", it.backend, Bytes(it.size)));
            each.collect::<Vec<_>>().join(", ")
        };
        same("the RAM", &list(&self.ram), &list(&parts(&machine.backends)))
    }

    /// Returns where a backend lies in the image.
    pub(super) fn part(&self, backend: &str) -> Option<&Part> {
        self.ram.iter().find(|part| part.backend == backend)
    }

    /// Reads the state and checks it.
    pub(super) fn state(&self, folder: &Path) -> Result<Vec<u8>, VmError> {
        let file = folder.join(STATE);
        let wrong = |why: String| VmError::NotSaved { file: file.clone(), why };
        let len = fs::metadata(&file).map_err(|error| wrong(error.to_string()))?.len();
        if len > STATE_MAX.0 {
            return Err(wrong(format!("{} is more than state takes", Bytes(len))));
        }
        let state = fs::read(&file).map_err(|error| wrong(error.to_string()))?;
        let found = Digest::of(&state);
        if found.to_string() != self.state.blake3 {
            return Err(VmError::damaged(file, &self.state.blake3, found));
        }
        Ok(state)
    }

    /// Checks that the image is this VM's, and holds all of its RAM.
    pub(super) fn check_image(&self, folder: &Path) -> Result<PathBuf, VmError> {
        let image = Image::open(&Folder::new(folder), RAM)?;
        let file = folder.join(RAM);
        if image.id().to_string() != self.image.blake3 {
            return Err(VmError::damaged(file, &self.image.blake3, image.id()));
        }
        let end = self.ram.iter().map(|part| part.offset.saturating_add(part.size)).max();
        let end = end.unwrap_or(0);
        if image.memory().0 < end {
            let (expected, found) = (Bytes(end).to_string(), image.memory().to_string());
            return Err(VmError::Damaged { file, expected, found });
        }
        Ok(file)
    }
}

/// What every form of a manifest has.
#[derive(Deserialize)]
struct Form {
    format: u32,
}

#[cfg(test)]
mod tests {
    use super::super::machine::Place;
    use super::*;

    fn machine() -> Machine {
        let backend = |id: &str, size| Backend { id: id.into(), size, place: Place::Memfd };
        Machine {
            version: Version { major: 7, minor: 2, micro: 22 },
            target: "x86_64".into(),
            kind: "pc-q35-7.2-machine".into(),
            backends: vec![backend("a", Bytes::kib(4)), backend("b", Bytes::mib(64))],
        }
    }

    fn manifest() -> Manifest {
        let digests = (Digest::of(b"image"), Digest::of(b"state"));
        Manifest::of(&machine(), true, digests, (1, "faultless 0"))
    }

    #[test]
    fn what_is_written_is_read_and_fits_the_machine_it_was_made_of() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(MANIFEST), manifest().bytes()).unwrap();
        let read = Manifest::read(folder.path()).unwrap();
        assert_eq!(read, manifest());
        read.compare(&machine()).unwrap();
        assert_eq!(read.part("b").unwrap().offset, ALIGNMENT);
    }

    #[test]
    fn another_machine_is_refused_by_what_differs() {
        type Change = fn(&mut Machine);
        let changes: [(Change, &str); 4] = [
            (|it| it.version.minor = 1, "the version of QEMU differs: saved with 7.2.22"),
            (|it| it.kind = "pc-i440fx-7.2-machine".into(), "the machine type differs"),
            (|it| it.backends[1].size = Bytes::mib(32), "b of 64 MiB, this QEMU has a of 4 KiB, b"),
            (|it| drop(it.backends.pop()), "the RAM differs"),
        ];
        for (change, words) in changes {
            let mut other = machine();
            change(&mut other);
            let error = manifest().compare(&other).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        let newer = Machine { version: Version { major: 9, ..Version::default() }, ..machine() };
        manifest().compare(&newer).unwrap();
    }

    #[test]
    fn damaged_state_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(STATE), b"stale").unwrap();
        let error = manifest().state(folder.path()).unwrap_err();
        assert!(matches!(error, VmError::Damaged { .. }), "{error}");
        fs::write(folder.path().join(STATE), b"state").unwrap();
        assert_eq!(manifest().state(folder.path()).unwrap(), b"state");
    }

    #[test]
    fn another_form_is_refused_as_such() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(MANIFEST), b"{\"format\": 2, \"new\": []}").unwrap();
        let error = Manifest::read(folder.path()).unwrap_err().to_string();
        assert!(error.contains("form 2 is not known"), "{error}");
    }
}
