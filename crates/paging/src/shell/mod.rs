//! Threads around the engine.
//!
//! A [`Crew`] is a few threads that serve any number of address spaces, of this process and of
//! others: readers wait for messages, all in one `epoll`, and serve what takes no waiting;
//! resolvers wait for sources that take their time, those somebody waits for first. Each address
//! space is given to the crew as a [`Space`] and comes back as a [`Pager`], through which it is
//! steered and ended.
//!
//! | file | holds |
//! |---|---|
//! | `space` | an address space: engine, kernel and sources, and how actions are carried out |
//! | `tools` | what the threads share, whatever address space they are at |
//! | `crew` | the threads, and the handle of each address space |
//! | `reader` | a thread that waits for messages |
//! | `pace` | how long readers look again before they sleep |
//! | `queue` | work for resolvers, the most pressing first |
//! | `buffers` | room for what is fetched |
//!
//! # Locking
//! The engine of an address space is behind one lock, held for a step and never across a call of
//! the kernel, of a source, or of the user. Rooms and the queue have locks of their own, taken with
//! nothing else held.
//!
//! # Invariants
//! - Memory that is served is never let go with pages missing: what becomes of them when a
//!   [`Pager`] is dropped was chosen when it was made.

mod buffers;
mod crew;
mod pace;
mod queue;
mod reader;
mod space;
#[cfg(test)]
mod tests;
mod tools;

pub use crew::{Crew, CrewError, CrewOptions, Pager};
pub use space::{Hear, Space};
