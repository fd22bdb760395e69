//! S3. Conversations and messages, as their members see them. What is not the asker's is as if it were not there.

use std::sync::Arc;

use axum::extract::{OriginalUri, Path, Query, State};
use axum::response::{IntoResponse, Response};
use schemas::{Conversation, ConversationId, Epoch, ErrorCode, Message, MessageId, Seq};
use serde::Serialize;
use store::LIST_PAGE_MAX;

use crate::App;
use crate::auth::Bearer;
use crate::error::ApiError;
use crate::page::{self, Parameters};

/// A list that is a snapshot as well: events with a number up to `head` are in it already (contract, section 5).
#[derive(Serialize)]
struct ConversationList {
    items: Vec<Conversation>,
    next: Option<String>,
    epoch: Epoch,
    head: Seq,
}

#[derive(Serialize)]
struct MessageList {
    items: Vec<Message>,
    next: Option<String>,
}

pub(crate) async fn conversations(
    State(app): State<Arc<App>>,
    bearer: Bearer,
    OriginalUri(uri): OriginalUri,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Response, ApiError> {
    let parameters = Parameters(pairs);
    let limit = parameters.limit(LIST_PAGE_MAX)?;
    let after = parameters.get("cursor").map(page::read_activity).transpose()?;
    let page = app.store.conversations(bearer.asker(), after, limit).await?;
    let next = page.next.map(page::write_activity);
    let link = page::link(&uri, limit, next.as_deref());
    let list = ConversationList { items: page.items, next, epoch: page.epoch, head: page.head };
    Ok((link, page::json(&list)).into_response())
}

pub(crate) async fn conversation(
    State(app): State<Arc<App>>,
    bearer: Bearer,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let id = conversation_id(&id)?;
    let conversation = app.store.conversation(bearer.asker(), id).await?;
    Ok(page::json(&conversation.ok_or_else(no_conversation)?))
}

pub(crate) async fn messages(
    State(app): State<Arc<App>>,
    bearer: Bearer,
    OriginalUri(uri): OriginalUri,
    Path(id): Path<String>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Response, ApiError> {
    let id = conversation_id(&id)?;
    let parameters = Parameters(pairs);
    let limit = parameters.limit(LIST_PAGE_MAX)?;
    let range = page::message_range(&parameters, id)?;
    let page = app.store.messages(bearer.asker(), id, range, limit).await?.ok_or_else(no_conversation)?;
    let next = if page.more { page::next_messages(range, &page.items) } else { None };
    let link = page::link(&uri, limit, next.as_deref());
    Ok((link, page::json(&MessageList { items: page.items, next })).into_response())
}

pub(crate) async fn message(
    State(app): State<Arc<App>>,
    bearer: Bearer,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let none = || ApiError::new(ErrorCode::NotFound, "no such message in this account");
    let id: MessageId = id.parse().map_err(|_| none())?;
    let message = app.store.message(bearer.asker(), id).await?;
    Ok(page::json(&message.ok_or_else(none)?))
}

/// A text that is no id is the id of nothing.
pub(super) fn conversation_id(text: &str) -> Result<ConversationId, ApiError> {
    text.parse().map_err(|_| no_conversation())
}

fn no_conversation() -> ApiError {
    ApiError::plain(ErrorCode::ConversationUnknown)
}
