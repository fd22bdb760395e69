//! The suite that every engine must pass: the trait's promises as tests, one file per subject.
//!
//! An engine is a way to open its store again and again on the same disk. `conformance_suite!` makes a test of each
//! case, and each ends with a check of every invariant on that disk. Not here: what is special to one engine (its own tests).

mod command;
mod exchange;
mod history;
mod inbox;
mod retained;
mod retention;
mod send;
mod session;
mod share;
mod topics;
mod webhook;
mod will;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use schemas::command::{Content, MessageSend, Target};
use schemas::message::Kind;
use schemas::{
    AccountId, Command, CommandBody, ConversationId, Epoch, Event, EventData, Message, MessageId, Millis,
    NumberId, Seq, Status, UserId, Wamid,
};

use crate::verify::Report;
use crate::{
    Agents, Asker, Clock, CommandOp, Inbound, InboxKey, Number, Op, Outcome, Person, Settings, StatusUpdate,
    Store, Update, UserSeen, WebhookDone, WebhookOp, commit,
};

pub use command::*;
pub use exchange::*;
pub use history::*;
pub use inbox::*;
pub use retained::*;
pub use retention::*;
pub use send::*;
pub use session::*;
pub use share::*;
pub use topics::*;
pub use webhook::*;
pub use will::*;

/// An engine with a disk of its own.
pub trait Engine: Send + Sync + 'static {
    /// Opens the store on that disk.
    fn open(&self, settings: Settings, clock: Clock) -> Arc<dyn Store>;

    /// Checks every invariant of what stands there; the store is closed.
    fn verify(&self) -> Report;
}

/// The business number of account `acme`.
pub const NUMBER: &str = "100000000000001";
/// A customer.
pub const ANA: &str = "+15550000002";

/// A store under test with a clock of its own.
pub struct World {
    engine: Box<dyn Engine>,
    now: Arc<AtomicU64>,
    /// Of the next [`World::reopen`].
    pub settings: Settings,
    /// The store, open.
    pub store: Arc<dyn Store>,
}

impl World {
    /// A store with account `acme`, its number, and agents alice and bob; account `umbrella` with carol.
    pub async fn new(engine: impl Engine) -> Self {
        let now = Arc::new(AtomicU64::new(1_795_000_000_000));
        let settings = settings();
        let store = engine.open(settings.clone(), clock(&now));
        let world = Self { engine: Box::new(engine), now, settings, store };
        for (account, user) in [("acme", "alice"), ("acme", "bob"), ("umbrella", "carol")] {
            let seen = UserSeen { account: account_id(account), user: user_id(user), agent: true };
            world.commit(Op::UserSeen(seen)).await;
        }
        world
    }

    /// Time passes.
    pub fn pass(&self, millis: u64) {
        self.now.fetch_add(millis, Ordering::SeqCst);
    }

    /// The time.
    pub fn now(&self) -> Millis {
        Millis(self.now.load(Ordering::SeqCst))
    }

    /// Closes the store and opens it again on the same disk.
    pub async fn reopen(&mut self) {
        self.close().await;
        self.store = self.engine.open(self.settings.clone(), clock(&self.now));
    }

