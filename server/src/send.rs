//! `inboxd send`: publishes one `message.send` to the user's outbox (O1), waits for its PUBACK, and if asked for the
//! statuses that follow (O10). The command has an id, so connecting and sending again has the effect of once.
//!
//! Not here: the connection (`client`).

use rumqttc::Outgoing;
use rumqttc::v5::Event;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    Packet, PubAck, PubAckReason, Publish, PublishProperties, SubscribeReasonCode,
};
use schemas::topic::{UserTopic, UserTopicKind};
use schemas::{Command, CommandId, ConversationId, Status};
use serde_json::{Value, json};

use crate::cli::{self, SendArgs};
use crate::client::{Connection, final_failure};
use crate::{Failure, keys, tail};

pub(crate) fn run(args: &SendArgs) -> Result<(), Failure> {
    let id = match &args.id {
        Some(id) => id.parse().map_err(|e| Failure::Usage(format!("--id: {e}")))?,
        None => new_id()?,
    };
    let command = command(&id, &args.to, &args.text)?;
    let connection = Connection::new(&args.client, None)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::Failed(format!("cannot start: {e}")))?;
    let send = Send::new(connection, id, command, args.wait);
    runtime.block_on(async {
        let timeout =
            Failure::Failed(format!("no answer within {}", humantime::format_duration(args.timeout)));
        tokio::time::timeout(args.timeout, send.run()).await.unwrap_or(Err(timeout))
    })
}

/// A ULID of now.
fn new_id() -> Result<CommandId, Failure> {
    let ulid = keys::new_ulid().map_err(|e| Failure::Failed(e.to_string()))?;
    CommandId::new(&ulid.to_string()).map_err(|e| Failure::Failed(e.to_string()))
}

/// The command as JSON, checked as the server will check it.
fn command(id: &CommandId, to: &str, text: &str) -> Result<Value, Failure> {
    let mut command = json!({"type": "message.send", "id": id, "kind": "text", "text": text});
    if let Some(user) = to.strip_prefix("user:") {
        command["to"] = json!({"user": user});
    } else if to.starts_with('+') {
        let (phone, number) = to.split_once('@').ok_or_else(|| {
            let what = "--to: write +PHONE@PHONE_NUMBER_ID, so that it is known which of your numbers writes";
            Failure::Usage(what.to_owned())
        })?;
        command["to"] = json!({"whatsapp": phone, "number": number});
    } else {
        // The server would look for any text; here it is a slip.
        to.parse::<ConversationId>().map_err(|e| {
            Failure::Usage(format!(
                "--to: {e}; write +PHONE@PHONE_NUMBER_ID, user:NAME, or the id of a conversation"
            ))
        })?;
        command["conversation"] = json!(to);
    }
    Command::from_value(&command, None).map_err(|e| Failure::Usage(e.detail))?;
    Ok(command)
}

struct Send {
    connection: Connection,
    id: CommandId,
    command: Value,
    wait: bool,
    /// It was said that the command is stored.
    accepted: bool,
    /// The message's id, once its event told it.
    message: Option<String>,
    /// Everything came that was waited for.
    done: bool,
}

impl Send {
    fn new(connection: Connection, id: CommandId, command: Value, wait: bool) -> Self {
        Self { connection, id, command, wait, accepted: false, message: None, done: false }
    }

    async fn run(mut self) -> Result<(), Failure> {
        let mut connected_once = false;
        loop {
            match self.connection.events.poll().await {
                Ok(Event::Incoming(Packet::ConnAck(_))) => {
                    connected_once = true;
                    if self.wait { self.subscribe() } else { self.publish() }?;
                }
                // The subscription starts at the head, so it has to stand before the command goes out.
                Ok(Event::Incoming(Packet::SubAck(ack))) => match ack.return_codes.first() {
                    Some(SubscribeReasonCode::Success(_)) => self.publish()?,
                    refused => {
                        return Err(Failure::Failed(format!(
                            "the server refused the subscription: {refused:?}"
                        )));
                    }
                },
                Ok(Event::Incoming(Packet::PubAck(ack))) => self.answered(&ack)?,
                Ok(Event::Incoming(Packet::Publish(publish))) => self.event(&publish)?,
                Ok(Event::Outgoing(Outgoing::Disconnect)) => return Ok(()),
                Ok(_) => {}
                Err(e) => match final_failure(&e) {
                    Some(failure) => return Err(failure),
                    None if connected_once => eprintln!("inboxd: connection lost ({e}), connecting again"),
                    None => {
                        let (host, port) = self.connection.events.options.broker_address();
                        return Err(Failure::Failed(format!("cannot connect to {host}:{port}: {e}")));
                    }
                },
            }
        }
    }

