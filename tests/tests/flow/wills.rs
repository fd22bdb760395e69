//! Wills of a general broker, over `kill -9`.

use tests::mqtt::{Client, Connect, Link, Properties, Publish, Value, Version, Will, id};
use tests::token::Token;
use tests::world::{ACME, World};

/// Longer than any test: what comes in spite of it came for another reason.
const LONG_S: u32 = 3_600;

fn token(user: &str) -> String {
    Token::of(ACME, user).acl(&["#"], &["#"]).sign()
}

async fn watcher(world: &World) -> Client {
    let connect = Connect::v5("watcher", &token("watcher")).kept();
    let mut watcher = Client::connect(world.at(), Link::Tcp, &connect).await;
    if !watcher.connack.present {
        watcher.subscribe("will/#", 1).await;
    }
    watcher
}

/// A connection with a will to `will/{name}`.
fn mortal(version: Version, name: &str, delay_s: Option<u32>, expiry_s: u32) -> Connect {
    let delay = |p: Properties, s| p.with(id::WILL_DELAY, Value::Four(s));
    let properties = delay_s.map_or_else(Properties::none, |s| delay(Properties::none().user("a", "1"), s));
    let will = Will {
        topic: format!("will/{name}"),
        payload: name.as_bytes().to_vec(),
        qos: 1,
        retain: true,
        properties,
    };
    let mut connect = Connect::new(version, name, &token(name)).will(will);
    if version == Version::V5 {
        connect.properties = connect.properties.with(id::SESSION_EXPIRY, Value::Four(expiry_s));
    }
    connect
}

async fn next(watcher: &mut Client) -> (String, Publish) {
    let message = watcher.message().await;
    watcher.ack(message.id).await;
    (String::from_utf8_lossy(&message.payload).into_owned(), message)
}

/// The loss of the server is the loss of all connections. `[v311:3.1.2-8] [v311:3.1.2-17] [v5:3.1.2-8] [v5:3.1.2-15]`
/// `[v311:3.1.2-10] [v5:3.1.2-10] [v5:3.1.3-9] [v5:3.1.3-10]`
#[tokio::test]
async fn wills_come_after_a_kill_once_and_not_where_the_session_went_on() {
    let mut world = World::start().await;
    watcher(&world).await.disconnect().await;
    let mut all = Vec::new();
    for connect in [
        mortal(Version::V311, "old", None, 0),
        mortal(Version::V5, "now", Some(0), LONG_S),
        // Its session ends with its connection, and the delay with it.
        mortal(Version::V5, "ends", Some(LONG_S), 0),
        mortal(Version::V5, "soon", Some(1), LONG_S),
        mortal(Version::V5, "later", Some(LONG_S), LONG_S),
    ] {
        all.push(Client::connect(world.at(), Link::Tcp, &connect).await);
    }
    let polite = mortal(Version::V5, "polite", Some(0), LONG_S);
    Client::connect(world.at(), Link::Tcp, &polite).await.disconnect().await;
    // Nothing acknowledges a goodbye, but what is acknowledged after it is on disk after it.
    let mut after = Client::connect(world.at(), Link::Tcp, &Connect::v5("after", &token("after"))).await;
    assert_eq!(after.publish("marker", "x").await.code, 0);
    world.crash().await;
    drop(all);
    let mut got = Vec::new();
    let mut watcher = watcher(&world).await;
    for _ in 0..4 {
        let (name, message) = next(&mut watcher).await;
        if name != "old" {
            assert!(message.properties.0.iter().any(|(found, _)| *found == id::USER_PROPERTY), "{name}");
        }
        got.push(name);
    }
    got.sort();
    assert_eq!(got, ["ends", "now", "old", "soon"]);
    // It goes on within the delay, and another kill changes nothing.
    let later = Connect { clean: false, will: None, ..mortal(Version::V5, "later", None, LONG_S) };
    assert!(Client::connect(world.at(), Link::Tcp, &later).await.connack.present);
    world.crash().await;
    let mut watcher = self::watcher(&world).await;
    let mut late = Client::connect(world.at(), Link::Tcp, &Connect::v5("late", &token("late"))).await;
    late.subscribe("will/#", 1).await;
    let mut retained = Vec::new();
    for _ in 0..4 {
        let (name, message) = next(&mut late).await;
        assert!(message.retain);
        retained.push(name);
    }
    retained.sort();
    assert_eq!(retained, got);
    let again = watcher.messages_so_far().await;
    assert!(again.iter().all(|message| message.dup), "none comes twice: {again:?}");
}

/// `[v5:3.14.4-3] [v311:3.14.4-3] [v5:3.1.3-9] [v5:3.1.4-3] [v311:3.1.4-2] [v5:4.1.0-2]`
#[tokio::test]
async fn a_will_comes_however_the_connection_ends_but_after_a_goodbye() {
    let world = World::start().await;
    let mut watcher = watcher(&world).await;
    let end = |connect: Connect, packet: Vec<u8>| {
        let at = world.at();
        async move { Client::connect(at, Link::Tcp, &connect).await.send(&packet).await }
    };
    // A goodbye first: what comes is of the next one.
    end(mortal(Version::V5, "goodbye", Some(0), LONG_S), vec![0xE0, 0]).await;
    end(mortal(Version::V5, "with will", Some(0), LONG_S), vec![0xE0, 1, 4]).await;
    assert_eq!(next(&mut watcher).await.0, "with will");
    // The goodbye sets the end of the session, which is before the delay.
    let ends_now = vec![0xE0, 7, 4, 5, 0x11, 0, 0, 0, 0];
    end(mortal(Version::V5, "ends now", Some(LONG_S), LONG_S), ends_now).await;
    assert_eq!(next(&mut watcher).await.0, "ends now");
    end(mortal(Version::V5, "breaks a rule", Some(0), LONG_S), vec![0xC0, 1, 0]).await;
    assert_eq!(next(&mut watcher).await.0, "breaks a rule");
    for version in [Version::V311, Version::V5] {
        let first = Client::connect(world.at(), Link::Tcp, &mortal(version, "taken", None, LONG_S)).await;
        let second = Connect { will: None, clean: false, ..mortal(version, "taken", None, LONG_S) };
        Client::connect(world.at(), Link::Tcp, &second).await.disconnect().await;
        assert_eq!(next(&mut watcher).await.0, "taken");
        drop(first);
    }
    // A clean start ends the session that waited, and its will comes.
    end(mortal(Version::V5, "cleaned", Some(LONG_S), LONG_S), vec![0xE0, 1, 4]).await;
    let clean = Connect { will: None, ..mortal(Version::V5, "cleaned", None, LONG_S) };
    Client::connect(world.at(), Link::Tcp, &clean).await.disconnect().await;
    assert_eq!(next(&mut watcher).await.0, "cleaned");
    assert_eq!(watcher.messages_so_far().await, []);
}
