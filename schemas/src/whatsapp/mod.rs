//! I1, O6, O8. The JSON of WhatsApp's Cloud API as types: webhooks in, the Graph API out and back.
//!
//! Meta's documents contradict themselves and change; these types take whatever comes: unknown fields, numbers for
//! strings and strings for numbers, missing or `null` lists, both spellings where two are documented. A field of a
//! wrong shape is as if it were absent; one unreadable item of a list does not touch its neighbours.
//! Not here: what it means for us (`bridge::translate`).

pub mod graph;
pub mod lenient;
pub mod webhook;