    /// Closes the store, counts the rows of each table, checks every invariant, and opens it again.
    pub async fn rows(&mut self) -> BTreeMap<&'static str, u64> {
        self.close().await;
        let report = self.engine.verify();
        assert_eq!(report.violations, []);
        self.store = self.engine.open(self.settings.clone(), clock(&self.now));
        report.rows
    }

    async fn close(&mut self) {
        self.store.close().await;
        // The old store must be gone before another may take its folder.
        self.store = crate::engine::memory::open(settings(), clock(&self.now)).expect("memory opens");
    }

    /// Whatever a case did, no promise is broken on the disk.
    pub async fn finish(mut self) {
        self.close().await;
        let report = self.engine.verify();
        assert_eq!(report.violations, [], "after the case");
    }

    /// Commits an op that must succeed.
    pub async fn commit(&self, op: Op) -> Outcome {
        commit(&*self.store, op).await.expect("the op is committed")
    }

    /// A webhook.
    pub async fn webhook(&self, updates: Vec<Update>) -> WebhookDone {
        let op = WebhookOp { body: b"{}".as_slice().into(), updates, received_us: self.now().0 * 1000 };
        match self.commit(Op::Webhook(op)).await {
            Outcome::Webhook(done) => done,
            other => panic!("not a webhook's outcome: {other:?}"),
        }
    }

    /// A command of an agent of `acme`.
    pub async fn command(&self, user: &str, id: &str, body: CommandBody) -> Outcome {
        let command = Command { id: id.parse().expect("a command id"), body };
        self.commit(Op::Command(CommandOp {
            account: account_id("acme"),
            user: user_id(user),
            command,
            received_us: 1,
            report_refusal: false,
        }))
        .await
    }

    /// A text message of an agent of `acme`; the message it made.
    pub async fn send(&self, user: &str, id: &str, to: Target, text: &str) -> Message {
        match self.command(user, id, text_message(to, text)).await {
            Outcome::Command(done) => done.message.expect("a send makes a message"),
            other => panic!("the send was not carried out: {other:?}"),
        }
    }

    /// All events of a user's inbox, with the numbers checked to be 1, 2, 3 … (P2).
    pub async fn events(&self, account: &str, user: &str) -> Vec<Event> {
        let inbox = InboxKey::of(&account_id(account), &user_id(user));
        let mut events = Vec::new();
        loop {
            let after = Seq(events.len() as u64);
            // Pages of an odd size, so that borders fall anywhere.
            let page = self.store.inbox(inbox, after, 7).await.expect("the inbox is read");
            if page.events.is_empty() {
                assert_eq!(page.head, after, "the head is the number of the last event");
                return events;
            }
            for stored in page.events {
                assert_eq!(stored.event.seq, Some(Seq(events.len() as u64 + 1)), "without a gap or a repeat");
                events.push(stored.event.clone());
            }
        }
    }

    /// The message of the newest `message.created` of alice.
    pub async fn newest_message(&self) -> Message {
        let events = self.events("acme", "alice").await;
        let newest = events.iter().rev().find_map(|event| match &event.data {
            EventData::MessageCreated(message) => Some(Message::clone(message)),
            _ => None,
        });
        newest.expect("there is a message")
    }
}

/// An account id.
pub fn account_id(text: &str) -> AccountId {
    AccountId::new(text).expect("an account id")
}

/// A user id.
pub fn user_id(text: &str) -> UserId {
    UserId::new(text).expect("a user id")
}

/// The business number.
pub fn number() -> NumberId {
    NumberId::new(NUMBER).expect("a number id")
}

/// Who asks.
pub fn asker(account: &str, user: &str) -> Asker {
    Asker { account: account_id(account), user: user_id(user) }
}

/// An inbound text of Ana.
pub fn inbound(wamid: &str, text: &str, at: Millis) -> Update {
    Update::Message(Box::new(Inbound {
        number: number(),
        person: Person { phone: Some(ANA.to_owned()), name: Some("Ana".to_owned()), ..Person::default() },
        wamid: Wamid::new(wamid).expect("a wamid"),
        at,
        kind: Kind::Text,
        text: Some(text.to_owned()),
        media: None,
        payload: None,
        reply_to: None,
    }))
}

/// A status.
pub fn status(wamid: &str, message: Option<MessageId>, status: Status, at: Millis) -> Update {
    let wamid = Wamid::new(wamid).expect("a wamid");
    Update::Status(Box::new(StatusUpdate { number: number(), wamid, message, status, at, error: None }))
}

/// The body of `message.send` with a text.
pub fn text_message(to: Target, text: &str) -> CommandBody {
    CommandBody::MessageSend(MessageSend { to, content: Content::Text(text.to_owned()), reply_to: None })
}

/// To Ana's phone.
pub fn to_ana() -> Target {
    Target::WhatsApp { phone: ANA.to_owned(), number: number() }
}

/// To a conversation.
pub fn to_conversation(id: ConversationId) -> Target {
    Target::Conversation(id)
}

fn settings() -> Settings {
    let mut settings = Settings::new(Epoch(7));
    let number =
        Number { id: number(), account: account_id("acme"), agents: Agents::All, triage: Vec::new() };
    settings.numbers = vec![number];
    settings
}

fn clock(now: &Arc<AtomicU64>) -> Clock {
    let now = now.clone();
    Arc::new(move || Millis(now.load(Ordering::SeqCst)))
}

