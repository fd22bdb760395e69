//! Changes laid over rows: what a reader sees while some changes stand above the engine and not in it.
//!
//! For the write-behind layer and for the simulated disk. Not here: how the changes come down.

use super::{Batch, Each, KeyRange, Order, Rows};
use crate::error::ReadError;
use crate::rows::Key;

/// Changes of a range in key order; of two of the same key the later one counts.
pub(crate) type Changes = Vec<(Key, Option<Vec<u8>>)>;

/// The changes of a range in several layers, the newest first.
pub(crate) fn changes_of(layers: &[&Batch], range: &KeyRange) -> Changes {
    let mut found = Batch::new();
    for layer in layers.iter().rev() {
        let changes = layer.range(range.from.clone()..range.to.clone());
        found.extend(changes.map(|(key, value)| (key.clone(), value.clone())));
    }
    found.into_iter().collect()
}

/// A scan of `rows` as it is with `changes` (of the same range) laid over it.
pub(crate) fn scan(
    rows: &dyn Rows,
    mut changes: Changes,
    range: &KeyRange,
    order: Order,
    each: &mut Each<'_>,
) -> Result<(), ReadError> {
    // Taken from the end, so the next one stands last.
    if order == Order::Ascending {
        changes.reverse();
    }
    let mut go_on = true;
    rows.scan(range, order, &mut |key, value| {
        while go_on && let Some((change, _)) = changes.last() {
            let hides = change.as_slice() == key;
            let before = match order {
                Order::Ascending => change.as_slice() < key,
                Order::Descending => change.as_slice() > key,
            };
            if !hides && !before {
                break;
            }
            if let Some((change, Some(value))) = changes.pop() {
                go_on = each(&change, &value)?;
            }
            if hides {
                return Ok(go_on);
            }
        }
        go_on = go_on && each(key, value)?;
        Ok(go_on)
    })?;
    while go_on && let Some((key, change)) = changes.pop() {
        if let Some(value) = change {
            go_on = each(&key, &value)?;
        }
    }
    Ok(())
}
