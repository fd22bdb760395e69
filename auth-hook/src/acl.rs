//! O2. May the bearer of these claims do this with this topic (contract, sections 4 and 5)? Pure.
//!
//! `user/…` and `$…` are decided by the contract's own rules and by nothing else, first; only what is left is
//! looked up in the token's `acl`. So no `acl`, whatever it says, opens a reserved topic (P7).
//! Not here: leaving reserved topics out of what a granted `#` delivers, checking that a QoS 0 publish to an outbox
//! is typing, accounts (each is a topic space of its own): `broker`.

use std::borrow::Cow;

use schemas::topic::{self, UserTopic, UserTopicKind};
use schemas::{Acl, Claims, ClientId, ErrorCode};

/// What is to be done with a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Publish to a topic name. A will counts as one when its CONNECT is accepted.
    Publish {
        /// 0, 1 or 2.
        qos: u8,
        /// Whether the broker is to keep it.
        retain: bool,
    },
    /// Subscribe to a filter.
    Subscribe,
}

/// Allowed or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Go on.
    Allow,
    /// Refuse, and count it with [`crate::metrics::count_denied`].
    Deny(DenyReason),
}

impl Decision {
    /// Shorthand for `== Decision::Allow`.
    #[must_use]
    pub fn is_allowed(self) -> bool {
        self == Self::Allow
    }
}

/// Why not. A closed set: it is a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DenyReason {
    /// No granted filter covers the topic.
    NotGranted,
    /// A reserved topic of another user.
    OtherUser,
    /// Under `user/` or `$`, and none of the topics a client may use in this way.
    Reserved,
    /// A shared subscription to anything under `user/`.
    SharedNotSupported,
    /// Not a topic name or filter at all.
    TopicInvalid,
}

impl DenyReason {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::NotGranted, Self::OtherUser, Self::Reserved, Self::SharedNotSupported, Self::TopicInvalid];

    /// As a metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotGranted => "acl_not_granted",
            Self::OtherUser => "acl_other_user",
            Self::Reserved => "acl_reserved",
            Self::SharedNotSupported => "acl_shared_not_supported",
            Self::TopicInvalid => "acl_topic_invalid",
        }
    }

    /// The code that clients see.
    #[must_use]
    pub const fn code(self) -> ErrorCode {
        ErrorCode::AclDenied
    }

    /// MQTT 5 reason code for PUBACK, PUBREC, SUBACK. A SUBACK of MQTT 3.1.1 says 0x80 whatever the reason.
    #[must_use]
    pub const fn mqtt(self) -> u8 {
        match self {
            Self::SharedNotSupported => 0x9E,
            Self::TopicInvalid | Self::NotGranted | Self::OtherUser | Self::Reserved => self.code().mqtt(),
        }
    }
}

/// Decides. `topic` is a topic name for [`Action::Publish`], a filter for [`Action::Subscribe`], with its
/// `$share/{name}/` where it has one.
/// `[v5:U43]`
#[must_use]
pub fn decide(claims: &Claims, action: Action, topic: &str) -> Decision {
    let decided = match action {
        Action::Publish { .. } => publish(claims, topic),
        Action::Subscribe => subscribe(claims, topic),
    };
    decided.map_or_else(Decision::Deny, |()| Decision::Allow)
}

fn publish(claims: &Claims, name: &str) -> Result<(), DenyReason> {
    topic::check_name(name).map_err(|_| DenyReason::TopicInvalid)?;
    if topic::is_reserved(name) {
        return match UserTopic::split(name) {
            Some((user, UserTopicKind::Outbox)) => own(claims, user.ok().as_ref()),
            _ => Err(DenyReason::Reserved),
        };
    }
    granted(claims, |acl| &acl.publish, |filter| topic::matches(filter, name))
}

