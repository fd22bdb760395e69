//! O6 from Meta's side: one `POST /{phone_number_id}/messages`. Checked as Meta checks it, treated as script or chance
//! will have it, answered, and followed by statuses (O8).
//!
//! HTTP 200 means accepted, not delivered; and there is no idempotency key: the same body twice is two messages. That
//! is the trap promise P6 is about, so the model must not be kinder than Meta.
//!
//! Not in here: templates' parameters, media ids, groups; any such send is taken as it comes.

mod check;

use serde_json::{Value, json};

use super::{Model, Post, Received};
use crate::whatsapp::envelope::{Person, StatusUpdate, Update};
use crate::whatsapp::faults::{DeliveryStatus, ScriptedAnswer, StatusPlan};
use crate::whatsapp::graph_error::{self, OUTSIDE_WINDOW, OVERLOADED, RATE_LIMITED, UNKNOWN_ERROR};
use check::{Outgoing, Refusal, Send};

/// A request to a `messages` path.
#[derive(Clone, Copy, Debug)]
pub struct SendRequest<'a> {
    /// From the path.
    pub phone_number_id: &'a str,
    /// The `Authorization` header.
    pub authorization: Option<&'a str>,
    /// The raw body.
    pub body: &'a [u8],
}

/// What the caller of the Graph API sees, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendAnswer {
    /// The answer itself.
    pub reply: Reply,
    /// So many milliseconds after the request.
    pub after_ms: u64,
    /// Not before a status of this message (wamid) has been delivered and answered with 200.
    pub after_status_of: Option<String>,
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// An HTTP answer with a JSON body.
    Http {
        /// Status code.
        status: u16,
        /// Body.
        body: Vec<u8>,
    },
    /// The connection ends without a byte.
    Cut,
}

/// How one well-formed send is treated.
struct Treatment {
    accepted: bool,
    answer: ScriptedAnswer,
    after_ms: u64,
    status_first: bool,
    plan: StatusPlan,
}

