//! The keys: name, default, limits, reason, section by section. Those of the front door stand in `listen`.
//!
//! What a key is for stands here once; `inboxd config` prints it. Not here: how a value is read (`reader`).

use std::path::{Path, PathBuf};

use super::listen::{Limits, Listen, Tls};
use super::reader::{Reader, not_empty};
use super::whatsapp::WhatsApp;
use super::{Origin, Secret};

/// Everything that can be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    /// Folder of everything that lasts.
    pub(crate) data_dir: PathBuf,
    /// Where to listen.
    pub(crate) listen: Listen,
    /// Certificates of the listeners; `None`: nothing is encrypted.
    pub(crate) tls: Option<Tls>,
    /// Who may have how much.
    pub(crate) limits: Limits,
    /// The durable log.
    pub(crate) store: Store,
    /// Keys of tokens.
    pub(crate) auth: AuthKeys,
    /// MQTT.
    pub(crate) mqtt: Mqtt,
    /// The admin listener.
    pub(crate) admin: Admin,
    /// WhatsApp.
    pub(crate) whatsapp: WhatsApp,
    /// Conversations.
    pub(crate) conversations: Conversations,
    /// How long things are kept.
    pub(crate) retention: Retention,
    /// Logs.
    pub(crate) log: Log,
}

/// `[store]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Store {
    /// Where the store is, if not in `data_dir`.
    pub(crate) cluster: Option<store::url::ScyllaUrl>,
    /// How to be let in at a ScyllaDB, also at one to migrate to.
    pub(crate) login: Login,
    /// Most bytes of journals on disk.
    pub(crate) journal_max_bytes: u64,
    /// Most bytes of one table in memory.
    pub(crate) memtable_max_bytes: u64,
    /// Bytes of the disk that are to stay free.
    pub(crate) min_free_bytes: u64,
}

/// How to be let in at a ScyllaDB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Login {
    /// User and password.
    pub(crate) credentials: Option<(String, Secret)>,
    /// File with the authorities that sign the nodes' certificates: TLS where it is given.
    pub(crate) tls_ca_file: Option<PathBuf>,
    /// Name in the nodes' certificates.
    pub(crate) tls_server_name: Option<String>,
}

/// `[auth]`: what tokens are signed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AuthKeys {
    /// A shared secret.
    Hs256(Secret),
    /// Keys of an identity provider.
    Jwks(String),
    /// A key pair of our own, in `data_dir`.
    Own,
}

/// What a refused publish of an MQTT 3.1.1 client gets, whose PUBACK cannot say no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused311 {
    /// A PUBACK, and a `command.failed` in the inbox.
    Acknowledge,
    /// The end of the connection.
    Close,
}

/// `[mqtt]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mqtt {
    /// Longest time a cursor waits for a commit to ride on, milliseconds.
    pub(crate) cursor_flush_ms: u64,
    /// How long a publish waits for a store that cannot take it, milliseconds.
    pub(crate) store_wait_ms: u64,
    /// Answer to refused publishes of MQTT 3.1.1.
    pub(crate) refused_publish_311: Refused311,
    /// Largest packet taken, bytes.
    pub(crate) max_packet_bytes: usize,
    /// Most unacknowledged publishes taken from one client.
    pub(crate) receive_maximum: u16,
    /// Longest keep alive, seconds.
    pub(crate) keep_alive_max_s: u16,
    /// Most connections at once.
    pub(crate) connections_max: usize,
    /// Time to finish what is in flight at a stop, milliseconds.
    pub(crate) shutdown_grace_ms: u64,
}

/// `[admin]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Admin {
    /// File with the bearer token.
    pub(crate) token_file: PathBuf,
}

/// `[conversations]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Conversations {
    /// Most agents of a number who each get every event of it.
    pub(crate) fanout_max: usize,
}

/// `[retention]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Retention {
    /// Days that events stay in inboxes.
    pub(crate) inbox_days: u32,
    /// Most events of one inbox.
    pub(crate) inbox_max_events: u64,
    /// Days that messages are kept; 0: for ever.
    pub(crate) messages_days: u32,
    /// Days that command ids are remembered.
    pub(crate) dedupe_days: u32,
    /// Days that raw webhooks are kept.
    pub(crate) journal_days: u32,
    /// Most retained messages of an account.
    pub(crate) retained_max_messages: u64,
    /// Their bytes.
    pub(crate) retained_max_bytes: u64,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Log {
    /// Level, or directives such as `info,bridge=debug`.
    pub(crate) level: String,
    /// Form of a line.
    pub(crate) format: LogFormat,
}