    fn topic(&self, kind: UserTopicKind) -> String {
        let user = self.connection.user.clone();
        UserTopic { user, kind }.to_string()
    }

    fn subscribe(&self) -> Result<(), Failure> {
        let topic = self.topic(UserTopicKind::Inbox);
        let subscribed = self.connection.client.try_subscribe(topic, QoS::AtLeastOnce);
        subscribed.map_err(|e| Failure::Failed(format!("cannot subscribe: {e}")))
    }

    fn publish(&self) -> Result<(), Failure> {
        let properties = PublishProperties {
            content_type: Some("application/json".to_owned()),
            ..PublishProperties::default()
        };
        let topic = self.topic(UserTopicKind::Outbox);
        let published = self.connection.client.try_publish_with_properties(
            topic,
            QoS::AtLeastOnce,
            false,
            self.command.to_string(),
            properties,
        );
        published.map_err(|e| Failure::Failed(format!("cannot send: {e}")))
    }

    fn answered(&mut self, ack: &PubAck) -> Result<(), Failure> {
        if !matches!(ack.reason, PubAckReason::Success | PubAckReason::NoMatchingSubscribers) {
            let reason = ack.properties.as_ref().and_then(|p| p.reason_string.clone());
            let reason = reason.unwrap_or_else(|| format!("{:?}", ack.reason));
            return Err(Failure::Failed(format!("refused: {reason}")));
        }
        self.accept()?;
        self.finish_if(!self.wait)
    }

    /// Says once that the command is stored. Its event may overtake its PUBACK, and says the same.
    fn accept(&mut self) -> Result<(), Failure> {
        if std::mem::replace(&mut self.accepted, true) {
            return Ok(());
        }
        cli::print(&format!("{}\n", json!({"id": self.id, "accepted": true})))
    }

    fn event(&mut self, publish: &Publish) -> Result<(), Failure> {
        let acknowledged = self.connection.client.try_ack(publish);
        acknowledged.map_err(|e| Failure::Failed(format!("cannot acknowledge: {e}")))?;
        let Ok(event) = serde_json::from_slice::<Value>(&publish.payload) else {
            return Ok(());
        };
        let data = &event["data"];
        let created = event["type"] == "message.created";
        let ours = match event["type"].as_str() {
            Some("message.created") if data["command_id"] == self.id.as_str() => {
                self.message = data["id"].as_str().map(str::to_owned);
                true
            }
            Some("message.status") => {
                self.message.is_some() && data["message"].as_str() == self.message.as_deref()
            }
            Some("command.failed") if data["id"] == self.id.as_str() => {
                return Err(Failure::Failed(format!("refused: {}: {}", data["code"], data["detail"])));
            }
            _ => false,
        };
        if !ours {
            return Ok(());
        }
        self.accept()?;
        cli::print(&tail::line(&publish.payload))?;
        match serde_json::from_value(data["status"].clone()) {
            Ok(Status::Failed) => Err(Failure::Failed(format!("not delivered: {}", data["error"]))),
            Ok(Status::Delivered | Status::Read | Status::Played) => self.finish_if(true),
            // From user to user: stored is all that is told of it. To WhatsApp a message begins as `sending`.
            Ok(Status::Sent) if created => self.finish_if(true),
            _ => Ok(()),
        }
    }

    fn finish_if(&mut self, finished: bool) -> Result<(), Failure> {
        if !finished || self.done {
            return Ok(());
        }
        self.done = true;
        let left = self.connection.client.try_disconnect();
        left.map_err(|e| Failure::Failed(format!("cannot disconnect: {e}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> CommandId {
        CommandId::new("c1").unwrap()
    }

    #[test]
    fn each_form_of_to_becomes_its_target() {
        let conversation = schemas::ConversationId(7).to_string();
        for (to, expected) in [
            ("+15550000002@42", json!({"to": {"whatsapp": "+15550000002", "number": "42"}})),
            ("user:bob", json!({"to": {"user": "bob"}})),
            (conversation.as_str(), json!({ "conversation": conversation })),
        ] {
            let command = command(&id(), to, "hi").unwrap();
            for (key, value) in expected.as_object().unwrap() {
                assert_eq!(&command[key], value, "{to}");
            }
        }
    }

    #[test]
    fn what_the_server_would_refuse_is_bad_usage() {
        for (to, text) in [("+1555", "hi"), ("+x@1", "hi"), ("bob", "hi"), ("user:", "hi"), ("user:bob", "")]
        {
            assert!(matches!(command(&id(), to, text), Err(Failure::Usage(_))), "{to}");
        }
    }
}
