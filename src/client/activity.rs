//! What all connections of the process have done, for the status line and the summaries.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::mail::UserId;

/// What was sent to a replica.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Requests that change something there.
    pub changes: u64,
    /// Messages.
    pub messages: u64,
    /// Their octets.
    pub octets: u64,
}

impl Sent {
    /// Both together.
    pub fn and(self, other: Sent) -> Sent {
        Sent {
            changes: self.changes + other.changes,
            messages: self.messages + other.messages,
            octets: self.octets + other.octets,
        }
    }

    /// What was sent since `before`.
    pub fn since(self, before: Sent) -> Sent {
        Sent {
            changes: self.changes.saturating_sub(before.changes),
            messages: self.messages.saturating_sub(before.messages),
            octets: self.octets.saturating_sub(before.octets),
        }
    }
}

/// Counters that all connections share.
#[derive(Debug, Default)]
pub struct Activity {
    users: Mutex<HashSet<UserId>>,
    changes: AtomicU64,
    messages: AtomicU64,
    octets: AtomicU64,
    failed: AtomicU64,
    quarantined: AtomicUsize,
    /// Milliseconds.
    lag: AtomicU64,
}

impl Activity {
    /// A user, or a mailbox of that user, was replicated.
    pub fn replicated(&self, user: UserId) {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        users.insert(user);
    }

    /// Something could not be replicated.
    pub fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// How often something could not be replicated.
    pub fn failures(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// This was sent.
    pub fn add(&self, sent: Sent) {
        self.changes.fetch_add(sent.changes, Ordering::Relaxed);
        self.messages.fetch_add(sent.messages, Ordering::Relaxed);
        self.octets.fetch_add(sent.octets, Ordering::Relaxed);
    }

    /// All that was sent.
    pub fn sent(&self) -> Sent {
        Sent {
            changes: self.changes.load(Ordering::Relaxed),
            messages: self.messages.load(Ordering::Relaxed),
            octets: self.octets.load(Ordering::Relaxed),
        }
    }

    /// A run of the log is over: how far behind the replica was, and how many entries wait.
    pub fn run_ended(&self, lag: Duration, quarantined: usize) {
        self.lag.store(milliseconds(lag), Ordering::Relaxed);
        self.quarantined.store(quarantined, Ordering::Relaxed);
    }

    /// What the service manager shows of `channel`.
    pub fn status(&self, channel: &str) -> String {
        let users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        let lag = self.lag.load(Ordering::Relaxed) as f64 / 1000.0;
        let quarantined = self.quarantined.load(Ordering::Relaxed);
        format!(
            "{channel}: {} user{}, lag {lag:.1} s, {} quarantined",
            grouped(users.len()),
            if users.len() == 1 { "" } else { "s" },
            grouped(quarantined)
        )
    }
}

/// Milliseconds, as the journal has them.
pub fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A number with commas between groups of three digits.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_line() {
        let activity = Activity::default();
        assert_eq!(
            activity.status("replica1"),
            "replica1: 0 users, lag 0.0 s, 0 quarantined"
        );
        for number in 0..1204 {
            activity.replicated(UserId::parse(&format!("user{number}")).unwrap());
        }
        activity.replicated(UserId::parse("user7").unwrap());
        activity.run_ended(Duration::from_millis(812), 3);
        assert_eq!(
            activity.status("replica1"),
            "replica1: 1,204 users, lag 0.8 s, 3 quarantined"
        );
    }

    #[test]
    fn digits_in_groups_of_three() {
        for (number, text) in [
            (1, "1"),
            (999, "999"),
            (1000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }
}
