//! TLS with rustls, OpenSSL and mosquitto on the other side; certificates that change under open connections.

use std::process::{Command, Stdio};

use tests::clients::{Program, mqtt_js, script, skip, tool};
use tests::deadline::until;
use tests::mqtt::{Client, Connect, Link, Version};
use tests::tls;
use tests::world::World;

use super::of_acme;

#[tokio::test]
async fn both_versions_over_tls_and_secure_websocket() {
    let world = World::secure("", true).await;
    for (link, label) in [(Link::Tls, "tls"), (Link::SecureWebSocket, "wss")] {
        for version in [Version::V311, Version::V5] {
            let connect = Connect::new(version, label, &of_acme("alice"));
            let mut client = Client::connect(world.at(), link, &connect).await;
            client.subscribe("news", 1).await;
            // Larger than a record of TLS, and than what is read at once.
            client.publish("news", vec![7; 200_000]).await;
            assert_eq!(client.message().await.payload, vec![7; 200_000]);
            let label = format!("transport=\"{label}\"");
            world.wait_for_metric("inboxd_broker_connections", &[&label], 1.0).await;
        }
    }
}

/// What a connection of OpenSSL's client is shown.
fn shown(world: &World, openssl: &std::path::Path, more: &[&str]) -> String {
    let address = world.at().mqtts.expect("TLS is on").to_string();
    let output = Command::new(openssl)
        .args(["s_client", "-connect", &address, "-CAfile"])
        .arg(world.server.folder().join(tls::AUTHORITY))
        .args(["-verify_return_error", "-showcerts"])
        .args(more)
        .stdin(Stdio::null())
        .output()
        .expect("openssl runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test]
async fn a_new_certificate_is_served_within_a_moment_and_ends_no_connection() {
    let Some(openssl) = tool("openssl") else {
        return skip("openssl", "it is not on the search path");
    };
    let world = World::secure("", false).await;
    let mut client = Client::connect(world.at(), Link::Tls, &Connect::v5("c", &of_acme("alice"))).await;
    let certificate = |page: &str| {
        let begun = page.split("BEGIN CERTIFICATE").nth(1)?;
        begun.split("END CERTIFICATE").next().map(str::to_owned)
    };
    for version in ["-tls1_2", "-tls1_3"] {
        let page = shown(&world, &openssl, &[version]);
        assert!(page.contains("Verify return code: 0 (ok)"), "{version}: {page}");
    }
    let first = certificate(&shown(&world, &openssl, &[])).expect("a certificate");
    // One that cannot be used changes nothing.
    std::fs::write(world.server.folder().join(tls::KEY), "half a file").expect("written");
    world.wait_for_metric("inboxd_server_tls_reloads_total", &["outcome=\"failed\""], 1.0).await;
    assert_eq!(certificate(&shown(&world, &openssl, &[])), Some(first.clone()));
    tls::write(world.server.folder());
    until("the new certificate", || async {
        let now = certificate(&shown(&world, &openssl, &[]));
        (now.is_some() && now != Some(first.clone())).then_some(())
    })
    .await;
    client.ping().await;
}

#[tokio::test]
async fn mosquitto_over_tls() {
    let (Some(sub), Some(publish)) = (tool("mosquitto_sub"), tool("mosquitto_pub")) else {
        return skip("mosquitto_sub, mosquitto_pub", "they are not on the search path");
    };
    let world = World::secure("", false).await;
    let port = world.at().mqtts.expect("TLS is on").port().to_string();
    let authority = world.server.folder().join(tls::AUTHORITY).to_string_lossy().into_owned();
    let token = of_acme("alice");
    for version in ["mqttv311", "mqttv5"] {
        let common = ["-h", "localhost", "-p", &port, "--cafile", &authority, "-V", version];
        let user = ["-u", "alice", "-P", &token, "-q", "1", "-t", "news"];
        let mut subscriber = Command::new(&sub);
        subscriber.args(common).args(user).args(["-i", "sub", "-c", "-x", "600"]);
        if version == "mqttv311" {
            subscriber = Command::new(&sub);
            subscriber.args(common).args(user).args(["-i", "sub", "-c"]);
        }
        // Subscribed and gone, so that nothing is missed.
        let mut first = Command::new(&sub);
        first.args(subscriber.get_args()).arg("-E");
        Program::start(&mut first).finish().await;
        let mut publisher = Command::new(&publish);
        publisher.args(common).args(user).args(["-i", "pub", "-m", "over TLS"]);
        Program::start(&mut publisher).finish().await;
        Program::start(&mut subscriber).line_with("over TLS").await;
    }
}

#[tokio::test]
async fn mqtt_js_over_secure_websocket_and_tls() {
    let (node, folder) = match mqtt_js() {
        Ok(found) => found,
        Err(why) => return skip("MQTT.js", &why),
    };
    let world = World::secure("", true).await;
    let at = world.at();
    let authority = world.server.folder().join(tls::AUTHORITY);
    for version in ["4", "5"] {
        for address in
            [format!("wss://{}/mqtt", at.http), format!("mqtts://{}", at.mqtts.expect("TLS is on"))]
        {
            let mut command = Command::new(&node);
            let arguments = [&address, version, "js", &of_acme("alice"), "news", "news", "over TLS"];
            command.arg(script("mqttjs_flow.cjs")).args(arguments).arg(&folder);
            // Node believes it beside those of its own.
            command.env("NODE_EXTRA_CA_CERTS", &authority);
            let mut mqtt_js = Program::start(&mut command);
            mqtt_js.line_with("ready").await;
            mqtt_js.line_with("over TLS").await;
        }
    }
}
