//! Who is subscribed to a topic: a trie over the levels of filters.
//!
//! Matching a topic costs its length (times the wildcards on the way), not the number of filters: the router of a stock
//! broker scans all filters for every message to an absent user. Used by the commit plan for messages that must be
//! stored, and by the broker for those that are only passed on. Pure.
//!
//! ```text
//!  filters                     nodes
//!  devices/7/commands          devices ─┬─ 7/commands ●
//!  devices/8/+                          └─ 8 ─┬─ + ●
//!  devices/8/a/#                              └─ a/# ●
//! ```
//! A filter is up to 65,535 bytes long and may be that many levels, so nothing here walks levels by recursion, and levels
//! between which nothing branches or ends are one node. With that there are at most two nodes for each filter, and the
//! memory of a trie is bounded by the bytes of its filters. Nodes stand in an arena and are found by their parent and
//! first level in one table, for a map in each node would be bigger than the node.

mod arena;
mod subscribers;

use std::borrow::Borrow;
use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

use arena::{Arena, NOBODY};
use subscribers::Subscribers;

/// Filters of one account, each with the values of its subscribers, told apart by `K`.
///
/// Bytes of a subscription with 8 bytes of key and 8 of value, label included: 77 where it is alone on a filter
/// `devices/{n}/commands`, 32 where 100,000 have one filter. (Test `bytes_of_a_subscription`.) So few need small values:
/// there is room for one key and value in each node.
#[derive(Debug)]
pub struct Trie<K, V> {
    nodes: Arena<Node<K, V>>,
    /// Nodes by parent and first level.
    edges: HashTable<u32>,
    /// With a key of its own, so that no client can choose levels that meet in one place of the table.
    hasher: RandomState,
    len: usize,
}

/// Where filters branch or end: with no subscriber it has two children or more.
#[derive(Debug)]
struct Node<K, V> {
    /// The levels that lead from the parent to here, with `/` between them. Siblings differ in the first.
    label: Box<[u8]>,
    /// Or [`NOBODY`].
    parent: u32,
    /// Of parent and first level.
    hash: u32,
    children: u32,
    /// The numbers of all children, XORed: it is that of the only one where there is but one, and nobody asks sooner.
    children_xor: u32,
    subscribers: Subscribers<K, V>,
}

impl<K, V> Default for Trie<K, V> {
    fn default() -> Self {
        Self { nodes: Arena::default(), edges: HashTable::new(), hasher: RandomState::new(), len: 0 }
    }
}

