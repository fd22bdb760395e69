//! The record of every POST to a `messages` path (O6): what "exactly one POST" is asserted on (promise P6).

use std::collections::VecDeque;

use serde::Serialize;
use serde_json::Value;

/// POSTs remembered; beyond this the oldest is forgotten (the total goes on counting).
const POSTS_MAX: usize = 100_000;

/// One POST as it came in, and what was done with it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Post {
    /// When, in Unix milliseconds.
    pub at_ms: u64,
    /// The path's `phone_number_id`.
    pub number: String,
    /// `to`, else `recipient`, as given.
    pub to: Option<String>,
    /// The message's `type`; absent for read marks.
    pub kind: Option<String>,
    /// `biz_opaque_callback_data`.
    pub biz_opaque: Option<String>,
    /// The id under which WhatsApp accepted it, whether or not the sender was told; absent: not accepted.
    pub wamid: Option<String>,
    /// The HTTP status of the answer; absent: the connection was cut.
    pub http: Option<u16>,
    /// The body; a JSON string if it was not JSON.
    pub body: Value,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Posts {
    last: VecDeque<Post>,
    total: u64,
}

impl Posts {
    pub(super) fn push(&mut self, post: Post) {
        if self.last.len() == POSTS_MAX {
            self.last.pop_front();
        }
        self.last.push_back(post);
        self.total += 1;
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = &Post> {
        self.last.iter()
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }
}
