//! Reading: single rows, and ranges in key order, merged from the database and what was committed a moment ago.
//!
//! A range is read partition by partition (`layout`), a page at a time: a small page first, because most scans end
//! after a row or two. Ranges over a whole table (a start, a check of the store) read the first pages of several partitions
//! at once.

use std::collections::{BTreeSet, VecDeque};

use futures_util::stream::{self, StreamExt, TryStreamExt};
use scylla::value::CqlValue;

use super::layout::{Layout, Segment, directory_range, layout_of, owner_of_range};
use super::owner::Owner;
use super::session::{CqlError, cql};
use super::tables::DIRECTORY;
use crate::engine::{Batch, KeyRange, Order};
use crate::rows::{Key, Table};

/// Rows of the first page of a partition, of each next one eight times as many, to at most [`PAGE_MAX`].
const PAGE_FIRST: i32 = 16;
/// Rows of a page: at 64 KiB each, 16 MiB.
const PAGE_MAX: i32 = 256;
/// Partitions read at once where a range has many.
const PARTITIONS_AT_ONCE: usize = 32;
/// Rows asked for at once when the plan says what it will need.
const KEYS_AT_ONCE: usize = 128;

/// The walk over the partitions of a range, in key order or against it. Partitions are found as the walk goes on, so
/// that one that ends early has read little.
pub(super) struct Walk {
    order: Order,
    /// Ranges of one table each that are still to come.
    tables: VecDeque<KeyRange>,
    /// Of the table under way: its range, and partitions of the directory that are not read.
    directory: Option<(KeyRange, VecDeque<Segment>)>,
    /// Partitions known and not read.
    segments: VecDeque<Segment>,
    /// How many partitions are read at once: doubled while the walk goes on.
    width: usize,
}

impl Walk {
    /// Tables are walked one after the other; the engine's own rows are nobody else's.
    pub(super) fn new(range: &KeyRange, order: Order) -> Self {
        let mut tables: VecDeque<KeyRange> = Table::ALL
            .iter()
            .map(|table| {
                let whole = KeyRange::prefix(vec![*table as u8]);
                KeyRange { from: whole.from.max(range.from.clone()), to: whole.to.min(range.to.clone()) }
            })
            .filter(|range| range.from < range.to)
            .collect();
        if order == Order::Descending {
            tables.make_contiguous().reverse();
        }
        Self { order, tables, directory: None, segments: VecDeque::new(), width: 1 }
    }

    /// The next partitions with their first pages; none at the end.
    pub(super) async fn next(mut self, owner: &Owner) -> Result<(Self, VecDeque<(Segment, Page)>), CqlError> {
        while self.segments.is_empty() {
            if !self.find(owner).await? {
                return Ok((self, VecDeque::new()));
            }
        }
        let count = self.width.min(self.segments.len());
        let segments = self.segments.drain(..count).collect();
        self.widen();
        let pages = owner.first_pages(segments, self.order).await?;
        Ok((self, pages))
    }

    fn widen(&mut self) {
        self.width = (self.width * 2).min(PARTITIONS_AT_ONCE);
    }

    fn ordered<T>(&self, items: impl DoubleEndedIterator<Item = T>) -> VecDeque<T> {
        match self.order {
            Order::Ascending => items.collect(),
            Order::Descending => items.rev().collect(),
        }
    }

    /// Looks for more partitions; false at the end of the walk.
    async fn find(&mut self, owner: &Owner) -> Result<bool, CqlError> {
        if let Some((range, unread)) = self.directory.take() {
            return self.read_on(owner, range, unread).await.map(|()| true);
        }
        let Some(range) = self.tables.pop_front() else { return Ok(false) };
        if !matches!(range.from.first().and_then(|table| layout_of(*table)), Some(Layout::Owned(_))) {
            self.segments = self.ordered(owner.map.segments(&range).into_iter());
        } else if let Some(of) = owner_of_range(&range) {
            let rows = owner.directory_of(of).await?;
            let segments = rows.iter().filter_map(|row| owner.map.owned_segment(row, &range));
            self.segments = self.ordered(segments);
        } else if let Some(rows) = directory_range(&range) {
            let unread = self.ordered(owner.map.segments(&rows).into_iter());
            self.directory = Some((range, unread));
        }
        Ok(true)
    }

