//! How much one address, one account, one connection may have of this server (P8).
//!
//! Connections are counted and one too many is refused at CONNECT. Publishes are not refused: whoever is too quick is not
//! read for a while, so his own network holds what he sends. Not here: subscriptions of a session (`broker-protocol`).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use schemas::AccountId;

use crate::config::Quotas;
use crate::metrics::TurnedAway;

/// Seconds' worth of publishes that may come at once: a device that comes back sends what it has kept.
const BURST_SECONDS: u64 = 1;
const US_PER_S: u64 = 1_000_000;

/// Who has how much.
pub(crate) struct Usage {
    quotas: Quotas,
    addresses: Mutex<HashMap<IpAddr, usize>>,
    accounts: Mutex<HashMap<AccountId, Weak<Account>>>,
}

/// What all connections of an account use together.
pub(crate) struct Account {
    id: AccountId,
    connections: AtomicUsize,
    bucket: Bucket,
}

/// A connection's place among those of its address and its account; given back when it is dropped.
pub(crate) struct Place {
    usage: Arc<Usage>,
    /// `None` where addresses are not counted, as they mostly are not.
    address: Option<Box<IpAddr>>,
    account: Arc<Account>,
    bucket: Bucket,
}

impl Usage {
    pub(crate) fn new(quotas: Quotas) -> Arc<Self> {
        Arc::new(Self { quotas, addresses: Mutex::default(), accounts: Mutex::default() })
    }

    fn addresses(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one more connection. `replaces` one that it takes over: then it is no more than before.
    ///
    /// # Errors
    /// Whose limit is reached.
    pub(crate) fn take(
        self: &Arc<Self>,
        address: Option<IpAddr>,
        account: &AccountId,
        replaces: bool,
    ) -> Result<Place, TurnedAway> {
        let account = self.account(account);
        // The place is made first and given back by being dropped: counts are right whatever follows.
        account.connections.fetch_add(1, Ordering::Relaxed);
        let mut place = Place { usage: Arc::clone(self), address: None, account, bucket: Bucket::default() };
        let of_account = place.account.connections.load(Ordering::Relaxed);
        if !replaces && exceeds(of_account, self.quotas.connections_per_account) {
            return Err(TurnedAway::Account);
        }
        if let Some(address) = address.filter(|_| self.quotas.connections_per_address > 0) {
            let mut addresses = self.addresses();
            let count = addresses.entry(address).or_default();
            if !replaces && exceeds(*count + 1, self.quotas.connections_per_address) {
                if *count == 0 {
                    addresses.remove(&address);
                }
                return Err(TurnedAway::Address);
            }
            *count += 1;
            place.address = Some(Box::new(address));
        }
        Ok(place)
    }

    fn account(&self, id: &AccountId) -> Arc<Account> {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = accounts.get(id).and_then(Weak::upgrade) {
            return known;
        }
        let account =
            Arc::new(Account { id: id.clone(), connections: AtomicUsize::new(0), bucket: Bucket::default() });
        accounts.insert(id.clone(), Arc::downgrade(&account));
        account
    }
}

const fn exceeds(count: usize, limit: usize) -> bool {
    limit > 0 && count > limit
}

impl Place {
    /// The account's id, of which there is one copy for all of its connections.
    pub(crate) fn account(&self) -> &AccountId {
        &self.account.id
    }

