//! Tests of the configuration: what is read, and that every mistake names its place and its key.

use std::path::Path;

use super::*;
use std::collections::BTreeMap;
use std::io;

/// What the contract shows in section 3, word for word but for the address of the store.
const CONTRACT: &str = r#"data_dir = "./inboxd-data"

[listen]
mqtt = "0.0.0.0:1883"
http = "0.0.0.0:8080"
admin = "127.0.0.1:9464"

[store]
url = "embedded"                  # or "scylla://host1[:port],host2/keyspace?dc=dc1&rf=3"

[auth]
hs256_secret_file = "hs.secret"   # or jwks_url = "https://…"; with neither, an Ed25519 key made at first start

[whatsapp]
app_secret_file = "app.secret"
verify_token = "…"
graph_url = "https://graph.facebook.com/v25.0"
on_unknown = "hold"               # or "resend"
unknown_after_s = 120

[[whatsapp.number]]
account = "acme"
phone_number_id = "100000000000001"
waba_id = "200000000000001"
access_token_file = "graph.token"
agents = "all"                    # or ["alice", "bob"]
# on_unknown, app_secret_file, … may be set per number too

[retention]
inbox_days = 30
inbox_max_events = 100000
messages_days = 0                 # 0 = for ever
dedupe_days = 7
journal_days = 7
"#;

/// Files of the folder /etc/inboxd: `<name>.secret` holds `<name>` and a newline.
fn files(path: &Path) -> io::Result<Vec<u8>> {
    match path.to_str() {
        Some("/etc/inboxd/empty") => Ok(b"\n".to_vec()),
        Some("/etc/inboxd/windows") => Ok(b"w\r\n".to_vec()),
        Some("/etc/inboxd/two") => Ok(b"x\n\n".to_vec()),
        Some("/etc/inboxd/log") => Ok(vec![b'x'; 100_000]),
        Some(text) if text.starts_with("/etc/inboxd/") && !text.contains("missing") => {
            Ok(format!("{}\n", path.file_stem().unwrap().to_str().unwrap()).into_bytes())
        }
        _ => Err(io::ErrorKind::NotFound.into()),
    }
}

fn read_with(text: &str, env: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let sources = Sources {
        presets: Vec::new(),
        file: Some((PathBuf::from("/etc/inboxd/inboxd.toml"), text.to_owned())),
        env: env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
    };
    Config::read(&sources, &files)
}

fn read(text: &str) -> Result<Config, ConfigError> {
    read_with(text, &[])
}

fn secret(text: &str) -> Secret {
    Secret::new(text.as_bytes().to_vec()).unwrap()
}

#[test]
fn the_contracts_own_example_reads() {
    let config = read(CONTRACT).unwrap();
    assert_eq!(config.data_dir, Path::new("/etc/inboxd/./inboxd-data"));
    assert_eq!(config.auth, AuthKeys::Hs256(secret("hs")));
    let number = &config.whatsapp.numbers[0];
    assert_eq!((number.account.as_str(), number.phone_number_id.as_str()), ("acme", "100000000000001"));
    assert_eq!((&number.access_token, &number.app_secret), (&secret("graph"), &None));
    assert_eq!((number.on_unknown, number.unknown_after_s, &number.agents), (OnUnknown::Hold, 120, &None));
    assert_eq!(config.whatsapp.app_secret, Some(secret("app")));
    assert_eq!(config.retention.inbox_max_events, 100_000);
    assert_eq!(config.admin.token_file, Path::new("/etc/inboxd/./inboxd-data/admin.token"));
}

#[test]
fn nothing_at_all_gives_the_defaults() {
    let config = Config::read(&Sources::default(), &files).unwrap();
    assert_eq!(config.data_dir, Path::new("./inboxd-data"));
    assert_eq!(config.listen.mqtt, "0.0.0.0:1883");
    assert_eq!(config.auth, AuthKeys::Own);
    assert!(config.whatsapp.numbers.is_empty());
}

