//! O8/O9. A status of a message of ours.
//!
//! Not here: whether it moves anything (`schemas::Status::may_become`, applied by the store).

use schemas::message::MessageError;
use schemas::whatsapp::lenient;
use schemas::whatsapp::webhook::{Error, Status as MetaStatus};
use schemas::{Millis, NumberId, Status, Wamid};
use serde_json::value::RawValue;
use store::StatusUpdate;

/// What an item of `statuses` is.
pub(super) enum Reading {
    /// A status we know.
    Update(StatusUpdate),
    /// A value that is not known here (old `deleted`, `warning`, or a call's): ignored, the journal has it.
    Unknown,
    /// No object, or without a wamid.
    Unreadable,
}

pub(super) fn read(item: &RawValue, number: &NumberId, received: Millis) -> Reading {
    let Some(status) = lenient::read::<MetaStatus>(item) else { return Reading::Unreadable };
    if status.r#type.as_deref() == Some("call") {
        return Reading::Unknown;
    }
    let Some(wamid) = status.id.as_deref().and_then(|id| Wamid::new(id).ok()) else {
        return Reading::Unreadable;
    };
    let Some(known) = status.status.as_deref().and_then(known) else { return Reading::Unknown };
    Reading::Update(StatusUpdate {
        number: number.clone(),
        wamid,
        message: status.biz_opaque_callback_data.and_then(|data| data.parse().ok()),
        status: known,
        at: super::time(status.timestamp, received),
        error: (known == Status::Failed).then(|| status.errors.into_iter().next().map(error)).flatten(),
    })
}

fn known(status: &str) -> Option<Status> {
    match status {
        "sent" => Some(Status::Sent),
        "delivered" => Some(Status::Delivered),
        "read" => Some(Status::Read),
        "played" => Some(Status::Played),
        "failed" => Some(Status::Failed),
        _ => None,
    }
}

fn error(error: Error) -> MessageError {
    MessageError {
        code: error.code.map_or_else(|| "whatsapp".to_owned(), |code| format!("whatsapp_{code}")),
        title: error.title.or(error.message).unwrap_or_else(|| "WhatsApp gave no reason".to_owned()),
        detail: error.error_data.and_then(|data| data.details),
        meta_code: error.code,
    }
}
