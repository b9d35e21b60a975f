//! The ports of the engine on Linux, over `faultless-uffd`.
//!
//! | item | is |
//! |---|---|
//! | [`OwnMemory`] | memory of this process, as a [`Kernel`](crate::port::Kernel) |
//! | [`ForeignMemory`] | memory of another process |
//! | [`MonotonicClock`] | the clock that no administrator turns back |

mod clock;
mod foreign;
mod messages;
mod outcome;
mod own;

pub use clock::MonotonicClock;
pub use foreign::ForeignMemory;
pub use own::OwnMemory;
