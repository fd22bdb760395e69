//! S2, S3. `GET /v1/sync`: events after a number, or a snapshot where that number means nothing any more.
//!
//! Numbers mean nothing where they belong to another epoch, where retention passed them, and where they lie beyond the
//! head: such a number was given in a world that is lost (a restored backup), and waiting for it would be for ever.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::response::Response;
use schemas::{Conversation, Epoch, Event, Seq};
use serde::{Serialize, Serializer};
use store::{Asker, INBOX_PAGE_MAX, InboxPage, LIST_PAGE_MAX, StoredEvent};

use crate::App;
use crate::auth::Bearer;
use crate::error::ApiError;
use crate::page::{self, Parameters};

#[derive(Serialize)]
struct Events {
    events: Vec<EventOf>,
    head: Seq,
    epoch: Epoch,
    more: bool,
}

/// Only what clients see of a stored event.
struct EventOf(Arc<StoredEvent>);

impl Serialize for EventOf {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Event::serialize(&self.0.event, serializer)
    }
}

#[derive(Serialize)]
struct Reset {
    reset: bool,
    epoch: Epoch,
    head: Seq,
    snapshot: Snapshot,
}

#[derive(Serialize)]
struct Snapshot {
    conversations: Vec<Conversation>,
    next: Option<String>,
}

pub(crate) async fn sync(
    State(app): State<Arc<App>>,
    bearer: Bearer,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Response, ApiError> {
    let parameters = Parameters(pairs);
    let limit = parameters.limit(INBOX_PAGE_MAX)?;
    let after = match parameters.get("after") {
        None => Seq(0),
        Some(text) => {
            Seq(text.parse().map_err(|_| ApiError::bad_parameter("after", "must be a number of an event"))?)
        }
    };
    let asker = bearer.asker();
    let page = match app.store.inbox_hot(asker.inbox(), after, limit) {
        Some(page) => page,
        None => app.store.inbox(asker.inbox(), after, limit).await?,
    };
    if is_reset(&page, after, parameters.get("epoch")) {
        return reset(&app, asker).await;
    }
    let last = page.events.last().and_then(|event| event.event.seq).unwrap_or(after);
    Ok(page::json(&Events {
        events: page.events.into_iter().map(EventOf).collect(),
        head: page.head,
        epoch: page.epoch,
        more: last < page.head,
    }))
}

/// Does the client's number mean nothing? An epoch that is no epoch at all is a foreign one.
fn is_reset(page: &InboxPage, after: Seq, epoch: Option<&str>) -> bool {
    let foreign = epoch.is_some_and(|epoch| epoch.parse::<Epoch>().ok() != Some(page.epoch));
    let passed = after.0.saturating_add(1) < page.oldest.0;
    foreign || passed || after > page.head
}

async fn reset(app: &App, asker: Asker) -> Result<Response, ApiError> {
    let page = app.store.conversations(asker, None, LIST_PAGE_MAX).await?;
    Ok(page::json(&Reset {
        reset: true,
        epoch: page.epoch,
        head: page.head,
        snapshot: Snapshot { conversations: page.items, next: page.next.map(page::write_activity) },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s2_numbers_that_mean_nothing() {
        let page = |oldest, head| InboxPage {
            epoch: Epoch(7),
            head: Seq(head),
            oldest: Seq(oldest),
            events: vec![],
        };
        let epoch = Epoch(7).to_string();
        for (oldest, head, after, given, expected) in [
            (1, 0, 0, None, false),
            (1, 5, 0, None, false),
            (1, 5, 5, Some(&*epoch), false),
            (1, 5, 6, None, true),
            (4, 9, 3, None, false),
            (4, 9, 2, None, true),
            (10, 9, 9, None, false),
            (1, 5, 3, Some("8"), true),
            (1, 5, 3, Some(""), true),
            (1, 5, u64::MAX, None, true),
        ] {
            let got = is_reset(&page(oldest, head), Seq(after), given);
            assert_eq!(got, expected, "oldest {oldest}, head {head}, after {after}, epoch {given:?}");
        }
    }
}
