//! The saver in a simulated world: a program that writes, discards, unmaps, moves and maps memory
//! between any two steps of the saver, by seed.
//!
//! The kernel's side follows what Linux does, with every point where a thread can be overtaken
//! as a step of its own. Four canaries switch off something the saver relies on, and must be
//! caught.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use faultless_pages::{Bytes, PageSize, Va, VaRange};

use super::super::live::LiveMap;
use super::super::pages::{Pages, Run};
use super::super::port::Piece;
use super::*;

const PAGE: u64 = 4096;
/// Pages of address space; the cut holds those from 8 to 40.
const SPACE: u64 = 64;
const CUT: std::ops::Range<u64> = 8..40;
/// Pages of the cut that are shared memory: one object of 8 pages, mapped twice.
const SHARED: std::ops::Range<u64> = 24..40;
const TWIN: u64 = 32;

/// The page of the shared object that is mapped at `page` at the cut.
fn object_at(page: u64) -> Option<u64> {
    SHARED.contains(&page).then_some(if page < TWIN { page } else { page - 8 })
}

/// The other page of the cut that shows the same shared memory.
fn twin_of(page: u64) -> Option<u64> {
    SHARED.contains(&page).then_some(if page < TWIN { page + 8 } else { page - 8 })
}

/// What a page holds at the cut.
fn content_at_cut(page: u64) -> u64 {
    1_000 + object_at(page).unwrap_or(page)
}

fn range(start: u64, end: u64) -> VaRange {
    VaRange::new(Va(start * PAGE), Va(end * PAGE))
}

fn pages(range: VaRange) -> std::ops::Range<u64> {
    range.start().0 / PAGE..range.end().0 / PAGE
}

fn move_(from: u64, to: u64, len: u64) -> Move {
    Move { from: Va(from * PAGE), to: Va(to * PAGE), len: Bytes(len * PAGE) }
}

struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    content: u64,
    armed: bool,
    /// The page of the cut whose content this was, to know what may be recorded as freed.
    origin: Option<u64>,
    /// The page of the shared object it shows: then its protection outlives its content.
    object: Option<u64>,
}

