//! Retention, seen from outside: what went is announced (P3), numbers go on (P2), the rest is forgotten in time.

use std::time::{Duration, Instant};

use schemas::{QoS, Seq, Status};

use super::session::FOR_EVER;
use super::topics::NOBODY;
use super::{World, account_id, inbound, status, to_ana, user_id};
use crate::{InboxCursor, InboxKey, InboxStart, Op, Outcome, Progress, SessionClose};

const DAY_MS: u64 = 86_400_000;
const HOUR_MS: u64 = 3_600_000;
const INBOX: &str = "user/alice/inbox";
/// Longer than a round takes on a busy machine; only a fault waits that long.
const DEADLINE: Duration = Duration::from_secs(60);

impl World {
    /// Retention works when the writer has nothing else to do: waits until `done` says that it has.
    pub(super) async fn swept<T>(&self, what: &str, mut done: impl AsyncFnMut(&Self) -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            // Changes nothing; the writer turns to retention after it.
            let session = crate::SessionKey(0);
            let close = SessionClose {
                session,
                connection: 0,
                expiry_s: None,
                will: false,
                sent: Progress::default(),
                acked_ahead: Vec::new(),
            };
            self.commit(Op::SessionClose(close)).await;
            if let Some(found) = done(self).await {
                return found;
            }
            assert!(start.elapsed() < DEADLINE, "never: {what}");
            tokio::task::yield_now().await;
        }
    }

    /// The oldest number that alice's inbox keeps, its head, and the numbers of its events after `after`.
    async fn alice(&self, after: u64) -> (u64, u64, Vec<u64>) {
        let inbox = InboxKey::of(&account_id("acme"), &user_id("alice"));
        let page = self.store.inbox(inbox, Seq(after), 100).await.expect("the inbox is read");
        let seqs = page.events.iter().filter_map(|stored| stored.event.seq).map(|seq| seq.0).collect();
        (page.oldest.0, page.head.0, seqs)
    }

    async fn alice_keeps_from(&self, oldest: u64) {
        self.swept("the inbox is shortened", async |world: &Self| {
            (world.alice(0).await.0 >= oldest).then_some(())
        })
        .await;
        assert_eq!(self.alice(0).await.0, oldest);
    }

    async fn text(&self, n: u32) {
        self.webhook(vec![inbound(&format!("wamid.{n}"), "hi", self.now())]).await;
    }
}

/// P3: a reader sees where it begins, a session gets the missing numbers named, in a cursor of its own or asked for.
pub async fn what_retention_removed_is_announced(world: &mut World) {
    let state = world.connect("alice", "phone", false, FOR_EVER).await;
    world.subscribe(&state, INBOX, None).await;
    for n in 0..4 {
        world.text(n).await;
    }
    world.store.advance(state.session, Progress { inbox: Seq(2), queue: 0 });
    world.disconnect(&state, Progress { inbox: Seq(4), queue: 0 }).await;
    world.pass(20 * DAY_MS);
    for n in 4..6 {
        world.text(n).await;
    }
    world.pass(10 * DAY_MS);
    world.alice_keeps_from(5).await;
    assert_eq!(world.alice(0).await, (5, 6, vec![5, 6]));
    assert_eq!(world.alice(5).await, (5, 6, vec![6]));

    let gap = Some((Seq(3), Seq(4)));
    let cursor = InboxCursor { qos: QoS::AtLeastOnce, acked: Seq(2), gap };
    let resumed = world.connect("alice", "phone", false, FOR_EVER).await;
    assert_eq!(resumed.inbox, Some(cursor), "what it had not acknowledged is named");
    let start = Some(InboxStart { after: Seq(0), epoch: None });
    let asked = world.subscribe(&resumed, INBOX, start).await.inbox.expect("an inbox");
    assert_eq!((asked.acked, asked.gap), (Seq(4), Some((Seq(1), Seq(4)))));
    world.reopen().await;
    assert_eq!(world.alice(0).await, (5, 6, vec![5, 6]));
}

/// P2: also where nothing is left, and by another process.
pub async fn numbers_go_on_after_everything_old_is_gone(world: &mut World) {
    for n in 0..3 {
        world.text(n).await;
    }
    world.pass(31 * DAY_MS);
    world.alice_keeps_from(4).await;
    assert_eq!(world.alice(0).await, (4, 3, vec![]), "1 to 3 are gone, the head is 3");
    world.reopen().await;
    assert_eq!(world.alice(0).await, (4, 3, vec![]));
    let state = world.connect("alice", "phone", false, FOR_EVER).await;
    let start = Some(InboxStart { after: Seq(1), epoch: None });
    let cursor = world.subscribe(&state, INBOX, start).await.inbox.expect("an inbox");
    assert_eq!((cursor.acked, cursor.gap), (Seq(3), Some((Seq(2), Seq(3)))));
    world.text(3).await;
    assert_eq!(world.alice(3).await, (4, 4, vec![4]));
    world.pass(31 * DAY_MS);
    world.alice_keeps_from(5).await;
}

