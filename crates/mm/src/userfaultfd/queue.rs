//! The queues: faults unread and read, events. Reading, polling, waking, counting.
//!
//! # Invariants
//! - A fault stands in one of the two queues as long as its thread sleeps; whoever wakes it takes
//!   it out.
//! - All faults are read before all events, each kind in its order.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use faultless_pages::{Va, VaRange};
use faultless_uapi::UffdMsg;

use crate::errno::{EAGAIN, EINTR, EINVAL, Errno};
use crate::id::{ContextId, ThreadId};
use crate::kernel::Kernel;
use crate::process::FileKind;
use crate::sched::On;

const MESSAGE: usize = size_of::<UffdMsg>();
/// What fdinfo shows in place of the features to say that there was a handshake.
const SHAKEN: u64 = 1 << 31;

/// A fault that waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiter {
    pub(crate) ticket: u64,
    pub(crate) message: UffdMsg,
}

/// An event that waits to be read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event {
    pub(crate) ticket: u64,
    pub(crate) message: UffdMsg,
    /// The child's userfaultfd that reading it hands over.
    pub(crate) child: Option<ContextId>,
}

/// What `poll` reports.
pub(crate) mod ready {
    /// Something to read.
    pub(crate) const IN: u64 = 0x1;
    /// An error.
    pub(crate) const ERR: u64 = 0x8;
}

impl Kernel {
    /// `read(2)` of a userfaultfd: as many messages as fit, waiting only for the first.
    ///
    /// # Errors
    /// EBADF, EINVAL for a buffer too small or before the handshake, EAGAIN, EINTR, and that of
    /// a new descriptor where a fork is told.
    pub async fn read(&self, who: ThreadId, fd: u32, len: usize) -> Result<Vec<u8>, Errno> {
        let mut out = Vec::new();
        let result = self.read_messages(who, fd, len, None, &mut out).await;
        if out.is_empty() { result.map(|()| out) } else { Ok(out) }
    }

    /// `read(2)` into memory, which may not be there: then EFAULT, and the message is lost.
    ///
    /// # Errors
    /// As [`Kernel::read`].
    pub async fn read_to(&self, who: ThreadId, fd: u32, at: Va, len: usize) -> Result<u64, Errno> {
        let mut out = Vec::new();
        let result = self.read_messages(who, fd, len, Some(at), &mut out).await;
        if out.is_empty() { result.map(|()| 0) } else { Ok(out.len() as u64) }
    }

    /// Reads messages into `out`, and into memory where `at` says so.
    async fn read_messages(
        &self,
        who: ThreadId,
        fd: u32,
        len: usize,
        at: Option<Va>,
        out: &mut Vec<u8>,
    ) -> Result<(), Errno> {
        let (file, kind) = self.hold(who, fd)?;
        let nonblocking = self.state().files[file].nonblocking;
        let mut result = self.initialised(&kind);
        if result.is_ok() && len < MESSAGE {
            result = Err(EINVAL);
        }
        while let Ok(id) = result
            && out.len() + MESSAGE <= len
        {
            let waits = out.is_empty() && !nonblocking;
            let copied = match self.next_message(who, id, waits).await {
                Ok(message) => self.deliver(who, &message, at, out).await,
                Err(errno) => Err(errno),
            };
            result = copied.map(|()| id);
        }
        self.put_file(file).await;
        result.map(|_| ())
    }

    async fn deliver(
        &self,
        who: ThreadId,
        message: &UffdMsg,
        at: Option<Va>,
        out: &mut Vec<u8>,
    ) -> Result<(), Errno> {
        let bytes = message.to_bytes();
        if let Some(at) = at {
            let at = Va(at.0.saturating_add(out.len() as u64));
            self.copy_to_user(who, at, &bytes).await?;
        }
        out.extend_from_slice(&bytes);
        Ok(())
    }

    fn initialised(&self, kind: &FileKind) -> Result<ContextId, Errno> {
        let state = self.state();
        let id = state.context_of(kind)?;
        if state.contexts[id].features.is_some() { Ok(id) } else { Err(EINVAL) }
    }