    /// Counts a publish. The microsecond until which nothing more is to be read, where there were too many.
    pub(crate) fn publish(&self, now_us: u64) -> Option<u64> {
        let quotas = &self.usage.quotas;
        let own = self.bucket.take(now_us, quotas.publishes_per_connection);
        let shared = self.account.bucket.take(now_us, quotas.publishes_per_account);
        own.max(shared)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let left = self.account.connections.fetch_sub(1, Ordering::Relaxed);
        if left == 1 {
            // Somebody may have come meanwhile: then it is his.
            let mut accounts = self.usage.accounts.lock().unwrap_or_else(PoisonError::into_inner);
            if self.account.connections.load(Ordering::Relaxed) == 0 {
                accounts.remove(&self.account.id);
            }
        }
        if let Some(address) = &self.address {
            let mut addresses = self.usage.addresses();
            if let Some(count) = addresses.get_mut(&**address) {
                *count -= 1;
                if *count == 0 {
                    addresses.remove(&**address);
                }
            }
        }
    }
}

/// A rate: until when what was taken is paid for, in microseconds. More than a burst ahead of now is too much.
#[derive(Default)]
struct Bucket(AtomicU64);

impl Bucket {
    /// Takes one; `per_second` 0 = no limit.
    fn take(&self, now_us: u64, per_second: u32) -> Option<u64> {
        if per_second == 0 {
            return None;
        }
        let price = US_PER_S / u64::from(per_second);
        let pay = |until: u64| Some(until.max(now_us) + price);
        let before = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, pay).unwrap_or_default();
        let paid_until = before.max(now_us) + price;
        let free_at = paid_until.saturating_sub(BURST_SECONDS * US_PER_S);
        (free_at > now_us).then_some(free_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(quotas: Quotas) -> Arc<Usage> {
        Usage::new(quotas)
    }

    fn account(name: &str) -> AccountId {
        AccountId::new(name).unwrap()
    }

    #[test]
    fn places_are_limited_per_address_and_account_and_come_back() {
        let usage =
            usage(Quotas { connections_per_address: 2, connections_per_account: 3, ..Quotas::default() });
        let (here, there) = (Some("192.0.2.1".parse().unwrap()), Some("192.0.2.2".parse().unwrap()));
        let (acme, other) = (account("acme"), account("other"));
        let first = usage.take(here, &acme, false).unwrap();
        let _second = usage.take(here, &acme, false).unwrap();
        assert_eq!(usage.take(here, &other, false).err(), Some(TurnedAway::Address));
        let third = usage.take(there, &acme, false).unwrap();
        assert_eq!(usage.take(there, &acme, false).err(), Some(TurnedAway::Account));
        // One that takes its own session over is no more than before.
        drop(usage.take(here, &acme, true).unwrap());
        drop(first);
        drop(usage.take(here, &acme, false).unwrap());
        drop(third);
        assert_eq!(usage.addresses().len(), 1);
        drop(_second);
        assert!(usage.addresses().is_empty() && usage.accounts.lock().unwrap().is_empty());
    }

    #[test]
    fn nothing_is_limited_unless_told() {
        let usage = usage(Quotas::default());
        let places: Vec<_> = (0..1_000)
            .map(|_| usage.take(Some("192.0.2.1".parse().unwrap()), &account("acme"), false))
            .collect();
        assert!(places.iter().all(Result::is_ok));
        let place = places.into_iter().next().unwrap().unwrap();
        assert!((0..100_000).all(|_| place.publish(1).is_none()));
    }

    #[test]
    fn a_burst_is_free_and_what_exceeds_it_is_paid_for_in_time() {
        let usage =
            usage(Quotas { publishes_per_connection: 100, publishes_per_account: 150, ..Quotas::default() });
        let (one, other) = (
            usage.take(None, &account("acme"), false).unwrap(),
            usage.take(None, &account("acme"), false).unwrap(),
        );
        let now = 1_000_000_000;
        assert!((0..100).all(|_| one.publish(now).is_none()));
        assert_eq!(one.publish(now), Some(now + 10_000));
        // The account has 49 left for all others, at 150 a second.
        assert!((0..49).all(|_| other.publish(now).is_none()));
        assert_eq!(other.publish(now), Some(now + 6_666 - 6_666 + (6_666 * 151 - 1_000_000)));
        // Later it has recovered.
        assert!((0..100).all(|_| other.publish(now + 10_000_000).is_none()));
    }
}
