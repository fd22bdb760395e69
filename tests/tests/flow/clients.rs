//! The flow with real clients of others: rumqttc, paho, MQTT.js, mosquitto_sub and mosquitto_pub. Each gets what WhatsApp
//! brings, sends an answer, and sees it sent, delivered and read.

use std::process::Command;

use rumqttc::QoS;
use serde_json::Value;
use tests::clients::{Program, mqtt_js, python, script, skip, tool};
use tests::deadline::within;
use tests::token::Token;
use tests::world::{ACME, ANA, World, send_command};

const INBOX: &str = "user/alice/inbox";
const OUTBOX: &str = "user/alice/outbox";

/// What a client that shows its events as lines of JSON must show: the customer's text, its own answer, and the end of
/// that answer's way.
async fn follows_the_flow(world: &World, program: &mut Program, id: &str) {
    program.line_with("ready").await;
    world.sim.say(ANA, "Hello, is anybody there?").expect("Ana writes");
    // It sends its answer by itself, once it is ready: which of the two comes first is open.
    let (mut asked, mut answer, mut read) = (false, None, false);
    while !(asked && read) {
        let line = program.line().await.expect("the client runs until it is ended");
        let event = json(&line);
        let data = &event["data"];
        match event["type"].as_str().expect("a type") {
            "message.created" if data["command_id"] == id => answer = data["id"].as_str().map(str::to_owned),
            "message.created" => asked = data["text"] == "Hello, is anybody there?",
            "message.status" if data["message"].as_str() == answer.as_deref() => {
                read = data["status"] == "read"
            }
            _ => {}
        }
    }
}

fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))
}

/// The arguments that our scripts take: address, version, token, topic to follow, topic and payload to publish.
fn arguments(address: &str, version: &str, id: &str) -> Vec<String> {
    let token = Token::of(ACME, "alice").sign();
    let command = send_command(id, ANA, &format!("An answer of {id}")).to_string();
    [address, version, id, &token, INBOX, OUTBOX, &command].map(str::to_owned).to_vec()
}

/// `[v311:7.0.0-2]`
#[tokio::test]
async fn paho_follows_the_flow() {
    let python = match python() {
        Ok(python) => python,
        Err(why) => return skip("paho", &why),
    };
    let world = World::start().await;
    for version in ["4", "5"] {
        for address in [format!("tcp://{}", world.at().mqtt), format!("ws://{}/mqtt", world.at().http)] {
            let id = format!("paho-{version}-{}", &address[..2]);
            let mut command = Command::new(&python);
            let mut paho =
                Program::start(command.arg(script("paho_flow.py")).args(arguments(&address, version, &id)));
            follows_the_flow(&world, &mut paho, &id).await;
        }
    }
}

/// With a token whose `acl` is `#` both ways inboxd is a broker like any other, for a program that knows nothing of it.
#[tokio::test]
async fn paho_uses_it_as_a_general_broker() {
    let python = match python() {
        Ok(python) => python,
        Err(why) => return skip("paho", &why),
    };
    let world = World::start().await;
    let token = Token::of(ACME, "anybody").acl(&["#"], &["#"]).sign();
    for version in ["4", "5"] {
        for address in [format!("tcp://{}", world.at().mqtt), format!("ws://{}/mqtt", world.at().http)] {
            let prefix = format!("{version}-{}", &address[..2]);
            let mut command = Command::new(&python);
            command.arg(script("paho_broker.py")).args([&address, version, &prefix, &token]);
            let lines = Program::start(&mut command).finish().await;
            assert_eq!(lines.last().map(String::as_str), Some("done"), "{prefix}: {lines:?}");
        }
    }
}

#[tokio::test]
async fn mqtt_js_follows_the_flow() {
    let (node, folder) = match mqtt_js() {
        Ok(found) => found,
        Err(why) => return skip("MQTT.js", &why),
    };
    let world = World::start().await;
    for version in ["4", "5"] {
        for address in [format!("mqtt://{}", world.at().mqtt), format!("ws://{}/mqtt", world.at().http)] {
            let id = format!("mqttjs-{version}-{}", &address[..2]);
            let mut command = Command::new(&node);
            // The script is not in that folder, so it is told where the package is.
            command.arg(script("mqttjs_flow.cjs")).args(arguments(&address, version, &id)).arg(&folder);
            let mut mqtt_js = Program::start(&mut command);
            follows_the_flow(&world, &mut mqtt_js, &id).await;
        }
    }
}

