//! The address of a store on ScyllaDB: `scylla://host1[:port],host2/keyspace?dc=dc1&rf=3`. Pure.
//!
//! Not here: user and password (they are secrets and stand in keys of their own), connecting (`engine::scylla`).

/// Port of CQL where none is named.
const CQL_PORT: u16 = 9042;
/// Copies of every row where the address does not say.
const RF_DEFAULT: u8 = 3;
/// More copies than anybody keeps: a typing mistake.
const RF_MAX: u8 = 9;
/// Partitions of a shard's lookup rows where the address does not say.
const SLOTS_DEFAULT: u16 = 16;
/// One byte of the key chooses the slot.
const SLOTS_MAX: u16 = 256;
/// Limit of the database on names of keyspaces.
const KEYSPACE_MAX: usize = 48;

/// Where a store stands. `rf`, `tablets` and `slots` count when keyspace and store are made, and never again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScyllaUrl {
    /// `host:port` of nodes to start from; the others are found through them.
    pub hosts: Vec<String>,
    /// The keyspace; made if there is none.
    pub keyspace: String,
    /// The data centre to read from and write to; the first host's where absent.
    pub dc: Option<String>,
    /// Copies of every row in it.
    pub rf: u8,
    /// `tablets` of the keyspace: said only where given, because Cassandra does not know the word.
    pub tablets: Option<bool>,
    /// Partitions of a shard's lookup rows: 1, 2, 4 … 256.
    pub slots: u16,
}

/// Why an address is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Another scheme.
    #[error("must start with scylla://")]
    Scheme,
    /// No host, or one that is not `host` or `host:port`.
    #[error("`{0}` is not a host or host:port")]
    Host(String),
    /// Credentials.
    #[error("must not hold a user or password; they have keys of their own")]
    Credentials,
    /// No keyspace, or not a name of one.
    #[error(
        "`{0}` is not a keyspace: a small letter, then small letters, digits and _, at most {KEYSPACE_MAX}"
    )]
    Keyspace(String),
    /// A parameter that is not known, or twice.
    #[error("`{0}` is not a parameter, or stands twice; known are dc, rf, tablets, slots")]
    Parameter(String),
    /// A parameter's value.
    #[error("{name} must be {must}, not `{value}`")]
    Value {
        /// Which.
        name: &'static str,
        /// What it may be.
        must: &'static str,
        /// What it is.
        value: String,
    },
}

impl std::str::FromStr for ScyllaUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let rest = text.strip_prefix("scylla://").ok_or(UrlError::Scheme)?;
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (hosts, keyspace) = place.split_once('/').unwrap_or((place, ""));
        if hosts.contains('@') {
            return Err(UrlError::Credentials);
        }
        let hosts = hosts.split(',').map(host).collect::<Result<Vec<_>, _>>()?;
        if !is_keyspace(keyspace) {
            return Err(UrlError::Keyspace(keyspace.to_owned()));
        }
        let mut url = Self {
            hosts,
            keyspace: keyspace.to_owned(),
            dc: None,
            rf: RF_DEFAULT,
            tablets: None,
            slots: SLOTS_DEFAULT,
        };
        let mut seen = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if seen.contains(&name) {
                return Err(UrlError::Parameter(name.to_owned()));
            }
            seen.push(name);
            url.set(name, value)?;
        }
        Ok(url)
    }
}

impl ScyllaUrl {
    fn set(&mut self, name: &str, value: &str) -> Result<(), UrlError> {
        let wrong = |name, must| UrlError::Value { name, must, value: value.to_owned() };
        match name {
            "dc" => {
                // It stands in a statement between quotes.
                let plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
                if value.is_empty() || !value.chars().all(plain) {
                    return Err(wrong("dc", "letters, digits, `_`, `-` and `.`"));
                }
                self.dc = Some(value.to_owned());
            }
            "rf" => {
                let rf = value.parse().ok().filter(|rf| (1..=RF_MAX).contains(rf));
                self.rf = rf.ok_or_else(|| wrong("rf", "a number from 1 to 9"))?;
            }
            "tablets" => {
                let on = value.parse::<bool>().map_err(|_| wrong("tablets", "true or false"))?;
                self.tablets = Some(on);
            }
            "slots" => {
                let good = |slots: &u16| (1..=SLOTS_MAX).contains(slots) && slots.is_power_of_two();
                let slots = value.parse().ok().filter(good);
                self.slots = slots.ok_or_else(|| wrong("slots", "1, 2, 4 … 256"))?;
            }
            other => return Err(UrlError::Parameter(other.to_owned())),
        }
        Ok(())
    }
}

/// A host with its port. IPv6 addresses stand in brackets.
fn host(text: &str) -> Result<String, UrlError> {
    let wrong = || UrlError::Host(text.to_owned());
    let after_brackets = text.rfind(']').map_or(0, |at| at + 1);
    let (name, port) = match text[after_brackets..].rfind(':') {
        Some(at) => {
            (&text[..after_brackets + at], text[after_brackets + at + 1..].parse().map_err(|_| wrong())?)
        }
        None => (text, CQL_PORT),
    };
    let bracketed = name.starts_with('[') && name.ends_with(']') && name.len() > 2;
    let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
    if (bracketed || plain) && port != 0 { Ok(format!("{name}:{port}")) } else { Err(wrong()) }
}

fn is_keyspace(name: &str) -> bool {
    name.len() <= KEYSPACE_MAX
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ScyllaUrl, UrlError> {
        text.parse()
    }

    #[test]
    fn an_address_says_where_and_how_many_copies() {
        let url = parse("scylla://a,b:9043,[::1]:1/inboxd?dc=dc1&rf=2&tablets=false&slots=4").unwrap();
        assert_eq!(url.hosts, ["a:9042", "b:9043", "[::1]:1"]);
        assert_eq!((url.keyspace.as_str(), url.dc.as_deref(), url.rf), ("inboxd", Some("dc1"), 2));
        assert_eq!((url.tablets, url.slots), (Some(false), 4));
        let url = parse("scylla://[fe80::1]/k").unwrap();
        assert_eq!((url.hosts, url.dc, url.rf), (vec!["[fe80::1]:9042".to_owned()], None, 3));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, expected) in [
            ("redis://a/k", "must start with scylla://"),
            ("scylla:///k", "`` is not a host or host:port"),
            ("scylla://a:b/k", "`a:b` is not a host or host:port"),
            ("scylla://a:0/k", "`a:0` is not a host or host:port"),
            ("scylla://::1/k", "`::1` is not a host or host:port"),
            ("scylla://u:p@a/k", "must not hold a user or password; they have keys of their own"),
            (
                "scylla://a?rf=1",
                "`` is not a keyspace: a small letter, then small letters, digits and _, at most 48",
            ),
            (
                "scylla://a/K",
                "`K` is not a keyspace: a small letter, then small letters, digits and _, at most 48",
            ),
            ("scylla://a/k?rf=0", "rf must be a number from 1 to 9, not `0`"),
            ("scylla://a/k?dc=x'y", "dc must be letters, digits, `_`, `-` and `.`, not `x'y`"),
            ("scylla://a/k?slots=3", "slots must be 1, 2, 4 … 256, not `3`"),
            ("scylla://a/k?tablets=on", "tablets must be true or false, not `on`"),
            (
                "scylla://a/k?rf=1&rf=1",
                "`rf` is not a parameter, or stands twice; known are dc, rf, tablets, slots",
            ),
            ("scylla://a/k?x=1", "`x` is not a parameter, or stands twice; known are dc, rf, tablets, slots"),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), expected, "{text}");
        }
    }
}
