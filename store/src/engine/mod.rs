//! Where rows stand: an engine keeps sorted bytes and commits batches atomically. Nothing of what rows mean is here.
//!
//! [`memory`] is the model: the contract in its plainest form, for tests and simulation. [`embedded`] is fjall, the
//! default, with [`behind`] above it; `scylla` is a log and rows on a cluster. Each gives an `Arc<dyn Store>` made of the same commit plan, writer
//! and readers.

pub(crate) mod behind;
pub mod embedded;
pub mod memory;
pub(crate) mod overlay;
pub(crate) mod record;
#[cfg(feature = "scylla")]
pub mod scylla;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::{CommitError, ReadError};
use crate::rows::Key;

/// A batch of changes: the last change of a key wins; `None` removes. Sorted, so that engines insert in key order.
pub(crate) type Batch = BTreeMap<Key, Option<Vec<u8>>>;

/// Which way a scan goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Lowest key first.
    Ascending,
    /// Highest key first.
    Descending,
}

/// Half-open range of keys: `from` included, `to` not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyRange {
    pub(crate) from: Key,
    pub(crate) to: Key,
}

impl KeyRange {
    /// All keys that start with `prefix`.
    pub(crate) fn prefix(prefix: Key) -> Self {
        let to = after_prefix(prefix.clone());
        Self { from: prefix, to }
    }

    /// Keys that start with `prefix` and are above `after`.
    pub(crate) fn after(prefix: Key, mut after: Key) -> Self {
        after.push(0);
        Self { from: after, to: after_prefix(prefix) }
    }

    /// Keys that start with `prefix` and are below `before`.
    pub(crate) fn before(prefix: Key, before: Key) -> Self {
        Self { from: prefix, to: before }
    }
}

/// The first key above all that start with `prefix`. Table bytes are far below 0xFF, so there is one.
pub(crate) fn after_prefix(mut prefix: Key) -> Key {
    while let Some(last) = prefix.pop() {
        if last < u8::MAX {
            prefix.push(last + 1);
            return prefix;
        }
    }
    vec![u8::MAX]
}

/// Takes the rows of a scan one by one; false ends it.
pub(crate) type Each<'a> = dyn FnMut(&[u8], &[u8]) -> Result<bool, ReadError> + 'a;

/// Sorted bytes with atomic, durable batches.
pub(crate) trait Rows: Send + Sync + 'static {
    /// The value of a key.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError>;

    /// Calls `each` for the rows of a range until it returns false.
    fn scan(&self, range: &KeyRange, order: Order, each: &mut Each<'_>) -> Result<(), ReadError>;

    /// Makes a batch visible and, with `sync`, durable before it returns. Called by one thread only.
    fn commit(&self, batch: Batch, sync: bool) -> Result<(), CommitError>;

    /// Makes durable whatever was committed without sync.
    fn sync(&self) -> Result<(), CommitError>;

    /// Between two groups, after everybody was told: an engine may do a little of what it put off. An error is one of
    /// [`Rows::commit`].
    fn settle(&self) -> Result<(), CommitError> {
        Ok(())
    }

    /// Retention has removed so much that its space is worth having back: an engine that would give it back at some
    /// later time does so now, beside other work. A hint.
    fn reclaim(&self) {}

    /// All rows as they are now, whatever is committed later; it takes no commits. Not every engine can.
    fn snapshot(&self) -> Result<Arc<dyn Rows>, ReadError> {
        Err(ReadError::Unavailable("this engine has no snapshots".to_owned()))
    }

    /// Nothing more is committed: an engine that others wait for lets go of what they wait for. Reads may still come.
    fn close(&self) {}

    /// What is under way is the last: an engine that waits for something to come back does not wait for ever now.
    fn closing(&self) {}

    /// Why nothing can be committed for a while, though nothing is wrong with this process: it goes by itself.
    fn away(&self) -> Option<String> {
        None
    }

    /// Why nothing will ever be committed again by this process.
    fn lost(&self) -> Option<String> {
        None
    }

    /// Does a read cost a round trip? Then the writer says with [`Rows::warm`] what the plan will ask for.
    fn is_remote(&self) -> bool {
        false
    }

    /// The plan is about to ask for these rows, and for the ends of these prefixes that end with an owner: what can be is
    /// read side by side. A hint: an error shows when a row is asked for.
    fn warm(&self, _keys: Vec<Key>) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_range_ends_where_the_prefix_does() {
        let range = KeyRange::prefix(vec![3, 255]);
        assert_eq!(range.to, vec![4]);
        assert_eq!(KeyRange::after(vec![3], vec![3, 7]).from, vec![3, 7, 0]);
    }
}
