//! A program in one world: takes its steps and looks at everything after each.
//!
//! | file | holds |
//! |---|---|
//! | `cast.rs` | processes that come and go |
//! | `permit.rs` | which steps are taken |
//! | `drain.rs` | reading messages |
//! | `look.rs` | looking at everything |
//!
//! Calls are made one at a time. A thread that blocks stays blocked while others take steps, until
//! what they do lets it go on: worlds are only left alone when nobody can.
//!
//! # Invariants
//! - Whether a step is taken depends on nothing but the steps before and what was seen after them,
//!   so that two worlds that look the same take the same steps.

mod cast;
mod drain;
mod look;
mod permit;

use std::collections::{BTreeMap, BTreeSet};

use faultless_uapi::{PageRegion, PmScanArg, UFFD_API};

use super::program::{
    Arena, Backing, ObjectKind, Op, PAGE, Program, SOURCE, SOURCES, SPARE, Step, THREADS,
};
use super::seen::Seen;
use super::translate::{self, FIRST_OBJECT, FIRST_UFFD};
use crate::conform::linux::{map, prot};
use crate::conform::stage::request;
use crate::conform::verdict::{Failure, Verdict};
use crate::conform::{Call, Done, Fd, Process, Thread, World};

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
    /// The descriptors that the child of a fork under way gets: those there when it began.
    legacies: BTreeMap<Thread, Legacy>,
    /// Memory with an object behind it that takes guards was mapped.
    maps_objects: bool,
    /// Objects of the hugetlb pool.
    pools: BTreeSet<usize>,
    /// Processes that hold pins.
    pinning: BTreeSet<u32>,
    /// The page at which the heap of each process ends.
    heaps: BTreeMap<u32, u64>,
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

/// Userfaultfds and objects, by their places.
type Legacy = [Vec<usize>; 2];

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
    Object(ObjectKind),
    /// It replaces the program.
    Exec,
    /// It tells where the heap ends.
    Heap,
    /// It brings a descriptor that holds pins.
    Pin,
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
            legacies: BTreeMap::new(),
            maps_objects: false,
            pools: BTreeSet::new(),
            pinning: BTreeSet::new(),
            heaps: BTreeMap::new(),
            last: BTreeMap::new(),
        };
        session.fill_sources(first)?;
        session.place_heap(first.process)?;
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
        self.maps_objects |= match step.op {
            Op::Map(_, Backing::Object { index, .. }, _) => !self.pools.contains(&index),
            Op::Map(_, backing, _) => backing != Backing::Anon,
            _ => false,
        };
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
            if pending == Pending::Fork {
                self.legacies.insert(step.who, self.legacy_of(step.who.process));
            }
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

    fn role(&self, process: u32) -> Option<&Role> {
        let role = self.cast.iter().find(|role| role.process.0 == process);
        role.filter(|role| role.alive)
    }

    fn role_mut(&mut self, process: Process) -> Verdict<&mut Role> {
        let role = self.cast.iter_mut().find(|role| role.process == process);
        role.ok_or_else(|| Failure::Broken(format!("{process:?} has no role")))
    }

    fn act(&mut self, step: &Step, seen: &mut Seen) -> Verdict {
        let who = step.who;
        match step.op {
            Op::Open(flags, features) => self.open(who, flags, features, seen),
            Op::Drain(index) => self.drain(who, index, seen),
            Op::Kill(process) => self.kill(process),
            Op::Interrupt => self.world.interrupt(who),
            _ => {
                let Some((call, pending)) = self.call_of(step) else { return Ok(()) };
                self.world.start(who, call)?;
                if pending == Pending::Fork {
                    self.legacies.insert(who, self.legacy_of(who.process));
                }
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
            Op::Exec => Pending::Exec,
            Op::Brk(_) => Pending::Heap,
            Op::Pin(_) => Pending::Pin,
            Op::MakeObject(kind, _) => Pending::Object(kind),
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
        let legacy = self.legacies.remove(&who).unwrap_or_default();
        match (pending, done.result) {
            (Some(Pending::Fork), Ok(child)) => self.forked(who.process.0, child, legacy)?,
            (Some(Pending::Exec), Ok(_)) => self.replaced(who.process)?,
            (Some(Pending::Object(kind)), Ok(fd)) => {
                self.add_object(who, number(fd)?, kind)?;
                done.result = Ok(0);
            }
            (Some(Pending::Pin), Ok(_)) => {
                self.pinning.insert(who.process.0);
                done.result = Ok(0);
            }
            (Some(Pending::Heap), Ok(end)) => self.heap_ends(who.process, end),
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

    fn add_object(&mut self, who: Thread, fd: Fd, kind: ObjectKind) -> Verdict {
        match kind {
            ObjectKind::Regular => self.fill_file(who, fd)?,
            ObjectKind::Hugetlb => drop(self.pools.insert(self.objects.len())),
            ObjectKind::Shmem => {}
        }
        self.objects.push(Slot { fd, holders: [who.process.0].into() });
        Ok(())
    }

    /// Brings a whole file to memory: what is read ahead of a reader is the disk's affair.
    fn fill_file(&mut self, who: Thread, fd: Fd) -> Verdict {
        for page in 0..self.arena.pages() + SPARE {
            self.expect(who, Call::WriteObject { fd, offset: page * PAGE, bytes: vec![0] })?;
        }
        Ok(())
    }

    fn open(&mut self, who: Thread, flags: u32, features: u64, seen: &mut Seen) -> Verdict {
        let opened = self.expect(who, Call::Userfaultfd { flags })?;
        let fd = number(opened.result.unwrap_or(0))?;
        self.uffds.push(Slot { fd, holders: [who.process.0].into() });
        self.world.start(who, request::api(UFFD_API, features).to(fd))?;
        self.role_mut(who.process)?.pending.insert(who.index, Pending::Plain);
        self.finish(who, seen).map(|_| ())
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
}

fn number(value: u64) -> Verdict<Fd> {
    u32::try_from(value).map(Fd).map_err(|error| Failure::Broken(error.to_string()))
}
