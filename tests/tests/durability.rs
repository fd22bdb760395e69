//! P1, by the system calls of the binary: no PUBACK and no HTTP answer leaves before the sync that covers its write.
//!
//! One message at a time, each with a marker that is found again in what is written to the journal. Not here: that what
//! was synced survives (`crash`).

use std::path::Path;

use tests::clients::{skip, tool};
use tests::deadline::until;
use tests::mqtt::{Client, Connect, Link};
use tests::token::Token;
use tests::trace::{self, check_acknowledged_after_sync};
use tests::world::{ACME, ANA, World, send_command};

/// Messages of each kind: a race that shows once in ten is found in all but one run of ten.
const MESSAGES: usize = 25;

fn markers(kind: &str) -> Vec<String> {
    (0..MESSAGES).map(|n| format!("marker-{kind}-{n:04}")).collect()
}

/// The whole trace, once the tracer has written the end of the process.
async fn finished(trace: &Path, process: u32) -> String {
    let end = format!("{process} +++ exited");
    until("the end of the trace", || async {
        let text = std::fs::read_to_string(trace).expect("a trace");
        text.lines()
            .any(|line| line.split_whitespace().collect::<Vec<_>>().join(" ").starts_with(&end))
            .then_some(text)
    })
    .await
}

#[tokio::test]
async fn p1_no_acknowledgement_leaves_before_the_sync_that_covers_it() {
    let Some(strace) = tool("strace") else {
        return skip("the order of syncs and acknowledgements", "strace is not on the search path");
    };
    // Statuses would bring webhooks of their own.
    let faults = sim::whatsapp::Faults { no_statuses: 1.0, ..sim::whatsapp::Faults::default() };
    let mut world = World::stopped("", "", faults).await;
    let output = world.server.folder().join("strace.txt");
    world.server.wrap(trace::wrapper(&strace, &output));
    world.start_server().await;
    let process = world.server.process();

    // A session that is away: what it shall get has to be on disk.
    let reader = Token::of(ACME, "reader").acl(&[], &["news/#"]).sign();
    let mut keeper = Client::connect(world.at(), Link::Tcp, &Connect::v311("keeper", &reader).kept()).await;
    keeper.subscribe("news/#", 1).await;
    keeper.disconnect().await;

    let token = Token::of(ACME, "alice").acl(&["news/#"], &[]).sign();
    let mut device = Client::connect(world.at(), Link::Tcp, &Connect::v311("device", &token)).await;
    let (general, commands) = (markers("general"), markers("command"));
    for marker in &general {
        device.publish("news/today", marker.as_str()).await;
    }
    for marker in &commands {
        device.publish("user/alice/outbox", send_command(marker, ANA, marker).to_string()).await;
    }
    let (webhooks, posted) = (markers("webhook"), markers("post"));
    for marker in &webhooks {
        world.deliver_text(ANA, &format!("wamid.{marker}"), marker).await;
    }
    let api = world.api("alice");
    for marker in &posted {
        let answer = api.post("/v1/messages", &send_command(marker, ANA, marker)).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
    device.disconnect().await;
    world.server.stop().await;

    let steps = trace::read(&finished(&output, process).await);
    let acks = steps.iter().filter(|step| step.sends("@\\2")).count();
    assert_eq!(acks, 2 * MESSAGES, "each PUBACK is a write of its own, or the trace is not understood");
    let by_mqtt = [general, commands].concat();
    for (markers, acknowledgement) in
        [(by_mqtt, "@\\2"), (webhooks, "HTTP/1.1 200"), (posted, "HTTP/1.1 201")]
    {
        check_acknowledged_after_sync(&steps, &markers, acknowledgement)
            .unwrap_or_else(|why| panic!("{why}"));
    }
}
