//! A set of entries that are found by key in constant time, whatever their number.
//!
//! Most connections have a few topics, and most topics a few subscribers. A short list is scanned, which is
//! faster than an index and takes less memory. A list of more than [`SCANNED`] entries also has an index.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;

/// Longest list that is scanned; longer ones are indexed.
const SCANNED: usize = 16;

/// An entry that contains its own key.
pub(crate) trait Keyed {
    type Key: Clone + Debug + Eq + Hash;
    fn key(&self) -> &Self::Key;
}

impl Keyed for u32 {
    type Key = Self;

    fn key(&self) -> &Self {
        self
    }
}

impl Keyed for Arc<str> {
    type Key = Self;

    fn key(&self) -> &Self {
        self
    }
}

/// A set of entries in no particular order, with at most one for each key.
#[derive(Debug)]
pub(crate) struct Indexed<T: Keyed> {
    entries: Vec<T>,
    /// Position of each key in `entries`. Created above [`SCANNED`] entries, and dropped at half as many.
    #[expect(clippy::box_collection, reason = "most lists are short, and the box keeps them small")]
    index: Option<Box<HashMap<T::Key, u32>>>,
}

impl<T: Keyed> Default for Indexed<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), index: None }
    }
}

impl<T: Keyed> Indexed<T> {
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn as_slice(&self) -> &[T] {
        &self.entries
    }

    pub(crate) fn contains<Q>(&self, key: &Q) -> bool
    where
        T::Key: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.position(key).is_some()
    }

    pub(crate) fn get<Q>(&self, key: &Q) -> Option<&T>
    where
        T::Key: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.position(key).map(|at| &self.entries[at])
    }

    /// Finds an entry to change it. Its key must not change.
    pub(crate) fn get_mut<Q>(&mut self, key: &Q) -> Option<&mut T>
    where
        T::Key: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.position(key).map(|at| &mut self.entries[at])
    }

    fn position<Q>(&self, key: &Q) -> Option<usize>
    where
        T::Key: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        match &self.index {
            None => self.entries.iter().position(|entry| entry.key().borrow() == key),
            Some(index) => index.get(key).map(|at| *at as usize),
        }
    }

    /// Adds an entry. Returns false, and keeps the existing entry, if there is one with the same key.
    pub(crate) fn insert(&mut self, entry: T) -> bool {
        if self.contains(entry.key()) {
            return false;
        }
        if let Some(index) = &mut self.index {
            index.insert(entry.key().clone(), self.entries.len() as u32);
        }
        self.entries.push(entry);
        if self.index.is_none() && self.entries.len() > SCANNED {
            let positions = self.entries.iter().zip(0..).map(|(entry, at)| (entry.key().clone(), at));
            self.index = Some(Box::new(positions.collect()));
        }
        true
    }

    /// Removes an entry; the last entry takes its position. A list that has become much shorter releases
    /// memory.
    pub(crate) fn remove<Q>(&mut self, key: &Q) -> Option<T>
    where
        T::Key: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let at = self.position(key)?;
        let removed = self.entries.swap_remove(at);
        if let Some(index) = &mut self.index {
            index.remove(key);
            if let Some(moved) = self.entries.get(at) {
                index.insert(moved.key().clone(), at as u32);
            }
        }
        if self.entries.len() <= SCANNED / 2 {
            self.index = None;
        }
        if self.entries.capacity() > 64 && self.entries.len() < self.entries.capacity() / 4 {
            let room = self.entries.len() * 2;
            self.entries.shrink_to(room);
            if let Some(index) = &mut self.index {
                index.shrink_to(room);
            }
        }
        Some(removed)
    }
}

impl<T: Keyed> IntoIterator for Indexed<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_found_with_and_without_an_index() {
        let mut list = Indexed::<u32>::default();
        let mut present = std::collections::BTreeSet::new();
        // Grows to 300 and shrinks to nothing, twice, with holes everywhere.
        for step in 0..2400_u32 {
            let key = step.wrapping_mul(2_654_435_761) % 300;
            let grows = step / 600 % 2 == 0;
            if grows {
                assert_eq!(list.insert(key), present.insert(key));
            } else {
                assert_eq!(list.remove(&key).is_some(), present.remove(&key));
            }
            assert_eq!(list.entries.len(), present.len());
            assert!((0..300).all(|key| list.contains(&key) == present.contains(&key)));
            assert!(list.index.is_some() || list.entries.len() <= SCANNED);
        }
        for key in list.as_slice().to_vec() {
            assert_eq!(list.remove(&key), Some(key));
        }
        assert!(list.is_empty() && list.index.is_none() && list.entries.capacity() <= 64);
    }

    #[test]
    fn names_are_found_by_str() {
        let mut names = Indexed::<Arc<str>>::default();
        assert!((0..100).all(|n| names.insert(n.to_string().into())));
        assert_eq!(names.get("42").map(|name| &**name), Some("42"));
        assert!(names.remove("42").is_some() && !names.contains("42"));
    }
}
