//! Why a snapshot could not be taken, and what to do about it.

use std::io;

use faultless_image::core::WriteError;
use faultless_image::flt;
use faultless_pages::{Bytes, VaRange};
use faultless_uffd::attach::AttachError;
use faultless_uffd::{HandshakeError, OpError};
use rustix::io::Errno;

use crate::Class;

/// Why a snapshot could not be taken. No file is left under the output's name, and the target
/// runs on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// No userfaultfd could be opened on the process.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// The kernel cannot write-protect memory by userfaultfd.
    #[error("{0}")]
    Handshake(String),
    /// Some memory of the process belongs to another userfaultfd.
    #[error("memory {range} of process {pid} is already handled by another userfaultfd")]
    Owned {
        /// The process.
        pid: u32,
        /// The memory.
        range: VaRange,
    },
    /// The kernel refused an operation.
    #[error("{0}")]
    Operation(OpError),
    /// A child inherited the userfaultfd while it was open in the process.
    #[error("process {child} was forked at the wrong moment and holds the userfaultfd, too")]
    Inherited {
        /// The child.
        child: u32,
    },
    /// The kernel could not write-protect some memory.
    #[error("cannot write-protect memory {range}: {why}")]
    Protect {
        /// The memory.
        range: VaRange,
        /// Why.
        why: String,
    },
    /// A request about a thread failed.
    #[error("{what} of process {pid}: {errno}")]
    Trace {
        /// What was attempted.
        what: &'static str,
        /// The process.
        pid: u32,
        /// How it failed.
        errno: Errno,
    },
    /// A thread did not stop.
    #[error("thread {tid} did not stop within {seconds} s (it waits in {wchan})")]
    Unresponsive {
        /// The thread.
        tid: u32,
        /// How long it was given.
        seconds: u64,
        /// Where in the kernel it waits.
        wchan: String,
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
    /// The target ended or replaced its program.
    #[error("the process ended, or replaced its program, {}", progress(.saved))]
    Ended {
        /// How much was saved of how much; `None` before the cut.
        saved: Option<(Bytes, Bytes)>,
    },
    /// The core could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The image could not be written.
    #[error(transparent)]
    Image(flt::WriteError),
    /// This process ran out of something.
    #[error("{what}: {error}")]
    Own {
        /// What was attempted.
        what: &'static str,
        /// Why it failed.
        error: io::Error,
    },
    /// The user stopped the snapshot.
    #[error("interrupted; the process runs on, no file was left")]
    Interrupted,
    /// This architecture has no core format here.
    #[error("cores are written for x86-64 and aarch64 only")]
    Architecture,
}

/// Says how far a snapshot had come.
fn progress(saved: &Option<(Bytes, Bytes)>) -> String {
    match saved {
        Some((done, total)) => format!("with {done} of {total} saved"),
        None => "before its memory could be cut".into(),
    }
}

impl SnapshotError {
    /// Wraps a failed ptrace request.
    pub(super) fn trace(pid: u32, what: &'static str, errno: Errno) -> SnapshotError {
        match errno {
            Errno::SRCH => SnapshotError::Ended { saved: None },
            errno => SnapshotError::Trace { what, pid, errno },
        }
    }

    /// Wraps a failed look at `/proc`.
    pub(super) fn read(pid: u32, what: &'static str, error: io::Error) -> SnapshotError {
        match Errno::from_io_error(&error) {
            Some(Errno::SRCH | Errno::NOENT) => SnapshotError::Ended { saved: None },
            _ => SnapshotError::Read { what, pid, error },
        }
    }

    /// Returns who has to act.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Attach(
                AttachError::NoProcess(_)
                | AttachError::Thread { .. }
                | AttachError::Oneself(_)
                | AttachError::KernelThread(_),
            )
            | Self::Image(flt::WriteError::TooManyLayers { .. })
            | Self::Write(WriteError::Exists { .. }) => Class::Usage,
            Self::Attach(
                AttachError::Zombie(_)
                | AttachError::Ended(_)
                | AttachError::AlreadyTraced { .. }
                | AttachError::ThirtyTwoBit(_)
                | AttachError::DescriptorLimit(_)
                | AttachError::Unresponsive { .. },
            )
            | Self::Owned { .. }
            | Self::Inherited { .. }
            | Self::Unresponsive { .. }
            | Self::Ended { .. }
            | Self::Image(_)
            | Self::Write(_) => Class::Peer,
            Self::Interrupted => Class::Interrupted,
            Self::Trace { errno, .. } if *errno != Errno::PERM => Class::Bug,
            Self::Operation(_) | Self::Own { .. } | Self::Read { .. } => Class::Peer,
            _ => Class::Host,
        }
    }

    /// Says what the user can do about it.
    #[must_use]
    pub fn next_step(&self) -> String {
        match self {
            Self::Attach(error) => error.next_step(),
            Self::Handshake(_) => "see `faultless doctor`; write-protection needs Linux 5.7 on \
                 x86-64 and 6.10 on aarch64"
                .into(),
            Self::Owned { .. } => "stop its user (a garbage collector, a post-copy migration, \
                 another snapshot) and try again"
                .into(),
            Self::Operation(_) | Self::Protect { .. } | Self::Trace { .. } | Self::Read { .. } => {
                "see what this host offers with `faultless doctor`".into()
            }
            Self::Unresponsive { .. } => {
                "wait until its disk or network access is over and try again".into()
            }
            Self::Ended { .. } => "start it again and try again".into(),
            Self::Inherited { .. } => "try again".into(),
            // Its message says what to do.
            Self::Write(_) | Self::Image(_) => String::new(),
            Self::Own { .. } => "free memory or descriptors and try again".into(),
            Self::Interrupted => "start it again when it suits".into(),
            Self::Architecture => "take a core with gcore instead".into(),
        }
    }
}

impl From<flt::WriteError> for SnapshotError {
    fn from(error: flt::WriteError) -> SnapshotError {
        match error {
            flt::WriteError::Store(error) => SnapshotError::Write(error),
            error => SnapshotError::Image(error),
        }
    }
}

impl From<HandshakeError> for SnapshotError {
    fn from(error: HandshakeError) -> SnapshotError {
        SnapshotError::Handshake(error.to_string())
    }
}
