//! What the scheduler knows of a task, and what a task may wait for.

use alloc::vec::Vec;

use crate::id::{ContextId, TaskId, ThreadId};
use crate::sched::lock::{Lock, Locks};

/// What a task waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    /// A lock.
    Lock(Lock),
    /// Its fault to be woken, in a userfaultfd's queue under this ticket.
    Fault(ContextId, u64),
    /// Its event to be read, in a userfaultfd's queue under this ticket.
    Event(ContextId, u64),
    /// A message of a userfaultfd.
    Message(ContextId),
    /// A userfaultfd that is being closed to have let its memory go.
    LetGo(ContextId),
    /// A thread's operation to end.
    End(ThreadId),
    /// An entry to stop being on the move.
    Migration,
    /// Something that is no part of the kernel, by a number its embedder gave it.
    Outside(u64),
}

/// Where a task may be preempted: it is about to do this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// Its first step.
    Start,
    /// To take a lock.
    Take(Lock),
    /// To go on after giving a lock back.
    Released(Lock),
    /// To look whether a fault that is queued must still wait.
    Recheck,
    /// To touch memory, as the processor does.
    Access,
    /// To go on after waiting.
    Woken(On),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Ready,
    Blocked(On),
    Over,
}

#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub(crate) thread: ThreadId,
    pub(crate) status: Status,
    pub(crate) point: Point,
}

/// Tasks and locks: what decides who can go on.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    list: Vec<Task>,
    /// How many of them are blocked: mostly none, and then nobody need be looked for to be woken.
    blocked: usize,
    pub(crate) current: Option<TaskId>,
    pub(crate) locks: Locks,
}

impl Tasks {
    /// Adds a task, in the place of one that is over if there is any.
    pub(crate) fn add(&mut self, thread: ThreadId) -> TaskId {
        let task = Task { thread, status: Status::Ready, point: Point::Start };
        let over = |task: &Task| task.status == Status::Over;
        match self.list.iter().position(over) {
            Some(place) => {
                self.list[place] = task;
                TaskId(place)
            }
            None => {
                self.list.push(task);
                TaskId(self.list.len() - 1)
            }
        }
    }

    pub(crate) fn current(&self) -> TaskId {
        self.current.expect("operations run in tasks")
    }

    pub(crate) fn task(&mut self, id: TaskId) -> &mut Task {
        &mut self.list[id.0]
    }

    pub(crate) fn block(&mut self, on: On) {
        let id = self.current();
        self.task(id).status = Status::Blocked(on);
        self.blocked += 1;
    }

    /// Lets every task go on that waits for `on`.
    pub(crate) fn wake(&mut self, on: On) {
        self.wake_those(|_, what| what == on);
    }

    /// Lets a thread's task go on if what it waits for can be given up.
    pub(crate) fn interrupt(&mut self, thread: ThreadId, fatal: bool) {
        self.wake_those(|task, on| {
            let killable = !matches!(on, On::Lock(_) | On::LetGo(_) | On::End(_) | On::Migration);
            let interruptible = killable && (fatal || !matches!(on, On::Event(..)));
            task.thread == thread && interruptible
        });
    }

    fn wake_those(&mut self, wakes: impl Fn(&Task, On) -> bool) {
        if self.blocked == 0 {
            return;
        }
        for task in &mut self.list {
            if let Status::Blocked(on) = task.status
                && wakes(task, on)
            {
                task.status = Status::Ready;
                task.point = Point::Woken(on);
                self.blocked -= 1;
            }
        }
    }

    /// Ends a task.
    pub(crate) fn end(&mut self, id: TaskId) {
        let task = self.task(id);
        let Task { thread, status, .. } = *task;
        task.status = Status::Over;
        self.blocked -= usize::from(matches!(status, Status::Blocked(_)));
        self.wake(On::End(thread));
    }

    /// Says whether a thread is in an operation.
    pub(crate) fn is_busy(&self, thread: ThreadId) -> bool {
        self.list.iter().any(|task| task.thread == thread && task.status != Status::Over)
    }

    pub(crate) fn ready(&self) -> impl Iterator<Item = TaskId> + '_ {
        let ready = |task: &Task| task.status == Status::Ready;
        self.list.iter().enumerate().filter(move |(_, t)| ready(t)).map(|(i, _)| TaskId(i))
    }
}
