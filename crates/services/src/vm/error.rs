//! Why a VM could not be saved or restored, and what to do about it.

use std::io;
use std::path::PathBuf;

use faultless_image::core;
use faultless_image::flt::{self, Digest};
use faultless_pages::Bytes;
use faultless_uffd::OpError;
use faultless_uffd::attach::AttachError;

use super::qmp::{QmpError, Version};
use crate::Class;

/// Why a VM could not be saved or restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VmError {
    /// The monitor could not be asked, or refused.
    #[error(transparent)]
    Monitor(#[from] QmpError),
    /// It is not known which process QEMU is.
    #[error("cannot tell which process listens on the monitor: {0}")]
    NoProcess(io::Error),
    /// The machine has no RAM in a backend.
    #[error("QEMU has no memory backend")]
    NoBackend,
    /// RAM that is private to QEMU.
    #[error("RAM backend `{backend}` is private to QEMU")]
    NotShared {
        /// The backend.
        backend: String,
    },
    /// Shared RAM without a file.
    #[error("RAM backend `{backend}` is a {kind}, which has no file")]
    NoFile {
        /// The backend.
        backend: String,
        /// What it is.
        kind: String,
    },
    /// RAM in a memfd with a QEMU that sends it all the same.
    #[error(
        "RAM backend `{backend}` is a memfd, which QEMU {version} does not leave out of its state"
    )]
    MemfdSent {
        /// The backend.
        backend: String,
        /// The QEMU.
        version: Version,
    },
    /// A QEMU that cannot leave RAM out.
    #[error("QEMU {version} has no capability x-ignore-shared")]
    NoIgnoreShared {
        /// The QEMU.
        version: Version,
    },
    /// The memory of a backend is not in the process, or cannot be told from another's.
    #[error("cannot find the memory of RAM backend `{backend}` in process {pid}: {why}")]
    NotFound {
        /// The backend.
        backend: String,
        /// The process.
        pid: u32,
        /// What was found instead.
        why: String,
    },
    /// Memory whose missing pages are somebody's to bring.
    #[error("the memory of RAM backend `{backend}` belongs to a userfaultfd already")]
    Paged {
        /// The backend.
        backend: String,
    },
    /// RAM on a file system userfaultfd does not serve.
    #[error("the file of RAM backend `{backend}` lies on a disk, where faults are not told")]
    OnDisk {
        /// The backend.
        backend: String,
    },
    /// Another process has the same RAM.
    #[error("the RAM of backend `{backend}` is in use by process {pid} too")]
    InUse {
        /// The backend.
        backend: String,
        /// That process.
        pid: u32,
    },
    /// Something about the process could not be read.
    #[error("reading {what} of process {pid}: {error}")]
    Read {
        /// What.
        what: &'static str,
        /// The process.
        pid: u32,
        /// Why.
        error: io::Error,
    },
    /// Saving or loading state did not work out.
    #[error("QEMU's state: migration {status}: {why}")]
    State {
        /// What QEMU calls it.
        status: String,
        /// QEMU's words.
        why: String,
    },
    /// State that must have RAM in it.
    #[error("QEMU's state is larger than {0}: it must have RAM in it")]
    StateTooLarge(Bytes),
    /// Moving state between QEMU and the file did not work out.
    #[error("moving QEMU's state: {0}")]
    Stream(io::Error),
    /// It took too long.
    #[error("QEMU has not {what} within {seconds} s")]
    Slow {
        /// What it should have done.
        what: &'static str,
        /// How long it was given.
        seconds: u64,
    },
    /// QEMU is not in the state that is needed.
    #[error("QEMU is in state `{status}`, {wanted}")]
    Status {
        /// The state it is in.
        status: String,
        /// The state it should be in.
        wanted: &'static str,
    },
    /// This QEMU is another than the one that was saved.
    #[error("{what} differs: saved with {saved}, this QEMU has {found}")]
    Differs {
        /// What.
        what: &'static str,
        /// How it was.
        saved: String,
        /// How it is.
        found: String,
    },
    /// The folder cannot be read or is none of ours.
    #[error("{}: {why}", file.display())]
    NotSaved {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A file is not the one that was written.
    #[error("{} is damaged or of another VM: it has {found}, the manifest says {expected}",
        file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What it should have.
        expected: String,
        /// What it has.
        found: String,
    },
    /// The image of the RAM cannot be read.
    #[error(transparent)]
    Image(#[from] flt::ReadError),
    /// The image of the RAM cannot be written.
    #[error(transparent)]
    WriteImage(#[from] flt::WriteError),
    /// A file cannot be written.
    #[error(transparent)]
    Write(#[from] core::WriteError),
    /// The folder cannot be made.
    #[error("cannot make {}: {source}", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is something under that name.
    #[error("{} exists", .0.display())]
    Exists(PathBuf),
    /// No userfaultfd could be opened on QEMU.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// The kernel lacks something.
    #[error("{0}")]
    Handshake(String),
    /// The kernel refused an operation.
    #[error(transparent)]
    Operation(#[from] OpError),
    /// The file cannot be emptied.
    #[error("cannot empty the file of RAM backend `{backend}`: {error}")]
    Punch {
        /// The backend.
        backend: String,
        /// Why.
        error: io::Error,
    },
    /// Memory that no page server takes.
    #[error("the layout of the RAM cannot be served: {0}")]
    Layout(String),
    /// The page server does not work.
    #[error("the page server: {0}")]
    Server(String),
    /// QEMU ended.
    #[error("QEMU has ended with {left} of its memory to come")]
    Ended {
        /// What was missing.
        left: Bytes,
    },
    /// Pages could not be had.
    #[error("{0} of the guest's memory are lost; touching them ends QEMU by SIGBUS")]
    Lost(Bytes),
    /// The user stopped it.
    #[error("interrupted; {0}")]
    Interrupted(&'static str),
}

impl VmError {
    /// Wraps a digest that is not the one that was written.
    pub(super) fn damaged(file: PathBuf, expected: &str, found: Digest) -> VmError {
        let (expected, found) = (expected.to_owned(), found.to_string());
        VmError::Damaged { file, expected, found }
    }

    /// Returns who has to act.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            VmError::Attach(
                AttachError::NotPermitted { .. }
                | AttachError::Refused { .. }
                | AttachError::NoUserfaultfd
                | AttachError::Seccomp(_)
                | AttachError::Architecture,
            )
            | VmError::Handshake(_) => Class::Host,
            VmError::Read { error, .. } if error.kind() == io::ErrorKind::PermissionDenied => {
                Class::Host
            }
            VmError::Exists(_) => Class::Usage,
            VmError::WriteImage(flt::WriteError::Stopped) | VmError::Interrupted(_) => {
                Class::Interrupted
            }
            _ => Class::Peer,
        }
    }

    /// Says what the user can do about it.
    #[must_use]
    pub fn next_step(&self) -> String {
        match self {
            VmError::Monitor(error) => error.next_step(),
            VmError::NoProcess(_) => "name it with --pid",
            VmError::NoBackend | VmError::NotShared { .. } | VmError::NoFile { .. } => {
                "start QEMU with -object memory-backend-file,id=ram,size=SIZE,mem-path=FILE,\
                 share=on -machine TYPE,memory-backend=ram, FILE in /dev/shm"
            }
            VmError::MemfdSent { .. } => {
                "use memory-backend-file with a mem-path in /dev/shm; memfds are left out up to \
                 QEMU 8.0"
            }
            VmError::NoIgnoreShared { .. } => "use QEMU 4.0 or later",
            VmError::NotFound { .. } => {
                "give each backend a memory-backend-file of its own, or name the right process \
                 with --pid"
            }
            VmError::Paged { .. } => {
                "wait until whoever restores or migrates it is done, and try again"
            }
            VmError::OnDisk { .. } => "put mem-path on a tmpfs, such as /dev/shm",
            VmError::InUse { .. } => "give the QEMU that is to be restored a mem-path of its own",
            VmError::Read { .. } => "run as root or as the owner of QEMU",
            VmError::State { .. } => {
                "QEMU's own standard error says more; both sides need the same options"
            }
            VmError::StateTooLarge(_) => "put all RAM in memory-backend-file,share=on",
            VmError::Stream(_) | VmError::Slow { .. } => "see what QEMU does, and try again",
            VmError::Status { .. } => {
                "restore into a QEMU just started with -incoming defer; save one that runs or is \
                 paused"
            }
            VmError::Differs { .. } => "start QEMU with the options of the one that was saved",
            VmError::NotSaved { .. } => "name a folder that faultless vm save has written",
            VmError::Damaged { .. } => "copy the folder again from where it was saved",
            VmError::Image(_) => "faultless image check says what is wrong with the image",
            // Their messages say what to do.
            VmError::WriteImage(_) | VmError::Write(_) => "",
            VmError::Folder { .. } => "choose a folder this user may write to",
            VmError::Exists(_) => "choose another name, or replace it with --force",
            VmError::Attach(error) => return error.next_step(),
            VmError::Handshake(_) | VmError::Operation(_) => {
                "see what this host offers with `faultless doctor`"
            }
            VmError::Punch { .. } => "put mem-path on a tmpfs, such as /dev/shm",
            VmError::Layout(_) => "use sizes that are multiples of 2 MiB",
            VmError::Server(_) => "end this QEMU, whose memory is not whole, and start again",
            VmError::Ended { .. } => "QEMU's own standard error says why",
            VmError::Lost(_) => "end this QEMU; faultless image check says what is wrong",
            VmError::Interrupted(_) => "start it again when it suits",
        }
        .into()
    }
}
