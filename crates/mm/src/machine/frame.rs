//! Frames of memory.
//!
//! A huge page is a block of neighbouring frames: the first, its head, carries the uses and the
//! owner of all, each carries its own content. So a split changes no mapping of a part.
//!
//! # Invariants
//! - A frame's uses are: one for every entry that maps it or a part of it, one for the page
//!   cache, one for the swap cache, one for every pin, one for every task that holds on to it.
//!   With the last use it is free.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ops::{Index, IndexMut};

use crate::id::{FrameId, ObjectId, RootId, SlotId};
use crate::machine::content::Content;

/// To whom a frame belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// To nobody who could be asked: fresh, or torn from its object.
    Nobody,
    /// Private memory of a family of areas; `linear` is its place in their common numbering.
    Anon { root: RootId, linear: u64 },
    /// The page cache of an object, at this offset.
    Cache { object: ObjectId, offset: u64 },
}

/// How a block of frames came to be one page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// A base page.
    Base,
    /// The head of a transparent huge page of so many frames.
    Huge(usize),
    /// The head of a hugetlb page of so many frames.
    Hugetlb(usize),
    /// A part of the page with this head.
    Part(FrameId),
}

/// A frame.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) content: Content,
    pub(crate) size: Size,
    pub(crate) uses: u32,
    /// Entries that map it or a part of it.
    pub(crate) maps: u32,
    pub(crate) pins: u32,
    pub(crate) owner: Owner,
    /// Its place in swap, while it is in the swap cache.
    pub(crate) slot: Option<SlotId>,
    /// Nobody needs the content unless it is stored to: reclaim may drop it.
    pub(crate) lazy: bool,
    /// In an object: written to, so that reclaim must keep it. Stores through entries are noted
    /// there first, and here when the entry goes.
    pub(crate) dirty: bool,
}

const FRESH: Frame = Frame {
    content: Content::Zero,
    size: Size::Base,
    uses: 0,
    maps: 0,
    pins: 0,
    owner: Owner::Nobody,
    slot: None,
    lazy: false,
    dirty: false,
};

/// Neighbouring frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) first: FrameId,
    pub(crate) count: usize,
}

impl Block {
    /// How far behind the first a frame lies, if it is one of them.
    pub(crate) fn part(self, frame: FrameId) -> Option<usize> {
        let part = frame.0.checked_sub(self.first.0)?;
        (part < self.count).then_some(part)
    }

    /// The frame so far behind the first.
    pub(crate) fn at(self, part: usize) -> FrameId {
        FrameId(self.first.0 + part)
    }
}

/// What became of a frame that was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Put {
    Kept,
    Freed,
    FreedHugetlb,
}

/// Every frame.
#[derive(Debug)]
pub(crate) struct Frames {
    all: Vec<Frame>,
    free: Vec<FrameId>,
    free_blocks: BTreeMap<usize, Vec<FrameId>>,
    /// How many free frames were scattered too far when a block was looked for among them in vain.
    scattered: usize,
    limit: usize,
}

impl Frames {
    pub(crate) fn new(limit: usize) -> Frames {
        Frames {
            all: Vec::new(),
            free: Vec::new(),
            free_blocks: BTreeMap::new(),
            scattered: 0,
            limit,
        }
    }

    /// Takes a base page, used once; `None` when memory is full.
    pub(crate) fn allocate(&mut self, content: Content) -> Option<FrameId> {
        let id = match self.free.pop() {
            Some(id) => id,
            None if self.all.len() < self.limit => {
                self.all.push(FRESH);
                FrameId(self.all.len() - 1)
            }
            None => self.cut_block()?,
        };
        self.all[id.0] = Frame { content, uses: 1, ..FRESH };
        Some(id)
    }

    /// Makes free frames of a free block and takes one.
    fn cut_block(&mut self) -> Option<FrameId> {
        self.free_blocks.retain(|_, heads| !heads.is_empty());
        let mut smallest = self.free_blocks.first_entry()?;
        let count = *smallest.key();
        let head = smallest.get_mut().pop()?;
        self.free.extend((head.0..head.0 + count).rev().map(FrameId));
        self.free.pop()
    }

