//! I7. An inbox event as a client reads it: from JSON, by the names of the contract and not by our own types, so that
//! a renamed field shows.

use serde_json::Value;

use crate::mqtt::Publish;

/// One event.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its number; none for `inbox.gap`.
    pub seq: Option<u64>,
    /// Names the run of numbers.
    pub epoch: String,
    /// `type`.
    pub kind: String,
    /// `data`.
    pub data: Value,
    /// All of it.
    pub whole: Value,
    /// DUP of the packet that brought it.
    pub dup: bool,
    /// Packet identifier; 0 where it came by HTTP or at QoS 0.
    pub packet_id: u16,
}

impl Event {
    /// Reads an event from a message on an inbox topic.
    ///
    /// # Panics
    /// If it is not one: that fails the test.
    #[must_use]
    pub fn read(publish: &Publish) -> Self {
        assert!(publish.topic.ends_with("/inbox"), "an inbox event on {}", publish.topic);
        let whole = serde_json::from_slice(&publish.payload).expect("an event is JSON");
        Self { dup: publish.dup, packet_id: publish.id, ..Self::of(whole) }
    }

    /// Reads an event from JSON, checking the fields that every event has.
    ///
    /// # Panics
    /// If one is missing: that fails the test.
    #[must_use]
    pub fn of(whole: Value) -> Self {
        let text = |key: &str| match whole[key].as_str() {
            Some(text) if !text.is_empty() => text.to_owned(),
            _ => panic!("`{key}` of {whole}"),
        };
        assert_eq!(whole["v"], 1, "`v` of {whole}");
        for key in ["id", "at", "account"] {
            text(key);
        }
        let (epoch, kind) = (text("epoch"), text("type"));
        let seq = whole["seq"].as_u64();
        assert_eq!(seq.is_none(), kind == "inbox.gap", "`seq` of {whole}");
        Self { seq, epoch, kind, data: whole["data"].clone(), whole, dup: false, packet_id: 0 }
    }

    /// Its number.
    ///
    /// # Panics
    /// For `inbox.gap`, which has none.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.seq.unwrap_or_else(|| panic!("{} has no number", self.whole))
    }

    /// A text of `data`.
    ///
    /// # Panics
    /// If it is not there.
    #[must_use]
    pub fn text(&self, key: &str) -> &str {
        self.data[key].as_str().unwrap_or_else(|| panic!("`data.{key}` of {}", self.whole))
    }

    /// Is it a `message.status` with this status?
    #[must_use]
    pub fn is_status(&self, status: &str) -> bool {
        self.kind == "message.status" && self.data["status"] == status
    }
}

/// Checks that events are numbered without a gap, beginning with `first`; gives the number after the last.
///
/// # Panics
/// If they are not: that fails the test.
pub fn assert_gapless(events: &[Event], first: u64) -> u64 {
    let mut expected = first;
    for event in events {
        assert_eq!(event.number(), expected, "the number of {}", event.whole);
        expected += 1;
    }
    expected
}