#[test]
fn the_environment_comes_before_the_file_for_every_kind_of_key() {
    let numbers = r#"[{"account":"beta","phone_number_id":"7","access_token":"t","agents":["a","b"],"unknown_after_s":9}]"#;
    let config = read_with(
        CONTRACT,
        &[
            ("INBOXD_DATA_DIR", "/var/lib/inboxd"),
            ("INBOXD_LISTEN__MQTT", "127.0.0.1:0"),
            ("INBOXD_MQTT__RECEIVE_MAXIMUM", "7"),
            ("INBOXD_AUTH__HS256_SECRET", "from env"),
            ("INBOXD_WHATSAPP__ON_UNKNOWN", "resend"),
            ("INBOXD_WHATSAPP__NUMBER", numbers),
            ("INBOXD_PORT", "tcp://10.0.0.1:1883"),
            ("PATH", "/bin"),
        ],
    )
    .unwrap();
    assert_eq!(config.data_dir, Path::new("/var/lib/inboxd"));
    assert_eq!(config.listen.mqtt, "127.0.0.1:0");
    assert_eq!(config.mqtt.receive_maximum, 7);
    assert_eq!(config.auth, AuthKeys::Hs256(secret("from env")));
    assert_eq!(config.whatsapp.numbers.len(), 1, "the list replaces the file's");
    let number = &config.whatsapp.numbers[0];
    assert_eq!((number.account.as_str(), number.on_unknown), ("beta", OnUnknown::Resend));
    assert_eq!(number.agents.as_ref().unwrap().len(), 2);
    assert_eq!((number.unknown_after_s, &number.app_secret), (9, &None));
}

#[test]
fn every_key_can_be_set_in_the_environment() {
    let text = all_keys();
    let mut env = BTreeMap::new();
    let mut section = String::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').to_uppercase();
        } else if let Some((key, value)) = line.split_once(" = ") {
            let name = match section.as_str() {
                "" => format!("INBOXD_{}", key.to_uppercase()),
                section => format!("INBOXD_{section}__{}", key.to_uppercase()),
            };
            env.insert(name, value.trim_matches('"').to_owned());
        }
    }
    assert!(env.len() > 20, "{env:?}");
    let sources = Sources { env, ..Sources::default() };
    assert_eq!(Config::read(&sources, &files), Config::read(&Sources::default(), &files));
}

#[test]
fn presets_stand_below_everything_else() {
    let sources = Sources {
        presets: vec![("listen.mqtt", "127.0.0.1:1".into()), ("listen.http", "127.0.0.1:2".into())],
        file: Some(("x.toml".into(), "[listen]\nhttp = \"127.0.0.1:3\"".into())),
        env: BTreeMap::new(),
    };
    let listen = Config::read(&sources, &files).unwrap().listen;
    assert_eq!((listen.mqtt.as_str(), listen.http.as_str()), ("127.0.0.1:1", "127.0.0.1:3"));
}

#[test]
fn a_trailing_newline_of_a_secret_file_is_dropped_and_only_one() {
    for (file, expected) in [("hs.secret", "hs"), ("windows", "w"), ("two", "x\n")] {
        let text = format!("[auth]\nhs256_secret_file = \"{file}\"");
        assert_eq!(read(&text).unwrap().auth, AuthKeys::Hs256(secret(expected)), "{file}");
    }
}