/// Makes a test of every case for the engine that `$engine` (an expression of a type that is an [`Engine`]) makes.
#[macro_export]
macro_rules! conformance_suite {
    ($engine:expr) => {
        $crate::conformance_suite!(@cases $engine,
            events_are_numbered_without_a_gap_and_alike_for_all_members,
            numbers_go_on_after_a_reopen,
            memory_and_disk_give_the_same_page,
            a_refused_command_of_a_311_client_stands_in_the_inbox,
            the_same_command_twice_has_the_effect_of_once,
            the_same_id_with_another_body_is_refused,
            refusals_name_their_code_and_leave_no_trace,
            nobody_writes_into_another_accounts_conversation,
            unread_is_position_minus_read_minus_own,
            a_contact_is_written_to_from_the_number_it_talked_to,
            user_to_user_is_sent_at_commit,
            the_same_webhook_five_times_is_one_message,
            a_thousand_updates_are_a_thousand_effects,
            statuses_in_any_order_end_at_the_highest,
            a_status_before_its_wamid_is_known_is_applied_later,
            a_status_of_a_foreign_message_id_changes_nothing,
            an_unknown_number_is_counted_and_disturbs_nothing,
            a_journaled_webhook_is_worked_off_once_also_over_a_reopen,
            persons_are_found_by_any_of_their_ids,
            a_send_is_attempted_once,
            an_attempt_left_open_is_unknown_and_a_status_settles_it,
            a_status_that_overtakes_the_answer_settles_nothing_twice,
            a_send_that_failed_or_waits_is_where_it_should_be,
            a_session_goes_on_where_it_was_acknowledged,
            an_acknowledgement_before_a_reconnect_counts,
            a_session_that_expired_or_is_cleaned_starts_anew,
            a_taken_over_connection_cannot_close_its_successor,
            a_subscription_starts_where_the_client_says,
            sessions_outlive_a_reopen_with_everything_counted_as_sent,
            a_general_message_waits_for_every_session_that_must_not_miss_it,
            acknowledged_messages_go_and_their_numbers_stay_used,
            queues_are_of_one_account_and_respect_no_local,
            an_unsubscribed_session_gets_nothing_more,
            a_publish_is_carried_out_once_for_its_packet_identifier,
            a_refused_publish_holds_its_identifier_only_where_nobody_is_told,
            a_delivery_that_was_received_is_owed_a_release,
            what_was_acknowledged_ahead_does_not_come_again,
            the_longest_filter_is_subscribed_like_any_other,
            a_new_subscription_gets_the_last_message_of_each_topic,
            retain_handling_says_who_gets_them_again,
            retained_messages_come_in_pages_over_a_reopen_and_none_twice,
            a_retained_message_ages_and_goes,
            an_account_has_room_for_so_many_retained_messages,
            the_longest_topics_are_retained_and_subscribed,
            a_will_comes_when_the_connection_breaks_and_not_otherwise,
            a_will_waits_for_its_delay_or_the_end_of_the_session,
            a_session_that_goes_on_cancels_its_will,
            wills_and_ends_of_sessions_come_also_after_a_crash,
            a_will_to_the_outbox_is_a_command,
            a_shared_message_goes_to_one_member_those_online_first,
            what_an_ended_member_had_goes_to_the_others,
            a_shared_subscription_outlives_a_reopen,
            an_exactly_once_delivery_stays_with_its_member,
            a_shared_subscription_ends_with_its_last_member,
            lists_show_the_newest_first_and_page_without_a_gap,
            messages_page_both_ways,
            strangers_see_nothing,
            what_retention_removed_is_announced,
            numbers_go_on_after_everything_old_is_gone,
            an_inbox_keeps_no_more_than_so_many_events,
            what_is_kept_for_days_is_forgotten_then,
            expired_sessions_go_by_themselves,
            a_queue_keeps_no_more_than_an_inbox,
        );
    };
    (@cases $engine:expr, $($case:ident,)+) => {
        $(
            #[tokio::test]
            async fn $case() {
                let mut world = $crate::conformance::World::new($engine).await;
                $crate::conformance::$case(&mut world).await;
                world.finish().await;
            }
        )+
    };
}
