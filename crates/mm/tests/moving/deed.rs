//! What threads do to the streets of a town.

use faultless_mm::{Advice, Argument, Call, ThreadId};
use faultless_pages::{Bytes, Va};
use faultless_uapi::UffdioMove;
use faultless_uapi::ioctl::UFFDIO_MOVE;
use faultless_uapi::mode::move_;

use crate::town::{PAGE, Town};

/// What a thread does in a phase.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    Move { dst: u64, src: u64, len: u64, holes: bool },
    SwapOut(u64),
    PageOut(u64),
    Migrate(u64),
    Split(u64),
    Collapse(usize),
    Age(u64),
    Load(u64),
    Store(u64, u64),
    Drop(u64),
    Pin(u64),
    Fork,
}

/// How it ended.
pub(crate) enum Ending {
    Loaded(u64),
    Stored,
    Pinned(u32, u64),
    Child(ThreadId),
    /// It did what it is for.
    Done,
    /// There was nothing to do, or it was refused.
    Other,
}

impl Op {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Op::Move { .. } => "move",
            Op::SwapOut(_) => "swap out",
            Op::PageOut(_) => "page out",
            Op::Migrate(_) => "migrate",
            Op::Split(_) => "split",
            Op::Collapse(_) => "collapse",
            Op::Age(_) => "age",
            Op::Load(_) => "load",
            Op::Store(..) => "store",
            Op::Drop(_) => "drop",
            Op::Pin(_) => "pin",
            Op::Fork => "fork",
        }
    }
}

impl Town {
    /// Begins an operation of a thread; nothing of it is done yet.
    pub(crate) fn begin(&mut self, number: usize, op: Op) -> Call<Ending> {
        let (kernel, fd, size) = (self.kernel.clone(), self.fd, self.size.len());
        let who = self.threads[number];
        let street = if let Op::Collapse(street) = op { self.streets[street] } else { Va(0) };
        self.runner.start(who, async move {
            let done = match op {
                Op::Move { dst, src, len, holes } => {
                    let mode = if holes { move_::ALLOW_SRC_HOLES } else { 0 };
                    let mut bytes = UffdioMove { dst, src, len, mode, move_: 0 }.to_bytes();
                    kernel.ioctl(who, fd, UFFDIO_MOVE, Argument::Bytes(&mut bytes)).await.is_ok()
                }
                Op::SwapOut(at) => kernel.swap_out(who, Va(at)).await,
                Op::PageOut(at) => {
                    kernel.advise(who, Va(at), Bytes(PAGE), Advice::PageOut).await.is_ok()
                }
                Op::Migrate(at) => kernel.migrate_page(who, Va(at)).await.is_ok(),
                Op::Split(at) => kernel.split_huge_page(who, Va(at)).await.is_ok(),
                Op::Collapse(_) => {
                    kernel.advise(who, street, Bytes(size), Advice::Collapse).await.is_ok()
                }
                Op::Age(at) => kernel.age(who, Va(at)).await.is_some(),
                Op::Load(at) => {
                    let mut out = [0; 8];
                    if kernel.load(who, Va(at), &mut out).await.is_ok() {
                        return Ending::Loaded(u64::from_ne_bytes(out));
                    }
                    false
                }
                Op::Store(at, word) => {
                    if kernel.store(who, Va(at), &word.to_ne_bytes()).await.is_ok() {
                        return Ending::Stored;
                    }
                    false
                }
                Op::Drop(at) => {
                    kernel.advise(who, Va(at), Bytes(PAGE), Advice::DontNeed).await.is_ok()
                }
                Op::Pin(at) => match kernel.pin(who, Va(at), Bytes(PAGE)).await {
                    Ok(fd) => return Ending::Pinned(fd, at),
                    Err(_) => false,
                },
                Op::Fork => match kernel.fork(who).await {
                    Ok(child) => return Ending::Child(child),
                    Err(_) => false,
                },
            };
            if done { Ending::Done } else { Ending::Other }
        })
    }
}
