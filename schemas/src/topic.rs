//! The topic map and MQTT's rules for topic names and filters: the only place that parses, formats, matches them.
//!
//! Pure functions over `&str`. Not here: who may use a topic (`auth-hook`), who is subscribed (`store`, `broker`).

use crate::ids::{IdError, UserId};

/// Longest topic name or filter in bytes: what the two-byte length of the protocol allows.
pub const TOPIC_BYTES_MAX: usize = 65_535;

/// Why a text is not a topic name or a topic filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// MQTT asks for at least one character.
    #[error("a topic must have at least one character")]
    Empty,
    /// Longer than the protocol can say.
    #[error("a topic has at most 65,535 bytes")]
    TooLong,
    /// U+0000 is forbidden in every MQTT string.
    #[error("a topic must not hold U+0000")]
    Nul,
    /// A topic name must not hold wildcards.
    #[error("a topic name must not hold + or #")]
    Wildcard,
    /// `#` stands alone in the last level, `+` alone in a level.
    #[error("+ must fill a level, # must fill the last one")]
    MisplacedWildcard,
    /// `$share/{name}/{filter}` with an empty name, a wildcard in it, or no filter.
    #[error("a shared subscription has the form $share/name/filter")]
    Share,
}

/// Prefix of shared subscriptions.
const SHARE: &str = "$share/";

/// Checks a topic name: what a PUBLISH or a will may be addressed to.
///
/// # Errors
/// [`TopicError`] says which rule is broken.
pub fn check_name(topic: &str) -> Result<(), TopicError> {
    check_common(topic)?;
    if topic.contains(['+', '#']) { Err(TopicError::Wildcard) } else { Ok(()) }
}

/// Checks a topic filter, shared or not.
///
/// # Errors
/// [`TopicError`] says which rule is broken.
pub fn check_filter(filter: &str) -> Result<(), TopicError> {
    check_common(filter)?;
    let inner = match filter.strip_prefix(SHARE) {
        Some(rest) => {
            let (name, inner) = rest.split_once('/').ok_or(TopicError::Share)?;
            if name.is_empty() || inner.is_empty() || name.contains(['+', '#']) {
                return Err(TopicError::Share);
            }
            inner
        }
        None if filter == "$share" => return Err(TopicError::Share),
        None => filter,
    };
    let mut levels = inner.split('/').peekable();
    while let Some(level) = levels.next() {
        let last = levels.peek().is_none();
        match level {
            "+" => {}
            "#" if last => {}
            _ if level.contains(['+', '#']) => return Err(TopicError::MisplacedWildcard),
            _ => {}
        }
    }
    Ok(())
}

fn check_common(text: &str) -> Result<(), TopicError> {
    match text {
        "" => Err(TopicError::Empty),
        _ if text.len() > TOPIC_BYTES_MAX => Err(TopicError::TooLong),
        _ if text.contains('\0') => Err(TopicError::Nul),
        _ => Ok(()),
    }
}

/// Splits `$share/{name}/{filter}`; `None` for an ordinary filter.
#[must_use]
pub fn split_share(filter: &str) -> Option<(&str, &str)> {
    filter.strip_prefix(SHARE)?.split_once('/')
}

/// Does a valid filter match a valid topic name? A first level with `$` is matched by no wildcard.
#[must_use]
pub fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let (mut filter, mut topic) = (filter.split('/'), topic.split('/'));
    loop {
        match (filter.next(), topic.next()) {
            // `a/#` matches `a` too: # stands for the parent and any number of levels below it.
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(_)) => {}
            (Some(f), Some(t)) if f == t => {}
            _ => return false,
        }
    }
}

/// Does `granted` match every topic that `wanted` matches? Both valid filters without `$share`.
#[must_use]
pub fn covers(granted: &str, wanted: &str) -> bool {
    if wanted.starts_with('$') && granted.starts_with(['+', '#']) {
        return false;
    }
    let (mut granted, mut wanted) = (granted.split('/'), wanted.split('/'));
    loop {
        match (granted.next(), wanted.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(w)) if w != "#" => {}
            (Some(g), Some(w)) if g == w => {}
            _ => return false,
        }
    }
}

/// Is this topic or filter inside the tree where only the contract's own rules decide?
///
/// A filter whose first level is a wildcard is not reserved itself: it is granted or not by `acl`, and what is
/// reserved is left out of its deliveries.
#[must_use]
pub fn is_reserved(topic: &str) -> bool {
    topic.starts_with('$') || topic == "user" || topic.starts_with("user/")
}

/// The four topics of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UserTopicKind {
    /// Durable events to the user.
    Inbox,
    /// Commands of the user.
    Outbox,
    /// Typing and other signals that are never stored.
    Signals,
    /// Presence and profile, delivered as retained.
    Status,
}

