//! A small MQTT 5 client on rumqttc, shared by `tail` and `send`.
//!
//! Not here: what they print.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, DisconnectReasonCode};
use rumqttc::v5::{AsyncClient, ConnectionError, EventLoop, MqttOptions, StateError};
use schemas::UserId;

use crate::Failure;
use crate::cli::ClientArgs;

/// Seconds between signs of life.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Largest event taken, bytes: more than any message with its payload.
const PACKET_BYTES_MAX: u32 = 16 << 20;
/// Events that may be on their way to us at once.
const RECEIVE_MAXIMUM: u16 = 64;
/// Requests that may wait for the connection: an acknowledgement for each event on its way, and a few of our own.
const REQUESTS_MAX: usize = RECEIVE_MAXIMUM as usize + 16;
/// How long the server keeps a named session, in seconds: longer than a holiday, not for ever.
const SESSION_EXPIRY_S: u32 = 30 * 86_400;

/// What a token says of its bearer, unverified: we only need to know our own topics. The server verifies.
#[derive(serde::Deserialize)]
struct Bearer {
    sub: UserId,
    dev: Option<UserId>,
}

/// A connection to be made.
pub(crate) struct Connection {
    pub(crate) user: UserId,
    pub(crate) client: AsyncClient,
    pub(crate) events: EventLoop,
}

impl Connection {
    /// Prepares a connection; it is made when its events are polled. With `session` the server keeps its state under
    /// that client id; a token with a device has that one anyway.
    pub(crate) fn new(args: &ClientArgs, session: Option<&str>) -> Result<Self, Failure> {
        let bearer = bearer(&args.token)?;
        let (host, port) = address(&args.mqtt)?;
        let device = bearer.dev.as_ref().map(UserId::as_str);
        if let (Some(name), Some(device)) = (session, device)
            && name != device
        {
            let what = format!("--session must be {device:?}, the token's device");
            return Err(Failure::Usage(what));
        }
        let mut options = MqttOptions::new(session.or(device).unwrap_or_default(), host, port);
        options
            .set_credentials(bearer.sub.as_str(), args.token.as_str())
            .set_keep_alive(KEEP_ALIVE)
            .set_clean_start(session.is_none())
            .set_manual_acks(true)
            .set_receive_maximum(Some(RECEIVE_MAXIMUM))
            .set_max_packet_size(Some(PACKET_BYTES_MAX))
            .set_session_expiry_interval(session.map(|_| SESSION_EXPIRY_S));
        let (client, events) = AsyncClient::new(options, REQUESTS_MAX);
        Ok(Self { user: bearer.sub, client, events })
    }
}

fn bearer(token: &str) -> Result<Bearer, Failure> {
    let claims = token.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    claims
        .and_then(|claims| serde_json::from_slice(&claims).ok())
        .ok_or_else(|| Failure::Usage("--token: this is not a token; `inboxd token` prints one".to_owned()))
}

fn address(text: &str) -> Result<(String, u16), Failure> {
    text.rsplit_once(':')
        .and_then(|(host, port)| Some((host.to_owned(), port.parse().ok()?)))
        .filter(|(host, _)| !host.is_empty())
        .ok_or_else(|| Failure::Usage(format!("--mqtt: {text:?} is not HOST:PORT")))
}

/// Is it of no use to connect again? Then what to tell the user.
pub(crate) fn final_failure(error: &ConnectionError) -> Option<Failure> {
    let what = match error {
        ConnectionError::ConnectionRefused(code) => match code {
            ConnectReturnCode::ServerUnavailable
            | ConnectReturnCode::ServiceUnavailable
            | ConnectReturnCode::ServerBusy
            | ConnectReturnCode::ConnectionRateExceeded
            | ConnectReturnCode::QuotaExceeded => return None,
            ConnectReturnCode::NotAuthorized | ConnectReturnCode::BadUserNamePassword => {
                "the server does not accept this token".to_owned()
            }
            ConnectReturnCode::Banned => "the account or user is blocked".to_owned(),
            ConnectReturnCode::ClientIdentifierNotValid | ConnectReturnCode::BadClientId => {
                "the client id must be the token's device".to_owned()
            }
            other => format!("the server refused the connection: {other:?}"),
        },
        ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, reason_string }) => {
            match (reason_code, reason_string) {
                (DisconnectReasonCode::NotAuthorized, Some(reason)) => {
                    format!("the server ended the session: {reason}")
                }
                (DisconnectReasonCode::NotAuthorized, None) => {
                    "the server ended the session: the token is over".to_owned()
                }
                (DisconnectReasonCode::SessionTakenOver, _) => {
                    "another client took this session over".to_owned()
                }
                (DisconnectReasonCode::MalformedPacket | DisconnectReasonCode::ProtocolError, _) => {
                    format!("the server ended the connection: {error}")
                }
                _ => return None,
            }
        }
        _ => return None,
    };
    Some(Failure::Failed(what))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(token: &str, mqtt: &str) -> ClientArgs {
        ClientArgs { token: token.into(), mqtt: mqtt.into() }
    }

    fn token(claims: &str) -> String {
        format!("e30.{}.x", URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn the_token_says_who_we_are_and_which_client_id_we_have() {
        let plain = token(r#"{"sub":"alice","acc":"acme","exp":1}"#);
        let with_device = token(r#"{"sub":"alice","dev":"phone"}"#);
        let id = |token: &str, session| {
            let connection = Connection::new(&args(token, "localhost:1883"), session).unwrap();
            assert_eq!(connection.user.as_str(), "alice");
            (connection.events.options.client_id(), connection.events.options.clean_start())
        };
        assert_eq!(id(&plain, None), (String::new(), true));
        assert_eq!(id(&plain, Some("desk")), ("desk".into(), false));
        assert_eq!(id(&with_device, None), ("phone".into(), true));
        assert_eq!(id(&with_device, Some("phone")), ("phone".into(), false));
        assert!(Connection::new(&args(&with_device, "localhost:1883"), Some("desk")).is_err());
    }

    #[test]
    fn bad_options_are_bad_usage() {
        let good = token(r#"{"sub":"alice"}"#);
        for (token, mqtt) in [
            ("", "h:1"),
            ("x", "h:1"),
            ("a.b.c", "h:1"),
            (token(r#"{"sub":"a/b"}"#).as_str(), "h:1"),
            (&good, "h"),
            (&good, ":1"),
            (&good, "h:x"),
        ] {
            let failure = Connection::new(&args(token, mqtt), None).err();
            assert!(matches!(failure, Some(Failure::Usage(_))), "{token} {mqtt}");
        }
    }
}
