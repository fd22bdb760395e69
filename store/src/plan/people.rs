//! Users and their inboxes; contacts and how they are found.

use schemas::{AccountId, ContactId, Millis, UserId, ids::hash128};

use super::{Plan, View};
use crate::error::ReadError;
use crate::keys::InboxKey;
use crate::ops::Person;
use crate::rows::{ContactRow, IdentityKind, Table, UserRow, decode_u128, identity_hash, keys};
use crate::settings::Agents;

/// A contact found or made.
pub(super) struct Found {
    pub(super) id: ContactId,
    pub(super) row: ContactRow,
    /// It existed, and what clients see of it is different now.
    pub(super) changed: bool,
}

impl Plan {
    /// A user has an inbox from now on; role agent, once had, stays.
    pub(super) fn user_seen(
        &mut self,
        view: &mut View<'_>,
        account: &AccountId,
        user: &UserId,
        agent: bool,
    ) -> Result<(), ReadError> {
        let key = keys::user(InboxKey::of(account, user));
        let known: Option<UserRow> = view.get(&key)?;
        let agent = agent || known.as_ref().is_some_and(|row| row.agent);
        if known.as_ref().is_none_or(|row| row.agent != agent) {
            let oldest = known.map(|row| row.oldest).unwrap_or_default();
            view.put(key, &UserRow { account: account.clone(), user: user.clone(), agent, oldest });
        }
        if agent {
            self.remember_agent(account, user);
        }
        Ok(())
    }

    /// Agents that configuration names have an inbox from the first start, connected or not.
    pub(super) fn name_agents(&mut self, view: &mut View<'_>) -> Result<(), ReadError> {
        let mut named: Vec<(AccountId, UserId)> = Vec::new();
        let mut numbers: Vec<_> = self.numbers.values().collect();
        numbers.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        for number in numbers {
            let listed = match &number.agents {
                Agents::All => &[][..],
                Agents::Named(users) => users,
            };
            named.extend(
                listed.iter().chain(&number.triage).map(|user| (number.account.clone(), user.clone())),
            );
        }
        for (account, user) in named {
            self.user_seen(view, &account, &user, true)?;
        }
        Ok(())
    }

    /// Is there such a user?
    pub(super) fn user_exists(
        &self,
        view: &View<'_>,
        account: &AccountId,
        user: &UserId,
    ) -> Result<bool, ReadError> {
        view.has(&keys::user(InboxKey::of(account, user)))
    }

    /// The contact of a person, made if there is none; what WhatsApp says newly of him is written down.
    pub(super) fn contact_of(
        &mut self,
        view: &mut View<'_>,
        account: &AccountId,
        person: &Person,
    ) -> Result<Found, ReadError> {
        let identities = [
            (IdentityKind::UserId, person.user_id.as_deref()),
            (IdentityKind::ParentUserId, person.parent_user_id.as_deref()),
            (IdentityKind::Phone, person.phone.as_deref()),
        ];
        let mut known = None;
        let mut missing = Vec::new();
        for (kind, value) in identities.into_iter().filter_map(|(kind, value)| Some((kind, value?))) {
            let key = keys::hashed(Table::Identity, identity_hash(account, kind, value));
            match view.get_bytes(&key)? {
                // The first of them decides: the BSUID before the phone, which may have changed hands.
                Some(value) => known = known.or(Some(ContactId(decode_u128(&key, &value)?))),
                None => missing.push(key),
            }
        }
        let existed = known.is_some();
        let id = known.unwrap_or_else(|| new_contact(account, person, self.now));
        for key in missing {
            view.put_bytes(key, id.0.to_be_bytes().to_vec());
        }
        let before: ContactRow = view.get(&keys::contact(id))?.unwrap_or_default();
        let row = merged(&before, account, person);
        let changed = existed && before.contact(id) != row.contact(id);
        if row != before {
            view.put(keys::contact(id), &row);
        }
        Ok(Found { id, row, changed })
    }
}

/// A new contact's id: a hash, so that planning the same op twice gives the same id.
pub(super) fn new_contact(account: &AccountId, person: &Person, now: Millis) -> ContactId {
    let part = |value: &Option<String>| value.clone().unwrap_or_default().into_bytes();
    ContactId(hash128(
        "contact",
        &[
            account.as_str().as_bytes(),
            &part(&person.user_id),
            &part(&person.parent_user_id),
            &part(&person.phone),
            &now.0.to_be_bytes(),
        ],
    ))
}

/// What is known now: new values replace old ones, missing ones leave them.
fn merged(before: &ContactRow, account: &AccountId, person: &Person) -> ContactRow {
    let newer = |new: &Option<String>, old: &Option<String>| new.clone().or_else(|| old.clone());
    ContactRow {
        account: account.to_string(),
        name: newer(&person.name, &before.name),
        phone: newer(&person.phone, &before.phone),
        user_id: newer(&person.user_id, &before.user_id),
        parent_user_id: newer(&person.parent_user_id, &before.parent_user_id),
        username: newer(&person.username, &before.username),
    }
}
