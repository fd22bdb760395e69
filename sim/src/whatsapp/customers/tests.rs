//! The demo's customers: who writes, when, how often, and that it is the same every time.

use super::*;

const NOW_MS: u64 = 1_000_000;

fn heard(phone: &str, text: &str, at_ms: u64) -> Received {
    Received {
        phone: phone.to_owned(),
        number: "100000000000001".to_owned(),
        wamid: "wamid.B".to_owned(),
        kind: "text".to_owned(),
        text: Some(text.to_owned()),
        at_ms,
    }
}

fn texts(actions: &[CustomerAction]) -> Vec<&CustomerAction> {
    actions.iter().filter(|action| action.content.kind() == "text").collect()
}

/// Plays until nothing is planned; gives (time, action).
fn play(customers: &mut Customers) -> Vec<(u64, CustomerAction)> {
    let mut played = Vec::new();
    while let Some(now_ms) = customers.next_due_ms() {
        played.extend(customers.due(now_ms).into_iter().map(|action| (now_ms, action)));
    }
    played
}

#[test]
fn openers_write_first_one_after_the_other() {
    let mut customers = Customers::new(NOW_MS, CustomersConfig::default());
    let played = play(&mut customers);
    let phones: Vec<&str> = played.iter().map(|(_, action)| action.phone.as_str()).collect();
    let all: Vec<&str> =
        Customers::new(NOW_MS, CustomersConfig::default()).people().map(|(phone, _)| phone).collect();
    assert_eq!(phones, all[..4]);
    assert!(played.windows(2).all(|pair| pair[0].0 < pair[1].0));
}

#[test]
fn the_same_seed_gives_the_same_talk() {
    let talk = |seed| {
        let mut customers = Customers::new(NOW_MS, CustomersConfig { seed, ..CustomersConfig::default() });
        let mut played = play(&mut customers);
        for turn in 0..20 {
            customers.received(heard("12025550143", "let me see", NOW_MS + 100_000 * turn));
            played.extend(play(&mut customers));
        }
        played
    };
    assert_eq!(talk(7), talk(7));
    assert_ne!(talk(7), talk(8));
}

#[test]
fn an_answer_to_a_question_holds_the_fact_asked_for() {
    let mut customers = Customers::new(NOW_MS, CustomersConfig { openers: 0, ..CustomersConfig::default() });
    customers.received(heard("12025550143", "May I have your ORDER NUMBER?", NOW_MS));
    let played = play(&mut customers);
    let last = &played.last().expect("an answer").1;
    assert_eq!(last.content, Content::text("It's 48213."));
    assert_eq!(last.number.as_deref(), Some("100000000000001"));
}

#[test]
fn they_never_stop_answering() {
    let mut customers = Customers::new(NOW_MS, CustomersConfig { openers: 0, ..CustomersConfig::default() });
    for turn in 0..500_u64 {
        customers.received(heard("447700900725", "", NOW_MS + turn * 60_000));
        let played: Vec<CustomerAction> =
            play(&mut customers).into_iter().map(|(_, action)| action).collect();
        assert_eq!(texts(&played).len(), 1, "turn {turn}");
    }
}

#[test]
fn a_flood_is_answered_once_and_answers_keep_their_distance() {
    let config =
        CustomersConfig { openers: 0, answer_after_ms: MsRange::new(0, 0), ..CustomersConfig::default() };
    let mut customers = Customers::new(NOW_MS, config);
    let mut wrote_ms = Vec::new();
    for at_ms in NOW_MS..NOW_MS + 10_000 {
        customers.received(heard("447700900725", "and?", at_ms));
        let actions = customers.due(at_ms);
        wrote_ms.extend(texts(&actions).iter().map(|_| at_ms));
    }
    assert_eq!(wrote_ms.len(), 5, "{wrote_ms:?}");
    assert!(wrote_ms.windows(2).all(|pair| pair[1] - pair[0] >= PAUSE_MIN_MS));
}

#[test]
fn strangers_and_reactions_are_not_answered() {
    let mut customers = Customers::new(NOW_MS, CustomersConfig { openers: 0, ..CustomersConfig::default() });
    customers.received(heard("19995550000", "hello", NOW_MS));
    customers.received(Received { kind: "reaction".to_owned(), ..heard("12025550143", "", NOW_MS) });
    assert_eq!(customers.next_due_ms(), None);
}

#[test]
fn whoever_was_written_to_first_does_not_open_again() {
    let mut customers =
        Customers::new(NOW_MS, CustomersConfig { people: 1, openers: 1, ..CustomersConfig::default() });
    let opening_ms = customers.next_due_ms().expect("an opening");
    let config = CustomersConfig {
        people: 1,
        openers: 1,
        answer_after_ms: MsRange::new(1, 1),
        ..CustomersConfig::default()
    };
    customers = Customers::new(NOW_MS, config);
    customers.received(heard("12025550143", "Hello!", NOW_MS));
    let played: Vec<CustomerAction> = customers.due(opening_ms).into_iter().collect();
    assert_eq!(texts(&played).len(), 1);
}

#[test]
fn a_customer_says_once_what_brings_them_here() {
    let ana = &small_talk::CAST[0];
    let greeting = "Good morning, I am looking into it right now.";
    assert!(small_talk::answer(ana, 0, true, greeting).contains("48213"));
    assert!(!small_talk::answer(ana, 0, false, greeting).contains("48213"));
}
