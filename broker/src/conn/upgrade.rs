//! `/mqtt`: the handshake of MQTT over WebSocket, subprotocol `mqtt` (RFC 6455, section 4.2). Whoever comes without is
//! told in HTTP's way, as everywhere.
//!
//! Not here: frames (`websocket`), what follows CONNECT (`driver`).

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use listener::Peer;
use ring::digest;
use schemas::problem::{CONTENT_TYPE, Problem};
use schemas::{Encoding, ErrorCode};

use super::driver::Connection;
use super::guest::Guest;
use super::websocket::WebSocket;
use crate::hub::Hub;
use crate::metrics::{self, TurnedAway};

/// Name of the subprotocol. `[v311:6.0.0-3] [v311:6.0.0-4] [v5:6.0.0-3] [v5:6.0.0-4]`
const SUBPROTOCOL: &str = "mqtt";
/// The only version there is.
const VERSION: &str = "13";
/// Behind the client's key, before it is hashed (section 1.3).
const KEY_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What is left of an HTTP connection.
pub(super) type Stream = TokioIo<hyper::upgrade::Upgraded>;

/// Why a handshake is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    Method,
    NoUpgrade,
    Version,
    Key,
    Subprotocol,
    Full,
}

impl Refusal {
    const fn words(self) -> (ErrorCode, &'static str) {
        match self {
            Self::Method => (ErrorCode::MethodNotAllowed, "a WebSocket begins with GET"),
            Self::NoUpgrade => (ErrorCode::WebsocketExpected, "no upgrade to `websocket` is asked for"),
            Self::Version => (ErrorCode::WebsocketVersion, "the version spoken here is 13"),
            Self::Key => (ErrorCode::WebsocketExpected, "there is not one `Sec-WebSocket-Key`"),
            Self::Subprotocol => {
                (ErrorCode::WebsocketExpected, "the WebSocket subprotocol `mqtt` is not offered")
            }
            Self::Full => (ErrorCode::Overloaded, "too many connections are being opened"),
        }
    }
}

impl IntoResponse for Refusal {
    /// A problem (contract, section 6).
    fn into_response(self) -> Response {
        let (code, detail) = self.words();
        let problem = Problem::new(code, detail);
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let content_type = [(header::CONTENT_TYPE, CONTENT_TYPE)];
        let mut response = (status, content_type, Encoding::Json.write(&problem)).into_response();
        match self {
            Self::Method => {
                response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET"));
            }
            Self::Version => {
                // RFC 9110, section 15.5.22, and RFC 6455, section 4.4.
                response.headers_mut().extend(switch());
                let version = HeaderValue::from_static(VERSION);
                response.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, version);
            }
            _ => {}
        }
        response
    }
}

fn switch() -> [(HeaderName, HeaderValue); 2] {
    [
        (header::CONNECTION, HeaderValue::from_static("upgrade")),
        (header::UPGRADE, HeaderValue::from_static("websocket")),
    ]
}

/// The route.
pub(crate) fn router(hub: Arc<Hub>) -> Router {
    Router::new().route("/mqtt", any(upgrade)).layer(DefaultBodyLimit::max(0)).with_state(hub)
}

async fn upgrade(State(hub): State<Arc<Hub>>, mut request: Request) -> Response {
    let accept = match accepted(request.method(), request.headers()) {
        Ok(accept) => accept,
        Err(refusal) => return refusal.into_response(),
    };
    // Not there for HTTP/1.0, which knows no upgrade.
    let Some(on_upgrade) = request.extensions_mut().remove::<OnUpgrade>() else {
        return Refusal::NoUpgrade.into_response();
    };
    let Some(guest) = Guest::new(&hub) else {
        metrics::count_turned_away(TurnedAway::HandshakesFull);
        return Refusal::Full.into_response();
    };
    tokio::spawn(begin(guest, on_upgrade, request.extensions().get().copied()));
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().extend(switch());
    response.headers_mut().insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    response
}

