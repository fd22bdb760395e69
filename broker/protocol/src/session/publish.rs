//! O1, O4. PUBLISH from a client, at every QoS.
//!
//! A PUBACK or PUBREC leaves only once the message, or the refusal that 3.1.1 can learn in no other way, is on disk (P1).
//! Not here: what stands in an outbox (`command`), what commands do (the store's plan).

use std::num::NonZeroU16;
use std::sync::Arc;

use bytes::Bytes;
use schemas::{ErrorCode, Publication, QoS};

use super::command::{RESPONSE_TOPIC_DENIED, is_outbox};
use super::pending::{Publishing, Waiting};
use super::timer::Moment;
use super::{Cause, Online};
use crate::codec::Ack;
use crate::io::{Action, Answer, Gate, Limits, Now, Output, Request, Told};
use crate::packet::{Publish, Version};
use crate::reason::v5;

/// A refused topic is reported in the inbox of a 3.1.1 client at most this often, in milliseconds (contract, section 5).
const REPORT_INTERVAL_MS: u64 = 1_000;

/// Codes that a PUBACK or PUBREC may carry. `[v5:3.4.2-1] [v5:3.5.2-1]`
const PUBACK_CODES: [u8; 7] = [0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];

impl Online {
    pub(super) fn publish(
        &mut self,
        limits: &Limits,
        now: Now,
        gate: &dyn Gate,
        publish: Publish,
        out: &mut Output,
    ) -> Result<(), Cause> {
        let Publish { id, alias, mut message } = publish;
        self.resolve_alias(limits, alias, &mut message)?;
        self.check_announced(limits, id, &message)?;
        if gate.publish(&self.claims, &message.topic, message.qos, message.retain).is_ok() {
            return self.accept(now, gate, id, message, out);
        }
        match id {
            None => {
                Self::tell(out, Told::DroppedQoS0);
                Ok(())
            }
            Some(id) if self.encoder.version == Version::V5 => {
                self.refuse(now, Publishing::of(id, message.qos), ErrorCode::AclDenied, out)
            }
            Some(_) if self.close_on_refusal => Err(Self::closing(ErrorCode::AclDenied, out)),
            Some(id) => self.report_topic(now, Publishing::of(id, message.qos), &message.topic, out),
        }
    }

    fn check_announced(
        &mut self,
        limits: &Limits,
        id: Option<NonZeroU16>,
        message: &Publication,
    ) -> Result<(), Cause> {
        let Some(id) = id.filter(|_| self.announced) else {
            return Ok(());
        };
        // [v5:3.3.4-7] [v5:U21]; at QoS 2 until PUBCOMP, and the same again counts once.
        let receiving = self.receiving.as_ref().map(|open| &open.0[..]).unwrap_or_default();
        let again = message.qos == QoS::ExactlyOnce && receiving.contains(&id);
        let in_flight = self.pending.at_least_once() + receiving.len();
        if !again && in_flight >= usize::from(limits.receive_max) {
            return Err(Cause::error(
                v5::RECEIVE_MAX,
                "v5:3.3.4-7",
                "more publishes in flight than announced",
            ));
        }
        if message.qos == QoS::ExactlyOnce && !again {
            self.receiving.get_or_insert_default().0.push(id);
        }
        Ok(())
    }

    /// A publish that the token allows.
    fn accept(
        &mut self,
        now: Now,
        gate: &dyn Gate,
        id: Option<NonZeroU16>,
        message: Publication,
        out: &mut Output,
    ) -> Result<(), Cause> {
        // [v311:3.3.4-1] [v5:3.3.4-1] [v311:2.3.1-2] [v5:4.3.2-5]
        match (is_outbox(&message.topic), id) {
            (true, Some(id)) => return self.command(now, gate, id, &message, out),
            (true, None) => Self::typing(&message, out),
            (false, Some(id)) => {
                let message = Arc::new(kept(message));
                let live = Some(Arc::clone(&message));
                let report_refusal = message.retain && self.may_report(now);
                let publishing = Publishing { live, ..Publishing::of(id, message.qos) };
                self.submit(now, publishing, Request::Publish { message, report_refusal }, out);
            }
            (false, None) => {
                let message = Arc::new(kept(message));
                if message.retain {
                    // [v311:3.3.1-7]: nobody is told what becomes of it, but what is answered later is later.
                    let token = self.pending.push(now.mono_ms, Waiting::Retain);
                    let request = Request::Publish { message: Arc::clone(&message), report_refusal: false };
                    out.actions.push(Action::Submit { token, request: Box::new(request) });
                }
                out.actions.push(Action::PublishLive(message));
            }
        }
        Ok(())
    }

    /// Asks the store; at QoS 2 once for the packet identifier. `[v5:4.3.3-10]`
    pub(super) fn submit(&mut self, now: Now, publishing: Publishing, request: Request, out: &mut Output) {
        let Publishing { id, exactly_once, .. } = publishing;
        let token = self.pending.push(now.mono_ms, Waiting::Publish(publishing));
        let request = Box::new(request);
        let request = if exactly_once { Box::new(Request::Once { packet: id, request }) } else { request };
        out.actions.push(Action::Submit { token, request });
    }

    /// `refused_publish_311 = "close"`. [v311:3.3.5-2]
    pub(super) fn closing(code: ErrorCode, out: &mut Output) -> Cause {
        Self::tell(out, Told::Refused(code));
        Cause::error(v5::NOT_AUTHORIZED, "v311:3.3.5-2", "a publish that is refused")
    }

