//! Reading messages.

use faultless_uapi::{UffdMsg, event};

use super::{Session, Slot};
use crate::conform::errno::EAGAIN;
use crate::conform::verdict::{Failure, Verdict};
use crate::conform::{Call, Fd, Stop, Thread, World};
use crate::differential::program::THREADS;
use crate::differential::seen::{Message, Seen};

/// Bytes of a message.
const MESSAGE: u64 = size_of::<UffdMsg>() as u64;
/// Most messages of one drain; a program has fewer threads.
const MESSAGES: usize = 64;

impl<W: World + ?Sized> Session<'_, W> {
    /// Reads messages one by one: reading an event lets its thread go on, which may bring more.
    pub(super) fn drain(&mut self, who: Thread, index: usize, seen: &mut Seen) -> Verdict {
        let fd = self.uffds[index].fd;
        let mut faults = Vec::new();
        let mut events = Vec::new();
        for _ in 0..MESSAGES {
            self.world.start(who, Call::Read { fd, len: MESSAGE })?;
            let Some(done) = self.world.settle(who)? else {
                return Err(Failure::Broken("a read that must not block does".into()));
            };
            let message = done.bytes.as_chunks().0.first().map(|raw| UffdMsg::from_bytes(*raw));
            let Some(message) = message.filter(|_| done.result.is_ok()) else {
                if done.result != Err(Stop::Refused(EAGAIN)) {
                    seen.ended.insert(who, done);
                }
                break;
            };
            match self.message(who, &message)? {
                fault @ Message::Fault { .. } => faults.push(fault),
                event => {
                    events.push(event);
                    self.go_on(seen)?;
                }
            }
        }
        faults.sort();
        seen.messages = faults;
        seen.messages.extend(events);
        Ok(())
    }

    fn message(&mut self, reader: Thread, message: &UffdMsg) -> Verdict<Message> {
        Ok(match message.event {
            event::PAGEFAULT => {
                let fault = message.pagefault();
                let thread = self.thread_of(fault.ptid);
                Message::Fault { thread, address: fault.address, flags: fault.flags }
            }
            event::FORK => {
                let fd = Fd(message.fork_ufd());
                self.uffds.push(Slot { fd, holders: [reader.process.0].into() });
                Message::Fork(self.uffds.len() - 1)
            }
            other => Message::Event(other, [message.arg0, message.arg1, message.arg2]),
        })
    }

    fn thread_of(&self, id: u32) -> Option<Thread> {
        let alive = self.cast.iter().filter(|role| role.alive);
        let mut threads = alive
            .flat_map(|role| (0..=THREADS).map(|index| Thread { process: role.process, index }));
        threads.find(|thread| self.world.thread_id(*thread) == id)
    }
}
