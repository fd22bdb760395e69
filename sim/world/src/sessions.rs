//! I6, I8 at the server: how a connection gets its session, its subscription and its end.
//!
//! Not here: deliveries and cursors (`node`), the device's own side (`devices`).

use std::collections::BTreeSet;
use std::sync::Arc;

use schemas::{QoS, Seq, Subscription};
use store::{
    CommitResult, InboxStart, Op, Outcome, Progress, SessionClose, SessionKey, SessionOpen, Subscribe,
};

use crate::devices::Connect;
use crate::history::{Call, DeviceId, Entry};
use crate::node::{Conn, Purpose};
use crate::world::{ACCOUNT, Happening, World, account_id};

/// Sessions here outlive their connections; expiry is the conformance suite's matter.
const FOR_EVER: u32 = u32::MAX;
/// Most events in flight on a connection.
const WINDOW_MAX: u64 = 6;

impl World {
    /// CONNECT arrives.
    pub(crate) fn connect_arrives(&mut self, connect: Connect) {
        if self.cut_links.contains(&connect.link) {
            return;
        }
        let device = &self.devices[connect.device];
        let open = SessionOpen {
            account: account_id(ACCOUNT),
            user: self.agents[device.agent].user.clone(),
            client: device.client.clone(),
            agent: true,
            clean: connect.clean,
            expiry_s: FOR_EVER,
            will: None,
        };
        self.submit(Call::Open(DeviceId(connect.device)), Op::SessionOpen(open), Purpose::Open(connect));
    }

    /// The session is open: connections it had end, and it goes on, or its client subscribes.
    pub(crate) fn session_opened(&mut self, connect: Connect, result: CommitResult) {
        let Ok(Outcome::Session(state)) = result else { return };
        self.end_connections(state.session);
        let (session, connection, dup_to) = (state.session, state.connection, state.sent.inbox.0);
        match state.inbox {
            Some(cursor) if connect.after.is_none() => {
                self.begin(connect, session, connection, dup_to, cursor.acked.0, true);
            }
            _ => {
                let filter = format!("user/{}/inbox", self.agents[self.devices[connect.device].agent].user);
                let subscription = Subscription {
                    filter: Arc::from(filter),
                    qos: QoS::AtLeastOnce,
                    no_local: false,
                    retain_as_published: false,
                    retain_handling: 0,
                    id: None,
                };
                let inbox_after = connect.after.map(|after| InboxStart { after: Seq(after), epoch: None });
                let op = Subscribe { session, filters: vec![subscription], inbox_after };
                let call = Call::Subscribe { device: DeviceId(connect.device), after: connect.after };
                let purpose = Purpose::Subscribe { connect, session, connection, dup_to };
                self.submit(call, Op::Subscribe(op), purpose);
            }
        }
    }

    /// A session has one connection: those it had are cut.
    fn end_connections(&mut self, session: SessionKey) {
        let late = self.rng.chance(0.5);
        let Some(node) = &self.node else { return };
        let of_session = node.conns.iter().filter(|(_, conn)| conn.session == session);
        let older: Vec<u64> = of_session.map(|(link, _)| *link).collect();
        for link in older {
            self.lose_link(link);
            // The end of the older connection may be told to the store after the beginning of the newer one.
            if late {
                self.server_notices_cut(link);
            } else if let Some(node) = &mut self.node {
                node.conns.remove(&link);
            }
        }
    }

    pub(crate) fn subscribed(
        &mut self,
        connect: Connect,
        session: SessionKey,
        connection: u64,
        dup_to: u64,
        result: CommitResult,
    ) {
        let Ok(Outcome::Subscribed(results)) = result else { return };
        let newer = self.node.as_ref().is_some_and(|node| {
            node.conns.values().any(|conn| conn.session == session && conn.connection > connection)
        });
        if let Some(cursor) = results.first().and_then(|first| first.inbox)
            && !newer
        {
            self.begin(connect, session, connection, dup_to, cursor.acked.0, false);
        }
    }

    fn begin(
        &mut self,
        connect: Connect,
        session: SessionKey,
        connection: u64,
        dup_to: u64,
        acked: u64,
        resumed: bool,
    ) {
        let Connect { device, link, after, .. } = connect;
        self.history(Entry::Opened { device: DeviceId(device), link, resumed, after, acked });
        let window = 1 + self.rng.below(WINDOW_MAX);
        let last_arrival = self.now;
        let conn = Conn {
            device,
            session,
            connection,
            acked,
            sent: acked,
            dup_to,
            window,
            early: BTreeSet::new(),
            last_arrival,
        };
        // An older one that opened after this one had been taken in.
        self.end_connections(session);
        if let Some(node) = &mut self.node {
            node.conns.insert(link, conn);
        }
        self.on_the_way(Happening::LinkOpened { device, link });
        if self.cut_links.contains(&link) {
            // Cut before it was open: noticed at the first byte.
            self.on_the_way(Happening::ServerNoticesCut(link));
        }
        self.pump(link);
    }

    /// The server notices that a connection is gone.
    pub(crate) fn server_notices_cut(&mut self, link: u64) {
        let Some(conn) = self.node.as_mut().and_then(|node| node.conns.remove(&link)) else { return };
        let close = SessionClose {
            session: conn.session,
            connection: conn.connection,
            expiry_s: None,
            will: false,
            sent: Progress { inbox: Seq(conn.sent), queue: 0 },
            acked_ahead: Vec::new(),
        };
        self.submit(Call::Close(DeviceId(conn.device)), Op::SessionClose(close), Purpose::Close);
    }
}