impl UserTopicKind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Inbox => "inbox",
            Self::Outbox => "outbox",
            Self::Signals => "signals",
            Self::Status => "status",
        }
    }
}

/// A topic `user/{id}/{kind}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UserTopic {
    /// Whose.
    pub user: UserId,
    /// Which of the four.
    pub kind: UserTopicKind,
}

impl UserTopic {
    /// Reads a topic name. `None` where it is not one of the four.
    #[must_use]
    pub fn parse(topic: &str) -> Option<Self> {
        let (user, kind) = Self::split(topic)?;
        Some(Self { user: user.ok()?, kind })
    }

    /// Splits `user/X/kind` without judging X, which in a filter may be `+`.
    #[must_use]
    pub fn split(topic: &str) -> Option<(Result<UserId, IdError>, UserTopicKind)> {
        let (user, kind) = topic.strip_prefix("user/")?.split_once('/')?;
        let kind = match kind {
            "inbox" => UserTopicKind::Inbox,
            "outbox" => UserTopicKind::Outbox,
            "signals" => UserTopicKind::Signals,
            "status" => UserTopicKind::Status,
            _ => return None,
        };
        Some((UserId::new(user), kind))
    }
}

impl std::fmt::Display for UserTopic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "user/{}/{}", self.user, self.kind.as_str())
    }
}

/// The filter that every user of an account may subscribe to.
pub const ALL_STATUSES: &str = "user/+/status";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `[v311:4.7.1-2] [v311:4.7.1-3] [v5:4.7.1-1] [v5:4.7.1-2] [v5:4.8.2-1] [v5:4.8.2-2]`
    #[test]
    fn names_and_filters_of_the_standard() {
        for good in ["a", "/", "a//b", "a b", "été/x", "$SYS/x"] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for (bad, why) in [("", TopicError::Empty), ("a\0", TopicError::Nul), ("a/+", TopicError::Wildcard)] {
            assert_eq!(check_name(bad), Err(why), "{bad}");
        }
        for good in ["#", "+", "a/#", "+/b/+", "/+", "$share/g/a/#", "$share/g//"] {
            assert_eq!(check_filter(good), Ok(()), "{good}");
        }
        for bad in
            ["a#", "a/#/b", "a+", "a/b+", "$share", "$share/g", "$share//a", "$share/g+/a", "$share/g/"]
        {
            assert!(check_filter(bad).is_err(), "{bad}");
        }
    }

    /// `[v311:4.7.2-1] [v5:4.7.2-1] [v311:4.7.3-4] [v5:4.7.3-4]`
    #[test]
    fn matching_as_in_the_standards_examples() {
        for (filter, topic, expected) in [
            ("sport/tennis/player1/#", "sport/tennis/player1", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true),
            ("sport/#", "sport", true),
            ("sport/+", "sport", false),
            ("sport/+", "sport/", true),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
            ("#", "$SYS/monitor", false),
            ("+/monitor", "$SYS/monitor", false),
            ("$SYS/#", "$SYS/monitor", true),
            ("Sport", "sport", false),
        ] {
            assert_eq!(matches(filter, topic), expected, "{filter} {topic}");
        }
    }

    #[test]
    fn user_topics_read_back() {
        let topic = UserTopic::parse("user/alice/inbox").unwrap();
        assert_eq!(topic.to_string(), "user/alice/inbox");
        assert_eq!(UserTopic::parse("user/alice/inbox/x"), None);
        assert_eq!(UserTopic::parse("user/+/status"), None);
        assert!(is_reserved("user") && is_reserved("$x") && !is_reserved("users/x") && !is_reserved("#"));
    }

    fn level() -> impl Strategy<Value = &'static str> {
        prop_oneof![Just("a"), Just("b"), Just(""), Just("+")]
    }

    fn filter() -> impl Strategy<Value = String> {
        (prop::collection::vec(level(), 1..4), any::<bool>()).prop_map(|(levels, hash)| {
            let mut text = levels.join("/");
            if hash {
                text.push_str("/#");
            }
            if text.is_empty() { "a".to_owned() } else { text }
        })
    }

    fn name() -> impl Strategy<Value = String> {
        prop::collection::vec(prop_oneof![Just("a"), Just("b"), Just("")], 1..5)
            .prop_map(|levels| levels.join("/"))
            .prop_filter("not empty", |t| !t.is_empty())
    }

    proptest! {
        #[test]
        fn a_covering_filter_matches_whatever_the_covered_one_matches(g in filter(), w in filter(), t in name()) {
            if covers(&g, &w) && matches(&w, &t) {
                prop_assert!(matches(&g, &t), "{} covers {} but not {}", g, w, t);
            }
        }

        #[test]
        fn every_filter_covers_itself_and_hash_covers_all(f in filter()) {
            prop_assert!(covers(&f, &f));
            prop_assert!(covers("#", &f));
        }
    }
}
