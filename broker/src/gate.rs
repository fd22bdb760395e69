//! O2. Asks auth-hook who may come in and what he may do, and counts what is refused.
//!
//! Not here: the rules (`auth-hook`).

use std::cell::Cell;
use std::collections::HashSet;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use auth_hook::{Action, Auth, ClientIdRule, Decision, check_client_id};
use broker_protocol::{Admission, Denied, Gate as ProtocolGate, Now, Refused};
use schemas::{Acl, Claims, ClientId, ErrorCode, QoS};
use store::SessionKey;

use crate::metrics::{self, TurnedAway};
use crate::quota::{Place, Usage};
use crate::registry::Registry;

/// auth-hook, as the protocol wants it.
pub(crate) struct Gate {
    auth: Arc<dyn Auth>,
    ids: ClientIds,
    connections: Arc<AtomicUsize>,
    connections_max: usize,
    rights: Rights,
}

/// Rights that many tokens give alike, once for all of their connections.
#[derive(Default)]
struct Rights(Mutex<HashSet<Arc<Acl>>>);

/// Different rights that are remembered; more are each connection's own.
const RIGHTS_MAX: usize = 1_024;

impl Rights {
    fn one_of(&self, acl: Arc<Acl>) -> Arc<Acl> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(same) = known.get(&acl) {
            return Arc::clone(same);
        }
        if known.len() >= RIGHTS_MAX {
            // Those that only stand here.
            known.retain(|acl| Arc::strong_count(acl) > 1);
        }
        if known.len() < RIGHTS_MAX {
            known.insert(Arc::clone(&acl));
        }
        acl
    }
}

impl Gate {
    pub(crate) fn new(auth: Arc<dyn Auth>, connections: Arc<AtomicUsize>, connections_max: usize) -> Self {
        Self { auth, ids: ClientIds::default(), connections, connections_max, rights: Rights::default() }
    }

    fn refuse(code: ErrorCode) -> Refused {
        auth_hook::metrics::count_refused(code);
        Refused { code }
    }

    fn decide(&self, claims: &Claims, action: Action, topic: &str) -> Result<(), Denied> {
        match self.auth.authorize(claims, action, topic) {
            Decision::Allow => Ok(()),
            Decision::Deny(reason) => {
                auth_hook::metrics::count_denied(reason);
                Err(Denied { reason: reason.mqtt() })
            }
        }
    }
}

impl ProtocolGate for Gate {
    fn admit(&self, token: &[u8], client_id: &str, now: Now) -> Result<Admission, Refused> {
        let claims = self
            .auth
            .authenticate(token, now.wall_us / 1_000_000)
            .map_err(|error| Self::refuse(error.code))?;
        if self.connections.load(Ordering::Relaxed) > self.connections_max {
            return Err(turned_away(TurnedAway::Server));
        }
        // [v311:3.1.3-5] [v5:3.1.3-5] [v311:3.1.3-6] [v5:3.1.3-6] [v5:3.1.3-7]
        let (client, assigned) = match check_client_id(&claims, client_id).map_err(Self::refuse)? {
            ClientIdRule::AsSent(client) => (client, false),
            ClientIdRule::Assigned(client) => (client, true),
            ClientIdRule::Draw => (self.ids.draw(now).ok_or(Refused { code: ErrorCode::Internal })?, true),
        };
        Ok(Admission { claims, client, assigned })
    }

    fn publish(&self, claims: &Claims, topic: &str, qos: QoS, retain: bool) -> Result<(), Denied> {
        self.decide(claims, Action::Publish { qos: qos as u8, retain }, topic)
    }

    fn subscribe(&self, claims: &Claims, filter: &str) -> Result<(), Denied> {
        self.decide(claims, Action::Subscribe, filter)
    }
}

fn turned_away(why: TurnedAway) -> Refused {
    metrics::count_turned_away(why);
    Refused { code: ErrorCode::QuotaExceeded }
}

/// The gate as one connection finds it: its address counts as well.
pub(crate) struct Door<'a> {
    pub(crate) gate: &'a Gate,
    pub(crate) usage: &'a Arc<Usage>,
    pub(crate) registry: &'a Registry,
    pub(crate) address: Option<IpAddr>,
    /// It is in already and shows a new token.
    pub(crate) has_place: bool,
    /// Where it goes once it is let in.
    pub(crate) place: Cell<Option<Box<Place>>>,
}

impl ProtocolGate for Door<'_> {
    fn admit(&self, token: &[u8], client_id: &str, now: Now) -> Result<Admission, Refused> {
        let mut admission = self.gate.admit(token, client_id, now)?;
        if self.has_place {
            return Ok(admission);
        }
        let Claims { account, user, .. } = &admission.claims;
        let replaces = self.registry.is_held(SessionKey::of(account, user, &admission.client));
        let place = self.usage.take(self.address, account, replaces).map_err(turned_away)?;
        // One copy of the account's name for all of its connections, and of rights that many tokens give alike.
        admission.claims.account = place.account().clone();
        admission.claims.acl = admission.claims.acl.map(|acl| self.gate.rights.one_of(acl));
        self.place.set(Some(Box::new(place)));
        Ok(admission)
    }

    fn publish(&self, claims: &Claims, topic: &str, qos: QoS, retain: bool) -> Result<(), Denied> {
        self.gate.publish(claims, topic, qos, retain)
    }

    fn subscribe(&self, claims: &Claims, filter: &str) -> Result<(), Denied> {
        self.gate.subscribe(claims, filter)
    }
}

/// Draws client ids that no session has: time, a counter, and the random keys that the standard library gives each
/// process. They need to be different, not secret: a session belongs to its user whatever its client id.
#[derive(Default)]
struct ClientIds {
    process: RandomState,
    count: AtomicU64,
}

impl ClientIds {
    fn draw(&self, now: Now) -> Option<ClientId> {
        let mut hasher = self.process.build_hasher();
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        hasher.write_u64(count);
        hasher.write_u64(now.wall_us);
        ClientId::new(&format!("auto-{:013x}-{:016x}", now.wall_us, hasher.finish())).ok()
    }
}
