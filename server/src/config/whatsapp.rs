//! `[whatsapp]` and `[[whatsapp.number]]`: the keys of the bridge.
//!
//! A number carries what counts for it, so that nobody else has to know how the two come together.
//! Not here: the other sections (`sections`).

use schemas::{AccountId, NumberId, UserId};

use super::Secret;
use super::reader::Reader;
use super::sections::{DAY_MS, id, url, word};
use super::source::NUMBERS;

/// What happens to a send whose outcome stays unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnUnknown {
    /// It stays visible as unknown.
    Hold,
    /// It is sent again, flagged.
    Resend,
}

/// `[whatsapp]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WhatsApp {
    /// Signs webhooks; per number where they differ, see [`WhatsAppNumber::app_secret`].
    pub(crate) app_secret: Option<Secret>,
    /// Answers Meta's verification of the webhook address; unset: it is refused.
    pub(crate) verify_token: Option<Secret>,
    /// Base of the Graph API with its version, without a slash at the end.
    pub(crate) graph_url: String,
    /// Business numbers.
    pub(crate) numbers: Vec<WhatsAppNumber>,
}

/// `[[whatsapp.number]]`, with what `[whatsapp]` sets for all filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WhatsAppNumber {
    /// Whose it is; the account exists by that.
    pub(crate) account: AccountId,
    /// Meta's id of it.
    pub(crate) phone_number_id: NumberId,
    /// Meta's id of the WhatsApp business account.
    pub(crate) waba_id: Option<String>,
    /// As people see it.
    pub(crate) display_phone_number: Option<String>,
    /// For the Graph API.
    pub(crate) access_token: Secret,
    /// Signs its webhooks, where it is not the app of all the others.
    pub(crate) app_secret: Option<Secret>,
    /// Who answers; `None`: all users of role agent.
    pub(crate) agents: Option<Vec<UserId>>,
    /// Who gets unassigned conversations where there are more agents than `fanout_max`.
    pub(crate) triage: Vec<UserId>,
    /// What to do with an unknown outcome.
    pub(crate) on_unknown: OnUnknown,
    /// When an outcome without a status counts as unknown for good, seconds.
    pub(crate) unknown_after_s: u64,
}

/// Seconds after which an outcome without a status counts as unknown for good.
const UNKNOWN_AFTER_S: u64 = 120;
/// Most triage users of a number (contract, section 5).
const TRIAGE_MAX: usize = 64;

const UNKNOWN_WORDS: [(&str, OnUnknown); 2] = [("hold", OnUnknown::Hold), ("resend", OnUnknown::Resend)];

impl WhatsApp {
    pub(super) fn take(r: &mut Reader<'_>) -> Self {
        let app_secret = r.secret(
            "whatsapp.app_secret",
            "app.secret",
            "Meta signs webhooks with it (app dashboard, Settings, Basic). What is not signed is not taken.",
        );
        let verify_token = r.secret(
            "whatsapp.verify_token",
            "verify.token",
            "Any word, the same as in Meta's webhook settings. Unset: Meta's verification of the address is refused.",
        );
        let graph_url = r.parsed(
            "whatsapp.graph_url",
            "https://graph.facebook.com/v25.0",
            "Graph API with its version: Meta changes behaviour with it.",
            url,
        );
        let on_unknown = r.choice(
            "whatsapp.on_unknown",
            &UNKNOWN_WORDS,
            "A send that was cut off may have arrived, and WhatsApp cannot be asked. hold: it stays visible as unknown. resend: it is sent again, the customer may get it twice.",
        );
        let unknown_after_s = r.number(
            "whatsapp.unknown_after_s",
            UNKNOWN_AFTER_S,
            1,
            DAY_MS / 1000,
            "How long a status is waited for before that. Meta usually sends the first one within seconds; it holds back the next message to the same person that long.",
        );
        let common = Common { app_secret, on_unknown, unknown_after_s };
        let count = r.count(NUMBERS);
        let numbers: Vec<_> =
            (0..count).filter_map(|index| WhatsAppNumber::take(r, index, &common)).collect();
        for (index, number) in numbers.iter().enumerate() {
            if numbers[..index].iter().any(|other| other.phone_number_id == number.phone_number_id) {
                let path = format!("{NUMBERS}[{index}].phone_number_id");
                r.problem(r.origin(&path), &path, "is there twice; a number belongs to one account");
            }
        }
        Self { app_secret: common.app_secret, verify_token, graph_url, numbers }
    }
}

