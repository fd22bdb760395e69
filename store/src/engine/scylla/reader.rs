//! Reading from threads that may block: single rows and ranges, by whoever holds the store.
//!
//! Not here: how a range is walked (`scan`), the rows of an earlier moment (`moment`).

use std::sync::Arc;

use tokio::runtime::{Handle, Runtime};

use super::layout::Segment;
use super::owner::Owner;
use super::scan::{self, Walk};
use super::session::CqlError;
use crate::engine::{Each, KeyRange, Order};
use crate::error::ReadError;
use crate::rows::Key;

/// Runs a task on the engine's threads and waits for it without being on them: works from any thread, also one that
/// drives another runtime, which it blocks. `None`: the engine has ended.
pub(super) fn wait<T: Send + 'static>(
    runtime: &Handle,
    task: impl Future<Output = T> + Send + 'static,
) -> Option<T> {
    let (done, result) = std::sync::mpsc::sync_channel(1);
    runtime.spawn(async move {
        // Whoever waited may be gone.
        let _ = done.send(task.await);
    });
    result.recv().ok()
}

/// Reads what is committed.
#[derive(Clone)]
pub(super) struct Reader {
    pub(super) owner: Arc<Owner>,
    pub(super) runtime: Handle,
}

impl Reader {
    pub(super) fn new(owner: Arc<Owner>, runtime: &Runtime) -> Self {
        Self { owner, runtime: runtime.handle().clone() }
    }

    fn run<T: Send + 'static>(
        &self,
        task: impl Future<Output = Result<T, CqlError>> + Send + 'static,
    ) -> Result<T, ReadError> {
        let gone = || ReadError::Unavailable("the engine has ended".to_owned());
        Ok(wait(&self.runtime, task).ok_or_else(gone)??)
    }

    pub(super) fn check(&self) -> Result<(), ReadError> {
        self.owner.check().map_err(ReadError::Unavailable)
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        self.check()?;
        if let Some(found) = self.owner.recent.get(key) {
            return Ok(found);
        }
        let (owner, key) = (self.owner.clone(), key.to_vec());
        self.run(async move { owner.get(&key).await })
    }

    pub(super) fn warm(&self, keys: Vec<Key>) {
        if keys.is_empty() || self.check().is_err() {
            return;
        }
        let owner = self.owner.clone();
        // What could not be read ahead is read, or fails, when it is asked for.
        if let Err(error) = self.run(async move { owner.warm(keys).await }) {
            tracing::debug!(%error, "rows could not be read ahead");
        }
    }

    pub(super) fn scan(&self, range: &KeyRange, order: Order, each: &mut Each<'_>) -> Result<(), ReadError> {
        self.check()?;
        let mut walk = Walk::new(range, order);
        loop {
            let owner = self.owner.clone();
            let (next, pages) = self.run(async move { walk.next(&owner).await })?;
            if pages.is_empty() {
                return Ok(());
            }
            walk = next;
            for (segment, page) in pages {
                if page.rows.is_empty() && page.rest.is_none() && order == Order::Ascending {
                    self.owner.empty(&segment);
                }
                for (key, value) in &page.rows {
                    if !each(key, value)? {
                        return Ok(());
                    }
                }
                if !self.rest(&segment, page.rest, order, each)? {
                    return Ok(());
                }
            }
        }
    }

    /// The rest of a segment behind its first page. False: the caller wants no more.
    fn rest(
        &self,
        segment: &Segment,
        mut rest: Option<KeyRange>,
        order: Order,
        each: &mut Each<'_>,
    ) -> Result<bool, ReadError> {
        let mut limit = scan::FIRST;
        while let Some(range) = rest {
            limit = scan::next_page(limit);
            let (owner, segment) = (self.owner.clone(), segment.clone());
            let page = self.run(async move { owner.page(&segment, &range, order, limit).await })?;
            for (key, value) in &page.rows {
                if !each(key, value)? {
                    return Ok(false);
                }
            }
            rest = page.rest;
        }
        Ok(true)
    }
}
