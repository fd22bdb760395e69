//! `inboxd tail`: follows an inbox (I7), one JSON object a line, acknowledged once it is printed (I8).
//!
//! Not here: the connection (`client`).

use std::time::Duration;

use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, Publish, SubscribeProperties, SubscribeReasonCode};
use rumqttc::v5::{ConnectionError, Event};
use schemas::topic::{UserTopic, UserTopicKind};
use serde::Deserialize;

use crate::Failure;
use crate::cli::{self, TailArgs};
use crate::client::{Connection, final_failure};

/// Longest wait for the server to close after our DISCONNECT.
const LEAVE_MAX: Duration = Duration::from_secs(5);
/// Pause before connecting again: long enough not to hammer a server that starts.
const RECONNECT_PAUSE: Duration = Duration::from_secs(1);

pub(crate) fn run(args: &TailArgs) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::Failed(format!("cannot start: {e}")))?;
    let connection = Connection::new(&args.client, args.session.as_deref())?;
    runtime.block_on(Tail::new(args, connection).follow())
}

/// What we look at in an event; the rest is passed on as it is.
#[derive(Deserialize)]
struct Position {
    epoch: String,
    seq: Option<u64>,
}

struct Tail {
    connection: Connection,
    topic: String,
    /// Last event shown, or where to start: (epoch, seq).
    place: Option<(Option<String>, u64)>,
    /// Events still to be shown; `None`: all.
    left: Option<u64>,
    connected_once: bool,
}

impl Tail {
    fn new(args: &TailArgs, connection: Connection) -> Self {
        let topic = UserTopic { user: connection.user.clone(), kind: UserTopicKind::Inbox };
        Self {
            connection,
            topic: topic.to_string(),
            place: args.after.map(|seq| (args.epoch.clone(), seq)),
            left: args.count,
            connected_once: false,
        }
    }

    async fn follow(mut self) -> Result<(), Failure> {
        if self.left == Some(0) {
            return Ok(());
        }
        loop {
            match self.connection.events.poll().await {
                Ok(Event::Incoming(Packet::ConnAck(ack))) => {
                    self.connected_once = true;
                    // A session that was kept has its subscription, and its cursor knows the place.
                    if !ack.session_present {
                        self.subscribe()?;
                    }
                }
                Ok(Event::Incoming(Packet::SubAck(ack))) => match ack.return_codes.first() {
                    Some(SubscribeReasonCode::Success(_)) => {}
                    refused => {
                        let what =
                            format!("the server refused the subscription to {}: {refused:?}", self.topic);
                        return Err(Failure::Failed(what));
                    }
                },
                Ok(Event::Incoming(Packet::Publish(publish))) => self.show(&publish)?,
                Ok(Event::Outgoing(Outgoing::Disconnect)) => return self.leave().await,
                Ok(_) => {}
                Err(e) => self.lost(&e).await?,
            }
        }
    }

    /// Reads on until the server has closed. To close with unread events resets the connection, and the server may
    /// then never see the last acknowledgements.
    async fn leave(mut self) -> Result<(), Failure> {
        let closed = async { while self.connection.events.poll().await.is_ok() {} };
        // A server that does not close must not keep us; what it did not see it sends again the next time.
        let _ = tokio::time::timeout(LEAVE_MAX, closed).await;
        Ok(())
    }

    fn subscribe(&self) -> Result<(), Failure> {
        let mut properties = SubscribeProperties { id: None, user_properties: Vec::new() };
        if let Some((epoch, seq)) = &self.place {
            properties.user_properties.push(("after".to_owned(), seq.to_string()));
            if let Some(epoch) = epoch {
                properties.user_properties.push(("epoch".to_owned(), epoch.clone()));
            }
        }
        self.connection
            .client
            .try_subscribe_with_properties(self.topic.as_str(), QoS::AtLeastOnce, properties)
            .map_err(|e| Failure::Failed(format!("cannot subscribe: {e}")))
    }

    fn show(&mut self, publish: &Publish) -> Result<(), Failure> {
        let position: Option<Position> = serde_json::from_slice(&publish.payload).ok();
        if self.left != Some(0) && !self.was_shown(position.as_ref()) {
            cli::print(&line(&publish.payload))?;
            if let Some(Position { epoch, seq: Some(seq) }) = position {
                self.place = Some((Some(epoch), seq));
            }
            if let Some(left) = &mut self.left {
                *left -= 1;
            }
        } else if self.left == Some(0) {
            // Not shown, so not acknowledged: a named session gets it the next time.
            return Ok(());
        }
        let client = &self.connection.client;
        let failed = |e| Failure::Failed(format!("cannot acknowledge: {e}"));
        client.try_ack(publish).map_err(failed)?;
        if self.left == Some(0) {
            client.try_disconnect().map_err(failed)?;
        }
        Ok(())
    }

    /// What a reconnect brings again.
    fn was_shown(&self, position: Option<&Position>) -> bool {
        match (&self.place, position) {
            (Some((Some(epoch), last)), Some(Position { epoch: other, seq: Some(seq) })) => {
                epoch == other && seq <= last
            }
            _ => false,
        }
    }

    async fn lost(&mut self, error: &ConnectionError) -> Result<(), Failure> {
        if let Some(failure) = final_failure(error) {
            return Err(failure);
        }
        if !self.connected_once {
            let (host, port) = self.connection.events.options.broker_address();
            return Err(Failure::Failed(format!("cannot connect to {host}:{port}: {error}")));
        }
        eprintln!("inboxd: connection lost ({error}), connecting again");
        tokio::time::sleep(RECONNECT_PAUSE).await;
        Ok(())
    }
}

/// One line: the payload as it came, unless it holds line ends of its own.
pub(crate) fn line(payload: &[u8]) -> String {
    let text = String::from_utf8_lossy(payload);
    if !text.contains('\n') {
        return format!("{text}\n");
    }
    match serde_json::from_str::<serde_json::Value>(&text) {
        Ok(value) => format!("{value}\n"),
        Err(_) => format!("{}\n", text.replace('\n', " ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_event_is_one_line() {
        for (payload, expected) in [
            (&b"{\"b\":1,\"a\":2}"[..], "{\"b\":1,\"a\":2}\n"),
            (b"{\n \"a\": [1,\n2]}", "{\"a\":[1,2]}\n"),
            (b"no\njson", "no json\n"),
        ] {
            assert_eq!(line(payload), expected);
        }
    }
}
