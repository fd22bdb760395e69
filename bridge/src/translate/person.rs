//! I2. Who wrote: the ids of the message, joined with the contacts beside it.
//!
//! Any of phone, BSUID and parent BSUID may be missing; contacts are not in step with messages, so they are joined by
//! id. Not here: which contact of ours that is (`store`).

use schemas::command::PHONE_DIGITS_MAX;
use schemas::whatsapp::lenient::{self, Items};
use schemas::whatsapp::webhook::{Contact, Message};
use store::Person;

/// The contacts of one `value`.
pub(super) struct Contacts(Vec<Contact>);

impl Contacts {
    pub(super) fn read(items: &Items<'_>) -> Self {
        Self(items.0.iter().filter_map(|item| lenient::read(item)).collect())
    }

    /// The author of a message; `None` where nothing says who it is.
    pub(super) fn author(&self, message: &Message) -> Option<Person> {
        let anonymous = [&message.from, &message.from_user_id, &message.from_parent_user_id]
            .iter()
            .all(|id| id.is_none());
        let contact = match &*self.0 {
            // Without any id on the message, a single contact can only be its author.
            [only] if anonymous => Some(only),
            _ => self.0.iter().find(|contact| is_same(contact, message)),
        };
        let or = |own: &Option<String>, theirs: fn(&Contact) -> &Option<String>| {
            let theirs = || contact.and_then(|contact| theirs(contact).clone());
            own.clone().filter(|id| !id.is_empty()).or_else(theirs).filter(|id| !id.is_empty())
        };
        let profile = contact.and_then(|contact| contact.profile.clone()).unwrap_or_default();
        let person = Person {
            phone: or(&message.from, |contact| &contact.wa_id).and_then(|phone| phone_of(&phone)),
            user_id: or(&message.from_user_id, |contact| &contact.user_id),
            parent_user_id: or(&message.from_parent_user_id, |contact| &contact.parent_user_id),
            name: profile.name.filter(|name| !name.trim().is_empty()),
            username: profile
                .username
                .map(|name| name.trim_start_matches('@').to_owned())
                .filter(|name| !name.is_empty()),
        };
        let known = person.phone.is_some() || person.user_id.is_some() || person.parent_user_id.is_some();
        known.then_some(person)
    }
}

fn is_same(contact: &Contact, message: &Message) -> bool {
    let equal = |ours: &Option<String>, theirs: &Option<String>| ours.is_some() && ours == theirs;
    let by_phone = || {
        let digits = |id: &Option<String>| id.as_deref().and_then(phone_of);
        let phone = digits(&message.from);
        phone.is_some() && phone == digits(&contact.wa_id)
    };
    equal(&contact.user_id, &message.from_user_id)
        || by_phone()
        || equal(&contact.parent_user_id, &message.from_parent_user_id)
}

/// `+` and digits of a `wa_id` or `from`, which come without `+`. `None` where it is no phone number.
fn phone_of(text: &str) -> Option<String> {
    let digits = text.strip_prefix('+').unwrap_or(text);
    let valid =
        (1..=PHONE_DIGITS_MAX).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    valid.then(|| format!("+{digits}"))
}
