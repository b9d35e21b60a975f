//! The world as the saver sees it: a target to copy from, and somewhere to put the copies.
//!
//! `remote` and `disk` are the real ones; the saver's tests have others.

use faultless_pages::{Bytes, Va, VaRange};

/// The target as a snapshot sees it.
pub(super) trait Target {
    /// Copies memory into `out` and returns how many bytes could be copied, from the start.
    fn read(&mut self, live: VaRange, out: &mut dyn Piece) -> Bytes;
    /// Returns the parts of `live` that are protected, in order.
    fn armed(&mut self, live: VaRange) -> Vec<VaRange>;
    /// Takes the protection from `live` and wakes who waits for it.
    fn release(&mut self, live: VaRange) -> Released;
    /// Says whether the mapping is changing right now.
    fn is_changing(&mut self) -> bool;
    /// Takes everything the kernel has to say, without waiting.
    fn messages(&mut self, out: &mut Vec<Message>);
}

/// Memory to copy a piece of the target into.
pub(super) trait Piece {
    /// Returns the memory, as one slice a block.
    fn blocks(&mut self) -> Vec<&mut [u8]>;
}

/// Where saved pages go.
pub(super) trait Sink {
    /// Memory handed out by this sink.
    type Piece: Piece;
    /// Says whether address order is worth nothing here: pieces out of order cost no more.
    fn takes_any_order(&self) -> bool;
    /// Says whether it has more than it gets rid of, so that room will soon be short.
    fn is_behind(&self) -> bool;
    /// Hands out memory for `len` bytes; `None` while none is free.
    ///
    /// Background work leaves some for those who wait.
    fn take(&mut self, len: Bytes, urgent: bool) -> Option<Self::Piece>;
    /// Takes a saved piece of the cut; `ahead` says that it comes before its turn in address order.
    fn put(&mut self, cut: VaRange, piece: Self::Piece, ahead: bool);
    /// Takes back memory that was not needed.
    fn give_back(&mut self, piece: Self::Piece);
}

/// What the kernel says about the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// A thread waits to write at this address.
    Fault(Va),
    /// The target moved a range.
    Moved(Move),
    /// The target is about to drop the content of this range.
    ///
    /// For private memory nothing follows from it: whether a page is still there is seen by its
    /// protection, at the moment it matters. The protection of other memory outlives its content.
    Dropping(VaRange),
    /// The target changed its mapping in another way: unmapped, forked.
    ///
    /// Nothing follows from it, for the same reason.
    Changed,
}

/// A move of `[from, from + len)` to `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Move {
    /// Where it lay.
    pub(super) from: Va,
    /// Where it lies.
    pub(super) to: Va,
    /// How long it is.
    pub(super) len: Bytes,
}

impl Move {
    /// Returns where it lay.
    pub(super) fn source(self) -> VaRange {
        VaRange::of(self.from, self.len)
    }

    /// Returns where it lies.
    pub(super) fn destination(self) -> VaRange {
        VaRange::of(self.to, self.len)
    }

    /// Says whether the outcome of two moves depends on their order.
    pub(super) fn meets(self, other: Move) -> bool {
        let own = [self.source(), self.destination()];
        let others = [other.source(), other.destination()];
        own.iter().any(|own| others.iter().any(|other| own.intersect(*other).is_some()))
    }
}

/// How taking the protection went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Released {
    /// Done.
    Done,
    /// Not done: the mapping is changing, and there is an event to read.
    Changing,
    /// Not done wholly: something in the range is not registered any more.
    Unmapped,
    /// The address space is gone.
    Gone,
}

/// The address space of the target is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TargetGone;
