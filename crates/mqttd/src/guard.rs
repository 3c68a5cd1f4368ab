//! Strangers who try: how often an address connects, and how often a login of an address or with a
//! user name has failed. Who exceeds what the configuration allows is refused for a while, before
//! any password is checked. Nothing is kept while nothing of it is configured.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mqtt_net::PeerAddress;
use mqttd_conf::Logins;
use mqttd_core::pace::Bucket;
use mqttd_core::time::Instant;

/// Addresses, and user names, that are remembered. When there are more, those that matter least are
/// forgotten: 65,536 entries of some 100 bytes are 7 MB.
const ENTRIES_MAX: usize = 65_536;

/// Bytes of a user name that are remembered; longer ones are told apart by this much.
const NAME_BYTES_MAX: usize = 128;

/// The longest that a refusal waits; well below the time a Client has for its CONNECT.
const DELAY_MAX: Duration = Duration::from_secs(10);

/// See the file's head.
#[derive(Debug, Default)]
pub(crate) struct Guard {
    tables: Mutex<Tables>,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Tables {
    connects: HashMap<IpAddr, Bucket>,
    addresses: HashMap<IpAddr, Failures>,
    users: HashMap<Box<str>, Failures>,
}

#[derive(Debug, Default)]
struct Counts {
    failed: AtomicU64,
    refused: AtomicU64,
    bans: AtomicU64,
    too_fast: AtomicU64,
}

/// Failed logins of one address or user name.
#[derive(Clone, Copy, Debug, Default)]
struct Failures {
    count: u32,
    /// When they are forgotten; the end of the ban for who is banned.
    until: Instant,
    is_banned: bool,
}

/// What a failed login leads to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Consequence {
    /// The refusal waits this long.
    pub(crate) delay: Duration,
    /// Newly banned: this address, this user name.
    pub(crate) bans_address: bool,
    pub(crate) bans_user: bool,
}

/// Counters for `$SYS`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct GuardReport {
    /// Failed logins, since the start.
    pub(crate) failed: u64,
    /// Connections refused because of a ban.
    pub(crate) refused: u64,
    /// Bans, since the start.
    pub(crate) bans: u64,
    /// Connections refused by `max_connect_rate`.
    pub(crate) too_fast: u64,
    /// Banned now.
    pub(crate) banned_addresses: u64,
    pub(crate) banned_users: u64,
}

impl Guard {
    /// Whether one more connection of this address is within `max_connect_rate`.
    pub(crate) fn may_connect(&self, peer: &PeerAddress, per_second: u32, now: Instant) -> bool {
        let Some(address) = key(peer) else { return true };
        let rate = u64::from(per_second);
        let mut tables = self.lock();
        make_room(&mut tables.connects, |bucket| !bucket.is_empty(rate, now));
        let fits = tables.connects.entry(address).or_default().take(rate, now);
        self.counts.too_fast.fetch_add(u64::from(!fits), Ordering::Relaxed);
        fits
    }

    /// Whether the address is banned.
    pub(crate) fn is_address_banned(&self, peer: &PeerAddress, now: Instant) -> bool {
        let tables = self.lock();
        let found = key(peer).and_then(|address| tables.addresses.get(&address));
        self.refuses(found, now)
    }

    /// Whether the user name is banned.
    pub(crate) fn is_user_banned(&self, user: &str, now: Instant) -> bool {
        let tables = self.lock();
        self.refuses(tables.users.get(cut(user)), now)
    }

    fn refuses(&self, found: Option<&Failures>, now: Instant) -> bool {
        let refuses = found.is_some_and(|found| found.is_banned && found.until > now);
        self.counts.refused.fetch_add(u64::from(refuses), Ordering::Relaxed);
        refuses
    }

