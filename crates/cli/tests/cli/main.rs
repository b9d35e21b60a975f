//! The program as its users meet it: what is typed, what is printed, how it ends.
//!
//! A test that cannot run here prints `skipped:` and why.

mod bench;
mod conform;
mod doctor;
mod image;
mod inspect;
mod snapshot;
mod support;
mod target;
mod usage;
