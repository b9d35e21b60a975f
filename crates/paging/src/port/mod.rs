//! What the engine needs of the world, as data and as traits.
//!
//! The core does nothing itself: it is told [messages](Message) and [outcomes](Outcome), and asks
//! for [requests](Request) and fetches. So whatever carries those out is a port: userfaultfd
//! itself, a model of it in a simulation, a table in a test. Effects are data rather than methods
//! that the core calls because a simulation carries them out step by step, each overtaken by
//! others, which no method call lets it do.
//!
//! | item | is |
//! |---|---|
//! | [`Message`] | what the kernel tells of an address space |
//! | [`Request`], [`Outcome`] | what the kernel is asked to do, and what came of it |
//! | [`Kernel`] | who carries requests out |
//! | [`PageSource`] | where the content of pages comes from |
//! | [`Clock`], [`Time`], [`Span`] | the time |
//! | [`Observer`] | who watches |

mod kernel;
mod message;
mod observer;
mod request;
mod source;
mod time;

pub use kernel::{Kernel, ReadError};
pub use message::{Fault, FaultKind, Message};
pub use observer::{Observation, Observer, Quiet, What};
pub use request::{Again, Outcome, Request, Stop, Supply};
pub use source::{Content, FetchError, Fetched, Order, PageSource, Urgency};
pub use time::{Clock, Span, Time};
