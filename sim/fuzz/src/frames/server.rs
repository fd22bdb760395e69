//! A broker on the model store whose WebSocket route is served in memory, one connection after the other.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use auth_hook::{Hook, Signer};
use broker::{Broker, BrokerConfig, BusKind, Clock, Handle, Now};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use schemas::{AccountId, Claims, Epoch, Millis, Role, UserId};
use sim::mqtt::V5;
use sim::mqtt::write::{Connect, Properties};
use sim::whatsapp::rng::Rng;
use store::engine::memory;
use store::{Agents, Number, Settings};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::{HANDSHAKE, rfc};
use crate::Finding;

/// Bytes under way in each direction.
const PIPE_BYTES: usize = 64 << 10;
/// Most bytes of an answer to the handshake.
const ANSWER_BYTES_MAX: usize = 4 << 10;
/// A minute and more of answers from a server that should have ended: it hangs.
const DEADLINE: std::time::Duration = std::time::Duration::from_secs(60);

/// See the module.
pub(super) struct Server {
    handle: Handle,
    token: String,
}

fn failed(error: impl std::fmt::Display) -> Finding {
    Finding::new(error.to_string())
}

fn unix_us() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}

impl Server {
    /// Inside a runtime.
    pub(super) fn start() -> Result<Self, Finding> {
        let account = AccountId::new("acme").map_err(failed)?;
        let user = UserId::new("alice").map_err(failed)?;
        let mut settings = Settings::new(Epoch(7));
        let id = schemas::NumberId::new("100").map_err(failed)?;
        settings.numbers =
            vec![Number { id, account: account.clone(), agents: Agents::All, triage: Vec::new() }];
        let store = memory::open(settings, Arc::new(|| Millis(unix_us() / 1000))).map_err(failed)?;
        let signer = Signer::hs256(b"a secret of at least thirty-two bytes").map_err(failed)?;
        let hook = Hook::new(signer.verifier(), Arc::new(|_| true));
        let start = Instant::now();
        let clock: Clock = Arc::new(move || Now {
            wall_us: unix_us(),
            mono_ms: u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
        });
        let config = BrokerConfig::new(([127, 0, 0, 1], 0).into());
        let handle = Broker::start(&config, store, Arc::new(hook), clock, BusKind::Direct).map_err(failed)?;
        let exp = unix_us() / 1_000_000 + 86_400;
        let claims = Claims { user, account, device: None, role: Role::Agent, exp, iat: None, acl: None };
        Ok(Self { handle, token: signer.issue(&claims).map_err(failed)? })
    }

    /// A new connection is let in; these bytes are sent behind it and the sending side is closed. What came back, from
    /// the first frame after CONNACK to the end.
    pub(super) async fn exchange(&self, bytes: &[u8]) -> Result<Vec<u8>, Finding> {
        let (mut client, server) = duplex(PIPE_BYTES);
        let service = TowerToHyperService::new(self.handle.router());
        let http = hyper::server::conn::http1::Builder::new();
        let serving = tokio::spawn(http.serve_connection(TokioIo::new(server), service).with_upgrades());
        let exchanged = tokio::time::timeout(DEADLINE, self.talk(&mut client, bytes)).await;
        drop(client);
        // It ends with its connection, well or not.
        let _ = serving.await.map_err(|panic| Finding::new(format!("the HTTP server: {panic}")))?;
        exchanged.unwrap_or_else(|_| Err(Finding::new("the connection does not end")))
    }

    async fn talk(&self, client: &mut DuplexStream, bytes: &[u8]) -> Result<Vec<u8>, Finding> {
        client.write_all(HANDSHAKE).await.map_err(failed)?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") && answer.len() < ANSWER_BYTES_MAX {
            answer.push(client.read_u8().await.map_err(failed)?);
        }
        let connect = Connect {
            level: V5,
            clean: true,
            client_id: "frames".to_owned(),
            password: Some(self.token.clone().into_bytes()),
            properties: Properties::default(),
            ..Connect::default()
        };
        let hello = rfc::message(&mut Rng::new(bytes.len() as u64), 2, &connect.bytes());
        client.write_all(&hello).await.map_err(failed)?;
        let mut got = Vec::new();
        while !rfc::read(&got, false).data.starts_with(&[0x20]) {
            let mut some = [0; 1_024];
            match client.read(&mut some).await {
                Ok(count) if count > 0 => got.extend_from_slice(&some[..count]),
                end => return Err(Finding::new(format!("not let in: {end:?} {got:02x?}"))),
            }
        }
        // The server may close while we still write: that is an answer as well.
        let (mut reading, mut writing) = tokio::io::split(client);
        let send = async {
            let _ = writing.write_all(bytes).await;
            let _ = writing.shutdown().await;
        };
        let (read, ()) = tokio::join!(reading.read_to_end(&mut got), send);
        read.map_err(failed)?;
        Ok(got)
    }
}
