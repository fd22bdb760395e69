//! A batch as bytes: what a log entry on a cluster and a record of the write-behind layer hold.
//!
//! A MessagePack array of pairs: key, and value or nil. On disk: it must be kept stable.

use serde_bytes::{ByteBuf, Bytes};

use super::Batch;
use crate::rows::Key;

/// A change of a batch.
pub(crate) type Change<'a> = (&'a Key, &'a Option<Vec<u8>>);

/// Bytes a pair takes beside its key and value, at most.
const PAIR_BYTES: usize = 16;

/// The bytes of some changes.
pub(crate) fn encode(changes: &[Change<'_>]) -> Vec<u8> {
    let bytes = changes.iter().map(|change| size(*change)).sum();
    let pairs: Vec<_> =
        changes.iter().map(|(key, value)| (Bytes::new(key), value.as_deref().map(Bytes::new))).collect();
    let mut out = Vec::with_capacity(bytes);
    rmp_serde::encode::write(&mut out, &pairs).expect("bytes can be written to memory");
    out
}

/// The batch in these bytes.
pub(crate) fn decode(bytes: &[u8]) -> Result<Batch, rmp_serde::decode::Error> {
    let pairs: Vec<(ByteBuf, Option<ByteBuf>)> = rmp_serde::from_slice(bytes)?;
    Ok(pairs.into_iter().map(|(key, value)| (key.into_vec(), value.map(ByteBuf::into_vec))).collect())
}

/// Bytes a change takes, at most.
pub(crate) fn size((key, value): Change<'_>) -> usize {
    key.len() + value.as_ref().map_or(0, Vec::len) + PAIR_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_comes_back() {
        let batch: Batch =
            [(vec![1], Some(vec![7; 300])), (vec![2, 255], None), (vec![3], Some(Vec::new()))].into();
        let changes: Vec<_> = batch.iter().collect();
        let bytes = encode(&changes);
        assert!(bytes.len() <= changes.iter().map(|change| size(*change)).sum());
        assert_eq!(decode(&bytes).unwrap(), batch);
        decode(&bytes[..bytes.len() - 1]).unwrap_err();
    }
}
