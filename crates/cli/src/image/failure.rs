//! Errors about images, with the code to end with and the next step.

use faultless_image::core;
use faultless_image::flt::{ImportError, ReadError, WriteError};

use crate::exit::{Exit, Failure};

/// Takes an image that cannot be read.
pub(super) fn unreadable(error: &ReadError) -> Failure {
    let step = match error {
        ReadError::Io { .. } => "check the path and the permissions",
        ReadError::TooNew { .. } => "read it with the version that wrote it, or a later one",
        ReadError::NoParent { .. } => "bring that image back into the same folder",
        ReadError::OtherParent { .. } => {
            "bring back the image it was made over, under its name; faultless image inspect shows \
             the id of an image"
        }
        _ => "the file is no image or is damaged: make it again, or copy it again from its source",
    };
    Failure::new(Exit::Peer, error).next(step)
}

/// Takes something that cannot be imported.
pub(super) fn unimportable(error: &ImportError) -> Failure {
    let step = match error {
        ImportError::NotAFile { .. } => "name a regular file",
        ImportError::Core(core::ReadError::Malformed { .. }) => {
            "it is no whole core: faultless inspect says more"
        }
        ImportError::Criu { .. } => "take the dump again, without --lazy-pages, or complete it",
        ImportError::Contradiction { .. } => "faultless inspect --all shows its segments",
        _ => "check the path and the permissions",
    };
    Failure::new(Exit::Peer, error).next(step)
}

/// Takes an image that cannot be written; `interrupted` is the exit of the signal that stopped
/// it, if one did.
pub(crate) fn unwritten(error: &WriteError, interrupted: Option<Exit>) -> Failure {
    match error {
        WriteError::Store(error) => unstored(error),
        WriteError::Parent(error) => unreadable(error),
        WriteError::Import(error) => unimportable(error),
        WriteError::Stopped => stopped(interrupted),
        WriteError::OtherChunkSize { .. } => {
            Failure::new(Exit::Usage, error).next("leave --chunk away")
        }
        WriteError::TooManyLayers { .. } => {
            Failure::new(Exit::Usage, error).next("see faultless image squash")
        }
        WriteError::NoNotes { .. } => {
            Failure::new(Exit::Usage, error).next("export it --to raw; cores come from cores")
        }
        WriteError::TooMuchMemory(_) => Failure::new(Exit::Peer, error),
        _ => Failure::new(Exit::Bug, error),
    }
}

/// Takes a file that cannot be written; the error names its own way out.
pub(super) fn unstored(error: &core::WriteError) -> Failure {
    let exit = match error {
        core::WriteError::Exists { .. } => Exit::Usage,
        _ => Exit::Peer,
    };
    Failure::new(exit, error)
}

/// Says that a signal ended the work.
pub(super) fn stopped(interrupted: Option<Exit>) -> Failure {
    Failure::new(interrupted.unwrap_or(Exit::Bug), "interrupted: nothing was written")
}
