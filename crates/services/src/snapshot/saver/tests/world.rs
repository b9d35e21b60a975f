//! The program whose memory is saved, and the kernel's side of what it does.
//!
//! Follows what Linux does, with every point where a thread can be overtaken as a step of its own.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use faultless_pages::{Va, VaRange};

use super::{
    CUT, Message, Move, PAGE, Rng, SHARED, SPACE, content_at_cut, move_, object_at, pages, range,
    twin_of,
};

#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) content: u64,
    pub(super) armed: bool,
    /// The page of the cut whose content this was, to know what may be recorded as freed.
    pub(super) origin: Option<u64>,
    /// The page of the shared object it shows: then its protection outlives its content.
    pub(super) object: Option<u64>,
}

/// A thread of the program, in the middle of something.
#[derive(Clone, Copy, Debug)]
pub(super) enum Thread {
    Idle,
    /// Waits for its page to be let go.
    Blocked {
        page: u64,
    },
    /// Has posted an event and waits for it to be read; then `next`.
    Posted {
        serial: u64,
        next: Next,
    },
    /// Goes on with this.
    Then(Next),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Next {
    Write {
        page: u64,
    },
    EndChange,
    /// The kernel lowers its count, then drops the pages. The holes to punch into shared memory
    /// were looked up before, one bit a page of the object.
    Zap {
        start: u64,
        end: u64,
        counted: bool,
        holes: u8,
    },
    AnnounceUnmap,
    Move {
        from: u64,
        to: u64,
        len: u64,
    },
    AnnounceMove {
        from: u64,
        to: u64,
        len: u64,
    },
}

/// A guarantee of the kernel to do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    Nothing,
    /// Letting go succeeds while the mapping is changing.
    ChangeCheck,
    /// Protection cannot be looked at.
    ArmedCheck,
    /// Drops are not announced for shared memory, or nobody listens.
    Announcement,
    /// Nobody knows what lies at more than one address.
    Twins,
}

pub(super) struct World {
    pub(super) rng: Rng,
    pub(super) missing: Missing,
    pub(super) mapped: BTreeSet<u64>,
    pub(super) frames: BTreeMap<u64, Frame>,
    pub(super) changing: u32,
    pub(super) faults: VecDeque<Message>,
    pub(super) events: VecDeque<(u64, Message)>,
    pub(super) next_serial: u64,
    pub(super) read_serials: BTreeSet<u64>,
    pub(super) threads: Vec<Thread>,
    /// Pages of the cut the program has dropped.
    pub(super) dropped: BTreeSet<u64>,
    /// Moves since the saver last saw that nothing is changing, with the pages they took along.
    pub(super) moves: Vec<(Move, Vec<u64>)>,
    /// Where each page of the cut has been.
    pub(super) was_at: BTreeMap<u64, BTreeSet<u64>>,
    /// Drops since then.
    pub(super) drops: Vec<VaRange>,
    /// Pages of moves whose order the saver cannot know, and of announced drops: those of shared
    /// memory are given up before they are gone.
    pub(super) entangled: BTreeSet<u64>,
    pub(super) steps: u64,
    /// Threads may begin something new.
    pub(super) lively: bool,
    /// Where memory was unmapped last.
    pub(super) hole: u64,
}

impl World {
    pub(super) fn new(seed: u64, missing: Missing) -> World {
        let frame = |page: u64| Frame {
            content: content_at_cut(page),
            armed: true,
            origin: Some(page),
            object: object_at(page),
        };
        World {
            rng: Rng(seed),
            missing,
            mapped: CUT.collect(),
            frames: CUT.map(|page| (page, frame(page))).collect(),
            changing: 0,
            faults: VecDeque::new(),
            events: VecDeque::new(),
            next_serial: 0,
            read_serials: BTreeSet::new(),
            threads: vec![Thread::Idle; 3],
            dropped: BTreeSet::new(),
            moves: Vec::new(),
            was_at: CUT.map(|page| (page, BTreeSet::from([page]))).collect(),
            drops: Vec::new(),
            entangled: BTreeSet::new(),
            steps: 0,
            lively: true,
            hole: 0,
        }
    }

