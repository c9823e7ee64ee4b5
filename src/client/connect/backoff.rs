//! Pauses between attempts to connect.

use std::time::Duration;

/// Pauses between attempts to connect: 15 s doubling up to a cap, a little more or less by chance
/// so that clients which lost the same server do not come back together (algorithm §10.4).
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    next: Duration,
    cap: Duration,
}

impl Backoff {
    /// The pause after the first failure.
    const FIRST: Duration = Duration::from_secs(15);

    /// Pauses up to `cap`; zero means no cap.
    pub fn new(cap: Duration) -> Backoff {
        Backoff {
            next: Backoff::FIRST,
            cap,
        }
    }

    /// The next pause, in whole seconds as it is announced.
    pub fn next_pause(&mut self) -> Duration {
        let capped = if self.cap.is_zero() {
            self.next
        } else {
            self.next.min(self.cap)
        };
        self.next = self.next.saturating_mul(2);
        capped
    }

    /// By how much an announced pause is varied: up to a tenth, from the clock's last digits.
    pub fn jitter(pause: Duration) -> Duration {
        let nanoseconds = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default()
            .subsec_nanos();
        pause.mul_f64(f64::from(nanoseconds % 1000) / 10_000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_cap() {
        let seconds = |mut backoff: Backoff, count| -> Vec<u64> {
            (0..count).map(|_| backoff.next_pause().as_secs()).collect()
        };
        let capped = Backoff::new(Duration::from_secs(100));
        assert_eq!(seconds(capped, 5), [15, 30, 60, 100, 100]);
        let free = Backoff::new(Duration::ZERO);
        assert_eq!(seconds(free, 5), [15, 30, 60, 120, 240]);
    }

    #[test]
    fn jitter_is_at_most_a_tenth() {
        let pause = Duration::from_secs(100);
        assert!(Backoff::jitter(pause) <= pause / 10);
    }
}
