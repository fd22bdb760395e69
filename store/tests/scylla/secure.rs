//! User, password and TLS: on a server that asks for the first two and offers the third.
//!
//! `SCYLLA_SECURE_URI=scylla://127.0.0.1:9142 SCYLLA_SECURE_CA=DIR/conf/ca.pem` (`CASSANDRA_SECURE=1 tests/cassandra.sh`).

use std::io::Write as _;
use std::time::{Duration, Instant};

use schemas::{Epoch, Millis};
use store::conformance::Engine as _;
use store::engine::scylla::{Access, Tls, open};
use store::{OpenError, Settings, commit};

use crate::{Keyspace, event, new_inbox, start, texts};

/// A new server makes its first user a moment after it answers.
const DEADLINE: Duration = Duration::from_secs(60);
/// A certificate of nobody here.
const STRANGER: &str = include_str!("stranger.pem");

fn secure() -> Option<(String, Vec<u8>)> {
    let (uri, ca) = (std::env::var("SCYLLA_SECURE_URI").ok()?, std::env::var("SCYLLA_SECURE_CA").ok()?);
    Some((uri, std::fs::read(ca).expect("SCYLLA_SECURE_CA is a file")))
}

fn refused(access: &Access) -> String {
    let clock: store::Clock = std::sync::Arc::new(|| Millis(1_795_000_000_000));
    match open(access.clone(), Settings::new(Epoch(7)), clock).err() {
        Some(OpenError::Engine { why, .. }) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn user_password_and_certificates_are_checked_both_ways() {
    let Some((uri, authorities)) = secure() else {
        let _ = std::io::stderr().write_all(b"SKIPPED: needs SCYLLA_SECURE_URI and SCYLLA_SECURE_CA\n");
        return;
    };
    let credentials = Some(("cassandra".to_owned(), "cassandra".to_owned()));
    let mut keyspace = Keyspace::new(&uri);
    keyspace.0.credentials = credentials.clone();
    let tls = |authorities: &[u8], server_name: Option<&str>| {
        Some(Tls { authorities: authorities.to_vec(), server_name: server_name.map(str::to_owned) })
    };
    let with = |tls| Access { tls, ..keyspace.0.clone() };

    let begin = Instant::now();
    let nobody = Access { credentials: None, ..with(None) };
    assert!(refused(&nobody).contains("uthentication"), "{}", refused(&nobody));
    let wrong = Some(("cassandra".to_owned(), "wrong".to_owned()));
    let wrong = Access { credentials: wrong, ..with(None) };
    assert!(refused(&wrong).contains("uthentication"), "{}", refused(&wrong));
    let stranger = refused(&with(tls(STRANGER.as_bytes(), None)));
    assert!(stranger.contains("TLS to 127.0.0.1") && stranger.contains("UnknownIssuer"), "{stranger}");
    let elsewhere = refused(&with(tls(&authorities, Some("elsewhere.test"))));
    assert!(elsewhere.contains("not valid for name"), "{elsewhere}");
    assert!(refused(&with(tls(b"", None))).contains("holds no certificate"));

    for server_name in [None, Some("cassandra.test")] {
        let access = with(tls(&authorities, server_name));
        let store = loop {
            let clock: store::Clock = std::sync::Arc::new(|| Millis(1_795_000_000_000));
            match open(access.clone(), Settings::new(Epoch(7)), clock) {
                Ok(store) => break store,
                Err(error) => assert!(begin.elapsed() < DEADLINE, "{error}"),
            }
        };
        new_inbox(&*store).await;
        commit(&*store, event("over TLS")).await.expect("the event is committed");
        store.close().await;
    }
    let store = start(&with(None));
    assert_eq!(texts(&*store).await, ["over TLS", "over TLS"]);
    store.close().await;
    drop(store);
    assert_eq!(keyspace.verify().violations, []);
}
