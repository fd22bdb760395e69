//! What the demo's customers say: a handful of characters, each with one concern and the facts an agent may ask for,
//! and a few rules that pick an answer to what was heard.
//!
//! A toy on purpose: it must read sensibly on a screen for five minutes, and it must always have an answer.
//! Phone numbers are from the ranges that regulators keep free for fiction.

use crate::whatsapp::rng::Rng;

/// A customer's part.
#[derive(Debug)]
pub(super) struct Character {
    /// Digits.
    pub(super) phone: &'static str,
    pub(super) name: &'static str,
    /// Ways to begin.
    openings: [&'static str; 2],
    /// The concern again, for an agent who says hello.
    concern: &'static str,
    order: &'static str,
    address: &'static str,
    email: &'static str,
    /// Moves the talk on when no rule fits; used in turn.
    follow_ups: [&'static str; 5],
}

/// Everybody, openers first.
pub(super) const CAST: [Character; 6] = [
    Character {
        phone: "12025550143",
        name: "Ana Morales",
        openings: [
            "Hi! My order 48213 was due yesterday, but nothing has arrived yet. Could you check?",
            "Hello, could you tell me where my order 48213 is? It should have been here yesterday.",
        ],
        concern: "It's about my order 48213. It should have been here yesterday and the tracking page has not moved.",
        order: "48213",
        address: "27 Willow Street, Apt 4, Arlington",
        email: "ana.morales@example.com",
        follow_ups: [
            "Okay. Do you know which day it will come?",
            "I'm at home in the afternoon, if the driver needs somebody.",
            "Could they leave it with the neighbour at number 25?",
            "The tracking page still says \"in transit\" 🤷",
            "Alright, I'll keep an eye on it.",
        ],
    },
    Character {
        phone: "447700900381",
        name: "Oliver Grant",
        openings: [
            "Good morning, could you send me the invoice for order 47990? I need it for my accountant.",
            "Hi there, I can't find the invoice for order 47990 anywhere. Could you send it again?",
        ],
        concern: "I need the invoice for order 47990 with our company name on it, please.",
        order: "47990",
        address: "Grant & Daughters Ltd, 8 Harbour Row, Bristol",
        email: "oliver@grant-daughters.example",
        follow_ups: [
            "Does it show the VAT number as well?",
            "Could you put our company name on it? Grant & Daughters Ltd.",
            "My accountant would like it by Friday, if that is possible.",
            "Is there a page where I can download these myself next time?",
            "Got it, I'll forward it to her.",
        ],
    },
    Character {
        phone: "33639980027",
        name: "Zoé Lefèvre",
        openings: [
            "Bonjour ☕ The grinder I bought last week came with a cracked lid. What can we do?",
            "Hello! One of the two cups in my parcel is broken 😕 Order 48102.",
        ],
        concern: "Something in order 48102 arrived broken. I would like a replacement, if you have one.",
        order: "48102",
        address: "14 rue des Tanneurs, 37000 Tours",
        email: "zoe.lefevre@example.com",
        follow_ups: [
            "Do I have to send the broken one back?",
            "A replacement would be perfect, it is a present.",
            "The box itself looked fine from outside, by the way.",
            "Until when can I return it otherwise?",
            "D'accord, I'll wait for it then.",
        ],
    },
    Character {
        phone: "12025550178",
        name: "Marcus Bell",
        openings: [
            "Hey, do you have the walnut desk in stock? The site says \"few left\".",
            "Hi, quick question: is the walnut desk also available in 160 cm?",
        ],
        concern: "I'm thinking about the walnut desk and wanted to know whether you have it, and when it could be here.",
        order: "not ordered yet, I wanted to ask first",
        address: "510 Cedar Avenue, Baltimore",
        email: "marcus.bell@example.com",
        follow_ups: [
            "How long would delivery take to Baltimore?",
            "Is assembly included, or do I need tools?",
            "What would shipping cost?",
            "Could you hold one for me until tomorrow?",
            "Sounds good. I'll talk to my partner tonight.",
        ],
    },
    Character {
        phone: "447700900725",
        name: "Priya Nair",
        openings: [
            "Hello, I'd like to change the delivery address of order 48260. Is that still possible?",
            "Hi, I moved last weekend. Can order 48260 go to my new address?",
        ],
        concern: "I moved, so order 48260 should go to my new address, please.",
        order: "48260",
        address: "Flat 3, 61 Mill Lane, Leeds LS2",
        email: "priya.nair@example.com",
        follow_ups: [
            "Will it still come this week?",
            "Should I change the address in my account too?",
            "The old place has a new tenant, so please not there 🙂",
            "Do I get a new confirmation by mail?",
            "Perfect, then that's settled.",
        ],
    },
    Character {
        phone: "12025550196",
        name: "Tomás Silva",
        openings: [
            "Hi, I returned order 47655 ten days ago and have not seen the refund yet.",
            "Hello, any news about the refund for order 47655?",
        ],
        concern: "I sent order 47655 back ten days ago and the refund has not arrived.",
        order: "47655",
        address: "2208 Lakeview Drive, Richmond",
        email: "tomas.silva@example.com",
        follow_ups: [
            "I have the receipt of the parcel shop, if that helps.",
            "Will it go back to the same card?",
            "How many days does the bank usually take?",
            "Okay, I'll check my account on Monday.",
            "Could you send me a short note when it is out?",
        ],
    },
];

/// What each rule listens for, and what it makes somebody say; the first that fits speaks.
const RULES: &[(&[&str], Say)] = &[
    (&["order number", "order no", "which order", "reference"], Say::Order),
    (&["address", "postcode", "zip", "where do you live", "where should"], Say::Address),
    (&["email", "e-mail", "mail address"], Say::Email),
    (
        &[
            "how can i help",
            "how may i help",
            "what can i do",
            "what is it about",
            "hello",
            "good morning",
            "good afternoon",
        ],
        Say::Concern,
    ),
    (
        &["photo", "picture"],
        Say::Words(&[
            "Sure, I'll take one when I'm back home tonight.",
            "I'll send one later, the light is bad right now.",
        ]),
    ),
    (
        &["refund"],
        Say::Words(&[
            "A refund is fine for me. How long does it take?",
            "Great, back to the same card please.",
        ]),
    ),
    (
        &["replacement", "new one", "exchange"],
        Say::Words(&[
            "A new one would be lovely, thank you.",
            "Yes please. Do I have to send the old one back?",
        ]),
    ),
    (
        &[
            "tomorrow",
            "today",
            "monday",
            "tuesday",
            "wednesday",
            "thursday",
            "friday",
            "this week",
            "next week",
        ],
        Say::Words(&[
            "That works for me. In the morning or in the afternoon?",
            "Good, then I'll be at home.",
            "Okay, I can wait until then.",
        ]),
    ),
    (
        &["sorry", "apolog"],
        Say::Words(&["No worries, these things happen.", "It's alright, thanks for looking into it."]),
    ),
    (
        &["anything else", "something else"],
        Say::Words(&["No, that was all. Thank you!", "Not today, thanks a lot."]),
    ),
    (&["thank", "welcome"], Say::Words(&["Thank you for the quick answer!", "Great service, really 🙂"])),
    (
        &["bye", "nice day", "good day", "take care"],
        Say::Words(&["You too, bye!", "Thanks, have a nice day as well 👋"]),
    ),
    (
        &["moment", "minute", "let me check", "i'll check", "looking into"],
        Say::Words(&["Sure, take your time.", "No hurry, I'm here."]),
    ),
];

#[derive(Clone, Copy)]
enum Say {
    Order,
    Address,
    Email,
    Concern,
    /// One of these, in turn.
    Words(&'static [&'static str]),
}

/// How a customer begins.
pub(super) fn opening(character: &Character, rng: &mut Rng) -> String {
    let choice = rng.below(character.openings.len() as u64);
    character.openings[choice as usize].to_owned()
}

/// What a customer answers to `heard`, their `turn`th answer; `first` where they have written nothing before: only then
/// a greeting is answered with what brings them here. Never empty.
pub(super) fn answer(character: &Character, turn: usize, first: bool, heard: &str) -> String {
    let heard = heard.to_lowercase();
    let rule = RULES.iter().find(|(words, say)| {
        (first || !matches!(say, Say::Concern)) && words.iter().any(|word| heard.contains(word))
    });
    match rule.map(|(_, say)| *say) {
        Some(Say::Order) => format!("It's {}.", character.order),
        Some(Say::Address) => format!("{}, please.", character.address),
        Some(Say::Email) => format!("Sure: {}", character.email),
        Some(Say::Concern) => format!("Hi! {}", character.concern),
        Some(Say::Words(words)) => words[turn % words.len()].to_owned(),
        None => character.follow_ups[turn % character.follow_ups.len()].to_owned(),
    }
}
