//! Images of memory in chunks: compressed, stored once, in layers, read from anywhere.
//!
//! An image is one object, written from its start to its end and never changed
//! (`docs/image-format.md` has the byte map):
//!
//! ```text
//! head | chunks | index: blocks, root pages | tables | footer
//! ```
//!
//! An [`ImageWriter`] takes chunks in any order. It leaves out zeros, keeps a chunk of one word as
//! that word, and stores equal content once, whether here or in a layer below. An [`Image`] reads
//! memory from anywhere through all layers: of a large index, the few pieces on the way.
//! [`Image::check`] reads everything; [`squash()`] makes one image of many layers. Objects lie in a
//! [`Store`]; [`Folder`] is the one there is.
//!
//! ```
//! use faultless_image::{core::OnExisting, flt::*};
//! use faultless_pages::Bytes;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let folder = Folder::new(directory.path());
//! let options = Options { memory: Bytes::mib(1), ..Options::default() };
//! let object = folder.create("vm.flt", OnExisting::Refuse)?;
//! let mut writer = ImageWriter::new(object, options, None)?;
//! let content = b"page by page".repeat(10_000);
//! writer.put(3, &content[..65536])?;
//! writer.finish()?;
//!
//! let image = Image::open(&folder, "vm.flt")?;
//! let mut word = [0; 12];
//! image.read_at(Bytes(3 * 65536 + 12), &mut word)?;
//! assert_eq!(&word, b"page by page");
//! # Ok(())
//! # }
//! ```
//!
//! | module | is |
//! |---|---|
//! | `footer`, `index`, `tables` | the bytes of the format |
//! | `chunk`, `codec`, `digest` | what a chunk is, how it is compressed, how it is addressed |
//! | `store` | where objects lie |
//! | `layer`, `chain`, `reader` | one object open, its layers, memory read through them |
//! | `writer`, `process`, `squash`, `import` | making images |
//! | `export` | making raw memory and ELF cores of them |
//! | `check`, `summary` | what an image holds, and whether it is right |

mod chain;
mod check;
mod chunk;
mod codec;
mod digest;
mod error;
mod export;
mod footer;
mod import;
mod index;
mod layer;
mod process;
mod reader;
mod squash;
mod store;
mod summary;
mod tables;
mod writer;

pub use check::CheckReport;
pub use chunk::ChunkSize;
pub use codec::Codec;
pub use digest::Digest;
pub use error::{ReadError, WriteError};
pub use export::{export_core, export_raw};
pub use footer::FORMAT_VERSION;
pub use import::{ImportError, RawFile, Source, copy, criu_processes, open_core, open_criu};
pub use process::ProcessWriter;
pub use reader::Image;
pub use squash::squash;
pub use store::{Folder, NewFile, NewObject, Object, Store};
pub use summary::{LayerSummary, RegionSummary, Summary};
pub use tables::{ElfNotes, Region};
pub use writer::{ImageWriter, Options, Parent, Written};

/// Says whether a file begins as an image does.
#[must_use]
pub fn is_image(first_bytes: &[u8]) -> bool {
    first_bytes.starts_with(&footer::HEAD_MAGIC)
}
