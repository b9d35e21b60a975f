//! The locks of the kernel, and the order in which they are taken.
//!
//! Locks are entries of a table, named by what they guard; an unlocked lock has no entry. The
//! declaration order of [`Lock`] is the order of taking, asserted whenever a task takes a lock it
//! would wait for. A lock that is only tried may be tried out of order, as in the kernel.

use alloc::vec::Vec;
use core::fmt;
use core::num::NonZero;

use faultless_pages::Va;

use crate::id::{AreaId, ContextId, FrameId, ObjectId, RootId, SpaceId, TaskId};

/// A lock, by what it guards. Earlier ones are taken first.
///
/// Each names what it guards by one word, so that a lock fits two registers: operations do little
/// else than take locks and give them back.
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
    Table(TableName),
}

/// The name of the page tables of one address space below one range. Names rise with addresses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableName(u64);

impl TableName {
    /// No range of a table is smaller than 2 MiB.
    const SHIFT: u32 = 21;
    /// Addresses of processes have 47 bits.
    const BITS: u32 = 47 - Self::SHIFT;

    /// Names the tables whose range begins here.
    pub(crate) fn of(space: SpaceId, base: Va) -> TableName {
        TableName((space.0 as u64) << Self::BITS | base.0 >> Self::SHIFT)
    }
}

impl fmt::Debug for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (space, place) = (self.0 >> Self::BITS, self.0 & ((1 << Self::BITS) - 1));
        write!(f, "SpaceId({space}), {:?}", Va(place << Self::SHIFT))
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

/// A taking of a lock, never used again. A word that is not zero, so that what holds it is small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HeldId(NonZero<usize>);

#[derive(Clone, Copy, Debug)]
struct Held {
    id: HeldId,
    lock: Lock,
    mode: Mode,
    by: TaskId,
}

/// Who holds which lock. Few are held at a time, so the table is searched from end to end.
#[derive(Debug)]
pub(crate) struct Locks {
    held: Vec<Held>,
    /// The next to be taken.
    next: HeldId,
}

impl Default for Locks {
    fn default() -> Locks {
        Locks { held: Vec::new(), next: HeldId(NonZero::<usize>::MIN) }
    }
}

impl Locks {
    /// Takes a lock if nobody stands against it. Who `waits` where somebody does must take it in
    /// order.
    ///
    /// # Panics
    /// When it does not: two tasks that do so could wait for each other for ever.
    pub(crate) fn take(
        &mut self,
        lock: Lock,
        mode: Mode,
        by: TaskId,
        waits: bool,
    ) -> Option<HeldId> {
        let innermost = self.held.iter().all(|held| held.lock < lock);
        if !innermost && !self.is_free(lock, mode, by, waits) {
            return None;
        }
        let id = self.next;
        self.next = HeldId(id.0.checked_add(1).expect("fewer takings than numbers"));
        self.held.push(Held { id, lock, mode, by });
        Some(id)
    }

    /// Says whether nobody stands against a lock, and checks that it is taken in order. Apart from
    /// `take` because most locks are the innermost when they are taken.
    #[cold]
    fn is_free(&self, lock: Lock, mode: Mode, by: TaskId, waits: bool) -> bool {
        let mut free = true;
        for held in self.held.iter().filter(|held| held.lock >= lock) {
            let waits_for_own = waits && held.by == by && !self.takes_in_any_order(lock, by);
            assert!(!waits_for_own, "{lock:?} is taken after {:?}, against the order", held.lock);
            let shared = held.mode == Mode::Shared && mode == Mode::Shared;
            free &= shared || held.lock != lock;
        }
        free
    }

    /// Whoever changes a map takes its areas in any order: there is one such task, and who only
    /// reads areas never waits while it holds one.
    fn takes_in_any_order(&self, lock: Lock, by: TaskId) -> bool {
        let changes_map = |held: &Held| {
            held.by == by && held.mode == Mode::Exclusive && matches!(held.lock, Lock::Mmap(_))
        };
        matches!(lock, Lock::Area(_)) && self.held.iter().any(changes_map)
    }

    /// Gives a lock back, and says which.
    pub(crate) fn release(&mut self, id: HeldId) -> Lock {
        let place = self.held.iter().rposition(|held| held.id == id);
        self.held.swap_remove(place.expect("a lock that is held")).lock
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
        let first = locks.take(MAP, Mode::Shared, A, true).unwrap();
        let second = locks.take(MAP, Mode::Shared, B, true).unwrap();
        assert_eq!(locks.take(MAP, Mode::Exclusive, TaskId(2), true), None);
        assert_eq!(locks.release(first), MAP);
        assert_eq!(locks.release(second), MAP);
        assert!(locks.take(MAP, Mode::Exclusive, TaskId(2), true).is_some());
        assert_eq!(locks.take(MAP, Mode::Shared, A, true), None);
    }

    #[test]
    #[should_panic(expected = "against the order")]
    fn waiting_for_an_outer_lock_inside_an_inner_one_is_a_bug() {
        let mut locks = Locks::default();
        locks.take(table(0), Mode::Exclusive, A, true).unwrap();
        locks.take(MAP, Mode::Shared, A, true);
    }

    #[test]
    fn an_outer_lock_may_be_tried() {
        let mut locks = Locks::default();
        locks.take(table(0), Mode::Exclusive, A, true).unwrap();
        assert!(locks.take(MAP, Mode::Shared, A, false).is_some());
    }

    #[test]
    fn areas_are_taken_in_any_order_by_who_changes_their_map() {
        let mut locks = Locks::default();
        locks.take(MAP, Mode::Exclusive, A, true).unwrap();
        locks.take(Lock::Area(AreaId(2)), Mode::Exclusive, A, true).unwrap();
        assert!(locks.take(Lock::Area(AreaId(1)), Mode::Exclusive, A, true).is_some());
    }

    #[test]
    #[should_panic(expected = "against the order")]
    fn areas_are_taken_by_rising_name_by_who_does_not() {
        let mut locks = Locks::default();
        locks.take(MAP, Mode::Shared, A, true).unwrap();
        locks.take(Lock::Area(AreaId(2)), Mode::Shared, A, true).unwrap();
        locks.take(Lock::Area(AreaId(1)), Mode::Shared, A, true);
    }

    #[test]
    fn two_locks_of_a_kind_are_taken_by_rising_name() {
        let mut locks = Locks::default();
        locks.take(table(0), Mode::Exclusive, A, true).unwrap();
        assert!(locks.take(table(1 << 21), Mode::Exclusive, A, true).is_some());
    }

    fn table(at: u64) -> Lock {
        Lock::Table(TableName::of(SpaceId(0), Va(at)))
    }
}