/// (file, expected message; starts after "/etc/inboxd/inboxd.toml:").
const MISTAKES: &[(&str, &str)] = &[
    ("[listen]\nmqt = \"x\"", "2: `listen.mqt` is not a key; did you mean `listen.mqtt`?"),
    ("\n[lisen]\nmqtt = \"x\"", "3: `lisen.mqtt` is not a key; did you mean `listen.mqtt`?"),
    ("[nonsense]", "1: `nonsense` is not a key; `inboxd config` lists all"),
    ("listen = 1", "1: `listen` is not a key"),
    ("[listen.mqtt]\na = 1", "2: `listen.mqtt.a` is not a key"),
    ("[listen]\nmqtt = \"x", "2: `mqtt` not valid TOML: "),
    ("[listen]\nmqtt = \"a:1\"\nmqtt = \"b:1\"", "3: `mqtt` not valid TOML: duplicate key"),
    ("[listen]\nmqtt = 1883", "2: `listen.mqtt` must be a text; put it in quotes"),
    ("[listen]\nmqtt = \"1883\"", "2: `listen.mqtt` must be an address and a port"),
    ("[listen]\nmqtt = \"::1:1883\"", "2: `listen.mqtt` must be an address and a port"),
    ("[listen]\nmqtt = \"host:99999\"", "2: `listen.mqtt` must be an address and a port"),
    ("[store]\nurl = \"scylla://a\"", "2: `store.url` is not an address of a ScyllaDB: `` is not a keyspace"),
    (
        "[store]\nurl = \"scylla://u:p@a/k\"",
        "2: `store.url` is not an address of a ScyllaDB: must not hold a user",
    ),
    ("[store]\nurl = \"redis://a\"", "2: `store.url` must be \"embedded\" or start with scylla://"),
    ("[store]\nuser = \"a\"", "2: `store.user` stands without a password; give `password_file`"),
    ("[store]\npassword = \"a\"", "2: `store.password` stands without `store.user`"),
    (
        "[auth]\nhs256_secret = \"a\"\nhs256_secret_file = \"b\"",
        "3: `auth.hs256_secret_file` stands beside `auth.hs256_secret`",
    ),
    (
        "[auth]\nhs256_secret_file = \"missing\"",
        "2: `auth.hs256_secret_file` cannot read /etc/inboxd/missing: ",
    ),
    ("[auth]\nhs256_secret_file = \"empty\"", "2: `auth.hs256_secret_file` is empty"),
    ("[auth]\nhs256_secret_file = \"log\"", "2: `auth.hs256_secret_file` /etc/inboxd/log has more than"),
    ("[auth]\nhs256_secret = \"\"", "2: `auth.hs256_secret` is empty"),
    (
        "[auth]\nhs256_secret = \"a\"\njwks_url = \"https://a\"",
        "3: `auth.jwks_url` stands beside a shared secret",
    ),
    ("[auth]\njwks_url = \"file:///a\"", "2: `auth.jwks_url` must start with https:// or http://"),
    ("[mqtt]\nreceive_maximum = 0", "2: `mqtt.receive_maximum` must be a whole number from 1 to 65535"),
    ("[mqtt]\nreceive_maximum = \"64\"", "2: `mqtt.receive_maximum` must be a whole number, without quotes"),
    ("[mqtt]\nreceive_maximum = 1.5", "2: `mqtt.receive_maximum` must be a whole number, not a fraction"),
    (
        "[mqtt]\nreceive_maximum = 0x10",
        "2: `mqtt.receive_maximum` must be a whole number, not a number that is not decimal",
    ),
    (
        "[mqtt]\nrefused_publish_311 = \"drop\"",
        "2: `mqtt.refused_publish_311` must be \"acknowledge\" or \"close\"",
    ),
    ("data_dir = \"\"", "1: `data_dir` is empty"),
    (
        "[retention]\ninbox_days = 9\nmessages_days = 8",
        "3: `retention.messages_days` is 8, less than inbox_days (9)",
    ),
    (
        "[retention]\nmessages_days = 8\ninbox_days = 8\ndedupe_days = 9",
        "2: `retention.messages_days` is 8, less than dedupe_days (9)",
    ),
    ("[whatsapp]\ngraph_url = \"graph.facebook.com\"", "2: `whatsapp.graph_url` must start with https://"),
    (
        "[whatsapp.number]\naccount = \"a\"",
        "2: `whatsapp.number.account` write `[[whatsapp.number]]` with two brackets",
    ),
    (
        "[[whatsapp.number]]\nphone_number_id = \"1\"\naccess_token = \"t\"\napp_secret = \"s\"",
        "2: `whatsapp.number[0].account` is missing",
    ),
    (
        "[[whatsapp.number]]\naccount = \"a\"\naccess_token = \"t\"\napp_secret = \"s\"",
        "2: `whatsapp.number[0].phone_number_id` is missing",
    ),
    (
        "[[whatsapp.number]]\naccount = \"a\"\nphone_number_id = \"1\"\napp_secret = \"s\"",
        "2: `whatsapp.number[0].access_token_file` is missing",
    ),
    (
        "[[whatsapp.number]]\naccount = \"a\"\nphone_number_id = \"1\"\naccess_token = \"t\"",
        "2: `whatsapp.number[0].app_secret_file` is missing",
    ),
];