    /// Reads on in the directory: several of its partitions at once, up to the first that has more than a page.
    async fn read_on(
        &mut self,
        owner: &Owner,
        range: KeyRange,
        mut unread: VecDeque<Segment>,
    ) -> Result<(), CqlError> {
        let count = self.width.min(unread.len());
        let ahead: Vec<Segment> = unread.iter().take(count).cloned().collect();
        if ahead.is_empty() {
            return Ok(());
        }
        self.widen();
        for (segment, page) in owner.first_pages(ahead, self.order).await? {
            unread.pop_front();
            let rows = page.rows.iter();
            self.segments.extend(rows.filter_map(|(row, _)| owner.map.owned_segment(row, &range)));
            if let Some(rest) = page.rest {
                unread.push_front(Segment { range: rest, ..segment });
                break;
            }
        }
        self.directory = Some((range, unread));
        Ok(())
    }
}

/// A page of a partition: rows, and what is left of the range.
pub(super) struct Page {
    pub(super) rows: Vec<(Key, Vec<u8>)>,
    pub(super) rest: Option<KeyRange>,
}

impl Owner {
    /// One row.
    pub(super) async fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, CqlError> {
        if let Some(found) = self.recent.get(key) {
            return Ok(found);
        }
        let version = self.recent.version();
        let Some(at) = self.map.partition(key) else { return Ok(None) };
        let statement = &self.db.rows[at.space].get;
        let rows = self.db.run(statement, (at.shard, at.kind, &at.part, &key[1..])).await?;
        let rows = rows.into_rows_result().map_err(cql)?;
        let found = rows.maybe_first_row::<(Vec<u8>,)>().map_err(cql)?.map(|(value,)| value);
        Ok(self.recent.fill(key, found, version))
    }

    /// Reads what will be asked for, many at a time: rows, and of an owner without a number which partitions he has.
    pub(super) async fn warm(&self, keys: Vec<Key>) -> Result<(), CqlError> {
        let unknown = keys.into_iter().filter(|key| self.recent.get(key).is_none());
        let reads = stream::iter(unknown).map(|key| async move {
            match bare_owner(&key) {
                Some(owner) => self.directory_of(owner).await.map(drop),
                None => self.get(&key).await.map(drop),
            }
        });
        reads.buffer_unordered(KEYS_AT_ONCE).try_collect().await
    }

    /// The directory's rows of one owner.
    async fn directory_of(&self, owner: (u8, u128)) -> Result<BTreeSet<Key>, CqlError> {
        match self.directory.of(owner) {
            Ok(rows) => Ok(rows),
            Err(begun) => {
                let mut prefix = vec![DIRECTORY, owner.0];
                prefix.extend(owner.1.to_be_bytes());
                let rows = self.read_directory(&KeyRange::prefix(prefix)).await?;
                self.directory.learn(owner, rows.clone(), begun);
                Ok(rows)
            }
        }
    }

    async fn read_directory(&self, range: &KeyRange) -> Result<BTreeSet<Key>, CqlError> {
        let mut found = BTreeSet::new();
        for segment in self.map.segments(range) {
            let mut rest = Some(segment.range.clone());
            while let Some(range) = rest {
                let page = self.page(&segment, &range, Order::Ascending, PAGE_MAX).await?;
                found.extend(page.rows.into_iter().map(|(key, _)| key));
                rest = page.rest;
            }
        }
        Ok(found)
    }