    /// Takes a block of zeroed frames as one page, used once.
    pub(crate) fn allocate_block(&mut self, count: usize, hugetlb: bool) -> Option<FrameId> {
        let head = match self.free_blocks.get_mut(&count).and_then(Vec::pop) {
            Some(head) => head,
            None => self.gather(count).or_else(|| self.grow(count))?,
        };
        for part in &mut self.all[head.0..head.0 + count] {
            *part = Frame { size: Size::Part(head), ..FRESH };
        }
        let size = if hugetlb { Size::Hugetlb(count) } else { Size::Huge(count) };
        self.all[head.0] = Frame { size, uses: 1, ..FRESH };
        Some(head)
    }

    /// Adds a block of frames to memory, if there is room.
    fn grow(&mut self, count: usize) -> Option<FrameId> {
        let head = FrameId(self.all.len());
        let room = self.all.len() + count <= self.limit;
        room.then(|| self.all.resize(self.all.len() + count, FRESH))?;
        Some(head)
    }

    /// Joins free neighbours to blocks, as many as there are, and takes one: what split pages have
    /// left behind.
    ///
    /// It looks at every free frame. As long as memory can grow it is therefore done only when
    /// twice as many are free as when it was last done in vain.
    fn gather(&mut self, count: usize) -> Option<FrameId> {
        let full = self.all.len() + count > self.limit;
        if full {
            // Frames of other blocks may be among the neighbours.
            while let Some(frame) = self.cut_block() {
                self.free.push(frame);
            }
        }
        let wanted = if full { count } else { count.max(2 * self.scattered) };
        if self.free.len() < wanted {
            return None;
        }
        let heads = self.join_neighbours(count);
        self.scattered = if heads.is_empty() { self.free.len() } else { 0 };
        let blocks = self.free_blocks.entry(count).or_default();
        blocks.extend(heads);
        blocks.pop()
    }

    /// Takes every row of so many free frames out of the free ones; returns their heads.
    fn join_neighbours(&mut self, count: usize) -> Vec<FrameId> {
        self.free.sort_unstable();
        let (mut heads, mut rest) = (Vec::new(), Vec::new());
        for row in self.free.chunk_by(|frame, next| frame.0 + 1 == next.0) {
            let (blocks, others) = row.split_at(row.len() - row.len() % count);
            heads.extend(blocks.iter().step_by(count));
            rest.extend(others);
        }
        self.free = rest;
        heads
    }

    /// The head of the page a frame is part of.
    pub(crate) fn head(&self, id: FrameId) -> FrameId {
        match self.all[id.0].size {
            Size::Part(head) => head,
            _ => id,
        }
    }

    /// How many frames the page with this head has.
    pub(crate) fn count(&self, head: FrameId) -> usize {
        match self.all[head.0].size {
            Size::Huge(count) | Size::Hugetlb(count) => count,
            Size::Base | Size::Part(_) => 1,
        }
    }

    /// Says whether a frame is part of a transparent huge page.
    pub(crate) fn is_transparent(&self, id: FrameId) -> bool {
        matches!(self.all[self.head(id).0].size, Size::Huge(_))
    }

    /// The frames of the page with this head.
    pub(crate) fn block(&self, head: FrameId) -> Block {
        Block { first: head, count: self.count(head) }
    }

    /// Makes base pages of a huge one, each with so many entries that map it; those with none are
    /// free. The caller's use goes to the part it wants to keep.
    pub(crate) fn split(&mut self, head: FrameId, maps: &[u32], keep: FrameId) {
        for (index, maps) in maps.iter().enumerate() {
            let id = FrameId(head.0 + index);
            let part = &mut self.all[id.0];
            part.size = Size::Base;
            part.maps = *maps;
            part.uses = *maps + u32::from(id == keep);
            if part.uses == 0 {
                *part = FRESH;
                self.free.push(id);
            }
        }
    }

    /// Adds one use to the page of a frame.
    pub(crate) fn get(&mut self, id: FrameId) {
        let head = self.head(id);
        self.all[head.0].uses += 1;
    }

    /// Adds an entry that maps the page of a frame.
    pub(crate) fn map(&mut self, id: FrameId) {
        let head = self.head(id);
        self.all[head.0].uses += 1;
        self.all[head.0].maps += 1;
    }

