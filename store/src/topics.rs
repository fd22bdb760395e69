//! Who is subscribed to a topic: a trie over the levels of filters.
//!
//! Matching a topic costs its number of levels (times the wildcards on the way), not the number of filters: the
//! router of a stock broker scans all filters for every message to an absent user. Used by the commit plan for
//! messages that must be stored, and by the broker for those that are only passed on. Pure.

use std::collections::HashMap;

/// Filters of one account, each with the values of its subscribers, told apart by `K`.
#[derive(Debug)]
pub struct Trie<K, V> {
    root: Node<K, V>,
    len: usize,
}

/// Three pointers: a fleet of a million devices has a million nodes, and nearly all are a leaf with one subscriber. (In a
/// table of children there is room for as many again.)
#[derive(Debug)]
struct Node<K, V> {
    #[expect(
        clippy::box_collection,
        reason = "an empty table is six pointers, and most nodes have no children"
    )]
    children: Option<Box<HashMap<Box<str>, Self>>>,
    plus: Option<Box<Self>>,
    ends: Option<Box<Ends<K, V>>>,
}

/// Subscribers at a node; never both empty.
#[derive(Debug)]
struct Ends<K, V> {
    /// Those whose filter ends here.
    here: Vec<(K, V)>,
    /// Those whose filter has `#` below here.
    below: Vec<(K, V)>,
}

impl<K, V> Default for Node<K, V> {
    fn default() -> Self {
        Self { children: None, plus: None, ends: None }
    }
}

impl<K, V> Default for Ends<K, V> {
    fn default() -> Self {
        Self { here: Vec::new(), below: Vec::new() }
    }
}

impl<K, V> Default for Trie<K, V> {
    fn default() -> Self {
        Self { root: Node::default(), len: 0 }
    }
}

impl<K: PartialEq, V> Trie<K, V> {
    /// Number of subscriptions.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Has it none?
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a subscription; the same key on the same filter is replaced, and the earlier value returned.
    pub fn insert(&mut self, filter: &str, key: K, value: V) -> Option<V> {
        let mut node = &mut self.root;
        let mut slot = None;
        for level in filter.split('/') {
            match level {
                "#" => {
                    slot = Some(());
                    break;
                }
                "+" => node = node.plus.get_or_insert_with(Box::default),
                _ => {
                    let children = node.children.get_or_insert_default();
                    if !children.contains_key(level) {
                        children.insert(level.into(), Node::default());
                    }
                    node = children.get_mut(level).expect("inserted above");
                }
            }
        }
        let ends = node.ends.get_or_insert_default();
        let list = if slot.is_some() { &mut ends.below } else { &mut ends.here };
        if let Some(entry) = list.iter_mut().find(|(k, _)| *k == key) {
            return Some(std::mem::replace(&mut entry.1, value));
        }
        if list.is_empty() {
            // Most stay alone.
            list.reserve_exact(1);
        }
        list.push((key, value));
        self.len += 1;
        None
    }

    /// Removes a subscription; branches that became empty go with it.
    pub fn remove(&mut self, filter: &str, key: &K) -> Option<V> {
        let levels: Vec<&str> = filter.split('/').collect();
        let removed = self.root.remove(&levels, key);
        if removed.is_some() {
            self.len -= 1;
        }
        removed
    }

    /// Calls `found` for every subscription whose filter matches the topic name.
    /// `[v311:3.3.2-3] [v5:3.3.2-3] [v311:4.7.2-1] [v311:4.7.3-4] [v5:4.7.3-4]`
    pub fn matches<'a>(&'a self, topic: &str, mut found: impl FnMut(&'a K, &'a V)) {
        let levels: Vec<&str> = topic.split('/').collect();
        // A first level with `$` is matched by no wildcard. [v5:4.7.2-1]
        let dollar = topic.starts_with('$');
        self.root.matches(&levels, dollar, &mut found);
    }
}

impl<K: PartialEq, V> Node<K, V> {
    fn is_empty(&self) -> bool {
        self.children.is_none() && self.plus.is_none() && self.ends.is_none()
    }