    /// A login has failed.
    pub(crate) fn failed(
        &self,
        peer: &PeerAddress,
        user: Option<&str>,
        logins: &Logins,
        now: Instant,
    ) -> Consequence {
        self.counts.failed.fetch_add(1, Ordering::Relaxed);
        let until = now.plus_millis(logins.ban_time.as_millis() as u64);
        let mut consequence = Consequence::default();
        let address =
            key(peer).filter(|_| logins.max_failures.is_some() || logins.failure_delay.is_some());
        let mut tables = self.lock();
        if let Some(address) = address {
            make_room(&mut tables.addresses, |failures| failures.until > now);
            let failures = tables.addresses.entry(address).or_default();
            consequence.bans_address = failures.add(logins.max_failures, until, now);
            if let Some(delay) = logins.failure_delay {
                let doubled = 1_u32 << (failures.count - 1).min(16);
                consequence.delay = delay.saturating_mul(doubled).min(DELAY_MAX);
            }
        }
        if let (Some(user), Some(max)) = (user, logins.max_failures_user) {
            make_room(&mut tables.users, |failures| failures.until > now);
            let failures = tables.users.entry(Box::from(cut(user))).or_default();
            consequence.bans_user = failures.add(Some(max), until, now);
        }
        let bans = u64::from(consequence.bans_address) + u64::from(consequence.bans_user);
        self.counts.bans.fetch_add(bans, Ordering::Relaxed);
        consequence
    }

