//! O1, O4. What is published to an outbox: commands, and typing at QoS 0; and the result for those who ask for it.
//!
//! A command with an MQTT 5 response topic is answered there, after its acknowledgement: `{"id","message"}` with what it
//! made, or `{"id","code","detail"}`. Who may not publish to that topic gets no answer, and the acknowledgement of a command
//! that was taken says why; his own signals are always open to him, on the connection that asked. Not here: what commands do (the store's plan).

use std::num::NonZeroU16;
use std::sync::Arc;

use bytes::Bytes;
use schemas::command::Typing;
use schemas::topic::{self, UserTopic, UserTopicKind};
use schemas::{Command, CommandId, Encoding, ErrorCode, Message, Publication, PublishProperties, QoS};

use super::pending::{Publishing, Reply};
use super::{Cause, Online};
use crate::io::{Action, Answer, Gate, Now, Output, Request, Told};
use crate::packet::Version;

/// Reason string of a PUBACK or PUBREC with success: the command was taken, and its result goes nowhere.
pub(super) const RESPONSE_TOPIC_DENIED: &str = "response topic: acl_denied";

/// What became of a command, for its response topic.
#[derive(serde::Serialize)]
struct CommandResult<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a CommandId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a Message>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<ErrorCode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

impl Online {
    pub(super) fn command(
        &mut self,
        now: Now,
        gate: &dyn Gate,
        id: NonZeroU16,
        message: &Publication,
        out: &mut Output,
    ) -> Result<(), Cause> {
        let mut publishing = Publishing::of(id, message.qos);
        publishing.reply = self.wanted_reply(gate, message);
        match read_command(message) {
            Ok(command) => {
                if let Some(reply) = &mut publishing.reply {
                    reply.id = Some(command.id.clone());
                }
                let report_refusal = self.encoder.version == Version::V311 && !self.close_on_refusal;
                let request = Request::Command { command, received_us: now.wall_us, report_refusal };
                self.submit(now, publishing, request, out);
            }
            Err(error) if self.encoder.version == Version::V5 => {
                if let Some(reply) = &mut publishing.reply {
                    (reply.id, reply.detail) = (error.id, Some(error.detail));
                }
                return self.refuse(now, publishing, error.code, out);
            }
            Err(error) if self.close_on_refusal => return Err(Self::closing(error.code, out)),
            Err(error) => {
                Self::tell(out, Told::Refused(error.code));
                let request =
                    Request::Report { id: error.id, code: error.code, detail: error.detail, topic: None };
                self.submit(now, publishing, request, out);
            }
        }
        Ok(())
    }

    /// Typing is the only thing that an outbox takes at QoS 0.
    pub(super) fn typing(message: &Publication, out: &mut Output) {
        #[derive(serde::Deserialize)]
        struct Signal {
            r#type: String,
            #[serde(flatten)]
            typing: Typing,
        }
        match encoding_of(message).read::<Signal>(&message.payload) {
            Ok(signal) if signal.r#type == "typing" => out.actions.push(Action::Typing {
                conversation: signal.typing.conversation,
                state: signal.typing.state,
            }),
            _ => Self::tell(out, Told::DroppedQoS0),
        }
    }

    /// Where the result is wanted, and may it go there?
    fn wanted_reply(&self, gate: &dyn Gate, message: &Publication) -> Option<Box<Reply>> {
        let properties = message.properties.as_deref()?;
        let topic: Arc<str> = properties.response_topic.as_deref()?.into();
        let own_signals = UserTopic { user: self.claims.user.clone(), kind: UserTopicKind::Signals };
        let own = *topic == *own_signals.to_string();
        let allowed = || {
            !topic::is_reserved(&topic) && gate.publish(&self.claims, &topic, QoS::AtLeastOnce, false).is_ok()
        };
        let denied = !own && !allowed();
        let correlation = properties.correlation_data.clone();
        Some(Box::new(Reply { topic, own, denied, correlation, id: None, detail: None }))
    }

    /// Sends the result of a command to where it is wanted.
    pub(super) fn reply(&mut self, reply: Option<Box<Reply>>, answer: Answer, out: &mut Output) {
        let Some(reply) = reply.filter(|reply| !reply.denied) else {
            return;
        };
        let mut result = CommandResult { id: reply.id.as_ref(), message: None, code: None, detail: None };
        let made;
        match answer {
            Answer::Command(message) => {
                made = message;
                result.message = made.as_deref();
            }
            Answer::Refused(code) => {
                result.code = Some(code);
                result.detail = Some(reply.detail.as_deref().unwrap_or_else(|| code.meaning()));
            }
            _ => {}
        }
        let message = Publication {
            topic: Arc::clone(&reply.topic),
            payload: Bytes::from(self.encoding.write(&result)),
            qos: if reply.own { QoS::AtMostOnce } else { QoS::AtLeastOnce },
            retain: false,
            properties: Some(Box::new(PublishProperties {
                content_type: Some(self.encoding.content_type().to_owned()),
                correlation_data: reply.correlation.clone(),
                ..PublishProperties::default()
            })),
        };
        if reply.own {
            return self.publication(&message, &[], false, usize::MAX, out);
        }
        let message = Arc::new(message);
        out.actions.push(Action::PublishLive(Arc::clone(&message)));
        // Nobody waits for it: whoever sends the command again gets it again.
        let request = Box::new(Request::Publish { message, report_refusal: false });
        out.actions.push(Action::Submit { token: u64::MAX, request });
    }
}

/// Is it somebody's outbox? (The gate lets nobody publish to another's.)
pub(super) fn is_outbox(topic: &str) -> bool {
    UserTopic::parse(topic).is_some_and(|topic| topic.kind == UserTopicKind::Outbox)
}

pub(super) fn read_command(message: &Publication) -> Result<Command, schemas::CommandError> {
    Command::read(encoding_of(message), &message.payload)
}

fn encoding_of(message: &Publication) -> Encoding {
    let content_type = message.properties.as_ref().and_then(|p| p.content_type.as_deref());
    Encoding::detect(content_type, &message.payload)
}