    /// Lets the program go on for a while.
    pub(super) fn run(&mut self) {
        for _ in 0..self.rng.below(4) {
            let thread = usize::try_from(self.rng.below(3)).unwrap();
            self.step(thread);
        }
    }

    pub(super) fn step(&mut self, thread: usize) {
        self.steps += 1;
        self.threads[thread] = match self.threads[thread] {
            Thread::Idle if self.lively => self.begin(),
            Thread::Posted { serial, next } if self.read_serials.contains(&serial) => {
                Thread::Then(next)
            }
            Thread::Then(next) => self.go_on(next),
            other => other,
        };
    }

    pub(super) fn span(&mut self) -> (u64, u64) {
        let start = self.rng.below(SPACE - 8);
        (start, start + 1 + self.rng.below(8))
    }

    fn begin(&mut self) -> Thread {
        let (start, end) = self.span();
        match self.rng.below(12) {
            0 => {
                self.changing += 1;
                self.announce_drop(start, end)
            }
            1 => {
                self.changing += 1;
                self.unmap(start, end);
                Thread::Then(Next::AnnounceUnmap)
            }
            2 => {
                let len = end - start;
                // Address space that was just given back is what the kernel hands out next.
                let anywhere = self.rng.below(SPACE - len);
                let to = if self.rng.below(2) == 0 { self.hole.min(SPACE - len) } else { anywhere };
                let whole = (start..end).all(|page| self.mapped.contains(&page));
                let free = (to..to + len).all(|page| !self.mapped.contains(&page));
                if whole && free {
                    self.changing += 1;
                    return Thread::Then(Next::Move { from: start, to, len });
                }
                Thread::Idle
            }
            3 => {
                // A new mapping where nothing is.
                if (start..end).all(|page| !self.mapped.contains(&page)) {
                    self.mapped.extend(start..end);
                }
                Thread::Idle
            }
            // A guard region: pages vanish without a word.
            4 if self.rng.below(8) == 0 => {
                self.zap(start, end, |frame| frame.object.is_none());
                Thread::Idle
            }
            _ => self.write(start),
        }
    }

    fn announce_drop(&mut self, start: u64, end: u64) -> Thread {
        let range = range(start, end);
        self.entangle_shared_at(range);
        for (move_, origins) in self.moves.clone() {
            if touches(move_, range) {
                self.entangle_shared(&origins);
            }
        }
        self.drops.push(range);
        let shown = self.frames.range(start..end).filter_map(|(_, frame)| frame.object);
        let holes = shown.fold(0, |holes, object| holes | 1 << (object - SHARED.start));
        self.post(Message::Dropping(range), Next::Zap { start, end, counted: true, holes })
    }

    /// The saver does not follow unmaps: it may take a page for being in `range` still.
    fn entangle_shared_at(&mut self, range: VaRange) {
        let was_here = |page: &u64| self.was_at[page].range(pages(range)).next().is_some();
        let here: Vec<u64> = SHARED.filter(was_here).collect();
        self.entangle_shared(&here);
    }

    fn entangle_shared(&mut self, origins: &[u64]) {
        for &page in origins.iter().filter(|page| SHARED.contains(page)) {
            self.entangled.insert(page);
            self.entangled.extend(twin_of(page));
        }
    }

    fn post(&mut self, event: Message, next: Next) -> Thread {
        let serial = self.next_serial;
        self.next_serial += 1;
        self.events.push_back((serial, event));
        Thread::Posted { serial, next }
    }

