//! The saver's two ports: the target is the world, the sink keeps what was saved.

use std::collections::BTreeMap;

use faultless_pages::{Bytes, VaRange};

use super::world::{Missing, World};
use super::{Message, PAGE, Piece, RangeSet, Released, Rng, Sink, Target, pages, range};

pub(super) struct Memory {
    bytes: Vec<u8>,
}

impl Piece for Memory {
    fn blocks(&mut self) -> Vec<&mut [u8]> {
        vec![&mut self.bytes]
    }
}

impl Target for World {
    fn read(&mut self, live: VaRange, out: &mut dyn Piece) -> Bytes {
        let mut blocks = out.blocks();
        for (page, into) in pages(live).zip(blocks[0].chunks_mut(4096)) {
            self.run();
            let Some(frame) = self.frames.get(&page) else {
                if !self.mapped.contains(&page) {
                    return Bytes(page * PAGE - live.start().0);
                }
                into.fill(0);
                continue;
            };
            into[..8].copy_from_slice(&frame.content.to_le_bytes());
        }
        live.len()
    }

    fn armed(&mut self, live: VaRange) -> Vec<VaRange> {
        self.run();
        if self.missing == Missing::ArmedCheck {
            return vec![live];
        }
        let armed = pages(live).filter(|page| self.frames.get(page).is_some_and(|f| f.armed));
        let set: RangeSet = armed.map(|page| range(page, page + 1)).collect();
        set.iter().collect()
    }

    fn release(&mut self, live: VaRange) -> Released {
        self.run();
        if self.changing > 0 && self.missing != Missing::ChangeCheck {
            return Released::Changing;
        }
        for page in pages(live) {
            if let Some(frame) = self.frames.get_mut(&page) {
                frame.armed = false;
            }
        }
        self.wake(pages(live));
        Released::Done
    }

    fn is_changing(&mut self) -> bool {
        self.run();
        if self.changing == 0 {
            self.moves.clear();
            self.drops.clear();
        }
        self.changing > 0
    }

    fn messages(&mut self, out: &mut Vec<Message>) {
        self.run();
        // Faults come first, whatever came before them.
        out.extend(self.faults.drain(..));
        for (serial, event) in std::mem::take(&mut self.events) {
            self.read_serials.insert(serial);
            out.push(event);
        }
    }
}

/// What was saved, with a sink that now and then has no room.
pub(super) struct Core {
    pub(super) rng: Rng,
    pub(super) saved: BTreeMap<u64, u64>,
    pub(super) twice: bool,
    /// Whether the pieces make a stream, and how far it would have come.
    pub(super) is_stream: bool,
    pub(super) streamed: u64,
    pub(super) out_of_order: bool,
}

impl Sink for Core {
    type Piece = Memory;

    fn takes_any_order(&self) -> bool {
        !self.is_stream
    }

    fn is_behind(&self) -> bool {
        self.saved.len().is_multiple_of(2)
    }

    fn take(&mut self, len: Bytes, _: bool) -> Option<Memory> {
        (self.rng.below(5) > 0).then(|| Memory { bytes: vec![0; len.as_usize()] })
    }

    fn put(&mut self, cut: VaRange, piece: Memory, ahead: bool) {
        // What comes ahead waits until the stream gets there; nothing may come behind it.
        self.out_of_order |= self.is_stream && pages(cut).start < self.streamed;
        if !ahead {
            self.streamed = pages(cut).end;
        }
        for (page, data) in pages(cut).zip(piece.bytes.chunks(4096)) {
            let content = u64::from_le_bytes(data[..8].try_into().unwrap());
            self.twice |= self.saved.insert(page, content).is_some();
        }
    }

    fn give_back(&mut self, _: Memory) {}
}
