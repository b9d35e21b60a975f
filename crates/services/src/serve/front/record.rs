//! What the front keeps of a client: enough to begin again with another worker.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use faultless_pages::{Bytes, RangeSet, VaRange};
use faultless_wire::{Attach, Dialect, Layout, Refusal};
use rustix::process::{Signal, pidfd_send_signal};

use super::connection::{Connection, ConnectionId};
use crate::serve::control::{ClientId, Order, pieces};

/// A client.
#[derive(Debug)]
pub(super) struct Record {
    connection: ConnectionId,
    dialect: Dialect,
    pid: i32,
    uffd: OwnedFd,
    process: OwnedFd,
    layout: Layout,
    /// What the client gave up: zeros, whichever worker serves it.
    removed: RangeSet,
    prefault: bool,
    served: bool,
}

impl Record {
    /// Keeps what a client handed over.
    pub(super) fn new(
        id: ConnectionId,
        connection: &Connection,
        attach: Attach<OwnedFd>,
        prefault: bool,
    ) -> std::io::Result<Record> {
        let (pid, process) = connection.process();
        Ok(Record {
            connection: id,
            dialect: connection.dialect().unwrap_or(Dialect::Native),
            pid: pid.as_raw_nonzero().get(),
            uffd: attach.uffd,
            process: process?,
            layout: attach.layout,
            removed: RangeSet::new(),
            prefault,
            served: false,
        })
    }

    /// Makes the order to serve it.
    pub(super) fn serve(&self, client: ClientId, again: bool) -> Order {
        Order::Serve {
            client,
            pid: self.pid,
            regions: pieces(&self.layout),
            removed: self.removed.iter().map(|it| (it.start().0, it.len().0)).collect(),
            prefault: self.prefault,
            again,
        }
    }

    pub(super) fn fds(&self) -> [BorrowedFd<'_>; 2] {
        [self.uffd.as_fd(), self.process.as_fd()]
    }

    pub(super) fn add(&mut self, layout: &Layout) -> Result<(), Refusal> {
        self.layout.extend(layout)
    }

    pub(super) fn removed(&mut self, range: VaRange) {
        // Memory beside the client's is none of it, and would be kept for nothing.
        for region in self.layout.regions() {
            if let Some(both) = region.memory.intersect(range) {
                self.removed.insert(both);
            }
        }
    }

    pub(super) fn connection(&self) -> ConnectionId {
        self.connection
    }

    pub(super) fn dialect(&self) -> Dialect {
        self.dialect
    }

    pub(super) fn pid(&self) -> i32 {
        self.pid
    }

    pub(super) fn memory(&self) -> Bytes {
        self.layout.len()
    }

    /// Takes note that a worker serves it; says whether one did before.
    pub(super) fn served(&mut self) -> bool {
        std::mem::replace(&mut self.served, true)
    }

    pub(super) fn was_served(&self) -> bool {
        self.served
    }

    /// Ends its process.
    pub(super) fn kill(&self) {
        // It fails if the process has ended, which is as well.
        let _ = pidfd_send_signal(&self.process, Signal::KILL);
    }
}