    /// A page of a segment, from the lower or the upper end of `range`.
    pub(super) async fn page(
        &self,
        segment: &Segment,
        range: &KeyRange,
        order: Order,
        limit: i32,
    ) -> Result<Page, CqlError> {
        let version = self.recent.version();
        let before = self.recent.range(range);
        let at = &segment.partition;
        let statements = &self.db.rows[at.space];
        let statement = match order {
            Order::Ascending => &statements.ascending,
            Order::Descending => &statements.descending,
        };
        let values: Vec<CqlValue> = vec![
            CqlValue::TinyInt(at.shard),
            CqlValue::TinyInt(at.kind),
            CqlValue::Blob(at.part.clone()),
            CqlValue::Blob(range.from[1..].to_vec()),
            // A range may end with the table: above every key's bytes.
            CqlValue::Blob(if range.to.first() == range.from.first() {
                range.to[1..].to_vec()
            } else {
                top()
            }),
            CqlValue::Int(limit),
        ];
        let rows = self.db.run(statement, values).await?.into_rows_result().map_err(cql)?;
        let mut merged = Batch::new();
        let mut last = None;
        let mut read = 0;
        for row in rows.rows::<(Vec<u8>, Vec<u8>)>().map_err(cql)? {
            let (rest, value) = row.map_err(cql)?;
            let mut key = Vec::with_capacity(1 + rest.len());
            key.push(range.from[0]);
            key.extend(rest);
            read += 1;
            last = Some(key.clone());
            merged.insert(key, Some(value));
        }
        // Beyond the last row read nothing is known yet.
        let (window, rest) = match last.filter(|_| read >= limit) {
            Some(mut last) if order == Order::Ascending => {
                last.push(0);
                let rest = KeyRange { from: last.clone(), to: range.to.clone() };
                (KeyRange { from: range.from.clone(), to: last }, Some(rest))
            }
            Some(last) => {
                let rest = KeyRange { from: range.from.clone(), to: last.clone() };
                (KeyRange { from: last, to: range.to.clone() }, Some(rest))
            }
            None => (range.clone(), None),
        };
        let within = |(key, _): &(Key, Option<Vec<u8>>)| window.from <= *key && *key < window.to;
        merged.extend(before.into_iter().filter(within));
        if self.recent.version() != version {
            merged.extend(self.recent.range(&window));
        }
        let present = merged.into_iter().filter_map(|(key, value)| Some((key, value?)));
        let mut rows: Vec<(Key, Vec<u8>)> = present.collect();
        if order == Order::Descending {
            rows.reverse();
        }
        Ok(Page { rows, rest: rest.filter(|rest| rest.from < rest.to) })
    }

    /// The first pages of some segments, read at once, in their order.
    async fn first_pages(
        &self,
        segments: Vec<Segment>,
        order: Order,
    ) -> Result<VecDeque<(Segment, Page)>, CqlError> {
        let pages = stream::iter(segments).map(|segment| async move {
            let page = self.page(&segment, &segment.range, order, PAGE_FIRST).await?;
            Ok::<_, CqlError>((segment, page))
        });
        pages.buffered(PARTITIONS_AT_ONCE).try_collect().await
    }

    /// A segment that was read from end to end and held nothing: partitions at the front are stepped over from now on.
    pub(super) fn empty(&self, segment: &Segment) {
        let whole = super::layout::directory_key(&segment.range.from)
            .and_then(|row| Some((self.map.owned_segment(&row, &everything(&row)?)?, row)));
        if let Some((whole, row)) = whole
            && whole.range == segment.range
            && let Some(owner) = owner_of_range(&segment.range)
        {
            self.directory.is_empty(owner, &row);
        }
    }
}

/// The table and owner of a prefix that ends with the owner.
fn bare_owner(prefix: &[u8]) -> Option<(u8, u128)> {
    let (table, owner) = prefix.split_first()?;
    let Some(Layout::Owned(_)) = layout_of(*table) else { return None };
    Some((*table, u128::from_be_bytes(owner.try_into().ok()?)))
}

/// Rows of the page that follows one of so many.
pub(super) fn next_page(limit: i32) -> i32 {
    limit.saturating_mul(8).min(PAGE_MAX)
}

/// Rows of a first page.
pub(super) const FIRST: i32 = PAGE_FIRST;

fn everything(directory_row: &[u8]) -> Option<KeyRange> {
    Some(KeyRange::prefix(vec![*directory_row.get(1)?]))
}

/// Above every key: keys are shorter, and none begins with so many of the highest byte.
fn top() -> Vec<u8> {
    vec![u8::MAX; 64]
}
