//! What the worker tells the front, from whichever of its threads.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use faultless_paging::linux::ForeignMemory;
use faultless_paging::port::{Kernel, Message, Outcome, ReadError, Request};

use crate::serve::control::{self, ClientId, Word};

/// The socket to the front. A packet is sent whole, so threads need no order among them.
#[derive(Clone, Debug)]
pub(super) struct Mouth(pub(super) Arc<OwnedFd>);

impl Mouth {
    /// Says something. The socket blocks, for the front reads before it does anything else; when
    /// the front has ended there is nobody to tell, and nothing to do about it.
    pub(super) fn say(&self, word: &Word) {
        let _ = control::send(&*self.0, &control::packet(word), &[]);
    }
}

/// A client's memory, of which the front hears what is discarded.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) memory: ForeignMemory,
    pub(super) client: ClientId,
    pub(super) mouth: Mouth,
}

impl Kernel for Told {
    fn perform(&self, request: &Request, bytes: &[u8]) -> Outcome {
        self.memory.perform(request, bytes)
    }

    /// Tells the front of discards before anything else happens: another worker must know them,
    /// and the program goes on from the moment they were read.
    fn read(&self, messages: &mut Vec<Message>) -> Result<(), ReadError> {
        let before = messages.len();
        let read = self.memory.read(messages);
        for message in &messages[before..] {
            if let Message::Remove(range) = message {
                let (start, len) = (range.start().0, range.len().0);
                self.mouth.say(&Word::Removed { client: self.client, start, len });
            }
        }
        read
    }

    fn child(&self, child: u64) -> Option<Box<dyn Kernel>> {
        self.memory.child(child)
    }

    fn descriptor(&self) -> std::os::fd::BorrowedFd<'_> {
        self.memory.descriptor()
    }
}
