//! Rows with a mistake of the plan's side planted: what the plan writes is lost, what it reads is hidden.
//!
//! Not here: mistakes of the disk's side (`disk`) and of the turn's order (`stepper`).

use std::sync::Arc;

use super::Planted;
use crate::engine::{Batch, Each, KeyRange, Order, Rows};
use crate::error::{CommitError, ReadError};
use crate::rows::{StateRow, Table, decode, encode};

/// What the writer sees of the rows. Readers see them as they are.
pub(super) struct Faulty {
    pub(super) rows: Arc<dyn Rows>,
    pub(super) planted: Option<Planted>,
}

impl Rows for Faulty {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        let value = self.rows.get(key)?;
        if self.planted != Some(Planted::StatusOverwritten) || key.first() != Some(&(Table::State as u8)) {
            return Ok(value);
        }
        let blinded = |value: Vec<u8>| {
            let row: StateRow = decode(key, &value)?;
            Ok(encode(&StateRow { status: None, ..row }))
        };
        value.map(blinded).transpose()
    }

    fn scan(&self, range: &KeyRange, order: Order, each: &mut Each<'_>) -> Result<(), ReadError> {
        self.rows.scan(range, order, each)
    }

    fn commit(&self, mut batch: Batch, sync: bool) -> Result<(), CommitError> {
        if self.planted == Some(Planted::DedupeLost) {
            batch.retain(|key, _| key.first() != Some(&(Table::Dedupe as u8)));
        }
        self.rows.commit(batch, sync)
    }

    fn settle(&self) -> Result<(), CommitError> {
        self.rows.settle()
    }

    fn sync(&self) -> Result<(), CommitError> {
        self.rows.sync()
    }
}
