//! Who has a filter: mostly one, often the few devices of a user, sometimes a hundred thousand. Pure.

use std::borrow::Borrow;
use std::collections::BTreeMap;

/// Most subscribers in a list; beyond it they are in a map, whose smallest is as big as a list of these.
const FEW_MAX: usize = 16;
/// So many and fewer are put into a list again; so that one who comes and goes does not have it rebuilt each time.
const FEW_AGAIN: usize = 8;

/// Values by key, in the order of their keys. One is kept in place, and takes no more room than the pointer to many.
#[derive(Debug, Default)]
#[expect(
    clippy::box_collection,
    reason = "a list in place would be bigger than the one that most filters have"
)]
pub(super) enum Subscribers<K, V> {
    #[default]
    None,
    One(K, V),
    Few(Box<Vec<(K, V)>>),
    Many(Box<BTreeMap<K, V>>),
}

impl<K: Ord, V> Subscribers<K, V> {
    pub(super) const fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// The value that the key had before.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self {
            Self::None => *self = Self::One(key, value),
            Self::One(known, old) if *known == key => return Some(std::mem::replace(old, value)),
            Self::One(..) => {
                let Self::One(known, old) = std::mem::take(self) else { return None };
                let pair =
                    if known < key { [(known, old), (key, value)] } else { [(key, value), (known, old)] };
                *self = Self::Few(Box::new(Vec::from(pair)));
            }
            Self::Few(list) => match list.binary_search_by(|(known, _)| known.cmp(&key)) {
                Ok(at) => return Some(std::mem::replace(&mut list[at].1, value)),
                Err(at) if list.len() < FEW_MAX => list.insert(at, (key, value)),
                Err(_) => {
                    let mut map: BTreeMap<K, V> = list.drain(..).collect();
                    map.insert(key, value);
                    *self = Self::Many(Box::new(map));
                }
            },
            Self::Many(map) => return map.insert(key, value),
        }
        None
    }

    pub(super) fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        match self {
            Self::One(known, _) if (*known).borrow() == key => match std::mem::take(self) {
                Self::One(_, value) => Some(value),
                _ => None,
            },
            Self::None | Self::One(..) => None,
            Self::Few(list) => {
                let at = list.binary_search_by(|(known, _)| known.borrow().cmp(key)).ok()?;
                let (_, removed) = list.remove(at);
                if list.len() == 1 {
                    *self = list.pop().map_or(Self::None, |(key, value)| Self::One(key, value));
                }
                Some(removed)
            }
            Self::Many(map) => {
                let removed = map.remove(key)?;
                if map.len() <= FEW_AGAIN {
                    let list: Vec<(K, V)> = std::mem::take(&mut **map).into_iter().collect();
                    *self = Self::Few(Box::new(list));
                }
                Some(removed)
            }
        }
    }

    pub(super) fn for_each<'a>(&'a self, mut found: impl FnMut(&'a K, &'a V)) {
        match self {
            Self::None => {}
            Self::One(key, value) => found(key, value),
            Self::Few(list) => list.iter().for_each(|(key, value)| found(key, value)),
            Self::Many(map) => map.iter().for_each(|(key, value)| found(key, value)),
        }
    }

    /// Bytes asked of the allocator; those of a map are not known, and are put down as if its nodes were half full.
    #[cfg(test)]
    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Self::None | Self::One(..) => 0,
            Self::Few(list) => size_of::<Vec<(K, V)>>() + list.capacity() * size_of::<(K, V)>(),
            Self::Many(map) => size_of::<BTreeMap<K, V>>() + 2 * map.len() * size_of::<(K, V)>(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn they_are_a_map(ops in prop::collection::vec((any::<bool>(), 0..40_u8, any::<u8>()), 0..200)) {
            let (mut subscribers, mut map) = (Subscribers::None, BTreeMap::new());
            for (insert, key, value) in ops {
                if insert {
                    prop_assert_eq!(subscribers.insert(key, value), map.insert(key, value));
                } else {
                    prop_assert_eq!(subscribers.remove(&key), map.remove(&key));
                }
                let mut all = Vec::new();
                subscribers.for_each(|key, value| all.push((*key, *value)));
                prop_assert_eq!(all, map.iter().map(|(key, value)| (*key, *value)).collect::<Vec<_>>());
                prop_assert_eq!(subscribers.is_none(), map.is_empty());
            }
        }
    }
}
