//! Values by number, for structures whose parts refer to each other: dropping them needs no recursion. Pure.
//!
//! Not here: what the values are (`topics`).

use std::ops::{Index, IndexMut};

/// Values of a chunk. Chunks are never moved, so an arena that grows copies nothing and has room to spare for one chunk
/// only, where a `Vec` would have room for as many values again.
const CHUNK: usize = 1_024;
/// The number that no value has.
pub(super) const NOBODY: u32 = u32::MAX;

/// See the module. Numbers of removed values are given again; their room is kept for others.
#[derive(Debug)]
pub(super) struct Arena<T> {
    chunks: Vec<Vec<Slot<T>>>,
    /// The free slot that is used next, or [`NOBODY`].
    free: u32,
}

#[derive(Debug)]
enum Slot<T> {
    Used(T),
    /// With the one that was freed before it, or [`NOBODY`].
    Free(u32),
}

impl<T> Default for Arena<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), free: NOBODY }
    }
}

const fn place(id: u32) -> (usize, usize) {
    (id as usize / CHUNK, id as usize % CHUNK)
}

impl<T> Arena<T> {
    /// Adds a value; its number.
    pub(super) fn insert(&mut self, value: T) -> u32 {
        if self.free != NOBODY {
            let (id, (chunk, at)) = (self.free, place(self.free));
            if let Slot::Free(next) = std::mem::replace(&mut self.chunks[chunk][at], Slot::Used(value)) {
                self.free = next;
            }
            return id;
        }
        let chunk = match self.chunks.last() {
            Some(last) if last.len() < CHUNK => self.chunks.len() - 1,
            last => {
                // The first one grows: most arenas are small.
                let room = if last.is_some() { CHUNK } else { 0 };
                self.chunks.push(Vec::with_capacity(room));
                self.chunks.len() - 1
            }
        };
        let id = chunk * CHUNK + self.chunks[chunk].len();
        self.chunks[chunk].push(Slot::Used(value));
        u32::try_from(id).expect("so many values are more than the memory of any machine")
    }

    /// Takes a value out.
    pub(super) fn remove(&mut self, id: u32) -> Option<T> {
        let (chunk, at) = place(id);
        let slot = self.chunks.get_mut(chunk)?.get_mut(at).filter(|slot| matches!(slot, Slot::Used(_)))?;
        let Slot::Used(value) = std::mem::replace(slot, Slot::Free(self.free)) else { return None };
        self.free = id;
        Some(value)
    }

    /// Values there are.
    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flatten().filter_map(|slot| match slot {
            Slot::Used(value) => Some(value),
            Slot::Free(_) => None,
        })
    }

    /// Bytes asked of the allocator, without those of the values themselves.
    #[cfg(test)]
    pub(super) fn heap_bytes(&self) -> usize {
        let chunks = self.chunks.iter().map(|chunk| chunk.capacity() * size_of::<Slot<T>>());
        self.chunks.capacity() * size_of::<Vec<Slot<T>>>() + chunks.sum::<usize>()
    }
}

impl<T> Index<u32> for Arena<T> {
    type Output = T;

    fn index(&self, id: u32) -> &T {
        let (chunk, at) = place(id);
        match &self.chunks[chunk][at] {
            Slot::Used(value) => value,
            Slot::Free(_) => panic!("nobody refers to what was removed"),
        }
    }
}

impl<T> IndexMut<u32> for Arena<T> {
    fn index_mut(&mut self, id: u32) -> &mut T {
        let (chunk, at) = place(id);
        match &mut self.chunks[chunk][at] {
            Slot::Used(value) => value,
            Slot::Free(_) => panic!("nobody refers to what was removed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_and_those_of_removed_values_are_given_again() {
        const COUNT: u32 = 3 * CHUNK as u32 + 1;
        let mut arena = Arena::default();
        for n in 0..COUNT {
            assert_eq!(arena.insert(n), n);
        }
        let full = arena.heap_bytes();
        for id in (0..COUNT).step_by(2) {
            assert_eq!(arena.remove(id), Some(id));
            assert_eq!(arena.remove(id), None);
        }
        for n in (0..COUNT).step_by(2) {
            let id = arena.insert(n);
            assert!(id % 2 == 0 && arena[id] == n);
        }
        assert_eq!((arena.heap_bytes(), arena.iter().count()), (full, COUNT as usize));
        assert!((1..COUNT).step_by(2).all(|id| arena[id] == id));
    }
}
