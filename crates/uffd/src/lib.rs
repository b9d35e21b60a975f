//! userfaultfd complete and safe: every ioctl, feature, event and memory type.

pub mod attach;
mod mapping;
mod pagemap;
pub mod process;
pub mod ptrace;
mod scan;
mod sys;
#[cfg(test)]
mod testing;

pub use mapping::{Advice, MapError, MapOp, Mapping, MappingBuilder, Protection, Seals};
pub use pagemap::{PageFlags, Pagemap, PagemapEntry, base_page_size};
pub use process::{Pid, Pidfd, ProcessError, read_memory, write_memory};
pub use scan::{Category, PagemapScan, ScanError, ScanRegion};
