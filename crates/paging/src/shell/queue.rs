//! Work for resolvers, the most pressing first.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::space::Seat;
use crate::page::RegionId;
use crate::port::{Order, Urgency};

/// Something a resolver is to fetch.
pub(super) struct Errand {
    pub(super) seat: Arc<Seat>,
    pub(super) region: RegionId,
    pub(super) order: Order,
}

/// Errands nobody has taken yet.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
}

#[derive(Default)]
struct State {
    errands: BTreeMap<Urgency, VecDeque<Errand>>,
    closed: bool,
}

impl Queue {
    /// Puts an errand behind others that are as pressing.
    pub(super) fn push(&self, errand: Errand) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.errands.entry(errand.order.urgency).or_default().push_back(errand);
        drop(state);
        self.filled.notify_one();
    }

    /// Takes the most pressing errand, waiting for one; `None` when none will come any more.
    pub(super) fn pop(&self) -> Option<Errand> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(errand) = state.errands.values_mut().find_map(VecDeque::pop_front) {
                return Some(errand);
            }
            if state.closed {
                return None;
            }
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Lets nobody wait any more.
    pub(super) fn close(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.filled.notify_all();
    }
}