    /// Takes an entry off the count of those that map the page; its use is still to be put.
    pub(crate) fn unmap(&mut self, id: FrameId) {
        let head = self.head(id);
        self.all[head.0].maps -= 1;
    }

    /// Drops one use of the page of a frame.
    pub(crate) fn put(&mut self, id: FrameId) -> Put {
        let head = self.head(id);
        let frame = &mut self.all[head.0];
        frame.uses -= 1;
        if frame.uses > 0 {
            return Put::Kept;
        }
        debug_assert_eq!(frame.maps, 0, "a mapped frame without uses");
        let (size, count) = (frame.size, self.count(head));
        frame_free(&mut self.all[head.0..head.0 + count]);
        match size {
            Size::Base | Size::Part(_) => self.free.push(head),
            Size::Huge(_) | Size::Hugetlb(_) => {
                self.free_blocks.entry(count).or_default().push(head);
            }
        }
        if matches!(size, Size::Hugetlb(_)) { Put::FreedHugetlb } else { Put::Freed }
    }

    /// Every page in use, by its head.
    pub(crate) fn heads(&self) -> impl Iterator<Item = (FrameId, &Frame)> {
        let all = self.all.iter().enumerate();
        all.filter(|(_, frame)| frame.uses > 0).map(|(index, frame)| (FrameId(index), frame))
    }

    /// Frames in use, parts of huge pages included.
    pub(crate) fn in_use(&self) -> usize {
        self.heads().map(|(id, _)| self.count(id)).sum()
    }
}

fn frame_free(frames: &mut [Frame]) {
    for frame in frames {
        *frame = FRESH;
    }
}

impl Index<FrameId> for Frames {
    type Output = Frame;

    fn index(&self, id: FrameId) -> &Frame {
        &self.all[id.0]
    }
}

impl IndexMut<FrameId> for Frames {
    fn index_mut(&mut self, id: FrameId) -> &mut Frame {
        &mut self.all[id.0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_use_frees_the_frame() {
        let mut frames = Frames::new(1);
        let id = frames.allocate(Content::Zero).unwrap();
        frames.map(id);
        assert_eq!(frames.allocate(Content::Zero), None);
        assert_eq!(frames.put(id), Put::Kept);
        frames.unmap(id);
        assert_eq!(frames.put(id), Put::Freed);
        assert!(frames.allocate(Content::Zero).is_some());
    }

    #[test]
    fn split_blocks_are_joined_again() {
        let mut frames = Frames::new(16);
        for _ in 0..10 {
            let head = frames.allocate_block(8, false).unwrap();
            frames.split(head, &[0; 8], head);
            assert_eq!(frames.put(head), Put::Freed);
        }
        assert_eq!(frames.all.len(), 8);
    }

    #[test]
    fn a_block_serves_base_pages_when_nothing_else_is_left() {
        let mut frames = Frames::new(8);
        let head = frames.allocate_block(8, false).unwrap();
        frames.put(head);
        let taken: Vec<_> = (0..8).filter_map(|_| frames.allocate(Content::Zero)).collect();
        assert_eq!(taken.len(), 8);
        assert_eq!(frames.allocate(Content::Zero), None);
        taken.into_iter().for_each(|frame| assert_eq!(frames.put(frame), Put::Freed));
        assert!(frames.allocate_block(8, true).is_some());
    }

    #[test]
    fn scattered_frames_make_no_block() {
        let mut frames = Frames::new(8);
        let taken: Vec<_> = (0..8).filter_map(|_| frames.allocate(Content::Zero)).collect();
        taken.iter().step_by(2).for_each(|frame| assert_eq!(frames.put(*frame), Put::Freed));
        assert_eq!(frames.allocate_block(2, false), None);
        frames.put(taken[1]);
        assert_eq!(frames.allocate_block(2, false), Some(taken[0]));
    }

    #[test]
    fn parts_share_the_uses_of_their_head() {
        let mut frames = Frames::new(16);
        let head = frames.allocate_block(8, false).unwrap();
        let part = FrameId(head.0 + 3);
        frames.get(part);
        assert_eq!(frames[head].uses, 2);
        assert_eq!(frames.in_use(), 8);
        frames.put(part);
        assert_eq!(frames.put(head), Put::Freed);
        assert_eq!(frames.in_use(), 0);
    }
}