/// Waits until the answer has gone out. The connection gets a task of its own: it is small and stays so.
async fn begin(guest: Guest, on_upgrade: OnUpgrade, peer: Option<Peer>) {
    let limit = Duration::from_millis(guest.hub.limits.connect_timeout_ms);
    let upgraded = tokio::select! {
        upgraded = tokio::time::timeout(limit, on_upgrade) => upgraded,
        // To make room, or because the broker stops.
        () = guest.sent_away() => return,
    };
    if let Ok(Ok(upgraded)) = upgraded {
        let secure = peer.is_some_and(|peer| peer.secure);
        let stream: Stream = TokioIo::new(upgraded);
        let transport = WebSocket::new(stream, secure);
        tokio::spawn(Connection::new(guest, transport, peer.map(|peer| peer.address.ip())).run());
    } else {
        metrics::count_turned_away(TurnedAway::HandshakeFailed);
    }
}

/// Checks a handshake; what `Sec-WebSocket-Accept` says.
fn accepted(method: &Method, headers: &HeaderMap) -> Result<HeaderValue, Refusal> {
    let asks = lists(headers, &header::CONNECTION, |word| word.eq_ignore_ascii_case(b"upgrade"))
        && lists(headers, &header::UPGRADE, |word| word.eq_ignore_ascii_case(b"websocket"));
    if method != Method::GET {
        return Err(Refusal::Method);
    }
    if !asks {
        return Err(Refusal::NoUpgrade);
    }
    if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != VERSION) {
        return Err(Refusal::Version);
    }
    let mut keys = headers.get_all(header::SEC_WEBSOCKET_KEY).iter();
    let (Some(key), None) = (keys.next(), keys.next()) else {
        return Err(Refusal::Key);
    };
    if !lists(headers, &header::SEC_WEBSOCKET_PROTOCOL, |word| word == SUBPROTOCOL.as_bytes()) {
        return Err(Refusal::Subprotocol);
    }
    let mut hash = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(key.as_bytes());
    hash.update(KEY_SUFFIX);
    HeaderValue::try_from(STANDARD.encode(hash.finish())).map_err(|_| Refusal::Key)
}

/// Does a header that is a list, perhaps in several lines, have such a word?
fn lists(headers: &HeaderMap, name: &HeaderName, is_it: impl Fn(&[u8]) -> bool) -> bool {
    let lines = headers.get_all(name).iter();
    lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b',')).any(|word| is_it(word.trim_ascii()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 6455, section 1.3, as Firefox writes its headers.
    fn example() -> HeaderMap {
        let headers = [
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "WebSocket"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-version", "13"),
            ("sec-websocket-protocol", "chat"),
            ("sec-websocket-protocol", "superchat,mqtt"),
        ];
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, HeaderValue::from_static(value));
        }
        map
    }

    #[test]
    fn the_example_of_the_rfc_is_accepted() {
        let accept = accepted(&Method::GET, &example()).unwrap();
        assert_eq!(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn every_rule_of_the_handshake_is_checked() {
        for (name, value, refusal) in [
            ("connection", "keep-alive", Refusal::NoUpgrade),
            ("upgrade", "h2c", Refusal::NoUpgrade),
            ("sec-websocket-version", "8", Refusal::Version),
            ("sec-websocket-protocol", "MQTT, mqttv3.1", Refusal::Subprotocol),
        ] {
            let mut headers = example();
            headers.insert(name, HeaderValue::from_static(value));
            assert_eq!(accepted(&Method::GET, &headers), Err(refusal), "{name}: {value}");
            headers.remove(name);
            assert_eq!(accepted(&Method::GET, &headers), Err(refusal), "no {name}");
        }
        assert_eq!(accepted(&Method::POST, &example()), Err(Refusal::Method));
        let mut headers = example();
        headers.append("sec-websocket-key", HeaderValue::from_static("another"));
        assert_eq!(accepted(&Method::GET, &headers), Err(Refusal::Key), "two keys");
        headers.remove("sec-websocket-key");
        assert_eq!(accepted(&Method::GET, &headers), Err(Refusal::Key), "none");
    }
}
