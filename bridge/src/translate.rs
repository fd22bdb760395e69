//! I2. A webhook's body becomes updates for the store, in its order. Pure: no I/O, no clock, no configuration.
//!
//! What can be understood is typed; what has no kind of its own is kept whole as `unsupported`; what cannot be
//! attributed (no number, no person, no wamid) is counted and stays in the journal. The same bytes always give the
//! same list: a webhook that is worked off in parts is translated again and goes on by index.
//! Not here: statuses' rules, deduplication, accounts (the store's commit plan), other fields than `messages`.

mod content;
mod person;
mod status;

use schemas::whatsapp::lenient::{self, Items};
use schemas::whatsapp::webhook::{Change, Entry, Message, Value, Webhook};
use schemas::{Millis, NumberId, Wamid};
use serde_json::value::RawValue;
use store::{Inbound, Update};

use person::Contacts;

/// The body is not JSON, or not an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body is not a JSON object")]
pub struct Unreadable;

/// What a body means.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Translation {
    /// Messages and statuses in the order of the body.
    pub updates: Vec<Update>,
    /// What is left out, and why.
    pub ignored: Ignored,
}

/// How many items are left out of a translation; all of them stay in the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ignored {
    /// Items that are no objects or lack an id, a person or the number they belong to.
    pub unreadable: u32,
    /// Statuses with a value that is not known here, and those of calls.
    pub status: u32,
    /// Changes of other fields than `messages`.
    pub field: u32,
}

/// Translates a body. `received` stands in where an item has no time of its own.
///
/// # Errors
/// [`Unreadable`] where there is nothing to translate at all.
pub fn translate(body: &[u8], received: Millis) -> Result<Translation, Unreadable> {
    let text = lenient::readable(body);
    let webhook = document::<Webhook<'_>>(&text).ok_or(Unreadable)?;
    let mut translation = Translation::default();
    for entry in items::<Entry<'_>>(&webhook.entry) {
        let Some(entry) = entry else {
            translation.ignored.unreadable += 1;
            continue;
        };
        for change in items::<Change<'_>>(&entry.changes) {
            match change {
                Some(change) => translation.change(&change, received),
                None => translation.ignored.unreadable += 1,
            }
        }
    }
    Ok(translation)
}

impl Translation {
    fn change(&mut self, change: &Change<'_>, received: Millis) {
        if change.field.as_deref().is_some_and(|field| field != "messages") {
            self.ignored.field += 1;
            return;
        }
        let Some(value) = change.value else { return };
        let Some(value) = document::<Value<'_>>(value.get()) else {
            self.ignored.unreadable += 1;
            return;
        };
        let number = value.metadata.as_ref().and_then(|metadata| metadata.phone_number_id.as_deref());
        let Some(number) = number.and_then(|number| NumberId::new(number).ok()) else {
            let lost = value.messages.0.len() + value.statuses.0.len();
            self.ignored.unreadable += u32::try_from(lost).unwrap_or(u32::MAX);
            return;
        };
        let contacts = Contacts::read(&value.contacts);
        for item in &value.messages.0 {
            match message(item, &number, &contacts, received) {
                Some(inbound) => self.updates.push(Update::Message(Box::new(inbound))),
                None => self.ignored.unreadable += 1,
            }
        }
        for item in &value.statuses.0 {
            match status::read(item, &number, received) {
                status::Reading::Update(update) => self.updates.push(Update::Status(Box::new(update))),
                status::Reading::Unknown => self.ignored.status += 1,
                status::Reading::Unreadable => self.ignored.unreadable += 1,
            }
        }
    }
}

fn message(item: &RawValue, number: &NumberId, contacts: &Contacts, received: Millis) -> Option<Inbound> {
    let message: Message = lenient::read(item)?;
    let wamid = Wamid::new(message.id.as_deref()?).ok()?;
    let person = contacts.author(&message)?;
    let content = content::read(item, &message);
    Some(Inbound {
        number: number.clone(),
        person,
        wamid,
        at: time(message.timestamp, received),
        kind: content.kind,
        text: content.text,
        media: content.media,
        payload: content.payload,
        reply_to: message.context.and_then(|context| Wamid::new(&context.id?).ok()),
    })
}

/// An object that borrows from its text; `None` for everything else.
fn document<'a, T: serde::Deserialize<'a>>(text: &'a str) -> Option<T> {
    text.trim_start().starts_with('{').then(|| serde_json::from_str(text).ok()).flatten()
}

fn items<'a, T: serde::Deserialize<'a>>(items: &Items<'a>) -> impl Iterator<Item = Option<T>> {
    items.0.iter().map(|item| document(item.get()))
}

/// Meta's times are Unix seconds; one that is missing or before 1970 is the time of arrival.
fn time(seconds: Option<i64>, received: Millis) -> Millis {
    seconds
        .and_then(|seconds| u64::try_from(seconds).ok())
        .filter(|seconds| *seconds > 0)
        .map_or(received, Millis::from_secs)
}

#[cfg(test)]
mod tests;