/// Name of the admin token's file in `data_dir`.
const ADMIN_TOKEN_FILE: &str = "admin.token";
/// Largest number that `number` takes where only the type sets a limit, so that sums cannot overflow.
const NUMBER_MAX: u64 = 1 << 40;
/// More than any disk has: a mark that nothing can satisfy is a way to stop taking data for a while.
const FREE_BYTES_MAX: u64 = 1 << 60;
/// A day in milliseconds: no wait or interval here is sensibly longer.
pub(super) const DAY_MS: u64 = 86_400_000;
/// A hundred years.
const DAYS_MAX: u32 = 36_500;
/// What MQTT allows for one packet (2^28 - 1, four length bytes).
pub(super) const PACKET_BYTES_MAX: usize = 268_435_455;
/// Below this not even a CONNECT with a token fits.
pub(super) const PACKET_BYTES_MIN: usize = 16 * 1024;
/// Most agents that may each get a copy; each costs a row per event.
const FANOUT_LIMIT: usize = 1024;

impl Config {
    pub(super) fn take(r: &mut Reader<'_>) -> Self {
        let data_dir = data_dir(r);
        let listen = Listen::take(r);
        let tls = Tls::take(r, &listen);
        let limits = Limits::take(r);
        let store = Store::take(r);
        let auth = AuthKeys::take(r);
        let mqtt = Mqtt::take(r);
        let token_file = r.optional_path(
            "admin.token_file",
            "./inboxd-data/admin.token",
            "Bearer token of /admin/v1 and /hooks. Unset: admin.token in data_dir, made at first start, readable by its owner only.",
        );
        Self {
            admin: Admin {
                token_file: token_file.unwrap_or_else(|| data_dir.join(ADMIN_TOKEN_FILE)),
            },
            whatsapp: WhatsApp::take(r),
            conversations: Conversations {
                fanout_max: r.number(
                    "conversations.fanout_max",
                    64,
                    1,
                    FANOUT_LIMIT,
                    "Numbers with more agents deliver to the assignee, or to the triage users while there is none: a copy per agent and event is a row each.",
                ),
            },
            retention: Retention::take(r),
            log: Log::take(r),
            data_dir,
            listen,
            tls,
            limits,
            store,
            auth,
            mqtt,
        }
    }
}

impl Config {
    /// Puts `data_dir` elsewhere, and with it what lies there unless told otherwise.
    pub(crate) fn move_data_dir(&mut self, folder: &Path) {
        if self.admin.token_file == self.data_dir.join(ADMIN_TOKEN_FILE) {
            self.admin.token_file = folder.join(ADMIN_TOKEN_FILE);
        }
        self.data_dir = folder.to_owned();
    }
}

impl Login {
    fn take(r: &mut Reader<'_>) -> Self {
        let user = r.optional(
            "store.user",
            "inboxd",
            "Only with scylla://, or to migrate to one: as whom to log in.",
            not_empty,
        );
        let password = r.secret(
            "store.password",
            "store.password",
            "Only with scylla://, and with a user. It crosses the network unencrypted unless `tls_ca_file` is given.",
        );
        let credentials = match (user, password) {
            (Some(user), Some(password)) => Some((user, password)),
            (None, None) => None,
            (Some(_), None) => {
                r.problem(
                    r.origin("store.user"),
                    "store.user",
                    "stands without a password; give `password_file`",
                );
                None
            }
            (None, Some(_)) => {
                let key = ["store.password", "store.password_file"]
                    .into_iter()
                    .find(|key| r.origin(key) != Origin::Nowhere);
                let key = key.unwrap_or("store.password");
                r.problem(r.origin(key), key, "stands without `store.user`");
                None
            }
        };
        let tls_ca_file = r.optional_path(
            "store.tls_ca_file",
            "/etc/inboxd/scylla-ca.pem",
            "Only with scylla://: PEM file with the authorities that sign the nodes' certificates. With it every connection to the database is TLS; without it none is.",
        );
        let tls_server_name = r.optional(
            "store.tls_server_name",
            "scylla.internal",
            "A name that all nodes' certificates hold. Without it each must hold the host of `url`, or its own IP address.",
            not_empty,
        );
        Self { credentials, tls_ca_file, tls_server_name }
    }
}