impl Model {
    /// One `POST …/messages`: records it, and if it is accepted schedules its statuses.
    pub fn post_message(&mut self, now_ms: u64, request: SendRequest<'_>) -> SendAnswer {
        let body: Option<Value> = serde_json::from_slice(request.body).ok();
        let (answer, wamid) = match check::check(self, request, body.as_ref()) {
            Err(refusal) => (self.refused(&refusal), None),
            Ok(Send::ReadMark) => {
                let reply = Reply::Http { status: 200, body: br#"{"success":true}"#.to_vec() };
                let after_ms = self.rng.ms(self.faults.answer_ms);
                (SendAnswer { reply, after_ms, after_status_of: None }, None)
            }
            Ok(Send::Message(message)) => self.message(now_ms, &message),
        };
        self.record(now_ms, request, body, &answer, wamid);
        answer
    }

    fn refused(&mut self, refusal: &Refusal) -> SendAnswer {
        let status = graph_error::lookup(refusal.code).http;
        let reply = self.error_reply(status, refusal.code, Some(&refusal.details));
        SendAnswer { reply, after_ms: self.rng.ms(self.faults.answer_ms), after_status_of: None }
    }

    fn message(&mut self, now_ms: u64, message: &Outgoing) -> (SendAnswer, Option<String>) {
        let treatment = self.treatment(now_ms, message);
        // Drawn in any case, so that a refusal does not shift the ids of all later messages.
        let wamid = self.wamids.outbound(&mut self.rng, now_ms, &message.to);
        let reply = match treatment.answer {
            ScriptedAnswer::Ok => accepted_reply(message, &wamid),
            ScriptedAnswer::Error { http, code } => self.error_reply(http, code, None),
            ScriptedAnswer::Cut => Reply::Cut,
        };
        if !treatment.accepted {
            return (SendAnswer { reply, after_ms: treatment.after_ms, after_status_of: None }, None);
        }
        let withheld = self.withhold_statuses || treatment.plan == StatusPlan::Withheld;
        let after_status_of = (treatment.status_first && !withheld && treatment.plan != StatusPlan::Never)
            .then(|| wamid.clone());
        self.statuses(now_ms, message, &wamid, &treatment, withheld);
        (SendAnswer { reply, after_ms: treatment.after_ms, after_status_of }, Some(wamid))
    }

    /// Script before chance. Chance is drawn in any case: a scripted send must not shift the others' fates.
    fn treatment(&mut self, now_ms: u64, message: &Outgoing) -> Treatment {
        let mut treatment = self.treatment_by_chance();
        if let Some(script) = self.take_script(message) {
            treatment = Treatment {
                accepted: script.is_accepted(),
                answer: script.answer,
                after_ms: script.after_ms.unwrap_or(treatment.after_ms),
                status_first: script.status_before_answer,
                plan: script.statuses,
            };
        }
        let window_open = self.people.window_is_open(message.phone(&self.people), message.number, now_ms);
        let closed = self.faults.enforce_window && !window_open && message.kind != "template";
        if closed && treatment.plan == StatusPlan::Normal {
            treatment.plan = StatusPlan::Failed(OUTSIDE_WINDOW);
        }
        if treatment.plan == StatusPlan::Normal && message.kind == "reaction" {
            // Meta sends no more than this for reactions.
            treatment.plan = StatusPlan::Exactly(vec![DeliveryStatus::Sent]);
        }
        if treatment.accepted && !self.schedule.has_room() {
            treatment.accepted = false;
            treatment.answer = ScriptedAnswer::Error { http: 503, code: OVERLOADED };
        }
        treatment
    }

    fn treatment_by_chance(&mut self) -> Treatment {
        let (faults, rng) = (&self.faults, &mut self.rng);
        let after_ms = rng.ms(faults.answer_ms);
        let error = |http, code| ScriptedAnswer::Error { http, code };
        let of_choice = error(graph_error::lookup(faults.fail_code_is).http, faults.fail_code_is);
        // The first that happens decides; every one is drawn.
        let outcomes = [
            (faults.rate_limit_130429, false, error(graph_error::lookup(RATE_LIMITED).http, RATE_LIMITED)),
            (faults.fail_code, false, of_choice),
            (faults.fail_5xx, false, error(500, UNKNOWN_ERROR)),
            (faults.drop_connection_before_accept, false, ScriptedAnswer::Cut),
            (faults.fail_5xx_after_accept, true, error(500, UNKNOWN_ERROR)),
            (faults.drop_connection_after_accept, true, ScriptedAnswer::Cut),
        ];
        let drawn =
            outcomes.map(|(chance, accepted, answer)| rng.chance(chance).then_some((accepted, answer)));
        let (accepted, answer) = drawn.into_iter().flatten().next().unwrap_or((true, ScriptedAnswer::Ok));
        let status_first = rng.chance(faults.status_before_answer);
        let plans = [
            (faults.no_statuses, StatusPlan::Never),
            (faults.fail_later, StatusPlan::Failed(faults.fail_later_code)),
            (faults.skip_delivered, StatusPlan::Exactly(vec![DeliveryStatus::Sent, DeliveryStatus::Read])),
            (faults.unread, StatusPlan::Exactly(vec![DeliveryStatus::Sent, DeliveryStatus::Delivered])),
        ];
        let drawn = plans.map(|(chance, plan)| rng.chance(chance).then_some(plan));
        let plan = drawn.into_iter().flatten().next().unwrap_or_default();
        Treatment { accepted, answer, after_ms, status_first, plan }
    }

    fn take_script(&mut self, message: &Outgoing) -> Option<super::ScriptedSend> {
        let fits = |script: &super::ScriptedSend| match &script.to {
            Some(to) => *to == message.input || super::people::digits(to).as_ref() == Some(&message.to),
            None => true,
        };
        let at = self.scripts.iter().position(fits)?;
        let script = self.scripts[at].clone();
        if script.times > 1 {
            self.scripts[at].times -= 1;
        } else {
            self.scripts.remove(at);
        }
        Some(script)
    }

    fn statuses(
        &mut self,
        now_ms: u64,
        message: &Outgoing,
        wamid: &str,
        treatment: &Treatment,
        withheld: bool,
    ) {
        use DeliveryStatus::{Delivered, Failed, Read, Sent};
        let (chain, code) = match &treatment.plan {
            StatusPlan::Normal | StatusPlan::Withheld => (vec![Sent, Delivered, Read], None),
            StatusPlan::Never => (Vec::new(), None),
            StatusPlan::Failed(code) => (vec![Failed], Some(*code)),
            StatusPlan::Exactly(chain) => (chain.clone(), Some(graph_error::UNDELIVERABLE)),
        };
        let mut at_ms = now_ms;
        for (nth, status) in chain.iter().copied().enumerate() {
            at_ms += match status {
                Sent | Failed => 0,
                Delivered => self.rng.ms(self.faults.delivered_after_ms),
                Read | DeliveryStatus::Played => self.rng.ms(self.faults.read_after_ms),
            };
            let update = Update::Status(StatusUpdate {
                wamid: wamid.to_owned(),
                status,
                timestamp_s: at_ms / 1_000,
                recipient: message.recipient(status),
                opaque: message.opaque.clone(),
                error_code: code.filter(|_| status == Failed),
                priced: nth == 0 && status != Failed,
            });
            if withheld {
                self.schedule.withhold(message.number, update);
            } else if nth == 0 && treatment.status_first {
                // Without this moment's delay: somebody waits for it.
                self.schedule.push(at_ms, message.number, update);
            } else {
                self.push(at_ms, message.number, update);
            }
        }
        if !chain.contains(&Failed) {
            self.reach_customer(now_ms, message, wamid);
        }
    }

    fn reach_customer(&mut self, now_ms: u64, message: &Outgoing, wamid: &str) {
        let received = Received {
            phone: message.phone(&self.people).to_owned(),
            number: self.numbers[message.number].phone_number_id.clone(),
            wamid: wamid.to_owned(),
            kind: message.kind.clone(),
            text: message.text.clone(),
            at_ms: now_ms + self.faults.delivered_after_ms.min,
        };
        self.note_received(received);
    }

    fn error_reply(&mut self, status: u16, code: u32, details: Option<&str>) -> Reply {
        let trace_id = format!("A{:016x}", self.rng.next_u64());
        let body = graph_error::body(code, details, &trace_id);
        Reply::Http { status, body: body.to_string().into_bytes() }
    }

    fn record(
        &mut self,
        now_ms: u64,
        request: SendRequest<'_>,
        body: Option<Value>,
        answer: &SendAnswer,
        wamid: Option<String>,
    ) {
        let body = body.unwrap_or_else(|| Value::String(String::from_utf8_lossy(request.body).into_owned()));
        let text = |key: &str| body.get(key).and_then(Value::as_str).map(str::to_owned);
        self.posts.push(Post {
            at_ms: now_ms,
            number: request.phone_number_id.to_owned(),
            to: text("to").or_else(|| text("recipient")),
            kind: text("type"),
            biz_opaque: text("biz_opaque_callback_data"),
            wamid,
            http: match &answer.reply {
                Reply::Http { status, .. } => Some(*status),
                Reply::Cut => None,
            },
            body,
        });
    }
}

impl Outgoing {
    /// The recipient as a status shows them. A failed status names only what the sender gave.
    fn recipient(&self, status: DeliveryStatus) -> Person {
        if self.by_user_id {
            return Person::user_id(&self.to);
        }
        let person = Person::phone(&self.to);
        if status == DeliveryStatus::Failed {
            person
        } else {
            person.with_user_id(&super::people::user_id_of(&self.to))
        }
    }
}

fn accepted_reply(message: &Outgoing, wamid: &str) -> Reply {
    let contact = if message.by_user_id {
        json!({ "input": message.input, "user_id": message.to })
    } else {
        json!({ "input": message.input, "wa_id": message.to })
    };
    let mut sent = json!({ "id": wamid });
    if message.kind == "template" {
        sent["message_status"] = json!("accepted");
    }
    let body = json!({ "messaging_product": "whatsapp", "contacts": [contact], "messages": [sent] });
    Reply::Http { status: 200, body: body.to_string().into_bytes() }
}
