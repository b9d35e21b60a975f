//! The handle to a kernel, and the state behind it.
//!
//! [`Kernel`] is a cheap handle; every operation is a method of it, written in a file of its own
//! under `op`, `userfaultfd` or `pagemap`. State is borrowed for a statement or a block, never
//! across an await: between two awaits a task is alone, at an await any other may run.
//!
//! # Locking
//! [`Kernel::lock`] waits, [`Kernel::try_lock`] does not. A [`Guard`] gives its lock back when it
//! is dropped; [`Guard::release`] also stops there for others to run, as dropping cannot.

use alloc::rc::Rc;
use core::cell::{Cell, RefCell, RefMut};
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use crate::id::{AreaId, ContextId, FileId, ProcessId, RootId, SpaceId, ThreadId};
use crate::machine::Machine;
use crate::process::{OpenFile, Process, Root, Space, Thread};
use crate::profile::Profile;
use crate::roster::Roster;
use crate::sched::{HeldId, Lock, Mode, On, Point, Tasks};
use crate::slab::Slab;
use crate::userfaultfd::Userfaultfd;

/// A kernel with its machine, its processes and their userfaultfds.
#[derive(Clone)]
pub struct Kernel(Rc<Shared>);

struct Shared {
    state: RefCell<State>,
    tasks: RefCell<Tasks>,
    /// Something was looked at or changed since the last stop.
    touched: Cell<bool>,
    /// Tasks stop at every point, for the scheduler to choose.
    stepping: Cell<bool>,
}

/// Everything a kernel knows.
pub(crate) struct State {
    pub(crate) profile: Profile,
    pub(crate) machine: Machine,
    pub(crate) spaces: Roster<SpaceId, Space>,
    pub(crate) roots: Roster<RootId, Root>,
    pub(crate) processes: Roster<ProcessId, Process>,
    pub(crate) threads: Roster<ThreadId, Thread>,
    pub(crate) files: Slab<FileId, OpenFile>,
    pub(crate) contexts: Roster<ContextId, Userfaultfd>,
    next_area: usize,
    next_ticket: u64,
}

impl State {
    pub(crate) fn new_area(&mut self) -> AreaId {
        self.next_area += 1;
        AreaId(self.next_area)
    }

    pub(crate) fn new_ticket(&mut self) -> u64 {
        self.next_ticket += 1;
        self.next_ticket
    }

    /// The address space a thread runs in.
    pub(crate) fn space_of(&self, thread: ThreadId) -> SpaceId {
        self.processes[self.threads[thread].process].space
    }
}

impl Kernel {
    /// Makes a kernel without processes.
    #[must_use]
    pub fn new(profile: Profile) -> Kernel {
        let state = State {
            machine: Machine::new(&profile),
            profile,
            spaces: Roster::new(),
            roots: Roster::new(),
            processes: Roster::new(),
            threads: Roster::new(),
            files: Slab::new(),
            contexts: Roster::new(),
            next_area: 0,
            next_ticket: 0,
        };
        let tasks = RefCell::default();
        Kernel(Rc::new(Shared {
            state: RefCell::new(state),
            tasks,
            touched: Cell::new(true),
            stepping: Cell::new(false),
        }))
    }

    /// The profile it was made with.
    #[must_use]
    pub fn profile(&self) -> Profile {
        self.state().profile.clone()
    }