impl Store {
    fn take(r: &mut Reader<'_>) -> Self {
        let url = r.parsed(
            "store.url",
            "embedded",
            "embedded: in data_dir, nothing to install, one machine. Or a ScyllaDB: scylla://host1[:port],host2/keyspace?dc=dc1&rf=3; without dc the first host's, without rf 3.",
            store_url,
        );
        let login = Login::take(r);
        Self {
            cluster: url,
            login,
            journal_max_bytes: r.number(
                "store.journal_max_bytes",
                64 << 20,
                64 << 20,
                NUMBER_MAX,
                "Bounds what a start has to read again: 0.3 s for a million messages with this and the next one, 4.5 s with the engine's own 512 MiB.",
            ),
            memtable_max_bytes: r.number(
                "store.memtable_max_bytes",
                16 << 20,
                1 << 20,
                NUMBER_MAX,
                "Memory per table before it is written out. Smaller: less memory, shorter starts; larger: fewer bytes written twice.",
            ),
            min_free_bytes: r.number(
                "store.min_free_bytes",
                512 << 20,
                0,
                FREE_BYTES_MAX,
                "With less free on the disk nothing that adds data is taken (disk_full), until twice as much is free: a store that hits the end of the disk has to stop. Room for a second of writing, the journals and a compaction. 0: never refuse.",
            ),
        }
    }
}

/// The folder of everything that lasts.
pub(super) fn data_dir(r: &mut Reader<'_>) -> PathBuf {
    r.path(
        "data_dir",
        "./inboxd-data",
        "Folder of everything that lasts: the store, keys made at first start. One server at a time.",
    )
}

impl AuthKeys {
    pub(super) fn take(r: &mut Reader<'_>) -> Self {
        let secret = r.secret(
            "auth.hs256_secret",
            "hs.secret",
            "Tokens signed by your own backend with a shared secret (HS256), 32 bytes or more. With neither this nor jwks_url, an Ed25519 key is made at first start: auth.key in data_dir.",
        );
        let jwks = r.optional(
            "auth.jwks_url",
            "https://id.example.com/.well-known/jwks.json",
            "Tokens of an identity provider.",
            url,
        );
        match (secret, jwks) {
            (Some(_), Some(_)) => {
                r.problem(
                    r.origin("auth.jwks_url"),
                    "auth.jwks_url",
                    "stands beside a shared secret; give one of them",
                );
                Self::Own
            }
            (Some(secret), None) => Self::Hs256(secret),
            (None, Some(url)) => Self::Jwks(url),
            (None, None) => Self::Own,
        }
    }
}

impl Mqtt {
    fn take(r: &mut Reader<'_>) -> Self {
        Self {
            cursor_flush_ms: r.number(
                "mqtt.cursor_flush_ms",
                200,
                1,
                DAY_MS,
                "Cursors ride on the next commit, at the latest after this long. A crash sends again, with DUP, what was acknowledged since.",
            ),
            store_wait_ms: r.number(
                "mqtt.store_wait_ms",
                10_000,
                1,
                DAY_MS,
                "How long a publish waits for a store that cannot take it before the connection ends (0x88). Long enough for a failover or for a disk to be emptied; the client, who got no PUBACK, sends again.",
            ),
            refused_publish_311: r.choice(
                "mqtt.refused_publish_311",
                &[("acknowledge", Refused311::Acknowledge), ("close", Refused311::Close)],
                "MQTT 3.1.1 has no PUBACK that says no. acknowledge: the inbox gets command.failed. close: the connection ends, and most clients send the same again.",
            ),
            max_packet_bytes: r.number(
                "mqtt.max_packet_bytes",
                (1 << 20) + (128 << 10),
                PACKET_BYTES_MIN,
                PACKET_BYTES_MAX,
                "Room for a payload of 1 MiB with its topic and properties. Messages are small, media goes over HTTP; every connection may make the server hold one packet of this size. The protocol's own limit is 268435455.",
            ),
            receive_maximum: r.number(
                "mqtt.receive_maximum",
                64,
                1,
                u16::MAX,
                "Publishes of one client that may wait for their commit. Enough to fill a commit group, little enough that one client cannot fill the queue.",
            ),
            keep_alive_max_s: r.number(
                "mqtt.keep_alive_max_s",
                3600,
                0,
                u16::MAX,
                "Longest time an MQTT 5 client may be silent, also where it asked for none at all: a phone that is gone must free its connection some time. 0: as the client likes.",
            ),
            connections_max: r.number(
                "mqtt.connections_max",
                100_000,
                1,
                10_000_000,
                "Connections over all listeners; more are refused (0x89). The open-files limit of the process has to be higher.",
            ),
            shutdown_grace_ms: r.number(
                "mqtt.shutdown_grace_ms",
                10_000,
                1,
                DAY_MS,
                "At SIGTERM: time to finish what is in flight. Kubernetes kills after 30 s, systemd after 90 s.",
            ),
        }
    }
}

