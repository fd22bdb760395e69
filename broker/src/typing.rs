//! Typing: from a member of a conversation to the others who are online. Never stored, dropped wherever it is in the way.

use std::sync::Arc;

use bytes::Bytes;
use schemas::command::TypingState;
use schemas::{ConversationId, UserId};
use store::Asker;

use crate::bus::BusEvent;
use crate::hub::Hub;

/// Most users that are told, as many as a conversation's events are copied to (contract: `fanout_max`).
const TOLD_MAX: usize = 64;

/// Tells the other members that `asker` types, if he is a member himself. Members are found by asking the store for each
/// user who is online, so nobody learns of a conversation that is not his (P7).
pub(crate) async fn pass_on(hub: Arc<Hub>, asker: Asker, conversation: ConversationId, state: TypingState) {
    if !is_member(&hub, &asker, conversation).await {
        return;
    }
    let signal = serde_json::json!({
        "type": "typing", "conversation": conversation, "by": asker.user, "state": state, "at": hub.now().wall(),
    });
    let payload = Bytes::from(signal.to_string());
    for user in hub.registry.online_users(&asker.account, TOLD_MAX + 1) {
        let other = Asker { account: asker.account.clone(), user };
        if other.user != asker.user && is_member(&hub, &other, conversation).await {
            let Asker { account, user } = other;
            hub.publish(BusEvent::Signal { account, user: UserId::clone(&user), payload: payload.clone() });
        }
    }
}

async fn is_member(hub: &Hub, asker: &Asker, conversation: ConversationId) -> bool {
    matches!(hub.store.conversation(asker.clone(), conversation).await, Ok(Some(_)))
}