    fn go_on(&mut self, next: Next) -> Thread {
        match next {
            Next::Write { page } => self.write(page),
            Next::EndChange => {
                self.changing -= 1;
                Thread::Idle
            }
            Next::Zap { start, end, counted: true, holes } => {
                self.changing -= 1;
                Thread::Then(Next::Zap { start, end, counted: false, holes })
            }
            Next::Zap { start, end, counted: false, holes } => {
                self.zap(start, end, |frame| frame.object.is_none());
                self.punch(holes);
                Thread::Idle
            }
            Next::AnnounceUnmap => self.post(Message::Changed, Next::EndChange),
            Next::Move { from, to, len } => {
                let whole = (from..from + len).all(|page| self.mapped.contains(&page));
                let free = (to..to + len).all(|page| !self.mapped.contains(&page));
                if !whole || !free {
                    self.changing -= 1;
                    return Thread::Idle;
                }
                self.relocate(from, to, len);
                Thread::Then(Next::AnnounceMove { from, to, len })
            }
            Next::AnnounceMove { from, to, len } => {
                let message = Message::Moved(move_(from, to, len));
                self.post(message, Next::EndChange)
            }
        }
    }

    fn relocate(&mut self, from: u64, to: u64, len: u64) {
        let mut origins = Vec::new();
        for offset in 0..len {
            if let Some(frame) = self.frames.remove(&(from + offset)) {
                origins.extend(frame.origin);
                if let Some(page) = frame.origin {
                    self.was_at.entry(page).or_default().insert(to + offset);
                }
                self.frames.insert(to + offset, frame);
            }
            self.mapped.remove(&(from + offset));
            self.mapped.insert(to + offset);
        }
        let own = move_(from, to, len);
        for (other, others) in self.moves.clone() {
            if other.meets(own) {
                self.entangled.extend(others.iter().chain(&origins));
                for move_ in [other, own] {
                    self.entangle_shared_at(move_.source());
                    self.entangle_shared_at(move_.destination());
                }
            }
        }
        if self.drops.iter().any(|&drop| touches(own, drop)) {
            self.entangle_shared(&origins);
        }
        self.moves.push((own, origins));
    }

    fn write(&mut self, page: u64) -> Thread {
        if !self.mapped.contains(&page) {
            return Thread::Idle;
        }
        let content = 1_000_000 + self.steps;
        match self.frames.get_mut(&page) {
            Some(frame) if frame.armed => {
                self.faults.push_back(Message::Fault(Va(page * PAGE)));
                return Thread::Blocked { page };
            }
            Some(&mut Frame { object: Some(object), .. }) => {
                let shows = |frame: &&mut Frame| frame.object == Some(object);
                self.frames.values_mut().filter(shows).for_each(|frame| frame.content = content);
            }
            Some(frame) => frame.content = content,
            None => {
                self.frames
                    .insert(page, Frame { content, armed: false, origin: None, object: None });
            }
        }
        Thread::Idle
    }

    fn zap(&mut self, start: u64, end: u64, goes: impl Fn(&Frame) -> bool) {
        for page in start..end {
            if self.frames.get(&page).is_some_and(&goes) {
                self.dropped.extend(self.frames.remove(&page).and_then(|frame| frame.origin));
            }
        }
    }

    /// Shared pages turn to zeros and keep their protection.
    fn punch(&mut self, holes: u8) {
        let is_shown = |frame: &&mut Frame| {
            frame.object.is_some_and(|object| holes & 1 << (object - SHARED.start) != 0)
        };
        for frame in self.frames.values_mut().filter(is_shown) {
            self.dropped.extend(frame.origin.take());
            frame.content = 0;
        }
    }

    fn unmap(&mut self, start: u64, end: u64) {
        self.zap(start, end, |_| true);
        self.hole = start;
        for page in start..end {
            self.mapped.remove(&page);
        }
    }

    pub(super) fn wake(&mut self, woken: std::ops::Range<u64>) {
        for thread in &mut self.threads {
            if let Thread::Blocked { page } = *thread
                && woken.contains(&page)
            {
                *thread = Thread::Then(Next::Write { page });
            }
        }
    }
}

/// Says whether a move and a drop concern the same addresses.
fn touches(move_: Move, drop: VaRange) -> bool {
    [move_.source(), move_.destination()].iter().any(|own| own.intersect(drop).is_some())
}
