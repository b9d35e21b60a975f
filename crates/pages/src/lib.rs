//! The vocabulary of user-space paging: addresses, sizes, ranges, range sets and bitmaps.
//!
//! Every crate of the workspace speaks in these types, so that a count of pages is never taken
//! for a count of bytes and an address never for an offset. They are plain values: nothing here
//! asks the system anything.
//!
//! | type | is |
//! |---|---|
//! | [`Va`] | a virtual address, in the address space the context names |
//! | [`Bytes`] | a length in bytes |
//! | [`PageSize`] | a power of two, at least 4096 |
//! | [`VaRange`] | half-open `[start, end)`, never inverted |
//! | [`RangeSet`] | disjoint, sorted, merged ranges |
//! | [`Bitmap`] | one bit a page |
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod address;
mod bitmap;
mod range;
mod range_set;

pub use address::{Bytes, PageSize, Va};
pub use bitmap::Bitmap;
pub use range::VaRange;
pub use range_set::RangeSet;
