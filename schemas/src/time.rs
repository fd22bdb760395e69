//! Time as it crosses a border: milliseconds since the Unix epoch inside, RFC 3339 with three decimals outside.
//!
//! Not here: a clock. `now` is always an argument.

use std::fmt;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Latest representable moment, 9999-12-31T23:59:59.999Z: later ones have no RFC 3339 form.
const MAX_MILLIS: u64 = 253_402_300_799_999;

/// Milliseconds since 1970-01-01T00:00:00Z, at most the end of the year 9999.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub u64);

impl Millis {
    /// The moment `seconds` after the Unix epoch (the unit of WhatsApp's and JWT's timestamps).
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// This moment plus a duration in milliseconds; saturates.
    #[must_use]
    pub const fn plus(self, millis: u64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// Milliseconds from `earlier` to this moment; 0 when `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(self.0.min(MAX_MILLIS));
        write!(f, "{}", humantime::format_rfc3339_millis(at))
    }
}

/// The text is not an RFC 3339 time in UTC.
#[derive(Debug, thiserror::Error)]
#[error("not an RFC 3339 time in UTC, such as 2026-11-20T20:11:05.123Z")]
pub struct TimeError;

impl std::str::FromStr for Millis {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        let at = humantime::parse_rfc3339(text).map_err(|_| TimeError)?;
        let since = at.duration_since(SystemTime::UNIX_EPOCH).map_err(|_| TimeError)?;
        u64::try_from(since.as_millis()).map(Self).map_err(|_| TimeError)
    }
}

impl Serialize for Millis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Millis {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_three_decimals_and_reads_itself_back() {
        let at = Millis(1_795_205_465_120);
        assert_eq!(at.to_string(), "2026-11-20T20:11:05.120Z");
        assert_eq!(at.to_string().parse::<Millis>().unwrap(), at);
    }

    #[test]
    fn the_far_future_is_cut_off_instead_of_panicking() {
        assert_eq!(Millis(u64::MAX).to_string(), "9999-12-31T23:59:59.999Z");
    }
}
