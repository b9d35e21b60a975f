//! A vector whose places are named by an identity and used again.

use alloc::vec::Vec;
use core::marker::PhantomData;
use core::ops::{Index, IndexMut};

/// Values by identity.
#[derive(Clone, Debug)]
pub(crate) struct Slab<I, T> {
    places: Vec<Option<T>>,
    free: Vec<usize>,
    kind: PhantomData<I>,
}

impl<I: From<usize> + Into<usize> + Copy, T> Slab<I, T> {
    pub(crate) const fn new() -> Slab<I, T> {
        Slab { places: Vec::new(), free: Vec::new(), kind: PhantomData }
    }

    pub(crate) fn insert(&mut self, value: T) -> I {
        if let Some(place) = self.free.pop() {
            self.places[place] = Some(value);
            return I::from(place);
        }
        self.places.push(Some(value));
        I::from(self.places.len() - 1)
    }

    pub(crate) fn remove(&mut self, id: I) -> Option<T> {
        let value = self.places.get_mut(id.into())?.take();
        if value.is_some() {
            self.free.push(id.into());
        }
        value
    }

    pub(crate) fn get(&self, id: I) -> Option<&T> {
        self.places.get(id.into())?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, id: I) -> Option<&mut T> {
        self.places.get_mut(id.into())?.as_mut()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (I, &T)> {
        self.places.iter().enumerate().filter_map(|(i, p)| Some((I::from(i), p.as_ref()?)))
    }
}

impl<I: From<usize> + Into<usize> + Copy, T> Index<I> for Slab<I, T> {
    type Output = T;

    fn index(&self, id: I) -> &T {
        self.get(id).expect("an identity of something that exists")
    }
}

impl<I: From<usize> + Into<usize> + Copy, T> IndexMut<I> for Slab<I, T> {
    fn index_mut(&mut self, id: I) -> &mut T {
        self.get_mut(id).expect("an identity of something that exists")
    }
}
