//! I1. Reading a body within limits: its own, and one for all bodies together, since anybody may open a connection and
//! nothing is known of him before the last byte (P8).

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use schemas::ErrorCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem::problem;
use crate::metrics::WebhookOutcome;

/// Largest body (contract, section 6); Meta's limit is 3 MB.
pub(super) const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of all bodies being read or stored: sixteen of the largest.
const ALL_BYTES_MAX: usize = 16 * BODY_BYTES_MAX;
/// What one permit stands for.
const PERMIT_BYTES: usize = 1024;
/// Longest time a body may take.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Room for bodies.
pub(super) struct Room(Arc<Semaphore>);

/// A body, and the room it takes.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) bytes: Bytes,
    _room: Vec<OwnedSemaphorePermit>,
}

/// Why a body was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    TooLarge,
    Broken,
    NoRoom,
}

impl Refused {
    pub(super) const fn outcome(self) -> WebhookOutcome {
        match self {
            Self::TooLarge => WebhookOutcome::TooLarge,
            Self::Broken => WebhookOutcome::Broken,
            Self::NoRoom => WebhookOutcome::Unavailable,
        }
    }

    pub(super) fn response(self) -> Response {
        match self {
            Self::TooLarge => problem(ErrorCode::BodyTooLarge, format!("at most {BODY_BYTES_MAX} bytes")),
            Self::Broken => problem(ErrorCode::JsonMalformed, "the body did not arrive whole in time"),
            Self::NoRoom => problem(ErrorCode::StoreUnavailable, "too many webhooks at once"),
        }
    }
}

impl Room {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(ALL_BYTES_MAX / PERMIT_BYTES)))
    }

    pub(super) async fn read(&self, body: Body) -> Result<Read, Refused> {
        tokio::time::timeout(READ_TIMEOUT, self.read_all(body)).await.unwrap_or(Err(Refused::Broken))
    }

    async fn read_all(&self, body: Body) -> Result<Read, Refused> {
        let (mut bytes, mut room, mut reserved) = (BytesMut::new(), Vec::new(), 0);
        let mut chunks = body.into_data_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|_| Refused::Broken)?;
            if bytes.len() + chunk.len() > BODY_BYTES_MAX {
                return Err(Refused::TooLarge);
            }
            let missing = (bytes.len() + chunk.len()).saturating_sub(reserved).div_ceil(PERMIT_BYTES);
            if missing > 0 {
                let permits = u32::try_from(missing).map_err(|_| Refused::TooLarge)?;
                // Never waits: two half-read bodies must not wait for each other's room.
                room.push(Arc::clone(&self.0).try_acquire_many_owned(permits).map_err(|_| Refused::NoRoom)?);
                reserved += missing * PERMIT_BYTES;
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(Read { bytes: bytes.freeze(), _room: room })
    }
}