fn subscribe(claims: &Claims, filter: &str) -> Result<(), DenyReason> {
    topic::check_filter(filter).map_err(|_| DenyReason::TopicInvalid)?;
    let shared = topic::split_share(filter).map(|(_, inner)| inner);
    let wanted = shared.unwrap_or(filter);
    if topic::is_reserved(wanted) {
        if shared.is_some() && !wanted.starts_with('$') {
            return Err(DenyReason::SharedNotSupported);
        }
        return subscribe_reserved(claims, wanted);
    }
    granted(claims, |acl| &acl.subscribe, |filter| topic::covers(filter, wanted))
}

fn subscribe_reserved(claims: &Claims, wanted: &str) -> Result<(), DenyReason> {
    match UserTopic::split(wanted) {
        _ if wanted == topic::ALL_STATUSES => Ok(()),
        Some((Ok(_), UserTopicKind::Status)) => Ok(()),
        Some((Ok(user), UserTopicKind::Inbox | UserTopicKind::Signals)) => own(claims, Some(&user)),
        _ => Err(DenyReason::Reserved),
    }
}

fn own(claims: &Claims, user: Option<&schemas::UserId>) -> Result<(), DenyReason> {
    if user == Some(&claims.user) { Ok(()) } else { Err(DenyReason::OtherUser) }
}

/// Is there one filter, of those the token grants, that does it alone? Two that do it together do not count: the
/// contract says "one granted filter covers it entirely", and a union would be hard to explain to its owner.
fn granted(
    claims: &Claims,
    filters: impl Fn(&Acl) -> &Vec<String>,
    suffices: impl Fn(&str) -> bool,
) -> Result<(), DenyReason> {
    let acl = claims.acl.as_ref().ok_or(DenyReason::NotGranted)?;
    let found = filters(acl).iter().any(|template| {
        substitute(template, claims)
            // What is no filter grants nothing: read as one, `a/#/b` would open all below `a`.
            .filter(|filter| topic::check_filter(filter).is_ok() && !filter.starts_with("$share/"))
            .is_some_and(|filter| suffices(&filter))
    });
    if found { Ok(()) } else { Err(DenyReason::NotGranted) }
}

/// Replaces `{user}`, `{account}`, `{device}` in one pass, so that a user called `{device}` stays one. The values
/// hold no `/ + #` by their types, so they cannot widen a filter. `None` where `{device}` has no value.
fn substitute<'a>(template: &'a str, claims: &Claims) -> Option<Cow<'a, str>> {
    if !template.contains('{') {
        return Some(Cow::Borrowed(template));
    }
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(at) = rest.find('{') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let (placeholder, value) = if rest.starts_with("{user}") {
            ("{user}", claims.user.as_str())
        } else if rest.starts_with("{account}") {
            ("{account}", claims.account.as_str())
        } else if rest.starts_with("{device}") {
            ("{device}", claims.device.as_ref()?.as_str())
        } else {
            ("{", "{")
        };
        out.push_str(value);
        rest = &rest[placeholder.len()..];
    }
    out.push_str(rest);
    Some(Cow::Owned(out))
}

/// Which client id a connection has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientIdRule {
    /// The one it sent.
    AsSent(ClientId),
    /// It sent none: the token's device, told in CONNACK's Assigned Client Identifier.
    Assigned(ClientId),
    /// It sent none and the token names no device: the broker draws one.
    Draw,
}

/// The client id that a connection with these claims has, when it sent `sent` (empty: none).
///
/// # Errors
/// `client_id_mismatch` where the token names a device and `sent` is another.
pub fn check_client_id(claims: &Claims, sent: &str) -> Result<ClientIdRule, ErrorCode> {
    let id = |text: &str| ClientId::new(text).map_err(|_| ErrorCode::ClientIdMismatch);
    match &claims.device {
        Some(device) if sent.is_empty() => id(device.as_str()).map(ClientIdRule::Assigned),
        Some(device) if device.as_str() != sent => Err(ErrorCode::ClientIdMismatch),
        None if sent.is_empty() => Ok(ClientIdRule::Draw),
        _ => id(sent).map(ClientIdRule::AsSent),
    }
}

#[cfg(test)]
#[path = "acl_tests.rs"]
mod tests;