    fn remove(&mut self, levels: &[&str], key: &K) -> Option<V> {
        match levels {
            [] => self.take(key, |ends| &mut ends.here),
            ["#"] => self.take(key, |ends| &mut ends.below),
            ["+", rest @ ..] => {
                let child = self.plus.as_mut()?;
                let removed = child.remove(rest, key);
                if child.is_empty() {
                    self.plus = None;
                }
                removed
            }
            [level, rest @ ..] => {
                let children = self.children.as_mut()?;
                let child = children.get_mut(*level)?;
                let removed = child.remove(rest, key);
                if child.is_empty() {
                    children.remove(*level);
                    if children.is_empty() {
                        self.children = None;
                    }
                }
                removed
            }
        }
    }

    fn take(&mut self, key: &K, list: impl Fn(&mut Ends<K, V>) -> &mut Vec<(K, V)>) -> Option<V> {
        let ends = self.ends.as_mut()?;
        let list = list(ends);
        let index = list.iter().position(|(k, _)| k == key)?;
        let removed = list.swap_remove(index).1;
        if ends.here.is_empty() && ends.below.is_empty() {
            self.ends = None;
        }
        Some(removed)
    }

    fn matches<'a>(&'a self, levels: &[&str], no_wildcard: bool, found: &mut impl FnMut(&'a K, &'a V)) {
        let ends = self.ends.as_deref();
        if !no_wildcard {
            // `a/#` matches `a` too.
            ends.iter().flat_map(|ends| &ends.below).for_each(|(k, v)| found(k, v));
        }
        let Some((level, rest)) = levels.split_first() else {
            ends.iter().flat_map(|ends| &ends.here).for_each(|(k, v)| found(k, v));
            return;
        };
        if let Some(child) = self.children.as_ref().and_then(|children| children.get(*level)) {
            child.matches(rest, false, found);
        }
        if let Some(plus) = self.plus.as_deref().filter(|_| !no_wildcard) {
            plus.matches(rest, false, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use schemas::topic;

    fn level() -> impl Strategy<Value = &'static str> {
        prop_oneof![Just("a"), Just("b"), Just(""), Just("$x"), Just("+")]
    }

    fn filter() -> impl Strategy<Value = String> {
        (prop::collection::vec(level(), 0..4), any::<bool>()).prop_map(|(mut levels, hash)| {
            if hash || levels.is_empty() {
                levels.push("#");
            }
            levels.join("/")
        })
    }

    fn name() -> impl Strategy<Value = String> {
        let level = prop_oneof![Just("a"), Just("b"), Just(""), Just("$x")];
        prop::collection::vec(level, 1..5).prop_map(|levels| levels.join("/"))
    }

    proptest! {
        /// `[v311:3.3.2-3] [v5:3.3.2-3] [v311:4.7.2-1] [v5:4.7.2-1]`
        #[test]
        fn the_trie_finds_what_plain_matching_finds(
            filters in prop::collection::vec(filter(), 0..12),
            removed in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
            topic in name(),
        ) {
            let mut trie = Trie::default();
            let mut plain: Vec<(usize, String)> = Vec::new();
            for (i, f) in filters.iter().enumerate() {
                trie.insert(f, i, ());
                plain.push((i, f.clone()));
            }
            for index in removed {
                if plain.is_empty() { break; }
                let (key, f) = plain.remove(index.index(plain.len()));
                prop_assert_eq!(trie.remove(&f, &key), Some(()));
                prop_assert_eq!(trie.remove(&f, &key), None);
            }
            let mut found = Vec::new();
            trie.matches(&topic, |k, ()| found.push(*k));
            found.sort_unstable();
            let mut expected: Vec<usize> =
                plain.iter().filter(|(_, f)| topic::matches(f, &topic)).map(|(i, _)| *i).collect();
            expected.sort_unstable();
            prop_assert_eq!(found, expected);
            prop_assert_eq!(trie.len(), plain.len());
        }
    }

    #[test]
    fn the_same_key_on_the_same_filter_is_replaced() {
        let mut trie = Trie::default();
        assert_eq!(trie.insert("a/#", 1, 'x'), None);
        assert_eq!(trie.insert("a/#", 1, 'y'), Some('x'));
        assert_eq!(trie.len(), 1);
        assert_eq!(trie.remove("a/#", &1), Some('y'));
        assert!(trie.is_empty() && trie.root.is_empty());
    }
}
