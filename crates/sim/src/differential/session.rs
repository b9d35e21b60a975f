//! A program in one world: takes its steps and looks at everything after each.
//!
//! Calls are made one at a time. A thread that blocks stays blocked while others take steps, until
//! what they do lets it go on: worlds are only left alone when nobody can.
//!
//! # Invariants
//! - Whether a step is taken depends on nothing but the steps before and what was seen after them,
//!   so that two worlds that look the same take the same steps.

use std::collections::{BTreeMap, BTreeSet};

use faultless_uapi::scan::pagemap::{EXCLUSIVE, FILE_OR_SHARED, GUARD, PRESENT, SWAPPED, UFFD_WP};
use faultless_uapi::{PageRegion, PmScanArg, UFFD_API, UffdMsg, event};

use super::program::{
    ARENA, Arena, Backing, HUGE, ObjectKind, Op, PAGE, PROCESSES, Program, SOURCE, SOURCES, SPARE,
    Span, Step, THREADS,
};
use super::seen::{Memory, Message, Seen};
use super::translate::{self, FIRST_OBJECT, FIRST_UFFD};
use crate::conform::errno::EAGAIN;
use crate::conform::linux::{advice, map, prot};
use crate::conform::stage::{USUAL, request};
use crate::conform::verdict::{Failure, Verdict};
use crate::conform::world::ACCESS_MAX;
use crate::conform::{Call, Done, Fd, Process, Stop, Thread, World};

/// Bits of a pagemap word that every world can tell.
const COMPARED: u64 = PRESENT | SWAPPED | FILE_OR_SHARED | GUARD | UFFD_WP | EXCLUSIVE;
/// Most userfaultfds, and most objects.
const DESCRIPTORS: usize = 4;
/// Bytes of a message.
const MESSAGE: u64 = size_of::<UffdMsg>() as u64;
/// Most messages of one drain; a program has fewer threads.
const MESSAGES: usize = 64;
/// Where a scan's argument holds the address of its regions.
const SCAN_VEC: std::ops::Range<usize> = 40..48;
/// Bytes of its argument, and of a region.
const SCAN_ARGUMENT: usize = size_of::<PmScanArg>();
const SCAN_REGION: usize = size_of::<PageRegion>();

/// A call, and the thread that is to make it.
pub type Start = (Thread, Call);

/// A program under way in a world.
pub struct Session<'w, W: World + ?Sized> {
    /// The world.
    pub world: &'w mut W,
    arena: Arena,
    cast: Vec<Role>,
    uffds: Vec<Slot>,
    objects: Vec<Slot>,
    /// Something else than private anonymous memory was mapped.
    maps_objects: bool,
    /// The pagemap of each process, as it was seen last.
    last: BTreeMap<u32, Vec<u64>>,
}

/// A process.
#[derive(Debug)]
struct Role {
    process: Process,
    alive: bool,
    /// The calls its threads are in.
    pending: BTreeMap<u32, Pending>,
}

/// What to make of a call's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pending {
    /// Nothing but to tell.
    Plain,
    /// An access in user mode, which a signal interrupts and which then begins anew.
    Access,
    /// It brings a process.
    Fork,
    /// It brings an object.
    Object {
        /// A regular file.
        regular: bool,
    },
    /// Its bytes name the room for regions.
    Scan,
    /// Its bytes mean nothing unless it ended well.
    Bytes,
}

/// A descriptor, and the processes that have it.
#[derive(Debug)]
struct Slot {
    fd: Fd,
    holders: BTreeSet<u32>,
}

