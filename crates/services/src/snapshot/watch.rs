//! Letting writers go before the cut.
//!
//! Memory is protected while the process still runs, so that less is left to do in the pause.
//! Whoever writes to it before the cut is let go at once: nothing is to be saved yet.
//!
//! # Concurrency
//! The tracing thread closes the gate once all threads stand still and before it looks at any
//! page; from then on no protection is taken away. The gate is held across reading messages and
//! acting on them, so that none is half handled when it closes.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::sync::{Mutex, PoisonError};

use faultless_pages::{Bytes, PageSize, Va, VaRange};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::AsFd;

use super::cut::Cut;
use super::port::{Message, Released, Target};
use super::remote::Remote;

/// How long the thread sleeps at most, to notice that the gate is closed.
const NAP: Timespec = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };

/// A writer takes its neighbours along, but not many: what is let go must be protected again.
const REACH: PageSize = match PageSize::new(Bytes::kib(64)) {
    Some(size) => size,
    None => panic!("a page size"),
};

/// Open until the cut begins.
#[derive(Debug, Default)]
pub(super) struct Gate {
    closed: Mutex<bool>,
}

impl Gate {
    /// Ends the letting go; nobody is half let go afterwards.
    pub(super) fn close(&self) {
        *self.closed.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }

    /// Acts while the gate is open; `false` if it is closed.
    fn pass(&self, act: impl FnOnce()) -> bool {
        let closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        if !*closed {
            act();
        }
        !*closed
    }
}

/// Lets writers go until the cut is made; returns it with those that could not be let go yet.
pub(super) fn watch(
    remote: &mut Remote<'_>,
    gate: &Gate,
    cuts: &Receiver<Cut>,
) -> (Option<Cut>, VecDeque<Va>) {
    let mut waiting = VecDeque::new();
    let mut inbox = Vec::new();
    loop {
        match cuts.try_recv() {
            Ok(cut) => return (Some(cut), waiting),
            Err(TryRecvError::Disconnected) => return (None, waiting),
            Err(TryRecvError::Empty) => {}
        }
        if !gate.pass(|| let_go(remote, &mut inbox, &mut waiting)) {
            return (cuts.recv().ok(), waiting);
        }
        let mut fds = [PollFd::from_borrowed_fd(remote.uffd().as_fd(), PollFlags::IN)];
        // A failure is a short sleep.
        let _ = poll(&mut fds, Some(&NAP));
    }
}

/// Lets everybody go who waits, neighbours of their pages included.
fn let_go(remote: &mut Remote<'_>, inbox: &mut Vec<Message>, waiting: &mut VecDeque<Va>) {
    remote.messages(inbox);
    waiting.extend(inbox.drain(..).filter_map(|message| match message {
        Message::Fault(address) => Some(address),
        Message::Moved(_) | Message::Dropping(_) | Message::Changed => None,
    }));
    waiting.retain(|&address| {
        let around = |size: PageSize| VaRange::of(address.align_down(size), size.bytes());
        let page = around(PageSize::KIB4);
        // Letting a part of a huge page go would split it.
        let reach = if remote.is_huge(page) { PageSize::MIB2 } else { REACH };
        // The neighbours may belong to another mapping; the page itself is what counts.
        match remote.release(around(reach)) {
            Released::Changing => true,
            Released::Unmapped => remote.release(page) == Released::Changing,
            Released::Done | Released::Gone => false,
        }
    });
}