    pub(crate) fn state(&self) -> RefMut<'_, State> {
        self.0.touched.set(true);
        self.0.state.borrow_mut()
    }

    pub(crate) fn tasks(&self) -> RefMut<'_, Tasks> {
        self.0.tasks.borrow_mut()
    }

    /// Lets the scheduler choose who goes on, if it wants to choose at every point.
    pub(crate) fn pause(&self, point: Point) -> Pause<'_> {
        Pause { kernel: self, point, stopped: false }
    }

    /// Says whether the task must stop here for the scheduler to choose. Where nothing was touched
    /// since the last stop there is nothing to choose: it would be the same choice again.
    #[inline]
    fn stops_at(&self, point: Point) -> bool {
        let stops = self.0.stepping.get() && self.0.touched.replace(false);
        if stops {
            self.stop(point);
        }
        stops
    }

    #[cold]
    fn stop(&self, point: Point) {
        let mut tasks = self.tasks();
        let id = tasks.current();
        tasks.task(id).point = point;
    }

    /// Takes a lock, waiting for it.
    pub(crate) fn lock(&self, lock: Lock, mode: Mode) -> Take<'_> {
        Take { kernel: self, lock, mode, stopped: false }
    }

    /// Makes tasks stop at every point, or not.
    pub(crate) fn set_stepping(&self, stepping: bool) {
        self.0.stepping.set(stepping);
    }

    /// Takes a lock if nobody stands against it.
    pub(crate) fn try_lock(&self, lock: Lock, mode: Mode) -> Option<Guard> {
        self.take(lock, mode, false)
    }

    fn take(&self, lock: Lock, mode: Mode, waits: bool) -> Option<Guard> {
        self.0.touched.set(true);
        let mut tasks = self.tasks();
        let by = tasks.current();
        let held = tasks.locks.take(lock, mode, by, waits)?;
        Some(Guard { kernel: self.clone(), held: Some(held) })
    }

    /// Sleeps until somebody wakes what waits for `on`. It may have been woken for another
    /// reason, so that callers look again.
    pub(crate) fn wait(&self, on: On) -> Wait<'_> {
        Wait { kernel: self, on, slept: false }
    }
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kernel").finish_non_exhaustive()
    }
}

/// A lock that is held.
pub(crate) struct Guard {
    kernel: Kernel,
    /// Which, until it is given back.
    held: Option<HeldId>,
}

impl Guard {
    /// Gives the lock back, and lets others run before going on.
    pub(crate) fn release(self) -> Release {
        Release(self)
    }

    /// Gives the lock back unless that was done, and says which it was.
    fn give_back(&mut self) -> Option<Lock> {
        let held = self.held.take()?;
        self.kernel.0.touched.set(true);
        let mut tasks = self.kernel.tasks();
        let lock = tasks.locks.release(held);
        tasks.wake(On::Lock(lock));
        Some(lock)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// Stops once where the scheduler wants to choose, else not at all.
pub(crate) struct Pause<'k> {
    kernel: &'k Kernel,
    point: Point,
    stopped: bool,
}

impl Future for Pause<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if self.stopped || !self.kernel.stops_at(self.point) {
            return Poll::Ready(());
        }
        self.stopped = true;
        Poll::Pending
    }
}

/// Takes a lock: stops, then tries until it is free. Written out, as [`Release`] is, because an
/// operation does little else.
pub(crate) struct Take<'k> {
    kernel: &'k Kernel,
    lock: Lock,
    mode: Mode,
    stopped: bool,
}

impl Future for Take<'_> {
    type Output = Guard;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Guard> {
        let Take { kernel, lock, mode, stopped } = *self;
        self.stopped = true;
        if !stopped && kernel.stops_at(Point::Take(lock)) {
            return Poll::Pending;
        }
        if let Some(guard) = kernel.take(lock, mode, true) {
            return Poll::Ready(guard);
        }
        kernel.tasks().block(On::Lock(lock));
        Poll::Pending
    }
}

/// Gives a lock back, then stops once.
pub(crate) struct Release(Guard);

impl Future for Release {
    type Output = ();

    #[inline]
    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        let guard = &mut self.0;
        match guard.give_back() {
            Some(lock) if guard.kernel.stops_at(Point::Released(lock)) => Poll::Pending,
            _ => Poll::Ready(()),
        }
    }
}

/// Sleeps once.
pub(crate) struct Wait<'k> {
    kernel: &'k Kernel,
    on: On,
    slept: bool,
}

impl Future for Wait<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if self.slept {
            return Poll::Ready(());
        }
        self.kernel.tasks().block(self.on);
        self.slept = true;
        Poll::Pending
    }
}
