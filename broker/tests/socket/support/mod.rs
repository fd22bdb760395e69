//! A broker over the model store, and clients that speak in bytes: a normal library hides or refuses most of what is
//! to be sent here.

pub(crate) mod client;
pub(crate) mod packet;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use auth_hook::{Hook, Signer};
use broker::{Broker, BrokerConfig, BusKind, Clock, Handle, Now};
use schemas::{AccountId, Acl, Claims, Epoch, Millis, NumberId, Role, UserId};
use store::engine::memory;
use store::{Agents, Number, Op, Outcome, Settings, Store, UserSeen};

/// A running broker.
pub(crate) struct World {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) handle: Handle,
    pub(crate) mqtt: SocketAddr,
    pub(crate) ws: SocketAddr,
    signer: Signer,
    /// Added to the wall clock, in seconds.
    ahead_s: Arc<AtomicU64>,
}

/// How long any wait in a test may take before it has failed.
pub(crate) const DEADLINE: std::time::Duration = std::time::Duration::from_secs(10);

fn unix_us() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros()).unwrap()
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}, BusKind::Router).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut BrokerConfig), bus: BusKind) -> Self {
        let account = AccountId::new("acme").unwrap();
        let mut settings = Settings::new(Epoch(7));
        settings.numbers.push(Number {
            id: NumberId::new("100").unwrap(),
            account,
            agents: Agents::All,
            triage: Vec::new(),
        });
        let store = memory::open(settings, Arc::new(|| Millis(unix_us() / 1000))).unwrap();
        let signer = Signer::hs256(b"a secret of at least thirty-two bytes").unwrap();
        let auth = Hook::new(
            signer.verifier(),
            Arc::new(|account| account.as_str() == "acme" || account.as_str() == "other"),
        );
        let ahead_s = Arc::new(AtomicU64::new(0));
        let (start, ahead) = (Instant::now(), Arc::clone(&ahead_s));
        let clock: Clock = Arc::new(move || Now {
            wall_us: unix_us() + ahead.load(Ordering::Relaxed) * 1_000_000,
            mono_ms: u64::try_from(start.elapsed().as_millis()).unwrap(),
        });
        let mut config = BrokerConfig::new(([127, 0, 0, 1], 0).into());
        config.status_coalesce_ms = 300;
        change(&mut config);
        let handle = Broker::start(&config, Arc::clone(&store), Arc::new(auth), clock, bus).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ws = listener.local_addr().unwrap();
        let router = handle.router();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { mqtt: handle.mqtt_addr(), ws, store, handle, signer, ahead_s }
    }

    /// From now on the wall clock is so much ahead.
    pub(crate) fn advance_clock(&self, seconds: u64) {
        self.ahead_s.fetch_add(seconds, Ordering::Relaxed);
    }

    pub(crate) fn claims(&self, user: &str) -> Claims {
        Claims {
            user: UserId::new(user).unwrap(),
            account: AccountId::new("acme").unwrap(),
            device: None,
            role: Role::Agent,
            exp: unix_us() / 1_000_000 + 3_600,
            iat: None,
            acl: None,
        }
    }

    pub(crate) fn issue(&self, claims: &Claims) -> String {
        self.signer.issue(claims).unwrap()
    }

    pub(crate) fn token(&self, user: &str) -> String {
        self.issue(&self.claims(user))
    }

    /// A token for everything that is not reserved.
    pub(crate) fn acl_token(&self, user: &str) -> String {
        let mut claims = self.claims(user);
        claims.acl = Some(Arc::new(Acl { publish: vec!["#".to_owned()], subscribe: vec!["#".to_owned()] }));
        self.issue(&claims)
    }

    pub(crate) async fn user_seen(&self, user: &str) {
        let op = Op::UserSeen(UserSeen {
            account: AccountId::new("acme").unwrap(),
            user: UserId::new(user).unwrap(),
            agent: true,
        });
        assert!(matches!(store::commit(&*self.store, op).await, Ok(Outcome::Done)));
    }
}