/// A thread of the program, in the middle of something.
#[derive(Clone, Copy, Debug)]
enum Thread {
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
enum Next {
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
enum Missing {
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

struct World {
    rng: Rng,
    missing: Missing,
    mapped: BTreeSet<u64>,
    frames: BTreeMap<u64, Frame>,
    changing: u32,
    faults: VecDeque<Message>,
    events: VecDeque<(u64, Message)>,
    next_serial: u64,
    read_serials: BTreeSet<u64>,
    threads: Vec<Thread>,
    /// Pages of the cut the program has dropped.
    dropped: BTreeSet<u64>,
    /// Moves since the saver last saw that nothing is changing, with the pages they took along.
    moves: Vec<(Move, Vec<u64>)>,
    /// Where each page of the cut has been.
    was_at: BTreeMap<u64, BTreeSet<u64>>,
    /// Drops since then.
    drops: Vec<VaRange>,
    /// Pages of moves whose order the saver cannot know, and of announced drops: those of shared
    /// memory are given up before they are gone.
    entangled: BTreeSet<u64>,
    steps: u64,
    /// Threads may begin something new.
    lively: bool,
    /// Where memory was unmapped last.
    hole: u64,
}

impl World {
    fn new(seed: u64, missing: Missing) -> World {
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
    fn run(&mut self) {
        for _ in 0..self.rng.below(4) {
            let thread = usize::try_from(self.rng.below(3)).unwrap();
            self.step(thread);
        }
    }

    fn step(&mut self, thread: usize) {
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

    fn span(&mut self) -> (u64, u64) {
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

    fn wake(&mut self, woken: std::ops::Range<u64>) {
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

struct Memory {
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
struct Core {
    rng: Rng,
    saved: BTreeMap<u64, u64>,
    twice: bool,
    /// Whether the pieces make a stream, and how far it would have come.
    is_stream: bool,
    streamed: u64,
    out_of_order: bool,
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

/// Runs one world to its end and returns what is wrong with the result.
fn violations(seed: u64, missing: Missing) -> Vec<String> {
    let mut world = World::new(seed, missing);
    let mut core = Core {
        rng: Rng(!seed),
        saved: BTreeMap::new(),
        twice: false,
        is_stream: seed.is_multiple_of(2),
        streamed: 0,
        out_of_order: false,
    };
    let runs = vec![Run { range: range(CUT.start, CUT.end), grain: PageSize::KIB4 }];
    let live = LiveMap::new([range(CUT.start, CUT.end)]);
    let shared: RangeSet = match missing {
        Missing::Announcement => RangeSet::new(),
        _ => [range(SHARED.start, SHARED.end)].into_iter().collect(),
    };
    let pages_of_cut = Pages::new(PageSize::KIB4, runs);
    let halves = [range(SHARED.start, TWIN), range(TWIN, SHARED.end)];
    let twins = match missing {
        Missing::Twins => Twins::default(),
        _ => Twins::of(halves.map(|half| (1, Bytes(0), half))),
    };
    let mut saver = Saver::new(pages_of_cut, live, Vec::new(), shared, twins, VecDeque::new());
    let mut done = Done::default();
    let mut wrong = Vec::new();
    let mut holds = Vec::new();
    for turn in 0.. {
        if turn == 20_000 {
            wrong.push("the snapshot does not end".to_owned());
            break;
        }
        world.run();
        if world.rng.below(10) == 0 {
            let (start, end) = world.span();
            holds.push(range(start, end));
            saver.hold(holds.len() as u64 - 1, range(start, end));
        }
        let served = saver.serve(&mut world, &mut core, turn, &mut done).unwrap();
        for ticket in done.settled.drain(..) {
            let held = holds[usize::try_from(ticket).unwrap()];
            for place in saver.live.at(held) {
                if saver.pages().pending_in(place.cut).next().is_some() {
                    wrong.push(format!("a hold of {held} was settled too early"));
                }
            }
        }
        if served == Turn::Done && saver.work(&mut world, &mut core).unwrap() == Turn::Done {
            break;
        }
    }
    let freed: BTreeSet<u64> = saver.pages().freed().iter().flat_map(pages).collect();
    for page in CUT {
        match core.saved.get(&page) {
            Some(&content) if content == content_at_cut(page) => {}
            Some(content) => wrong.push(format!("page {page} was saved with content {content}")),
            None if !freed.contains(&page) => wrong.push(format!("page {page} is forgotten")),
            None if world.dropped.contains(&page) || world.entangled.contains(&page) => {}
            None => wrong.push(format!("page {page} is missing")),
        }
        if core.saved.contains_key(&page) && freed.contains(&page) {
            wrong.push(format!("page {page} was both saved and recorded as freed"));
        }
    }
    if core.twice {
        wrong.push("a page was saved twice".to_owned());
    }
    if core.out_of_order {
        wrong.push("a page was saved behind a stream that had passed it".to_owned());
    }
    // Let the program finish what it began: nobody may wait for ever.
    world.lively = false;
    for turn in 0..200 {
        let _ = saver.serve(&mut world, &mut core, turn, &mut done);
        for thread in 0..world.threads.len() {
            world.step(thread);
        }
    }
    if let Some(thread) = world.threads.iter().find(|thread| !matches!(thread, Thread::Idle)) {
        wrong.push(format!("a thread waits for ever: {thread:?}"));
    }
    wrong
}

#[test]
fn every_page_is_saved_as_it_was_at_the_cut_or_freed_by_the_program() {
    let first = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0);
    for seed in first..first + 3_000 {
        let wrong = violations(seed, Missing::Nothing);
        assert!(wrong.is_empty(), "SEED={seed}: {wrong:#?}");
    }
}

#[test]
fn a_kernel_that_does_not_refuse_while_the_mapping_changes_is_caught() {
    assert!((0..3_000).any(|seed| !violations(seed, Missing::ChangeCheck).is_empty()));
}

#[test]
fn a_saver_that_does_not_look_at_the_protection_is_caught() {
    assert!((0..3_000).any(|seed| !violations(seed, Missing::ArmedCheck).is_empty()));
}

#[test]
fn a_saver_that_trusts_the_protection_of_shared_memory_is_caught() {
    assert!((0..3_000).any(|seed| !violations(seed, Missing::Announcement).is_empty()));
}

#[test]
fn a_saver_that_forgets_the_other_address_of_a_page_is_caught() {
    assert!((0..3_000).any(|seed| !violations(seed, Missing::Twins).is_empty()));
}
