//! What `/proc/PID/pagemap` shows: its words, and scans of it.
//!
//! | file | holds |
//! |---|---|
//! | `entry` | the word of a page |
//! | `category` | the categories of a page |
//! | `kind` | what there is at a page, in the words of a report |
//! | `scan` | PAGEMAP_SCAN: its argument, lot after lot |
//! | `walk` | one lot: pages that match, protected in passing |

mod category;
mod entry;
mod kind;
mod scan;
mod walk;

pub use kind::PageKind;
pub use scan::Regions;