    /// Takes the next message out of the queues.
    async fn next_message(
        &self,
        who: ThreadId,
        id: ContextId,
        waits: bool,
    ) -> Result<UffdMsg, Errno> {
        loop {
            if let Some(message) = self.take_fault(id) {
                return Ok(message);
            }
            if let Some(message) = self.take_event(who, id)? {
                return Ok(message);
            }
            if !waits {
                return Err(EAGAIN);
            }
            if self.interrupted(who) {
                return Err(EINTR);
            }
            self.wait(On::Message(id)).await;
        }
    }

    fn take_fault(&self, id: ContextId) -> Option<UffdMsg> {
        let context = &mut self.state().contexts[id];
        let waiter = context.pending.pop_front()?;
        context.delivered.push(waiter);
        Some(waiter.message)
    }

    /// Takes the oldest event, and lets its thread go on. The descriptor a fork brings is made in
    /// the reader; where it has no room the event stays.
    fn take_event(&self, who: ThreadId, id: ContextId) -> Result<Option<UffdMsg>, Errno> {
        let process = self.process_of(who);
        let mut state = self.state();
        let Some(event) = state.contexts[id].events.front().copied() else { return Ok(None) };
        let message = match event.child {
            Some(child) => UffdMsg::from_fork(state.install_userfaultfd(process, child)?),
            None => event.message,
        };
        state.contexts[id].events.pop_front();
        self.tasks().wake(On::Event(id, event.ticket));
        Ok(Some(message))
    }

    /// Says whether a thread must give up waiting, and takes note that it was told.
    pub(crate) fn interrupted(&self, who: ThreadId) -> bool {
        let thread = &mut self.state().threads[who];
        core::mem::take(&mut thread.signalled) || thread.dying
    }

    /// Wakes the faults whose reported address lies in a range, read or not.
    pub(crate) fn wake_range(&self, id: ContextId, range: VaRange) {
        self.wake_faults(id, |address| range.contains(address));
    }

    /// Wakes every fault.
    pub(crate) fn wake_all(&self, id: ContextId) {
        self.wake_faults(id, |_| true);
    }

    fn wake_faults(&self, id: ContextId, wakes: impl Fn(Va) -> bool) {
        let mut state = self.state();
        let mut tasks = self.tasks();
        let mut stays = |waiter: &Waiter| {
            let woken = wakes(Va(waiter.message.pagefault().address));
            if woken {
                tasks.wake(On::Fault(id, waiter.ticket));
            }
            !woken
        };
        let context = &mut state.contexts[id];
        context.pending.retain(&mut stays);
        context.delivered.retain(&mut stays);
    }

    /// `poll(2)` without waiting. Returns the events.
    ///
    /// # Errors
    /// EBADF.
    pub fn poll(&self, who: ThreadId, fd: u32) -> Result<u64, Errno> {
        let state = self.state();
        let file = &state.files[state.file(who, fd)?];
        let FileKind::Userfaultfd(id) = file.kind else { return Ok(ready::IN) };
        let context = &state.contexts[id];
        if context.features.is_none() || !file.nonblocking {
            return Ok(ready::ERR);
        }
        let quiet = context.pending.is_empty() && context.events.is_empty();
        Ok(if quiet { 0 } else { ready::IN })
    }

    /// `poll(2)` that waits. Returns the events.
    ///
    /// # Errors
    /// EBADF, EINTR.
    pub async fn poll_wait(&self, who: ThreadId, fd: u32) -> Result<u64, Errno> {
        loop {
            let events = self.poll(who, fd)?;
            if events != 0 {
                return Ok(events);
            }
            if self.interrupted(who) {
                return Err(EINTR);
            }
            let id = {
                let state = self.state();
                state.context_of(&state.files[state.file(who, fd)?].kind)?
            };
            self.wait(On::Message(id)).await;
        }
    }

    /// `/proc/self/fdinfo` of a userfaultfd: faults unread, faults unresolved, the handshake, and
    /// every request there is.
    ///
    /// # Errors
    /// EBADF.
    pub fn fdinfo(&self, who: ThreadId, fd: u32) -> Result<String, Errno> {
        let state = self.state();
        let id = state.context_of(&state.files[state.file(who, fd)?].kind)?;
        let context = &state.contexts[id];
        let pending = context.pending.len();
        let total = pending + context.delivered.len();
        let features = context.features.map_or(0, |features| features | SHAKEN);
        let requests = state.handshake_requests() | state.range_requests();
        Ok(format!("pending:\t{pending}\ntotal:\t{total}\nAPI:\taa:{features:x}:{requests:x}\n"))
    }
}