/// Mistakes in a number that is whole otherwise.
const NUMBER_MISTAKES: &[(&str, &str)] = &[
    (
        "account = \"a/b\"\nphone_number_id = \"1\"",
        "4: `whatsapp.number[0].account` is not allowed: account id holds a character",
    ),
    (
        "account = \"a\"\nphone_number_id = 1",
        "5: `whatsapp.number[0].phone_number_id` must be a text; put it in quotes",
    ),
    (
        "account = \"a\"\nphone_number_id = \"1\"\nagents = \"alice\"",
        "6: `whatsapp.number[0].agents` must be \"all\" or a list of texts",
    ),
    (
        "account = \"a\"\nphone_number_id = \"1\"\nagents = [1]",
        "6: `whatsapp.number[0].agents` must be \"all\" or a list of texts",
    ),
    (
        "account = \"a\"\nphone_number_id = \"1\"\nagents = [\"#\"]",
        "6: `whatsapp.number[0].agents` is not allowed: user id",
    ),
    (
        "account = \"a\"\nphone_number_id = \"1\"\ntriage = \"all\"",
        "6: `whatsapp.number[0].triage` must be a list of texts",
    ),
    (
        "account = \"a\"\nphone_number_id = \"1\"\non_unknown = \"drop\"",
        "6: `whatsapp.number[0].on_unknown` must be \"hold\" or \"resend\"",
    ),
    (
        "account = \"a\"\nphone_number_id = \"1\"\nacount = \"b\"",
        "6: `whatsapp.number[0].acount` is not a key; did you mean `whatsapp.number[0].account`?",
    ),
];

fn assert_one(text: &str, expected: &str) {
    let message = read(text).expect_err(text).to_string();
    let rest = message.strip_prefix("/etc/inboxd/inboxd.toml:").unwrap_or(&message);
    assert!(rest.starts_with(expected), "{text}\nexpected {expected}\ngot      {rest}");
    assert_eq!(message.lines().count(), 1, "{message}");
}

#[test]
fn every_mistake_names_file_line_and_key() {
    for (text, expected) in MISTAKES {
        assert_one(text, expected);
    }
    for (lines, expected) in NUMBER_MISTAKES {
        assert_one(
            &format!("[[whatsapp.number]]\naccess_token = \"t\"\napp_secret = \"s\"\n{lines}"),
            expected,
        );
    }
}

#[test]
fn a_number_that_is_there_twice() {
    let number = "[[whatsapp.number]]\naccount = \"a\"\nphone_number_id = \"1\"\naccess_token = \"t\"\napp_secret = \"s\"\n";
    assert_one(&format!("{number}{number}"), "8: `whatsapp.number[1].phone_number_id` is there twice");
}

#[test]
fn all_mistakes_are_named_at_once_in_the_order_of_the_file() {
    let error = read("[mqtt]\nreceive_maximum = 0\nnope = 1\n[listen]\nmqtt = 1").unwrap_err();
    let lines: Vec<_> = error.0.iter().map(|p| p.origin.clone()).collect();
    let at = |line| Origin::File("/etc/inboxd/inboxd.toml".into(), line);
    assert_eq!(lines, [at(2), at(3), at(5)]);
}