    pub(crate) fn report(&self, now: Instant) -> GuardReport {
        let tables = self.lock();
        let is_banned = |failures: &&Failures| failures.is_banned && failures.until > now;
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        GuardReport {
            failed: count(&self.counts.failed),
            refused: count(&self.counts.refused),
            bans: count(&self.counts.bans),
            too_fast: count(&self.counts.too_fast),
            banned_addresses: tables.addresses.values().filter(is_banned).count() as u64,
            banned_users: tables.users.values().filter(is_banned).count() as u64,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Failures {
    /// One more. True when this is the one that leads to a ban.
    fn add(&mut self, max: Option<u32>, until: Instant, now: Instant) -> bool {
        if self.until <= now {
            *self = Self::default();
        }
        self.count = self.count.saturating_add(1);
        let bans = !self.is_banned && max.is_some_and(|max| self.count >= max);
        if bans || !self.is_banned {
            self.until = until;
        }
        self.is_banned |= bans;
        bans
    }
}

/// Forgets what no longer matters when the table is full, and then somebody if it still is: a
/// table that keeps its first entries would protect nobody from the next stranger.
fn make_room<K: Hash + Eq + Clone, V>(table: &mut HashMap<K, V>, matters: impl Fn(&V) -> bool) {
    if table.len() < ENTRIES_MAX {
        return;
    }
    table.retain(|_, value| matters(value));
    // The order of a table is another one in each process: nobody can choose who is forgotten. An
    // eighth at a time, so that the walk is not done for each newcomer.
    let surplus = (table.len() + ENTRIES_MAX / 8).saturating_sub(ENTRIES_MAX);
    let goes: Vec<K> = table.keys().take(surplus).cloned().collect();
    goes.iter().for_each(|key| drop(table.remove(key)));
}

/// Who counts as one: an IPv4 address, an IPv6 network of 64 bits. Unix sockets are not strangers.
fn key(peer: &PeerAddress) -> Option<IpAddr> {
    let PeerAddress::Ip(address, _) = peer else { return None };
    Some(match *address {
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(address) => IpAddr::V4(address),
            None => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        },
        address => address,
    })
}

fn cut(user: &str) -> &str {
    let mut end = user.len().min(NAME_BYTES_MAX);
    while !user.is_char_boundary(end) {
        end -= 1;
    }
    &user[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(address: &str) -> PeerAddress {
        PeerAddress::Ip(address.parse().unwrap(), 1)
    }

    const START: Instant = Instant(1_000_000);

    fn logins(max: u32, max_user: u32) -> Logins {
        Logins {
            max_failures: Some(max).filter(|max| *max > 0),
            max_failures_user: Some(max_user).filter(|max| *max > 0),
            ban_time: Duration::from_secs(60),
            failure_delay: None,
        }
    }

    #[test]
    fn an_address_is_banned_after_its_failures_and_free_after_a_while() {
        let guard = Guard::default();
        let (stranger, other) = (peer("10.0.0.1"), peer("10.0.0.2"));
        for number in 1..=3 {
            assert!(!guard.is_address_banned(&stranger, START));
            let consequence = guard.failed(&stranger, Some("ann"), &logins(3, 0), START);
            assert_eq!(consequence.bans_address, number == 3);
        }
        assert!(guard.is_address_banned(&stranger, START));
        assert!(!guard.is_address_banned(&other, START) && !guard.is_user_banned("ann", START));
        let report = guard.report(START);
        assert_eq!((report.failed, report.bans, report.banned_addresses), (3, 1, 1));
        assert_eq!((report.refused, report.banned_users), (1, 0));
        let later = START.plus_millis(60_000);
        assert!(guard.is_address_banned(&stranger, START.plus_millis(59_999)));
        assert!(!guard.is_address_banned(&stranger, later));
        assert!(!guard.failed(&stranger, None, &logins(3, 0), later).bans_address, "from anew");
        // Failures that are a ban's time apart never lead to one.
        for number in 1..10 {
            let at = later.plus_millis(60_000 * number);
            assert!(!guard.failed(&stranger, None, &logins(2, 0), at).bans_address);
        }
    }

    #[test]
    fn a_user_name_is_banned_whatever_the_address() {
        let guard = Guard::default();
        for number in 1..=3 {
            let from = peer(&format!("10.0.0.{number}"));
            let consequence = guard.failed(&from, Some("ann"), &logins(0, 3), START);
            assert_eq!(consequence.bans_user, number == 3);
        }
        assert!(guard.is_user_banned("ann", START) && !guard.is_user_banned("bob", START));
    }

    #[test]
    fn refusals_wait_longer_and_longer() {
        let guard = Guard::default();
        let logins = Logins { failure_delay: Some(Duration::from_secs(1)), ..logins(0, 0) };
        let mut delays = Vec::new();
        for _ in 0..40 {
            delays.push(guard.failed(&peer("::1"), None, &logins, START).delay.as_secs());
        }
        assert_eq!(delays[..5], [1, 2, 4, 8, 10]);
        assert_eq!(delays[39], 10);
    }

    #[test]
    fn a_network_of_ipv6_is_one_stranger() {
        let guard = Guard::default();
        guard.failed(&peer("2001:db8::1"), None, &logins(1, 0), START);
        assert!(guard.is_address_banned(&peer("2001:db8::ffff:2"), START));
        assert!(!guard.is_address_banned(&peer("2001:db8:0:1::1"), START));
        guard.failed(&peer("::ffff:10.0.0.1"), None, &logins(1, 0), START);
        assert!(guard.is_address_banned(&peer("10.0.0.1"), START));
        assert!(!guard.is_address_banned(&peer("10.0.0.2"), START));
        guard.failed(&PeerAddress::Unix, None, &logins(1, 0), START);
        assert!(!guard.is_address_banned(&PeerAddress::Unix, START));
    }

    #[test]
    fn connects_have_a_rate_for_each_address() {
        let guard = Guard::default();
        let taken = |address: &str, at| {
            (0..10).filter(|_| guard.may_connect(&peer(address), 5, at)).count()
        };
        assert_eq!((taken("10.0.0.1", START), taken("10.0.0.2", START)), (5, 5));
        assert_eq!(taken("10.0.0.1", START.plus_millis(400)), 2);
        assert_eq!(guard.report(START).too_fast, 5 + 5 + 8);
    }

    #[test]
    fn the_tables_are_bounded() {
        let guard = Guard::default();
        for number in 0..ENTRIES_MAX as u32 + 1000 {
            let address = PeerAddress::Ip(IpAddr::from(number.to_be_bytes()), 1);
            guard.failed(&address, Some(&number.to_string()), &logins(1, 1), START);
            guard.may_connect(&address, 1, START);
        }
        let tables = guard.lock();
        for count in [tables.connects.len(), tables.addresses.len(), tables.users.len()] {
            assert!(count <= ENTRIES_MAX && count > ENTRIES_MAX / 2, "{count}");
        }
    }
}
