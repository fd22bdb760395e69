//! A connection from its first moment to its last, as far as it is counted and can be reached.
//!
//! Whatever happens to it, also within its TLS handshake, dropping its guest takes it out of every count.
//! Not here: what it says (`driver`).

use std::future::poll_fn;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::Poll;

use super::mailbox::Mailbox;
use crate::hub::Hub;
use crate::wheel::Slot;

/// See the module.
pub(crate) struct Guest {
    pub(crate) hub: Arc<Hub>,
    pub(crate) mailbox: Arc<Mailbox>,
    /// Where it stands in the wheel.
    slot: Slot,
    /// Counted as one that has not been let in.
    waits_at_door: bool,
}

impl Guest {
    /// `None` where there is no room.
    pub(crate) fn new(hub: &Arc<Hub>) -> Option<Self> {
        let mailbox = Arc::new(Mailbox::new(hub.next_connection()));
        if hub.is_stopping() || !hub.handshakes.begin(hub.now().mono_ms, &mailbox) {
            return None;
        }
        hub.connection_begun();
        hub.registry.connected(&mailbox);
        Some(Self { hub: Arc::clone(hub), mailbox, slot: Slot::default(), waits_at_door: true })
    }

    pub(crate) fn number(&self) -> u64 {
        self.mailbox.number()
    }

    /// No longer counted among those that have not been let in.
    pub(crate) fn let_in(&mut self) {
        if std::mem::take(&mut self.waits_at_door) {
            self.hub.handshakes.end(&self.mailbox);
        }
    }

    /// To be woken at this time.
    pub(crate) fn wake_at(&mut self, at_ms: u64) {
        self.hub.wheel.set(&mut self.slot, &self.mailbox, at_ms);
    }

    /// It was woken.
    pub(crate) fn woken(&mut self) {
        self.slot = Slot::default();
    }

    /// Until it is told to go: for those that do not read their mail yet.
    pub(crate) async fn sent_away(&self) {
        poll_fn(|cx| match self.mailbox.take(cx.waker()) {
            Some(mail) if mail.cause.is_some() => Poll::Ready(()),
            // There is no other mail before CONNECT. Asked again, so that the waker stays.
            Some(_) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            None => Poll::Pending,
        })
        .await;
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.let_in();
        self.hub.wheel.forget(&mut self.slot, &self.mailbox);
        self.mailbox.close();
        self.hub.registry.disconnected(self.number());
        self.hub.connection_over();
    }
}

/// The address that limits are about: of IPv6 a network, for a household or a phone has the whole of it.
pub(crate) fn limited_address(address: IpAddr) -> IpAddr {
    /// Bits of an IPv6 address that tell customers apart (RFC 6177).
    const NETWORK_BITS: u32 = 64;
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() >> (128 - NETWORK_BITS) << (128 - NETWORK_BITS)).into()),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_network_is_one_address() {
        let of = |text: &str| limited_address(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), of("2001:db8:1:2::"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