impl<'w, W: World + ?Sized> Session<'w, W> {
    /// Sets the stage of a program: one process with its threads, and sources to copy from.
    ///
    /// # Errors
    /// [`Failure::Broken`] when the world breaks down.
    pub fn begin(world: &'w mut W, program: &Program) -> Verdict<Session<'w, W>> {
        let arena = program.arena;
        let first = world.spawn()?;
        let mut session = Session {
            world,
            arena,
            cast: Vec::new(),
            uffds: Vec::new(),
            objects: Vec::new(),
            maps_objects: false,
            last: BTreeMap::new(),
        };
        session.fill_sources(first)?;
        session.enter(first.process)?;
        Ok(session)
    }

    fn fill_sources(&mut self, who: Thread) -> Verdict {
        let flags = map::PRIVATE | map::ANONYMOUS | map::FIXED;
        let len = self.arena.pages().max(SOURCES) * PAGE;
        let call =
            Call::Map { at: SOURCE, len, prot: prot::READ_WRITE, flags, fd: None, offset: 0 };
        self.expect(who, call)?;
        for page in 0..SOURCES {
            let byte = 0xa0 + u8::try_from(page).unwrap_or(0);
            let bytes = vec![byte; usize::try_from(PAGE).unwrap_or(0)];
            self.expect(who, Call::Store { at: SOURCE + page * PAGE, bytes })?;
        }
        Ok(())
    }

    /// Makes a call that must end well.
    fn expect(&mut self, who: Thread, call: Call) -> Verdict<Done> {
        let text = format!("{call:?}");
        self.world.start(who, call)?;
        match self.world.settle(who)? {
            Some(done) if done.result.is_ok() => Ok(done),
            other => Err(Failure::Broken(format!("{text:.160}: {other:?}"))),
        }
    }

    /// Gives a process its threads; the last only looks.
    fn enter(&mut self, process: Process) -> Verdict {
        for _ in 1..=THREADS {
            self.world.spawn_thread(Thread::first_of(process))?;
        }
        self.cast.push(Role { process, alive: true, pending: BTreeMap::new() });
        Ok(())
    }

    /// Takes a step, lets everybody go on who can, and looks at everything.
    ///
    /// # Errors
    /// [`Failure::Broken`] when the world breaks down.
    pub fn step(&mut self, step: &Step) -> Verdict<Seen> {
        let mut seen = self.take_unseen(step)?;
        if !seen.skipped {
            self.look(&mut seen)?;
        }
        Ok(seen)
    }

    /// Takes a step and lets everybody go on who can, without a look at what is not its own.
    ///
    /// # Errors
    /// [`Failure::Broken`] when the world breaks down.
    pub fn take_unseen(&mut self, step: &Step) -> Verdict<Seen> {
        let mut seen = Seen::default();
        if !self.permits(step) {
            seen.skipped = true;
            return Ok(seen);
        }
        self.maps_objects |= matches!(step.op, Op::Map(_, backing, _) if backing != Backing::Anon);
        self.act(step, &mut seen)?;
        self.go_on(&mut seen)?;
        Ok(seen)
    }

    /// Takes steps at once, lets everybody go on who can, reads all messages, and looks.
    ///
    /// # Errors
    /// [`Failure::Broken`] when the world breaks down.
    pub fn race(
        &mut self,
        steps: &[Step],
        start: impl FnOnce(&mut W, Vec<Start>) -> Verdict,
    ) -> Verdict<Seen> {
        let mut calls = Vec::new();
        for step in steps {
            let Some((call, pending)) = self.call_of(step) else { continue };
            self.role_mut(step.who.process)?.pending.insert(step.who.index, pending);
            calls.push((step.who, call));
        }
        start(self.world, calls)?;
        let mut seen = Seen::default();
        self.go_on(&mut seen)?;
        let open = self.uffds.iter().position(|slot| slot.holders.contains(&0));
        if let Some(index) = open {
            let reader = Thread { process: Process(0), index: THREADS };
            self.drain(reader, index, &mut seen)?;
        }
        self.look(&mut seen)?;
        Ok(seen)
    }

    /// Says whether a step would be taken.
    #[must_use]
    pub fn permits(&self, step: &Step) -> bool {
        let Some(role) = self.role(step.who.process.0) else { return false };
        let pending = role.pending.get(&step.who.index);
        if step.op == Op::Interrupt {
            return pending == Some(&Pending::Access);
        }
        pending.is_none() && self.has_what_it_names(step.who.process.0, &step.op)
    }

    fn role(&self, process: u32) -> Option<&Role> {
        let role = self.cast.iter().find(|role| role.process.0 == process);
        role.filter(|role| role.alive)
    }

    fn role_mut(&mut self, process: Process) -> Verdict<&mut Role> {
        let role = self.cast.iter_mut().find(|role| role.process == process);
        role.ok_or_else(|| Failure::Broken(format!("{process:?} has no role")))
    }

    fn blocked(&self) -> usize {
        self.cast.iter().map(|role| role.pending.len()).sum()
    }

    fn has_what_it_names(&self, process: u32, op: &Op) -> bool {
        let holds = |slots: &[Slot], index: usize| {
            slots.get(index).is_some_and(|slot| slot.holders.contains(&process))
        };
        match op {
            Op::Map(_, Backing::Object { index, .. }, _)
            | Op::Resize(index, _)
            | Op::Punch(index, ..)
            | Op::WriteObject(index, ..)
            | Op::ReadObject(index, _) => holds(&self.objects, *index),
            Op::Drain(index) | Op::Request(index, _) => holds(&self.uffds, *index),
            Op::Close(index) => {
                holds(&self.uffds, *index)
                    && (self.uffds[*index].holders.len() > 1 || self.blocked() <= 1)
            }
            Op::Kill(process) => *process != 0 && self.may_die(*process),
            Op::Advise(span, advice::GUARD_INSTALL) => !self.never_ends(process, *span),
            Op::RemoteLoad(of, _) => self.role(*of).is_some(),
            Op::Fork => self.cast.len() < PROCESSES,
            Op::Open(_) => self.uffds.len() < DESCRIPTORS,
            Op::MakeObject(..) => self.objects.len() < DESCRIPTORS,
            _ => true,
        }
    }

    /// Linux tries for ever to put guards where an object is mapped and its pages, or the markers
    /// that stand for them, are write-protected: dropping them leaves a marker each time.
    fn never_ends(&self, process: u32, span: Span) -> bool {
        let Some(pagemap) = self.last.get(&process).filter(|_| self.maps_objects) else {
            return false;
        };
        let place = |page: u64| usize::try_from(page).unwrap_or(usize::MAX);
        let pages = place(span.page)..place(span.page + span.pages).min(pagemap.len());
        pagemap.get(pages).is_some_and(|words| words.iter().any(|word| word & UFFD_WP != 0))
    }

    /// A userfaultfd that closes lets everybody go on at once, in an order nobody can foresee.
    fn may_die(&self, process: u32) -> bool {
        let last = |slot: &&Slot| slot.holders.len() == 1 && slot.holders.contains(&process);
        let closes = self.uffds.iter().any(|slot| last(&slot));
        self.role(process).is_some() && (!closes || self.blocked() <= 1)
    }

    fn act(&mut self, step: &Step, seen: &mut Seen) -> Verdict {
        let who = step.who;
        match step.op {
            Op::Open(features) => self.open(who, features, seen),
            Op::Drain(index) => self.drain(who, index, seen),
            Op::Kill(process) => self.kill(process),
            Op::Interrupt => self.world.interrupt(who),
            _ => {
                let Some((call, pending)) = self.call_of(step) else { return Ok(()) };
                self.world.start(who, call)?;
                self.role_mut(who.process)?.pending.insert(who.index, pending);
                self.finish(who, seen)?;
                if let Op::Close(index) = step.op {
                    self.uffds[index].holders.remove(&who.process.0);
                }
                Ok(())
            }
        }
    }

    /// The call a step is, and what to make of its end.
    fn call_of(&self, step: &Step) -> Option<(Call, Pending)> {
        let call = translate::call_of(&step.op, step.who)?;
        let pending = match step.op {
            Op::Load(_) | Op::Store(..) => Pending::Access,
            Op::Fork => Pending::Fork,
            Op::MakeObject(kind, _) => Pending::Object { regular: kind == ObjectKind::Regular },
            Op::Scan(..) => Pending::Scan,
            Op::RemoteLoad(..) | Op::ReadObject(..) => Pending::Bytes,
            _ => Pending::Plain,
        };
        Some((translate::with_fd(call, |fd| self.real(fd)), pending))
    }

    fn real(&self, named: Fd) -> Fd {
        let (slots, first) = if named.0 >= FIRST_OBJECT {
            (&self.objects, FIRST_OBJECT)
        } else {
            (&self.uffds, FIRST_UFFD)
        };
        let index = usize::try_from(named.0 - first).unwrap_or(usize::MAX);
        slots.get(index).map_or(Fd(u32::MAX), |slot| slot.fd)
    }

    /// Takes the end of a thread's call, if it has ended; says whether it has.
    fn finish(&mut self, who: Thread, seen: &mut Seen) -> Verdict<bool> {
        let Some(mut done) = self.world.settle(who)? else { return Ok(false) };
        let pending = self.role_mut(who.process)?.pending.remove(&who.index);
        match (pending, done.result) {
            (Some(Pending::Fork), Ok(child)) => self.forked(who, child)?,
            (Some(Pending::Object { regular }), Ok(fd)) => {
                let fd = number(fd)?;
                if regular {
                    self.fill_file(who, fd)?;
                }
                self.objects.push(Slot { fd, holders: [who.process.0].into() });
                done.result = Ok(0);
            }
            (Some(Pending::Bytes), Err(_)) => done.bytes.clear(),
            (Some(Pending::Scan), result) => {
                if let Some(room) = done.bytes.get_mut(SCAN_VEC) {
                    room.fill(0);
                }
                let regions = usize::try_from(result.unwrap_or(0)).unwrap_or(0);
                done.bytes.truncate(SCAN_ARGUMENT + regions * SCAN_REGION);
            }
            _ => {}
        }
        seen.ended.insert(who, done);
        Ok(true)
    }

    /// Brings a whole file to memory: what is read ahead of a reader is the disk's affair.
    fn fill_file(&mut self, who: Thread, fd: Fd) -> Verdict {
        for page in 0..self.arena.pages() + SPARE {
            self.expect(who, Call::WriteObject { fd, offset: page * PAGE, bytes: vec![0] })?;
        }
        Ok(())
    }

    fn forked(&mut self, parent: Thread, child: u64) -> Verdict {
        let child = Process(number(child)?.0);
        let slots = self.uffds.iter_mut().chain(&mut self.objects);
        for slot in slots.filter(|slot| slot.holders.contains(&parent.process.0)) {
            slot.holders.insert(child.0);
        }
        self.enter(child)
    }

    fn open(&mut self, who: Thread, features: u64, seen: &mut Seen) -> Verdict {
        let opened = self.expect(who, Call::Userfaultfd { flags: USUAL })?;
        let fd = number(opened.result.unwrap_or(0))?;
        self.uffds.push(Slot { fd, holders: [who.process.0].into() });
        self.world.start(who, request::api(UFFD_API, features).to(fd))?;
        self.role_mut(who.process)?.pending.insert(who.index, Pending::Plain);
        self.finish(who, seen).map(|_| ())
    }

    fn kill(&mut self, process: u32) -> Verdict {
        self.world.kill(Process(process))?;
        for slot in self.uffds.iter_mut().chain(&mut self.objects) {
            slot.holders.remove(&process);
        }
        let role = self.role_mut(Process(process))?;
        role.alive = false;
        role.pending.clear();
        Ok(())
    }

    /// Reads messages one by one: reading an event lets its thread go on, which may bring more.
    fn drain(&mut self, who: Thread, index: usize, seen: &mut Seen) -> Verdict {
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

    /// Lets everybody go on who can.
    fn go_on(&mut self, seen: &mut Seen) -> Verdict {
        loop {
            let mut moved = false;
            for who in self.waiting() {
                // A fork that ends here brings a process, so that the list changes under way.
                moved |= self.finish(who, seen)?;
            }
            if !moved {
                return Ok(());
            }
        }
    }

    fn waiting(&self) -> Vec<Thread> {
        let threads = self.cast.iter().flat_map(|role| {
            role.pending.keys().map(|index| Thread { process: role.process, index: *index })
        });
        threads.collect()
    }

    fn look(&mut self, seen: &mut Seen) -> Verdict {
        seen.blocked = self.waiting();
        let alive: Vec<_> = self.cast.iter().filter(|role| role.alive).map(|r| r.process).collect();
        for process in alive {
            let memory = self.memory(Thread { process, index: THREADS })?;
            self.last.insert(process.0, memory.pagemap.clone());
            seen.memory.insert(process.0, memory);
        }
        for index in 0..self.uffds.len() {
            let slot = &self.uffds[index];
            let Some(holder) = slot.holders.first().copied() else { continue };
            let looker = Thread { process: Process(holder), index: THREADS };
            let done = self.expect(looker, Call::Fdinfo { fd: slot.fd })?;
            seen.queues.insert(index, queue_lines(&done.bytes));
        }
        Ok(())
    }

    /// Looks at the memory of a process without a fault: only present pages are read.
    fn memory(&mut self, looker: Thread) -> Verdict<Memory> {
        let pages = self.arena.pages();
        let done = self.expect(looker, Call::Pagemap { at: ARENA, pages })?;
        let words = done.bytes.as_chunks::<8>().0.iter().map(|raw| u64::from_ne_bytes(*raw));
        let pagemap: Vec<u64> = words.map(|word| word & COMPARED).collect();
        let mut content = BTreeMap::new();
        for (page, count) in self.runs(&pagemap) {
            let call = Call::Load { at: ARENA + page * PAGE, len: count * PAGE };
            self.world.start(looker, call)?;
            let Some(done) = self.world.settle(looker)? else {
                return Err(Failure::Broken(format!("a load of present page {page} blocks")));
            };
            match done.result {
                Ok(_) => content.extend((page..).zip(pages_of(&done.bytes).map(Ok))),
                Err(stop) => drop(content.insert(page, Err(stop))),
            }
        }
        let mut huge = Vec::new();
        if self.arena == Arena::Huge {
            for page in (0..pages).step_by(usize::try_from(HUGE).unwrap_or(1)) {
                let done = self.expect(looker, Call::HugeBytes { at: ARENA + page * PAGE })?;
                huge.push(done.result.unwrap_or(0));
            }
        }
        Ok(Memory { pagemap, content, huge })
    }

    /// Runs of present pages that are worth a look, as first page and count.
    fn runs(&self, pagemap: &[u64]) -> Vec<(u64, u64)> {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for (page, word) in (0..).zip(pagemap) {
            if word & PRESENT == 0 || !self.arena.shows(page) {
                continue;
            }
            match runs.last_mut() {
                Some((first, count)) if *first + *count == page && *count < ACCESS_MAX / PAGE => {
                    *count += 1;
                }
                _ => runs.push((page, 1)),
            }
        }
        runs
    }
}

fn pages_of(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    bytes.chunks(usize::try_from(PAGE).unwrap_or(1)).map(<[u8]>::to_vec)
}

fn number(value: u64) -> Verdict<Fd> {
    u32::try_from(value).map(Fd).map_err(|error| Failure::Broken(error.to_string()))
}

/// What fdinfo says about the queues.
fn queue_lines(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let told = |line: &&str| ["pending:", "total:", "API:"].iter().any(|k| line.starts_with(k));
    text.lines().filter(told).collect::<Vec<_>>().join("; ")
}
