//! Watching an engine: how long faults take, and what happened last.
//!
//! | item | is |
//! |---|---|
//! | [`Histogram`] | durations, counted by powers of two |
//! | [`Latencies`] | from fault to page, by what came of it |
//! | [`FlightRecorder`] | the last so many observations, as a trace that Perfetto opens |
//! | [`Both`] | two observers at once |

mod histogram;
mod latency;
mod recorder;

pub use histogram::Histogram;
pub use latency::{Answer, Latencies};
pub use recorder::FlightRecorder;

use crate::port::{Observation, Observer};

/// Two observers at once.
#[derive(Clone, Debug)]
pub struct Both<A, B>(pub A, pub B);

impl<A: Observer, B: Observer> Observer for Both<A, B> {
    fn observe(&mut self, observation: Observation) {
        self.0.observe(observation);
        self.1.observe(observation);
    }
}