impl<K: Ord, V> Trie<K, V> {
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
        let node = self.find_or_add(filter.as_bytes());
        let replaced = self.nodes[node].subscribers.insert(key, value);
        self.len += usize::from(replaced.is_none());
        replaced
    }

    /// Removes a subscription; branches that became empty go with it.
    pub fn remove<Q: Ord + ?Sized>(&mut self, filter: &str, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let node = self.find(filter.as_bytes())?;
        let removed = self.nodes[node].subscribers.remove(key)?;
        self.len -= 1;
        if self.is_empty() {
            // The arena and the table give their memory back.
            *self = Self::default();
        } else {
            self.prune(node);
        }
        Some(removed)
    }

    /// Calls `found` for every subscription whose filter matches the topic name.
    /// `[v311:3.3.2-3] [v5:3.3.2-3] [v311:4.7.2-1] [v311:4.7.3-4] [v5:4.7.3-4]`
    pub fn matches<'a>(&'a self, topic: &str, mut found: impl FnMut(&'a K, &'a V)) {
        // Nodes that match so far, with what is left of the topic. Each is here once, for one way leads to it.
        let mut reached = vec![(NOBODY, Some(topic.as_bytes()))];
        while let Some((parent, rest)) = reached.pop() {
            // A first level with `$` is matched by no wildcard. [v5:4.7.2-1]
            let wildcards = parent != NOBODY || !topic.starts_with('$');
            let literal = rest.map(|rest| first_level(rest).0);
            let plus = rest.and(wildcards.then_some(PLUS));
            let hash = wildcards.then_some(HASH);
            for child in
                [literal, plus, hash].into_iter().flatten().filter_map(|level| self.child(parent, level))
            {
                let node = &self.nodes[child];
                match follow(&node.label, rest) {
                    Some(Left::Whatever) => node.subscribers.for_each(&mut found),
                    Some(Left::Topic(left)) => {
                        if left.is_none() {
                            node.subscribers.for_each(&mut found);
                        }
                        if node.children > 0 {
                            reached.push((child, left));
                        }
                    }
                    None => {}
                }
            }
        }
    }

    fn hash(&self, parent: u32, level: &[u8]) -> u32 {
        // Half of it is enough for a table that is addressed by numbers of this size.
        self.hasher.hash_one((parent, level)) as u32
    }

    fn child(&self, parent: u32, level: &[u8]) -> Option<u32> {
        let hash = self.hash(parent, level);
        let is_it = |id: &u32| {
            let node = &self.nodes[*id];
            node.hash == hash && node.parent == parent && first_level(&node.label).0 == level
        };
        self.edges.find(spread(hash), is_it).copied()
    }

    fn find(&self, filter: &[u8]) -> Option<u32> {
        let (mut parent, mut rest) = (NOBODY, filter);
        loop {
            let node = self.child(parent, first_level(rest).0)?;
            match rest.strip_prefix(&*self.nodes[node].label)? {
                [] => return Some(node),
                [b'/', below @ ..] => (parent, rest) = (node, below),
                _ => return None,
            }
        }
    }

    fn find_or_add(&mut self, filter: &[u8]) -> u32 {
        let (mut parent, mut rest) = (NOBODY, filter);
        loop {
            let Some(child) = self.child(parent, first_level(rest).0) else {
                return self.add(parent, rest);
            };
            let common = common_levels(&self.nodes[child].label, rest);
            let node = self.split(child, common);
            if common == rest.len() {
                return node;
            }
            (parent, rest) = (node, &rest[common + 1..]);
        }
    }

    fn add(&mut self, parent: u32, label: &[u8]) -> u32 {
        let node = self.nodes.insert(Node {
            label: label.into(),
            parent: NOBODY,
            hash: 0,
            children: 0,
            children_xor: 0,
            subscribers: Subscribers::None,
        });
        self.attach(node, parent);
        node
    }

    /// Makes the first `at` bytes of a node's label a node of its own, if they are not all; the node they lead to.
    fn split(&mut self, node: u32, at: usize) -> u32 {
        if at == self.nodes[node].label.len() {
            return node;
        }
        let parent = self.nodes[node].parent;
        self.detach(node);
        let label = std::mem::take(&mut self.nodes[node].label);
        let middle = self.add(parent, &label[..at]);
        self.nodes[node].label = label[at + 1..].into();
        self.attach(node, middle);
        middle
    }

    /// A node may be without a subscriber now, and then without a reason to be.
    fn prune(&mut self, node: u32) {
        if !self.nodes[node].subscribers.is_none() {
            return;
        }
        let mut last = node;
        if self.nodes[node].children == 0 {
            last = self.nodes[node].parent;
            self.detach(node);
            self.nodes.remove(node);
        }
        if last != NOBODY && self.nodes[last].children == 1 && self.nodes[last].subscribers.is_none() {
            self.merge(last);
        }
    }

    /// Makes a node and its only child one.
    fn merge(&mut self, node: u32) {
        let (parent, child) = (self.nodes[node].parent, self.nodes[node].children_xor);
        self.detach(child);
        self.detach(node);
        if let Some(node) = self.nodes.remove(node) {
            let below = &mut self.nodes[child].label;
            *below = [&node.label[..], &below[..]].join(&b'/').into();
        }
        self.attach(child, parent);
    }

    fn attach(&mut self, node: u32, parent: u32) {
        let hash = self.hash(parent, first_level(&self.nodes[node].label).0);
        (self.nodes[node].parent, self.nodes[node].hash) = (parent, hash);
        if parent != NOBODY {
            self.nodes[parent].children += 1;
            self.nodes[parent].children_xor ^= node;
        }
        self.edges.insert_unique(spread(hash), node, |id| spread(self.nodes[*id].hash));
    }

    fn detach(&mut self, node: u32) {
        let (parent, hash) = (self.nodes[node].parent, self.nodes[node].hash);
        if parent != NOBODY {
            self.nodes[parent].children -= 1;
            self.nodes[parent].children_xor ^= node;
        }
        if let Ok(edge) = self.edges.find_entry(spread(hash), |id| *id == node) {
            edge.remove();
        }
    }
}

const PLUS: &[u8] = b"+";
const HASH: &[u8] = b"#";

/// A hash of the size that the table wants: it looks at both ends.
const fn spread(hash: u32) -> u64 {
    // 2^64 by the golden ratio: odd, and its bits are without a pattern.
    (hash as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// The first level, and what follows it, if anything does.
fn first_level(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    match text.iter().position(|byte| *byte == b'/') {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    }
}

/// Bytes of the levels with which two texts begin; the first is the same.
fn common_levels(a: &[u8], b: &[u8]) -> usize {
    let same = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    if [a, b].into_iter().all(|text| matches!(text.get(same), None | Some(b'/'))) {
        return same;
    }
    a[..same].iter().rposition(|byte| *byte == b'/').expect("the first level is the same")
}

/// What is left of a topic.
enum Left<'t> {
    /// Levels, or none.
    Topic(Option<&'t [u8]>),
    /// It does not matter: `#` matches the level above it and all that is below.
    Whatever,
}

/// Follows the levels of a label; `None` where the topic has others.
fn follow<'t>(label: &[u8], mut topic: Option<&'t [u8]>) -> Option<Left<'t>> {
    let mut label = Some(label);
    while let Some(levels) = label {
        let (level, below) = first_level(levels);
        if level == HASH {
            return Some(Left::Whatever);
        }
        let (name, rest) = first_level(topic?);
        if level != PLUS && level != name {
            return None;
        }
        (label, topic) = (below, rest);
    }
    Some(Left::Topic(topic))
}

#[cfg(test)]
mod tests;
