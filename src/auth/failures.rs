//! Failed logins by address: each makes the next answer slower, and too many none at all.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Addresses that are remembered; beyond that, the one that failed longest ago is forgotten.
const MAX_ADDRESSES: usize = 4096;
/// Time that makes up for one failure.
const FORGIVEN_AFTER: Duration = Duration::from_secs(60);
/// The pause before an answer grows up to this many times the configured one.
const LONGEST_PAUSE: u32 = 5;

/// The failures of all addresses.
#[derive(Debug, Default)]
pub struct FailedLogins {
    addresses: HashMap<IpAddr, Failures>,
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last: Instant,
}

impl Failures {
    /// How many still count.
    fn at(self, now: Instant) -> u32 {
        let minutes = now.saturating_duration_since(self.last).as_secs() / FORGIVEN_AFTER.as_secs();
        self.count
            .saturating_sub(u32::try_from(minutes).unwrap_or(u32::MAX))
    }
}

impl FailedLogins {
    /// Failures of an address that count at the time `now`.
    pub fn of(&self, address: IpAddr, now: Instant) -> u32 {
        self.addresses
            .get(&address)
            .map_or(0, |failures| failures.at(now))
    }

    /// Notes a failure; returns how many count now.
    pub fn note(&mut self, address: IpAddr, now: Instant) -> u32 {
        let count = self.of(address, now).saturating_add(1);
        if self.addresses.len() >= MAX_ADDRESSES && !self.addresses.contains_key(&address) {
            self.make_room(now);
        }
        let failures = Failures { count, last: now };
        self.addresses.insert(address, failures);
        count
    }

    /// Forgets the failures of an address whose client has logged in.
    pub fn forgive(&mut self, address: IpAddr) {
        self.addresses.remove(&address);
    }

    fn make_room(&mut self, now: Instant) {
        self.addresses.retain(|_, failures| failures.at(now) > 0);
        if self.addresses.len() >= MAX_ADDRESSES {
            let oldest = self
                .addresses
                .iter()
                .min_by_key(|(_, failures)| failures.last);
            if let Some(address) = oldest.map(|(address, _)| *address) {
                self.addresses.remove(&address);
            }
        }
    }
}

/// The pause before the answer to the failure number `count`.
pub fn pause(configured: Duration, count: u32) -> Duration {
    configured.saturating_mul(count.clamp(1, LONGEST_PAUSE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_counted_and_made_up_for() {
        let mut failed = FailedLogins::default();
        let (one, other) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        let start = Instant::now();
        assert_eq!(failed.note(one, start), 1);
        assert_eq!(failed.note(one, start), 2);
        assert_eq!(failed.note(other, start), 1);
        let later = |minutes| start + minutes * FORGIVEN_AFTER;
        assert_eq!(failed.of(one, later(1)), 1);
        assert_eq!(failed.note(one, later(1)), 2);
        assert_eq!(failed.of(one, later(3)), 0);
        failed.note(one, later(4));
        failed.forgive(one);
        assert_eq!(failed.of(one, later(4)), 0);
    }

    #[test]
    fn memory_is_bounded() {
        let mut failed = FailedLogins::default();
        let start = Instant::now();
        let address = |number: u32| IpAddr::from(number.to_be_bytes());
        for number in 0..10_000 {
            failed.note(
                address(number),
                start + Duration::from_millis(number.into()),
            );
        }
        assert_eq!(failed.addresses.len(), MAX_ADDRESSES);
        let last = start + Duration::from_millis(9_999);
        assert_eq!(failed.of(address(9_999), last), 1);
        assert_eq!(failed.of(address(0), last), 0);
    }

    #[test]
    fn pauses_grow() {
        let second = Duration::from_secs(1);
        assert_eq!(pause(second, 0), second);
        assert_eq!(pause(second, 3), 3 * second);
        assert_eq!(pause(second, 100), 5 * second);
        assert!(pause(Duration::ZERO, 9).is_zero());
    }
}