    /// MQTT 5: the reason code says it.
    pub(super) fn refuse(
        &mut self,
        now: Now,
        publishing: Publishing,
        code: ErrorCode,
        out: &mut Output,
    ) -> Result<(), Cause> {
        self.settle_with(now, publishing, Answer::Refused(code), out)
    }

    /// An answer that is known without the store, in its turn.
    fn settle_with(
        &mut self,
        now: Now,
        publishing: Publishing,
        answer: Answer,
        out: &mut Output,
    ) -> Result<(), Cause> {
        self.pending.push_answered(now.mono_ms, Waiting::Publish(publishing), answer);
        self.settle(now, out)
    }

    /// 3.1.1: the message counts as acknowledged, and the inbox says that it was refused. `[v311:3.3.5-2]`
    fn report_topic(
        &mut self,
        now: Now,
        publishing: Publishing,
        topic: &str,
        out: &mut Output,
    ) -> Result<(), Cause> {
        Self::tell(out, Told::Refused(ErrorCode::AclDenied));
        if !self.may_report(now) {
            return self.settle_with(now, publishing, Answer::Done, out);
        }
        self.reported_ms = Moment::at(now.mono_ms);
        let code = ErrorCode::AclDenied;
        let (detail, topic) = (code.meaning().to_owned(), Some(topic.to_owned()));
        let request = Request::Report { id: None, code, detail, topic };
        self.submit(now, publishing, request, out);
        Ok(())
    }

    /// Is the inbox to tell what a 3.1.1 client cannot be told, and has it not done so a moment ago?
    fn may_report(&self, now: Now) -> bool {
        let lately =
            self.reported_ms.get().is_some_and(|at| now.mono_ms.saturating_sub(at) < REPORT_INTERVAL_MS);
        self.encoder.version == Version::V311 && !self.close_on_refusal && !lately
    }

    /// PUBREL: PUBCOMP once the packet identifier is free on disk. `[v311:4.3.3-2] [v5:4.3.3-11]`
    pub(super) fn released(&mut self, now: Now, id: NonZeroU16, out: &mut Output) {
        let token = self.pending.push(now.mono_ms, Waiting::Release { id });
        out.actions.push(Action::Submit { token, request: Box::new(Request::Release { packet: id }) });
    }

    /// A flow at QoS 2 is over.
    fn has_received(&mut self, id: NonZeroU16) {
        if let Some(open) = &mut self.receiving {
            open.0.retain(|held| *held != id);
        }
    }

    /// Sends the acknowledgements that are due, in order.
    pub(super) fn settle(&mut self, now: Now, out: &mut Output) -> Result<(), Cause> {
        while let Some((what, answer)) = self.pending.pop() {
            match (what, answer) {
                (Waiting::Publish(publishing), answer) => self.published(now, publishing, answer, out)?,
                (Waiting::Release { id }, answer) => {
                    self.has_received(id);
                    // [v5:U39] [v5:3.7.2-1]
                    let unknown = answer == Answer::Released(false);
                    let reason = if unknown { v5::PACKET_ID_UNKNOWN } else { v5::SUCCESS };
                    self.encoder.acknowledge(&mut out.bytes, Ack::PubComp, id, reason, None);
                }
                (Waiting::Receive { id, delivered }, _) => self.release(now, id, delivered, out),
                (Waiting::Subscribe(subscribing), Answer::Subscribed(results)) => {
                    self.subscribed(*subscribing, &results, out)?;
                }
                (Waiting::Unsubscribe { id, filters }, Answer::Unsubscribed(existed)) => {
                    self.unsubscribed(id, &filters, &existed, out)?;
                }
                (Waiting::Retain, _) => {}
                (Waiting::Ping, _) => self.encoder.pingresp(&mut out.bytes),
                // The driver gives each request its own kind of answer.
                (Waiting::Subscribe(_) | Waiting::Unsubscribe { .. }, _) => {}
            }
        }
        Ok(())
    }

    fn published(
        &mut self,
        now: Now,
        publishing: Publishing,
        answer: Answer,
        out: &mut Output,
    ) -> Result<(), Cause> {
        let Publishing { id, exactly_once, live, reply } = publishing;
        let ack = if exactly_once { Ack::PubRec } else { Ack::PubAck };
        let Answer::Refused(code) = answer else {
            // [v311:4.3.2-2] [v5:4.3.2-4] [v311:4.3.3-2] [v5:4.3.3-8]
            let denied = reply.as_ref().is_some_and(|reply| reply.denied);
            let why = denied.then_some(RESPONSE_TOPIC_DENIED);
            self.encoder.acknowledge(&mut out.bytes, ack, id, v5::SUCCESS, why);
            if answer != Answer::Repeated {
                out.actions.extend(live.map(Action::PublishLive));
                self.reply(reply, answer, out);
            }
            return Ok(());
        };
        if self.close_on_refusal {
            return Err(Self::closing(code, out));
        }
        Self::tell(out, Told::Refused(code));
        if live.is_some() {
            self.reported_ms = Moment::at(now.mono_ms);
        }
        let reason = if PUBACK_CODES.contains(&code.mqtt()) { code.mqtt() } else { v5::IMPLEMENTATION };
        // [v5:4.3.3-9]
        self.has_received(id);
        self.encoder.acknowledge(&mut out.bytes, ack, id, reason, Some(code.as_str()));
        self.reply(reply, answer, out);
        Ok(())
    }
}

/// The payload leaves the shared read buffer here, in the one copy that is made of it: a slice would pin the buffer.
pub(super) fn kept(message: Publication) -> Publication {
    Publication { payload: Bytes::copy_from_slice(&message.payload), ..message }
}
