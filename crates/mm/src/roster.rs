//! Things whose names are never used again, for who asks after one that is gone must be told so.
//!
//! Names rise with time: who was made first is named first. What is gone takes no room.

use alloc::vec::Vec;
use core::ops::{Index, IndexMut};

/// Values by name, in the order of names.
#[derive(Clone, Debug)]
pub(crate) struct Roster<I, T> {
    list: Vec<(I, T)>,
    next: usize,
}

impl<I: From<usize> + Into<usize> + Copy + Ord, T> Roster<I, T> {
    pub(crate) const fn new() -> Roster<I, T> {
        Roster { list: Vec::new(), next: 0 }
    }

    pub(crate) fn insert(&mut self, value: T) -> I {
        let name = I::from(self.next);
        self.next += 1;
        self.list.push((name, value));
        name
    }

    pub(crate) fn remove(&mut self, name: I) -> Option<T> {
        let place = self.place(name)?;
        Some(self.list.remove(place).1)
    }

    pub(crate) fn get(&self, name: I) -> Option<&T> {
        Some(&self.list[self.place(name)?].1)
    }

    pub(crate) fn get_mut(&mut self, name: I) -> Option<&mut T> {
        let place = self.place(name)?;
        Some(&mut self.list[place].1)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (I, &T)> {
        self.list.iter().map(|(name, value)| (*name, value))
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.list.len()
    }

    /// Where a name stands: mostly where it would if none between it and the first were gone.
    fn place(&self, name: I) -> Option<usize> {
        let first: usize = self.list.first()?.0.into();
        let guess = name.into().checked_sub(first)?;
        match self.list.get(guess) {
            Some((found, _)) if *found == name => Some(guess),
            _ => self.list.binary_search_by_key(&name, |(name, _)| *name).ok(),
        }
    }
}

impl<I: From<usize> + Into<usize> + Copy + Ord, T> Index<I> for Roster<I, T> {
    type Output = T;

    fn index(&self, name: I) -> &T {
        self.get(name).expect("the name of something that is there")
    }
}

impl<I: From<usize> + Into<usize> + Copy + Ord, T> IndexMut<I> for Roster<I, T> {
    fn index_mut(&mut self, name: I) -> &mut T {
        self.get_mut(name).expect("the name of something that is there")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::SpaceId;

    #[test]
    fn names_are_never_used_again() {
        let mut roster: Roster<SpaceId, u32> = Roster::new();
        let names: Vec<SpaceId> = (0..5).map(|value| roster.insert(value)).collect();
        assert_eq!(roster.remove(names[0]), Some(0));
        assert_eq!(roster.remove(names[3]), Some(3));
        assert_eq!(roster.remove(names[3]), None);
        let fresh = roster.insert(9);
        assert!(!names.contains(&fresh));
        assert_eq!((roster[names[2]], roster[names[4]], roster[fresh]), (2, 4, 9));
        assert_eq!((roster.get(names[0]), roster.count()), (None, 4));
    }
}
