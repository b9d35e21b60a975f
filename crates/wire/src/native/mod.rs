//! This project's own protocol, for clients that link the `faultless-client` crate.
//!
//! A client says [`Call`]s, the server answers [`Reply`]s, each a frame (all numbers
//! little-endian):
//!
//! ```text
//!  0  magic    "FLTW"
//!  4  version  u16   of the frames: 1
//!  6  kind     u16
//!  8  length   u32   of what follows the header, at most 32776
//! 12  zero     u32
//! ```
//!
//! | kind | who | carries | descriptors |
//! |---|---|---|---|
//! | 1 `Hello` | client | version u32, flags u32 | – |
//! | 2 `Attach` | client | regions | the userfaultfd; the memfd of its memory, if it offers it |
//! | 3 `AddRegions` | client | regions | – |
//! | 4 `Prefetch` | client | address u64, length u64 | – |
//! | 5 `Bye` | client | – | – |
//! | 129 `Welcome` | server | version u32, flags u32, image length u64 | memory, if granted |
//! | 130 `Ready` | server | – | – |
//! | 131 `Refused` | server | words | – |
//! | 132 `Lost` | server | address u64, length u64, reason u32 | – |
//!
//! Regions are a count u32, a zero u32, and four u64 each: address, length, offset, page size.
//! The flag 1 in a `Hello` asks for shared memory and in a `Welcome` grants it: the server sends a
//! sealed memfd that holds the image's pages as they are read, for the client to map privately and
//! register for missing and minor faults. All clients of an image then share pages until they
//! write to them.
//!
//! The order is `Hello`, `Welcome`, `Attach`, `Ready`; then the client may add, prefetch and say
//! bye, and the server says what is lost: those pages raise `SIGBUS` instead of reading as zeros.

mod call;
mod fields;
mod frame;
mod reply;

pub use call::{Call, Hello};
pub use frame::{MAGIC, PAYLOAD_LEN_MAX};
pub use reply::{Loss, Replies, Reply, Welcome};

pub(crate) use frame::extent;

/// The version of the protocol spoken here.
pub const VERSION: u32 = 1;
/// The flag that asks for shared memory, or grants it.
const FLAG_SHARE: u32 = 1;
