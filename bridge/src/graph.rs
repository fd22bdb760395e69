//! O6. The Graph API as a trait, and over HTTP.
//!
//! What matters most here is the line between "certainly not sent" and "perhaps sent": only a connection that never
//! came about is certain ([`Answer::NotSent`]); whatever happens after the first byte may have been taken by WhatsApp
//! ([`Answer::Lost`]). Not here: what an answer means (`sender::outcome`), when to send (`sender::plan`).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Client, Url};
use schemas::NumberId;
use schemas::whatsapp::graph::{RequestContext, SendRequest};
use store::{BoxFuture, OpenSend};

use crate::config::BridgeConfig;
use crate::error::StartError;

/// Longest wait for a connection. Meta is near everywhere; a connection that takes longer will not come.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for the whole answer. Meta answers within a second as a rule; after this the attempt is unknown, and
/// a longer wait would only hold the pair back.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// An idle connection is given up before servers on the way usually close it (60 s): a request written into a closed
/// connection is an attempt whose end nobody knows.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);
/// Most of an answer that is read: Meta's are below 2 KiB.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// What came back of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// An HTTP answer.
    Http {
        /// Its status.
        status: u16,
        /// Its body, cut off at 64 KiB.
        body: Vec<u8>,
    },
    /// Nothing was sent, for certain.
    NotSent(String),
    /// Something was sent, and no answer came whole.
    Lost(String),
}

/// Sends messages.
pub trait Graph: Send + Sync + 'static {
    /// Makes one attempt. Never retries by itself: a second POST is for the plan to decide (P6).
    fn send<'a>(&'a self, send: &'a OpenSend) -> BoxFuture<'a, Answer>;
}

/// The Graph API over HTTP.
pub struct HttpGraph {
    client: Client,
    numbers: BTreeMap<NumberId, Endpoint>,
}

struct Endpoint {
    url: Url,
    authorization: HeaderValue,
}

impl HttpGraph {
    /// A client for all configured numbers.
    ///
    /// # Errors
    /// A `graph_url` that is no URL, a token that cannot stand in a header, TLS that cannot be set up.
    pub fn new(config: &BridgeConfig) -> Result<Self, StartError> {
        let mut numbers = BTreeMap::new();
        for number in &config.numbers {
            let endpoint = Endpoint::new(&config.graph_url, &number.id, number.access_token.expose())?;
            numbers.insert(number.id.clone(), endpoint);
        }
        Ok(Self { client: client(&config.graph_url)?, numbers })
    }

    async fn post(&self, send: &OpenSend) -> Answer {
        let Some(endpoint) = self.numbers.get(&send.number) else {
            return Answer::NotSent("the number is not configured".to_owned());
        };
        let request = self
            .client
            .post(endpoint.url.clone())
            .header(AUTHORIZATION, endpoint.authorization.clone())
            .json(&request_of(send, &send.message.to_string()));
        let mut response = match request.send().await {
            Ok(response) => response,
            Err(error) if error.is_connect() || error.is_builder() => return Answer::NotSent(chain(&error)),
            Err(error) => return Answer::Lost(chain(&error)),
        };
        let status = response.status().as_u16();
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) => {
                    body.extend_from_slice(&chunk[..chunk.len().min(ANSWER_BYTES_MAX - body.len())])
                }
                Ok(None) => return Answer::Http { status, body },
                Err(error) => return Answer::Lost(chain(&error)),
            }
            if body.len() >= ANSWER_BYTES_MAX {
                return Answer::Http { status, body };
            }
        }
    }
}

impl Graph for HttpGraph {
    fn send<'a>(&'a self, send: &'a OpenSend) -> BoxFuture<'a, Answer> {
        Box::pin(self.post(send))
    }
}

impl Endpoint {
    fn new(base: &str, number: &NumberId, token: &str) -> Result<Self, StartError> {
        let bad = |why: String| StartError::Config(why);
        let mut url = Url::parse(base).map_err(|error| bad(format!("graph_url: {error}")))?;
        url.path_segments_mut()
            .map_err(|()| bad("graph_url cannot have a path".to_owned()))?
            .pop_if_empty()
            .extend([number.as_str(), "messages"]);
        let mut authorization = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| {
            bad(format!("the access token of number {number} holds a character that no header may hold"))
        })?;
        authorization.set_sensitive(true);
        Ok(Self { url, authorization })
    }
}

/// No proxy named by the environment is used behind the operator's back, and no redirect is followed: a redirected
/// POST would be a second attempt.
fn client(base: &str) -> Result<Client, StartError> {
    Client::builder()
        .tls_backend_preconfigured(tls(base).map_err(|error| StartError::Client(error.into()))?)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .user_agent(concat!("inboxd/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(ANSWER_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .build()
        .map_err(|error| StartError::Client(error.into()))
}

/// Certificates are checked as the operating system does. A plain address (a sandbox on this machine) asks for no
/// certificate store, which a small container may not have.
fn tls(base: &str) -> Result<rustls::ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    if base.starts_with("http://") {
        return Ok(builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth());
    }
    let verifier = Arc::new(rustls_platform_verifier::Verifier::new(provider)?);
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

/// `to` where the phone number is known, else `recipient`: Meta takes both and then looks at `to` only.
fn request_of<'a>(send: &'a OpenSend, message: &'a str) -> SendRequest<'a> {
    let recipient = if send.phone.is_some() { None } else { send.user_id.as_deref() };
    let mut request = SendRequest::text(message, send.phone.as_deref(), recipient, &send.text);
    request.context = send.reply_to.as_ref().map(|wamid| RequestContext { message_id: wamid.as_str() });
    request
}

/// An error with all of its causes; without the address, which would only repeat the configuration.
fn chain(error: &reqwest::Error) -> String {
    let mut text = String::from("sending the request failed");
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}