impl Retention {
    fn take(r: &mut Reader<'_>) -> Self {
        let retention = Self::keys(r);
        // An event or a remembered command that speaks of a message must not outlive it.
        let messages = retention.messages_days;
        for (key, days) in [("inbox_days", retention.inbox_days), ("dedupe_days", retention.dedupe_days)] {
            if messages != 0 && messages < days {
                let path = "retention.messages_days";
                let what = format!(
                    "is {messages}, less than {key} ({days}); make it as long, or 0 to keep messages for ever"
                );
                r.problem(r.origin(path), path, what);
            }
        }
        retention
    }

    fn keys(r: &mut Reader<'_>) -> Self {
        Self {
            inbox_days: r.number("retention.inbox_days", 30, 1, DAYS_MAX, "How long a device may be away and miss nothing. What goes is announced (inbox.gap); messages stay."),
            inbox_max_events: r.number("retention.inbox_max_events", 100_000, 100, NUMBER_MAX, "The same by number, whichever comes first: an event of an inbox is about 200 bytes. What is too much goes in rounds, about every ten minutes: until then an inbox may hold more."),
            messages_days: r.number("retention.messages_days", 0, 0, DAYS_MAX, "History; 0 keeps it for ever. Not shorter than inbox_days and dedupe_days, which refer to messages. The newest message of a conversation stays."),
            dedupe_days: r.number("retention.dedupe_days", 7, 1, DAYS_MAX, "A command that comes again within this time has the effect of once: longer than any client keeps trying."),
            journal_days: r.number("retention.journal_days", 7, 1, DAYS_MAX, "Raw webhooks, to look at or run again: as long as Meta itself tries to deliver one."),
            retained_max_messages: r.number("retention.retained_max_messages", 1_000_000, 1, NUMBER_MAX, "Retained messages of one account; one more is refused (quota_exceeded). Replacing and removing go on."),
            retained_max_bytes: r.number("retention.retained_max_bytes", 256 << 20, 1 << 10, NUMBER_MAX, "Their topics, payloads and properties, and 64 bytes each: this much of the disk may one account fill for ever."),
        }
    }
}

impl Log {
    fn take(r: &mut Reader<'_>) -> Self {
        Self {
            level: r.parsed("log.level", "info", "error, warn, info, debug, trace, or per part: info,bridge=debug. Never shows content, numbers or tokens.", log_level),
            format: r.choice("log.format", &[("text", LogFormat::Text), ("json", LogFormat::Json)], "text for people, json for a log collector. On standard error."),
        }
    }
}

fn store_url(text: &str) -> Result<Option<store::url::ScyllaUrl>, String> {
    match text {
        "embedded" => Ok(None),
        other if other.starts_with("scylla://") => match other.parse() {
            Ok(url) => Ok(Some(url)),
            Err(error) => Err(format!("is not an address of a ScyllaDB: {error}")),
        },
        _ => Err("must be \"embedded\" or start with scylla://".to_owned()),
    }
}

/// An HTTP address, without the slash at its end.
pub(super) fn url(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    match rest {
        Some(rest) if !rest.is_empty() && !rest.starts_with('/') && !text.contains(char::is_whitespace) => {
            Ok(text.trim_end_matches('/').to_owned())
        }
        _ => Err("must start with https:// or http:// and name a host".to_owned()),
    }
}

pub(super) fn id<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|e: T::Err| format!("is not allowed: {e}"))
}

fn log_level(text: &str) -> Result<String, String> {
    // What is no level is taken for a part's name, and that part then says everything, and no other anything.
    let is_level = |word: &str| {
        let level = word.rsplit_once('=').map_or(word, |(_, level)| level);
        level.parse::<tracing_subscriber::filter::LevelFilter>().is_ok()
    };
    let mut words = text.split(',').map(str::trim).filter(|word| !word.is_empty()).peekable();
    if words.peek().is_none() {
        return Err("is empty".to_owned());
    }
    if let Some(wrong) = words.find(|word| !word.contains('[') && !is_level(word)) {
        return Err(format!(
            "holds {wrong:?}, which is no level: write error, warn, info, debug or trace, or PART=LEVEL"
        ));
    }
    tracing_subscriber::EnvFilter::builder()
        .parse(text)
        .map(|_| text.to_owned())
        .map_err(|e| format!("is no level and no list of directives: {e}"))
}

pub(super) fn word(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("is empty".to_owned()) } else { Ok(text.to_owned()) }
}
