//! Shared subscriptions of a general broker, over `kill -9`.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use tests::mqtt::{Client, Connect, Link, Properties, Publish, Version};
use tests::token::Token;
use tests::world::{ACME, World};

const FILTER: &str = "$share/workers/jobs/#";
const JOBS: usize = 60;
/// How long anything may take before the test has failed.
const DEADLINE: Duration = Duration::from_secs(30);

fn token(user: &str) -> String {
    Token::of(ACME, user).acl(&["#"], &["#"]).sign()
}

async fn member(world: &World, version: Version, name: &str) -> Client {
    Client::connect(world.at(), Link::Tcp, &Connect::new(version, name, &token(name)).kept()).await
}

async fn publish(world: &World, jobs: std::ops::Range<usize>) {
    let mut boss = Client::connect(world.at(), Link::Tcp, &Connect::v5("boss", &token("boss"))).await;
    for n in jobs {
        assert_eq!(boss.publish("jobs/x", n.to_string()).await.code, 0);
    }
}

fn number(message: &Publish) -> usize {
    String::from_utf8_lossy(&message.payload).parse().expect("a number")
}

/// What has come so far. A PUBACK to the boss says that a job is stored, not that it has come.
async fn work(member: &mut Client) -> Vec<usize> {
    let mut jobs = Vec::new();
    loop {
        let messages = member.messages_so_far().await;
        if messages.is_empty() {
            return jobs;
        }
        for message in messages {
            member.ack(message.id).await;
            jobs.push(number(&message));
        }
    }
}

/// The next so many, which must come.
async fn wait_for(member: &mut Client, count: usize) -> Vec<usize> {
    let mut jobs = Vec::new();
    while jobs.len() < count {
        let message = member.message().await;
        member.ack(message.id).await;
        jobs.push(number(&message));
    }
    jobs
}

/// Each job to one member, online or not, over a kill; what an ended member left goes to the other. `[v5:4.8.2-6] [v5:U33]`
/// `[v5:U36]`
#[tokio::test]
async fn jobs_are_shared_kept_and_handed_on() {
    let mut world = World::start().await;
    let mut a = member(&world, Version::V5, "a").await;
    a.subscribe(FILTER, 1).await;
    let mut b = member(&world, Version::V311, "b").await;
    b.subscribe(FILTER, 1).await;
    publish(&world, 0..JOBS).await;
    let (mut first, mut second) = (Vec::new(), Vec::new());
    let end = Instant::now() + DEADLINE;
    while first.len() + second.len() < JOBS {
        assert!(Instant::now() < end, "{first:?} and {second:?}");
        first.append(&mut work(&mut a).await);
        second.append(&mut work(&mut b).await);
    }
    assert!(first.len() >= JOBS / 3 && second.len() >= JOBS / 3, "{} and {}", first.len(), second.len());
    let all: BTreeSet<usize> = first.iter().chain(&second).copied().collect();
    assert_eq!((all.len(), first.len() + second.len()), (JOBS, JOBS), "each once");

    // A refusal of a member is the end of its message. [v5:4.8.2-6]
    publish(&world, 0..2).await;
    let refused = a.message().await;
    let id = refused.id.to_be_bytes();
    a.send(&[0x40, 3, id[0], id[1], 0x97]).await;
    assert_eq!(wait_for(&mut b, 1).await.len(), 1, "the other one");
    assert_eq!((work(&mut a).await.len(), work(&mut b).await.len()), (0, 0));

    a.disconnect().await;
    publish(&world, 0..10).await;
    assert_eq!(wait_for(&mut b, 10).await, (0..10).collect::<Vec<_>>(), "who is online gets them");
    b.disconnect().await;
    publish(&world, 10..JOBS).await;
    world.crash().await;
    let mut b = member(&world, Version::V311, "b").await;
    let mut got = work(&mut b).await;
    assert!(got.len() < JOBS - 10, "some wait for the other");
    // The other will not come back: its session is thrown away.
    Client::connect(world.at(), Link::Tcp, &Connect::v5("a", &token("a"))).await.disconnect().await;
    let missing = JOBS - 10 - got.len();
    got.extend(wait_for(&mut b, missing).await);
    got.extend(work(&mut b).await);
    got.sort_unstable();
    assert_eq!(got, (10..JOBS).collect::<Vec<_>>());
}

/// `[v5:4.8.2-1] [v5:4.8.2-2] [v311:4.7.2-1] [v5:4.7.2-1]`, and the inbox of the contract.
#[tokio::test]
async fn what_cannot_be_shared_is_refused() {
    let world = World::start().await;
    let mut client = member(&world, Version::V5, "alice").await;
    for (filter, code) in [
        ("$share/g", 0x8F),
        ("$share//t", 0x8F),
        ("$share/g+/t", 0x8F),
        ("$share/g/", 0x8F),
        ("$share/g//t", 1),
        ("$share/g/t/#", 1),
        ("$share/g/$SYS/#", 0x87),
        ("$share/g/user/alice/inbox", 0x9E),
        ("$share/g/user/+/status", 0x9E),
    ] {
        assert_eq!(client.subscribe_with(&[(filter, 1)], &Properties::none()).await, [code], "{filter}");
    }
    let mut old = member(&world, Version::V311, "old").await;
    let codes =
        old.subscribe_with(&[("$share/g/user/old/inbox", 1), ("$share/g/t", 1)], &Properties::none()).await;
    assert_eq!(codes, [0x80, 1]);
    // At QoS 0 one who is online has it: no, not both, and in turn.
    let mut writer = Client::connect(world.at(), Link::Tcp, &Connect::v5("writer", &token("writer"))).await;
    client.unsubscribe("$share/g/t/#").await;
    client.subscribe("$share/g/t", 1).await;
    for n in 0..10 {
        writer.publish_qos0("t", n.to_string()).await;
    }
    for half in [&mut client, &mut old] {
        for _ in 0..5 {
            half.message().await;
        }
        assert_eq!(half.messages_so_far().await, []);
    }
}