#[tokio::test]
async fn mosquitto_follows_the_flow() {
    let (Some(sub), Some(publish)) = (tool("mosquitto_sub"), tool("mosquitto_pub")) else {
        return skip("mosquitto_sub, mosquitto_pub", "they are not on the search path");
    };
    let world = World::start().await;
    let token = Token::of(ACME, "alice").sign();
    let port = world.at().mqtt.port().to_string();
    for version in ["mqttv311", "mqttv5"] {
        let id = format!("mosquitto-{version}");
        let common = ["-h", "127.0.0.1", "-p", &port, "-V", version, "-u", "alice", "-P", &token, "-q", "1"];
        let session = ["-i", &id, "-c", "-x", "3600", "-t", INBOX];
        let session =
            if version == "mqttv5" { &session[..] } else { &[&session[..3], &session[5..]].concat() };
        // -E ends it once it is subscribed, and the session stays: from then on nothing is missed.
        Program::start(Command::new(&sub).args(common).args(session).arg("-E")).finish().await;
        let mut subscriber = Program::start(Command::new(&sub).args(common).args(session));
        world.sim.say(ANA, "Hello, mosquitto").expect("Ana writes");
        subscriber.line_with("Hello, mosquitto").await;
        let command = send_command(&id, ANA, "An answer").to_string();
        let mut publisher = Command::new(&publish);
        publisher.args(common).args(["-i", "publisher", "-t", OUTBOX, "-m", &command]);
        Program::start(&mut publisher).finish().await;
        for wanted in [format!("\"command_id\":\"{id}\""), "\"status\":\"read\"".to_owned()] {
            subscriber.line_with(&wanted).await;
        }
    }
    world.posts(2).await;
}

#[tokio::test]
async fn mosquitto_sub_gets_what_it_missed() {
    let Some(sub) = tool("mosquitto_sub") else {
        return skip("mosquitto_sub", "it is not on the search path");
    };
    let world = World::start().await;
    let token = Token::of(ACME, "alice").sign();
    let port = world.at().mqtt.port().to_string();
    let common = ["-h", "127.0.0.1", "-p", &port, "-V", "mqttv311", "-u", "alice", "-P", &token, "-q", "1"];
    let session = ["-c", "-i", "kept", "-t", INBOX];
    // -E: ends once it is subscribed.
    Program::start(Command::new(&sub).args(common).args(session).arg("-E")).finish().await;
    for n in 0..3 {
        world.deliver_text(ANA, &format!("wamid.{n}"), &format!("missed {n}")).await;
    }
    let lines =
        Program::start(Command::new(&sub).args(common).args(session).args(["-C", "3"])).finish().await;
    let texts: Vec<_> = lines.iter().map(|line| json(line)["data"]["text"].clone()).collect();
    assert_eq!(texts, ["missed 0", "missed 1", "missed 2"]);
}

/// The flow with one of rumqttc's two clients: types of the same names from two modules, so a macro and no function.
macro_rules! rumqttc_follows_the_flow {
    ($client_id:literal) => {{
        let world = World::start().await;
        let mut options = MqttOptions::new($client_id, "127.0.0.1", world.at().mqtt.port());
        options.set_credentials("alice", Token::of(ACME, "alice").sign());
        let (client, mut events) = AsyncClient::new(options, 10);
        client.subscribe(INBOX, QoS::AtLeastOnce).await.expect("the queue has room");
        let mut kinds = Vec::new();
        within("the flow with rumqttc", async {
            loop {
                match events.poll().await.expect("the connection holds") {
                    Event::Incoming(Packet::SubAck(_)) => {
                        let command = send_command($client_id, ANA, "An answer").to_string();
                        client.publish(OUTBOX, QoS::AtLeastOnce, false, command).await.expect("room");
                    }
                    Event::Incoming(Packet::Publish(publish)) => {
                        let event: Value = serde_json::from_slice(&publish.payload).expect("JSON");
                        kinds.push(event["type"].as_str().expect("a type").to_owned());
                        if event["data"]["status"] == "read" {
                            return;
                        }
                    }
                    _ => {}
                }
            }
        })
        .await;
        assert_eq!(kinds[0], "message.created");
        world.posts(1).await;
    }};
}

#[tokio::test]
async fn rumqttc_v4_follows_the_flow() {
    use rumqttc::{AsyncClient, Event, MqttOptions, Packet};
    rumqttc_follows_the_flow!("rumqttc-4");
}

#[tokio::test]
async fn rumqttc_v5_follows_the_flow() {
    use rumqttc::v5::mqttbytes::QoS;
    use rumqttc::v5::mqttbytes::v5::Packet;
    use rumqttc::v5::{AsyncClient, Event, MqttOptions};
    rumqttc_follows_the_flow!("rumqttc-5");
}
