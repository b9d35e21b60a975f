//! Pages of a region: their numbers, and one word for each.

mod index;
mod table;
mod word;

pub(crate) use index::runs;
pub use index::{PageIndex, PageRun, RegionId};
pub use table::PageTable;
pub use word::{Generation, PageWord, State};
