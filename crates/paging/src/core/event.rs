//! What goes into the core and what comes out.

use crate::core::{Core, Ending};
use crate::page::{PageRun, RegionId};
use crate::port::{FetchError, Fetched, Message, Order, Outcome, Request};

/// The name of a fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FetchId(pub u64);

/// The name of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u64);

/// Something that happened.
#[derive(Debug)]
pub enum Event<'a> {
    /// There may be messages. Need not be told again before they were read.
    Readable,
    /// These were read after [`Action::Read`]; maybe none.
    Messages(&'a [Message]),
    /// A fetch came back.
    Fetched {
        /// Which.
        fetch: FetchId,
        /// With what.
        result: Result<Fetched, FetchError>,
    },
    /// A request was carried out.
    Done {
        /// Which.
        job: JobId,
        /// What came of it.
        outcome: Outcome,
    },
    /// The time has come for what was [due](Core::due).
    Tick,
    /// Pages are going to be wanted.
    Wish {
        /// Of which region.
        region: RegionId,
        /// Which.
        pages: PageRun,
    },
    /// Pages were given up in a way the kernel does not tell, as by a hole punched into their file.
    Discard {
        /// Of which region.
        region: RegionId,
        /// Which.
        pages: PageRun,
    },
    /// Pages are to be dropped that can be fetched again; those written to stay.
    Evict {
        /// Of which region.
        region: RegionId,
        /// Which.
        pages: PageRun,
    },
    /// Serving is to end.
    End(Ending),
    /// The process has ended.
    Dead,
}

/// Something to be done.
#[derive(Debug)]
pub enum Action {
    /// Read all messages there are and tell them.
    Read,
    /// Fetch pages and tell; keep what came.
    Fetch {
        /// For which region.
        region: RegionId,
        /// What.
        order: Order,
    },
    /// Carry a request out and tell.
    Perform {
        /// Which name its outcome is told by.
        job: JobId,
        /// What.
        request: Request,
    },
    /// Let go what a fetch brought.
    Release(FetchId),
    /// Tell the user.
    Tell(Tell),
}

/// Something its user should know.
#[derive(Debug)]
pub enum Tell {
    /// The content of pages cannot be had. They are bus errors from now on.
    Lost {
        /// Of which region.
        region: RegionId,
        /// Which.
        pages: PageRun,
        /// Why.
        cause: String,
    },
    /// Pages that were lost cannot be made bus errors either: their threads wait on. Ending the
    /// process is all that is left.
    Stuck {
        /// Of which region.
        region: RegionId,
        /// Which.
        pages: PageRun,
    },
    /// A thread touched memory that is registered but no part of a region. It got a bus error.
    Stray(faultless_pages::Va),
    /// The process forked: serve the child with this.
    Forked {
        /// What the reader of the message named the child's userfaultfd.
        child: u64,
        /// The engine of its address space.
        core: Box<Core>,
    },
    /// Serving has ended; the userfaultfd may be closed, or is somebody else's.
    Ended(Ending),
    /// The process has ended.
    Gone,
}