/// What `[whatsapp]` sets for all numbers.
struct Common {
    app_secret: Option<Secret>,
    on_unknown: OnUnknown,
    unknown_after_s: u64,
}

impl WhatsAppNumber {
    fn take(r: &mut Reader<'_>, index: usize, common: &Common) -> Option<Self> {
        let at = |key: &str| format!("{NUMBERS}[{index}].{key}");
        let account = r.required(&at("account"), "acme", "The account it belongs to; it exists by that.", id);
        let phone_number_id = r.required(
            &at("phone_number_id"),
            "100000000000001",
            "Meta's id of the number (not the number itself).",
            id,
        );
        let waba_id = r.optional(
            &at("waba_id"),
            "200000000000001",
            "Meta's id of the WhatsApp business account.",
            word,
        );
        let display_phone_number =
            r.optional(&at("display_phone_number"), "+1 555 000 0001", "The number as people see it.", word);
        let access_token = r.required_secret(
            &at("access_token"),
            "graph.token",
            "For the Graph API: a system user's token with whatsapp_business_messaging.",
            false,
        );
        let (agents, triage) = agents(r, index);
        let own = Common::take(r, index, common);
        Some(Self {
            account: account?,
            phone_number_id: phone_number_id?,
            waba_id,
            display_phone_number,
            access_token: access_token?,
            app_secret: own.app_secret,
            agents,
            triage,
            on_unknown: own.on_unknown,
            unknown_after_s: own.unknown_after_s,
        })
    }
}

fn agents(r: &mut Reader<'_>, index: usize) -> (Option<Vec<UserId>>, Vec<UserId>) {
    let agents = r.list(
        &format!("{NUMBERS}[{index}].agents"),
        Some("all"),
        "\"all\"",
        "Who answers: \"all\" users of role agent, or a list of users.",
        id,
    );
    let path = format!("{NUMBERS}[{index}].triage");
    let triage: Vec<_> = r
        .list(
            &path,
            None,
            "[]",
            "Who gets unassigned conversations where there are more agents than fanout_max.",
            id,
        )
        .unwrap_or_default();
    if triage.len() > TRIAGE_MAX {
        let what = format!("has {} users, at most {TRIAGE_MAX}", triage.len());
        r.problem(r.origin(&path), &path, what);
    }
    (agents, triage)
}

impl Common {
    /// What a number sets for itself, over what is set for all.
    fn take(r: &mut Reader<'_>, index: usize, all: &Self) -> Self {
        let at = |key: &str| format!("{NUMBERS}[{index}].{key}");
        let app_secret = r.required_secret(
            &at("app_secret"),
            "app.secret",
            "Where the number belongs to another Meta app than the others.",
            all.app_secret.is_some(),
        );
        let on_unknown =
            r.optional_choice(&at("on_unknown"), &UNKNOWN_WORDS, "As in [whatsapp], for this number.");
        let unknown_after_s = r.optional_number(
            &at("unknown_after_s"),
            UNKNOWN_AFTER_S,
            1,
            DAY_MS / 1000,
            "As in [whatsapp], for this number.",
        );
        Self {
            app_secret,
            on_unknown: on_unknown.unwrap_or(all.on_unknown),
            unknown_after_s: unknown_after_s.unwrap_or(all.unknown_after_s),
        }
    }
}