/// `inbox_max_events`.
pub async fn an_inbox_keeps_no_more_than_so_many_events(world: &mut World) {
    world.settings.retention.inbox_max_events = 5;
    world.reopen().await;
    for n in 0..12 {
        world.text(n).await;
    }
    world.pass(DAY_MS);
    world.alice_keeps_from(8).await;
    assert_eq!(world.alice(0).await, (8, 12, vec![8, 9, 10, 11, 12]));
}

/// P4 holds for `dedupe_days`; the rest of the tables likewise, each in its time.
pub async fn what_is_kept_for_days_is_forgotten_then(world: &mut World) {
    world.send("alice", "c1", to_ana(), "hi").await;
    world.webhook(vec![status("wamid.stranger", None, Status::Sent, world.now())]).await;
    world.pass(HOUR_MS);
    world.send("alice", "c2", to_ana(), "hi").await;
    world.text(1).await;
    let repeated = async |world: &World, id: &str| {
        let body = super::text_message(to_ana(), "hi");
        match world.command("alice", id, body).await {
            Outcome::Command(done) => done.repeated,
            other => panic!("not carried out: {other:?}"),
        }
    };
    world.pass(7 * DAY_MS - HOUR_MS - 1);
    assert!(repeated(world, "c1").await, "a millisecond before its time");
    // Retention rests for minutes between its rounds.
    world.pass(HOUR_MS / 2);
    world.swept("c1 is forgotten", async |world: &World| (!repeated(world, "c1").await).then_some(())).await;
    assert!(repeated(world, "c2").await, "it is an hour younger");
    let left = world.rows().await;
    assert_eq!((left["parked"], left["journal"]), (0, 1), "and so are a status and a webhook");
    assert_eq!(left["log"], 4, "messages are kept for ever");
}

/// `[v5:U42]`: what an expired session left is gone without anybody asking for it; one that never ends stays.
pub async fn expired_sessions_go_by_themselves(world: &mut World) {
    let expiry_s = 60;
    let phone = world.connect("alice", "phone", false, expiry_s).await;
    world.subscribe(&phone, INBOX, None).await;
    world.subscribe(&phone, "t/#", None).await;
    world.disconnect(&phone, Progress::default()).await;
    let online = world.connect("alice", "desk", false, expiry_s).await;
    let tablet = world.connect("bob", "tablet", false, FOR_EVER).await;
    world.subscribe(&tablet, "t/#", None).await;
    world.disconnect(&tablet, Progress::default()).await;
    world.pass(u64::from(expiry_s) * 1000 + DAY_MS);
    // Nobody can see a session that expired, so there is nothing to wait for but the rows themselves.
    let start = Instant::now();
    let left = loop {
        let left = world.rows().await;
        if left["session"] == 2 {
            break left;
        }
        assert!(start.elapsed() < DEADLINE, "{left:?}");
    };
    assert_eq!((left["subscription"], left["cursor"]), (1, 0));
    let again = world.connect("alice", "desk", false, expiry_s).await;
    assert!(again.present && again.connection > online.connection, "the one that was online is there");
}

/// By age and by number; the newest one stays, so that its number tells how many went.
pub async fn a_queue_keeps_no_more_than_an_inbox(world: &mut World) {
    world.settings.retention.inbox_max_events = 3;
    world.reopen().await;
    let phone = world.connect("alice", "phone", false, FOR_EVER).await;
    world.subscribe(&phone, "t", None).await;
    world.disconnect(&phone, Progress::default()).await;
    let waiting = async |world: &World, expected: &[u64]| {
        world
            .swept("the queue is shortened", async |world: &World| {
                // Not from memory, which may hold what is gone on disk a little longer.
                let page = world.store.queue(phone.session, 0, 100).await.expect("the queue is read");
                let numbers: Vec<u64> = page.messages.iter().map(|queued| queued.n).collect();
                (numbers == expected).then_some(())
            })
            .await;
    };
    for _ in 0..5 {
        world.publish("acme", NOBODY, "t", "x").await;
    }
    world.pass(HOUR_MS);
    waiting(world, &[3, 4, 5]).await;
    world.pass(30 * DAY_MS);
    waiting(world, &[5]).await;
    world.reopen().await;
    let phone = world.connect("alice", "phone", false, FOR_EVER).await;
    assert_eq!((phone.queue_acked, phone.queue_head), (0, 5), "one to four are missing");
    world.publish("acme", NOBODY, "t", "x").await;
    assert_eq!(world.queue(&phone, 5).await[0].n, 6);
}