#[test]
fn mistakes_in_the_environment_name_the_variable() {
    for (name, value, expected) in [
        ("INBOXD_MQTT__RECEIVE_MAXIMUM", "many", "`mqtt.receive_maximum` must be a whole number from"),
        ("INBOXD_LISTEN__MQTTT", "x:1", "`listen.mqttt` is not a key; did you mean"),
        (
            "INBOXD_WHATSAPP__NUMBER",
            "[{\"access_token\":\"geheim\"",
            "`whatsapp.number` must be a JSON list of objects",
        ),
        ("INBOXD_WHATSAPP__NUMBER", "[{}]", "`whatsapp.number[0].access_token_file` is missing"),
    ] {
        let message = read_with("", &[(name, value)]).unwrap_err().to_string();
        assert!(message.starts_with(&format!("environment {name}: {expected}")), "{message}");
        assert!(!message.contains("geheim"));
    }
    let both = [("INBOXD_AUTH__HS256_SECRET", "a"), ("INBOXD_AUTH__HS256_SECRET_FILE", "b")];
    let message = read_with("", &both).unwrap_err().to_string();
    assert!(
        message.starts_with(
            "environment INBOXD_AUTH__HS256_SECRET_FILE: `auth.hs256_secret_file` stands beside"
        ),
        "{message}"
    );
}

#[test]
fn messages_and_debug_show_no_secret() {
    let config = read("[auth]\nhs256_secret = \"geheim\"").unwrap();
    assert!(!format!("{config:?}").contains("geheim"));
    for text in [
        "[auth]\nhs256_secret = \"geheim",
        "[auth]\nhs256_secret = geheim",
        "[auth]\nhs256_secret = [\"geheim\"]",
    ] {
        let message = read(text).unwrap_err().to_string();
        assert!(!message.contains("geheim"), "{message}");
    }
}

#[test]
fn the_printed_keys_parse_back_to_the_defaults() {
    let sources = Sources { file: Some(("inboxd.toml".into(), all_keys())), ..Sources::default() };
    assert_eq!(Config::read(&sources, &files), Config::read(&Sources::default(), &files));
}

#[test]
fn the_keys_without_a_default_read_when_their_comment_is_taken_away() {
    let text = all_keys();
    let commented_out = |line: &str| {
        line.strip_prefix("# ").is_some_and(|rest| {
            rest.starts_with("[[") || rest.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '))
        })
    };
    let either =
        ["hs256_secret = ", "jwks_url", "app_secret = ", "verify_token = ", "access_token = ", "password = "];
    let whole: Vec<_> = text
        .lines()
        .map(|line| if commented_out(line) { &line[2..] } else { line })
        .filter(|line| !either.iter().any(|key| line.starts_with(key)))
        .collect();
    let config = read(&whole.join("\n")).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(config.whatsapp.numbers.len(), 1);
}

#[test]
fn a_log_level_is_one_of_those_that_are_printed() {
    for good in ["warn", "info,bridge=debug", "INFO", "info,store::writer=trace"] {
        assert_eq!(read(&format!("[log]\nlevel = {good:?}")).unwrap().log.level, good);
    }
    for bad in ["loud", "info,loud", "bridge=loud", ""] {
        let error = read(&format!("[log]\nlevel = {bad:?}")).unwrap_err().to_string();
        assert!(error.starts_with("/etc/inboxd/inboxd.toml:2: `log.level` "), "{bad}: {error}");
    }
}

#[test]
fn deploys_copy_of_the_keys_is_up_to_date() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/inboxd.toml");
    let there = std::fs::read_to_string(file).unwrap_or_default();
    assert!(there == all_keys(), "run: cargo run -p inboxd -- config > deploy/inboxd.toml");
}
