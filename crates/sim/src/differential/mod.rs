//! Differential fuzzing: random programs in two worlds, everything compared after each step.
//!
//! | module | holds |
//! |---|---|
//! | [`program`] | programs, in terms that mean the same everywhere |
//! | [`deed`] | kinds of operation, and weights drawn per program |
//! | [`palette`] | what programs are drawn from |
//! | `drawing` | pages, spans, modes, drawn |
//! | [`mod@generate`] | random programs |
//! | `tour` | programs that bring about each kind of entry, and do each thing to it |
//! | [`session`] | a program under way in one world |
//! | [`seen`] | what shows of a world after a step |
//! | [`mod@duel`] | a program in two worlds, up to the first difference |
//! | [`bug`] | historic bugs, to be switched over in a model |
//! | [`coverage`] | which operations met which kinds of entries |
//! | [`hunt`] | seed after seed |
//! | [`mod@print`] | a program as a Rust test |
//! | [`race`] | calls at once, and every outcome the model allows |
//! | [`mod@shrink`] | the smallest program that still shows it |
//! | [`watch`] | what is under way, for who looks on |

pub mod bug;
pub mod coverage;
pub mod deed;
mod drawing;
pub mod duel;
pub mod generate;
pub mod hunt;
pub mod palette;
pub mod print;
pub mod program;
pub mod race;
pub mod seen;
pub mod session;
pub mod shrink;
mod tour;
mod translate;
pub mod watch;
