//! What an image is turned back into: a raw memory file, an ELF core.

mod core;
mod raw;

pub use self::core::export_core;
pub use raw::export_raw;
