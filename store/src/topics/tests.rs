//! The trie against plain matching, its shape, its memory, and filters as deep as the protocol lets them be.

use super::*;
use proptest::prelude::*;
use schemas::topic::{self, TOPIC_BYTES_MAX};

/// Stack of a thread that must do with little: the smallest in use by any part of the server is sixteen times as big.
const SMALL_STACK: usize = 128 << 10;

impl<K: Ord, V> Trie<K, V> {
    /// Bytes asked of the allocator, without what it rounds up.
    pub(crate) fn heap_bytes(&self) -> usize {
        let nodes = self.nodes.iter().map(|node| node.label.len() + node.subscribers.heap_bytes());
        self.nodes.heap_bytes() + self.edges.allocation_size() + nodes.sum::<usize>()
    }

    /// Panics where the shape is not the only one that its filters may have.
    fn check(&self) {
        let mut count = 0;
        for node in self.nodes.iter() {
            count += 1;
            assert!(!node.subscribers.is_none() || node.children > 1, "a node without a reason");
            assert!(node.parent == NOBODY || self.nodes[node.parent].children > 0);
        }
        assert_eq!(self.edges.len(), count);
        let children: u32 = self.nodes.iter().map(|node| node.children).sum();
        let top = self.nodes.iter().filter(|node| node.parent == NOBODY).count();
        assert_eq!(children as usize + top, count);
        assert!(count <= 2 * self.len, "{count} nodes for {} filters", self.len);
    }

    fn found(&self, topic: &str) -> Vec<K>
    where
        K: Clone,
    {
        let mut found = Vec::new();
        self.matches(topic, |key, _| found.push(key.clone()));
        found.sort_unstable();
        found
    }
}

/// A trie and a list of the same filters, keys `0..`.
fn both(filters: &[String]) -> (Trie<usize, ()>, Vec<(usize, String)>) {
    let mut trie = Trie::default();
    for (key, filter) in filters.iter().enumerate() {
        assert_eq!(trie.insert(filter, key, ()), None);
        trie.check();
    }
    (trie, filters.iter().cloned().enumerate().collect())
}

fn expected(plain: &[(usize, String)], topic: &str) -> Vec<usize> {
    plain.iter().filter(|(_, filter)| topic::matches(filter, topic)).map(|(key, _)| *key).collect()
}

fn level() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("a"), Just("b"), Just("ab"), Just(""), Just("$x"), Just("+")]
}

fn filter() -> impl Strategy<Value = String> {
    (prop::collection::vec(level(), 0..6), any::<bool>()).prop_map(|(mut levels, hash)| {
        if hash || levels.is_empty() {
            levels.push("#");
        }
        levels.join("/")
    })
}

fn name() -> impl Strategy<Value = String> {
    let level = prop_oneof![Just("a"), Just("b"), Just("ab"), Just(""), Just("$x")];
    prop::collection::vec(level, 1..7).prop_map(|levels| levels.join("/"))
}

/// Stretches of equal levels, so that filters have thousands of them in common and part somewhere below.
fn deep_filter() -> impl Strategy<Value = String> {
    const LENGTHS: [usize; 4] = [1, 2, 700, 2_500];
    let stretch = (level(), prop::sample::select(LENGTHS.to_vec()));
    (prop::collection::vec(stretch, 1..4), any::<bool>()).prop_map(|(stretches, hash)| {
        let mut levels: Vec<&str> =
            stretches.iter().flat_map(|(level, count)| std::iter::repeat_n(*level, *count)).collect();
        if hash {
            levels.push("#");
        }
        levels.join("/")
    })
}

fn finds_what_plain_matching_finds(
    filters: &[String],
    removed: &[prop::sample::Index],
    topics: &[String],
) -> Result<(), TestCaseError> {
    let (mut trie, mut plain) = both(filters);
    for topic in topics {
        prop_assert_eq!(trie.found(topic), expected(&plain, topic));
    }
    for index in removed {
        if plain.is_empty() {
            break;
        }
        let (key, filter) = plain.remove(index.index(plain.len()));
        prop_assert_eq!(trie.remove(&filter, &key), Some(()));
        prop_assert_eq!(trie.remove(&filter, &key), None);
        trie.check();
        prop_assert_eq!(trie.len(), plain.len());
        for topic in topics {
            prop_assert_eq!(trie.found(topic), expected(&plain, topic));
        }
    }
    Ok(())
}

