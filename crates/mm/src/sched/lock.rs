//! The locks of the kernel, and the order in which they are taken.
//!
//! Locks are entries of a table, named by what they guard; an unlocked lock has no entry. The
//! declaration order of [`Lock`] is the order of taking, asserted whenever a task takes a lock it
//! would wait for. A lock that is only tried may be tried out of order, as in the kernel.

use alloc::vec::Vec;

use faultless_pages::Va;

use crate::id::{AreaId, ContextId, FrameId, ObjectId, RootId, SpaceId, TaskId};

/// A lock, by what it guards. Earlier ones are taken first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lock {
    /// An object as a file: who writes to it or changes its size.
    File(ObjectId),
    /// The map of an address space.
    Mmap(SpaceId),
    /// One area: faults and filling hold it shared, changes of the map exclusively.
    Area(AreaId),
    /// Whether memory of a userfaultfd is about to change.
    Changing(ContextId),
    /// The page cache of an object.
    Object(ObjectId),
    /// One frame, or all frames of a huge page.
    Folio(FrameId),
    /// The areas that show an object, for walks of the reverse map.
    Shown(ObjectId),
    /// A family of anonymous areas, for walks of the reverse map.
    Root(RootId),
    /// The page tables of one address space below one 2 MiB range.
    Table(SpaceId, Va),
}

impl Lock {
    fn is_area(self) -> bool {
        matches!(self, Lock::Area(_))
    }
}

/// How a lock is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// With others of the kind.
    Shared,
    /// Alone.
    Exclusive,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    lock: Lock,
    mode: Mode,
    by: TaskId,
}

/// Who holds which lock. Few are held at a time, so the table is searched from end to end.
#[derive(Debug, Default)]
pub(crate) struct Locks {
    held: Vec<Held>,
}

impl Locks {
    /// Takes a lock if nobody stands against it.
    pub(crate) fn try_take(&mut self, lock: Lock, mode: Mode, by: TaskId) -> bool {
        let free = self
            .held
            .iter()
            .all(|held| held.lock != lock || (held.mode == Mode::Shared && mode == Mode::Shared));
        if free {
            self.held.push(Held { lock, mode, by });
        }
        free
    }

    /// Gives a lock back.
    pub(crate) fn release(&mut self, lock: Lock, by: TaskId) {
        let place = self.held.iter().rposition(|held| held.lock == lock && held.by == by);
        self.held.swap_remove(place.expect("a lock that is held"));
    }

    /// Asserts that a task may wait for a lock with what it holds.
    ///
    /// # Panics
    /// When it may not: two tasks that do so could wait for each other for ever.
    pub(crate) fn assert_order(&self, lock: Lock, by: TaskId) {
        // Whoever changes a map takes its areas in any order: there is one such task, and who only
        // reads areas never waits while it holds one.
        let any_area = lock.is_area() && self.changes_a_map(by);
        for held in self.held.iter().filter(|held| held.by == by) {
            let allowed = held.lock < lock || (any_area && held.lock.is_area());
            assert!(allowed, "{lock:?} is taken after {:?}, against the order", held.lock);
        }
    }

    fn changes_a_map(&self, by: TaskId) -> bool {
        self.held.iter().any(|held| {
            held.by == by && held.mode == Mode::Exclusive && matches!(held.lock, Lock::Mmap(_))
        })
    }

    /// The locks a task holds.
    pub(crate) fn held_by(&self, by: TaskId) -> impl Iterator<Item = Lock> + '_ {
        self.held.iter().filter(move |held| held.by == by).map(|held| held.lock)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: TaskId = TaskId(0);
    const B: TaskId = TaskId(1);
    const MAP: Lock = Lock::Mmap(SpaceId(0));

    #[test]
    fn readers_share_and_writers_do_not() {
        let mut locks = Locks::default();
        assert!(locks.try_take(MAP, Mode::Shared, A));
        assert!(locks.try_take(MAP, Mode::Shared, B));
        assert!(!locks.try_take(MAP, Mode::Exclusive, TaskId(2)));
        locks.release(MAP, A);
        locks.release(MAP, B);
        assert!(locks.try_take(MAP, Mode::Exclusive, TaskId(2)));
        assert!(!locks.try_take(MAP, Mode::Shared, A));
    }

    #[test]
    #[should_panic(expected = "against the order")]
    fn taking_an_outer_lock_inside_an_inner_one_is_a_bug() {
        let mut locks = Locks::default();
        locks.try_take(Lock::Table(SpaceId(0), Va(0)), Mode::Exclusive, A);
        locks.assert_order(MAP, A);
    }

    #[test]
    fn areas_are_taken_in_any_order_by_who_changes_their_map() {
        let mut locks = Locks::default();
        locks.try_take(MAP, Mode::Exclusive, A);
        locks.try_take(Lock::Area(AreaId(2)), Mode::Exclusive, A);
        locks.assert_order(Lock::Area(AreaId(1)), A);
    }

    #[test]
    #[should_panic(expected = "against the order")]
    fn areas_are_taken_by_rising_name_by_who_does_not() {
        let mut locks = Locks::default();
        locks.try_take(MAP, Mode::Shared, A);
        locks.try_take(Lock::Area(AreaId(2)), Mode::Shared, A);
        locks.assert_order(Lock::Area(AreaId(1)), A);
    }

    #[test]
    fn two_locks_of_a_kind_are_taken_by_rising_name() {
        let mut locks = Locks::default();
        locks.try_take(Lock::Table(SpaceId(0), Va(0)), Mode::Exclusive, A);
        locks.assert_order(Lock::Table(SpaceId(0), Va(1 << 21)), A);
    }
}
