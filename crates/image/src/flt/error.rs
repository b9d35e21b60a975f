//! What can be wrong with an image, and with making one.

use std::io;

use super::Digest;
use crate::core;

/// Why an image cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The store refused.
    #[error("cannot read {object} at offset {offset:#x}: {source}")]
    Io {
        /// The object.
        object: String,
        /// Where.
        offset: u64,
        /// What the store said.
        source: io::Error,
    },
    /// A field does not hold what it must.
    #[error("{object}: {field} at offset {offset:#x}: expected {expected}, found {found}")]
    Malformed {
        /// The object.
        object: String,
        /// Where in it.
        offset: u64,
        /// The field.
        field: &'static str,
        /// What it must hold.
        expected: String,
        /// What it holds.
        found: String,
    },
    /// An image of a version, or with a feature, this program does not know.
    #[error("{object} needs {what}, which this version of faultless does not know")]
    TooNew {
        /// The object.
        object: String,
        /// The version or the feature bits.
        what: String,
    },
    /// The layer below is not there.
    #[error("{object} is a layer over {parent}, which cannot be opened: {source}")]
    NoParent {
        /// The layer.
        object: String,
        /// The one below.
        parent: String,
        /// What the store said.
        source: io::Error,
    },
    /// The layer below is not the one this layer was made over.
    #[error("{object} is a layer over {parent} with id {expected}, but that has id {found}")]
    OtherParent {
        /// The layer.
        object: String,
        /// The one below.
        parent: String,
        /// The id it had.
        expected: Digest,
        /// The id it has.
        found: Digest,
    },
    /// A chunk whose content is not what was written.
    #[error("chunk {chunk} in {object} at offset {offset:#x} does not match its digest {digest}")]
    Damaged {
        /// The object that holds the chunk.
        object: String,
        /// The chunk's number.
        chunk: u64,
        /// Where it lies.
        offset: u64,
        /// What its content must be.
        digest: Digest,
    },
    /// A read beyond the end of the memory.
    #[error("{object}: the {len} bytes at {offset:#x} reach beyond the memory of {memory} bytes")]
    OutOfRange {
        /// The object.
        object: String,
        /// Where the read starts.
        offset: u64,
        /// How long it is.
        len: u64,
        /// How much there is.
        memory: u64,
    },
}

/// Why an image cannot be written. Nothing is left of it when the writer is gone.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The store refused.
    #[error(transparent)]
    Store(#[from] core::WriteError),
    /// The layers below cannot be read.
    #[error(transparent)]
    Parent(#[from] ReadError),
    /// What is imported cannot be read.
    #[error(transparent)]
    Import(#[from] super::ImportError),
    /// Whoever was told of the progress ended the work.
    #[error("stopped")]
    Stopped,
    /// An image without what makes a core of memory.
    #[error("{object} holds no registers")]
    NoNotes {
        /// The image.
        object: String,
    },
    /// The codec refused.
    #[error("cannot compress: {0}")]
    Codec(io::Error),
    /// The chunks of a layer are not those of the layer below.
    #[error("chunks of {chosen} over a parent with chunks of {parent}; all layers have one size")]
    OtherChunkSize {
        /// What was asked for.
        chosen: faultless_pages::Bytes,
        /// What the parent has.
        parent: faultless_pages::Bytes,
    },
    /// More layers than a reader follows.
    #[error("a layer over {layers} others; squash them first")]
    TooManyLayers {
        /// The layers below.
        layers: usize,
    },
    /// More memory than an image can hold.
    #[error("{0} of memory are more than an image holds")]
    TooMuchMemory(faultless_pages::Bytes),
    /// A chunk beyond the end, or of another length than its image's.
    #[error("chunk {chunk} is none of this image")]
    NotAChunk {
        /// Its number.
        chunk: u64,
    },
    /// A chunk that was stored before.
    #[error("chunk {chunk} was stored before")]
    WrittenTwice {
        /// Its number.
        chunk: u64,
    },
    /// Regions that overlap, or lie outside the memory.
    #[error("the region at offset {offset:#x} of the memory does not fit")]
    BadRegion {
        /// Where the region starts.
        offset: u64,
    },
}

/// A field that does not hold what it must, before it is known where it lies.
#[derive(Debug)]
pub(super) struct Bad {
    /// Offset of the field from the start of what was decoded.
    pub(super) at: usize,
    pub(super) field: &'static str,
    pub(super) expected: String,
    pub(super) found: String,
}

impl Bad {
    #[expect(clippy::needless_pass_by_value, reason = "numbers and texts alike")]
    pub(super) fn new(
        at: usize,
        field: &'static str,
        expected: impl ToString,
        found: impl ToString,
    ) -> Bad {
        Bad { at, field, expected: expected.to_string(), found: found.to_string() }
    }

    /// Says where: `base` is the offset of what was decoded.
    pub(super) fn within(self, object: &str, base: u64) -> ReadError {
        ReadError::Malformed {
            object: object.to_owned(),
            offset: base.saturating_add(self.at as u64),
            field: self.field,
            expected: self.expected,
            found: self.found,
        }
    }
}