proptest! {
    /// `[v311:3.3.2-3] [v5:3.3.2-3] [v311:4.7.2-1] [v5:4.7.2-1]`
    #[test]
    fn the_trie_finds_what_plain_matching_finds(
        filters in prop::collection::vec(filter(), 0..24),
        removed in prop::collection::vec(any::<prop::sample::Index>(), 0..24),
        topics in prop::collection::vec(name(), 1..4),
    ) {
        finds_what_plain_matching_finds(&filters, &removed, &topics)?;
    }

    /// In whatever order filters come and go, their trie is the same, and so is what it takes.
    #[test]
    fn nothing_is_left_of_what_was_removed(
        stay in prop::collection::vec(filter(), 0..8),
        go in prop::collection::vec(filter(), 0..16),
    ) {
        let (mut trie, _) = both(&stay);
        let nodes = trie.nodes.iter().count();
        for (key, filter) in go.iter().enumerate() {
            trie.insert(filter, stay.len() + key, ());
        }
        for (key, filter) in go.iter().enumerate() {
            prop_assert_eq!(trie.remove(filter, &(stay.len() + key)), Some(()));
            trie.check();
        }
        prop_assert_eq!(trie.nodes.iter().count(), nodes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn deep_filters_are_found_too(
        filters in prop::collection::vec(deep_filter(), 1..6),
        removed in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let mut topics: Vec<String> = filters.iter().map(|filter| filter.replace(['+', '#'], "a")).collect();
        topics.extend(filters.iter().map(|filter| format!("{}/b", filter.replace(['+', '#'], "b"))));
        finds_what_plain_matching_finds(&filters, &removed, &topics)?;
    }
}

/// Runs on a thread whose stack holds no frame for each level.
fn on_a_small_stack(run: fn()) {
    let thread = std::thread::Builder::new().stack_size(SMALL_STACK).spawn(run);
    thread.expect("a thread").join().expect("no panic");
}

#[test]
fn as_many_levels_as_a_filter_may_have() {
    on_a_small_stack(|| {
        const LEVELS: usize = TOPIC_BYTES_MAX / 2 + 1;
        let slashes = "/".repeat(TOPIC_BYTES_MAX);
        let pluses = vec!["+"; LEVELS].join("/");
        let literal = vec!["a"; LEVELS].join("/");
        let hash = format!("{}/#", vec!["a"; LEVELS - 1].join("/"));
        let mixed = vec!["a/+"; LEVELS / 2].join("/");
        let filters = [slashes.clone(), pluses, literal.clone(), hash, mixed.clone()];
        let (mut trie, plain) = both(&filters);
        for topic in [slashes, literal, mixed.replace('+', "b"), "a".to_owned()] {
            assert_eq!(trie.found(&topic), expected(&plain, &topic));
        }
        for (key, filter) in &plain {
            assert_eq!(trie.remove(filter, key), Some(()));
        }
        assert!(trie.is_empty());
    });
}

/// A node at each level: the deepest trie there can be, for as much work as a client can make of it.
#[test]
fn a_branch_at_every_level() {
    on_a_small_stack(|| {
        const LEVELS: usize = 2_000;
        let all = vec!["a"; LEVELS].join("/");
        let filters: Vec<String> = (0..LEVELS)
            .flat_map(|at| [all[..2 * at + 1].to_owned(), format!("{}+", &all[..2 * at])])
            .collect();
        let mut trie = Trie::default();
        for (key, filter) in filters.iter().enumerate() {
            trie.insert(filter, key, ());
        }
        trie.check();
        assert_eq!(trie.nodes.iter().count(), 2 * LEVELS);
        assert_eq!(trie.found(&all), vec![filters.len() - 2, filters.len() - 1]);
        for (key, filter) in filters.iter().enumerate().skip(1).step_by(2) {
            assert_eq!(trie.remove(filter, &key), Some(()));
        }
        trie.check();
        assert_eq!(trie.found(&all), vec![filters.len() - 2]);
        drop(trie);
    });
}

#[test]
fn the_same_key_on_the_same_filter_is_replaced() {
    let mut trie = Trie::default();
    assert_eq!(trie.insert("a/#", 1, 'x'), None);
    assert_eq!(trie.insert("a/#", 1, 'y'), Some('x'));
    assert_eq!(trie.len(), 1);
    assert_eq!(trie.remove("a/#", &1), Some('y'));
    assert!(trie.is_empty() && trie.heap_bytes() == 0);
}

#[test]
fn all_memory_is_given_back() {
    let mut trie = Trie::default();
    for n in 0..5_000_u32 {
        trie.insert(&format!("devices/{n}/commands"), n, ());
        trie.insert("devices/+/news", n, ());
    }
    for n in 0..5_000_u32 {
        assert_eq!(trie.remove(&format!("devices/{n}/commands"), &n), Some(()));
        assert_eq!(trie.remove("devices/+/news", &n), Some(()));
    }
    assert_eq!((trie.len(), trie.heap_bytes()), (0, 0));
}

#[test]
fn memory_is_bounded_by_the_bytes_of_filters() {
    /// Bytes of nodes that a filter takes at most, in an arena that has just grown.
    const FILTER_BYTES_MAX: usize = 512;
    let (mut trie, mut bytes) = (Trie::default(), 0);
    for n in 0..100 {
        let filter = format!("{}/{n}", vec!["a"; 4_000 + n].join("/"));
        bytes += filter.len() + FILTER_BYTES_MAX;
        trie.insert(&filter, n, ());
        assert!(trie.heap_bytes() <= bytes, "{} of {bytes}", trie.heap_bytes());
    }
}

#[test]
fn bytes_of_a_subscription() {
    const FILTERS: u32 = 100_000;
    let per_leaf = |filter: &dyn Fn(u32) -> String| {
        let mut trie: Trie<u64, u64> = Trie::default();
        for n in 0..FILTERS {
            trie.insert(&filter(n), u64::from(n), 0);
        }
        trie.check();
        trie.heap_bytes() as f64 / f64::from(FILTERS)
    };
    for (what, most, filter) in [
        ("a filter of its own", 80.0, &(|n| format!("devices/{n}/commands")) as &dyn Fn(u32) -> String),
        ("two filters below a level", 110.0, &|n| {
            format!("devices/{}/{}", n / 2, ["news", "config"][n as usize % 2])
        }),
        ("three on a filter", 60.0, &|n| format!("devices/{}/commands", n / 3)),
        ("all on one", 40.0, &|_| "news".to_owned()),
    ] {
        let bytes = per_leaf(filter);
        eprintln!("{what}: {bytes:.0} bytes a subscription");
        assert!(bytes <= most, "{what}: {bytes}");
    }
}
