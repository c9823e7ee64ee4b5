//! Watchdog pings that prove progress.
//!
//! Each session holds a [`Heartbeat`]. While it works it must beat; while it waits for its peer
//! it is at rest. systemd is pinged only as long as no working heartbeat has been silent for
//! longer than the watchdog interval, so work that hangs (on a dead disk, say) lets the watchdog
//! expire although the rest of the process is alive.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::notify;

/// Watches over all heartbeats of the process.
#[derive(Clone, Debug)]
pub struct Watchdog {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    started: Instant,
    interval: Option<Duration>,
    heartbeats: Mutex<Vec<Weak<Pulse>>>,
}

/// Milliseconds since the watchdog's start of the last beat while working; `AT_REST` otherwise.
#[derive(Debug)]
struct Pulse(AtomicU64);

const AT_REST: u64 = u64::MAX;

/// One worker's sign of life.
#[derive(Debug)]
pub struct Heartbeat {
    pulse: Arc<Pulse>,
    started: Instant,
}

impl Watchdog {
    /// A watchdog with the interval that systemd asks for (`WATCHDOG_USEC`), or without one.
    pub fn from_environment() -> Watchdog {
        let mut microseconds = 0;
        let enabled = sd_notify::watchdog_enabled(false, &mut microseconds);
        Watchdog::new(enabled.then(|| Duration::from_micros(microseconds)))
    }

    fn new(interval: Option<Duration>) -> Watchdog {
        let shared = Shared {
            started: Instant::now(),
            interval,
            heartbeats: Mutex::default(),
        };
        Watchdog {
            shared: Arc::new(shared),
        }
    }

    /// A heartbeat for a new worker, at rest.
    pub fn heartbeat(&self) -> Heartbeat {
        let pulse = Arc::new(Pulse(AtomicU64::new(AT_REST)));
        let mut heartbeats = self
            .shared
            .heartbeats
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        heartbeats.retain(|heartbeat| heartbeat.strong_count() > 0);
        heartbeats.push(Arc::downgrade(&pulse));
        Heartbeat {
            pulse,
            started: self.shared.started,
        }
    }

    /// Pings systemd for as long as every working heartbeat makes progress; ends only when
    /// dropped.
    pub async fn run(&self) {
        let Some(interval) = self.shared.interval else {
            return std::future::pending().await;
        };
        let mut ticks = tokio::time::interval(interval / 3);
        loop {
            ticks.tick().await;
            if self.longest_silence() < interval {
                notify::alive();
            }
        }
    }

    /// How long the most silent of the working heartbeats has been silent.
    fn longest_silence(&self) -> Duration {
        let now = milliseconds_since(self.shared.started);
        let heartbeats = self
            .shared
            .heartbeats
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let silence = heartbeats
            .iter()
            .filter_map(Weak::upgrade)
            .map(|pulse| pulse.0.load(Ordering::Relaxed))
            .filter(|beat| *beat != AT_REST)
            .map(|beat| now.saturating_sub(beat))
            .max();
        Duration::from_millis(silence.unwrap_or(0))
    }
}

impl Heartbeat {
    /// Shows progress: a step of the work has been done.
    pub fn beat(&self) {
        self.pulse
            .0
            .store(milliseconds_since(self.started), Ordering::Relaxed);
    }

    /// Waiting for somebody else from now on, which is no sign of being stuck.
    pub fn rest(&self) {
        self.pulse.0.store(AT_REST, Ordering::Relaxed);
    }
}

fn milliseconds_since(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_millis()).unwrap_or(AT_REST - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_working_heartbeats_count() {
        let watchdog = Watchdog::new(Some(Duration::from_millis(1)));
        let resting = watchdog.heartbeat();
        let working = watchdog.heartbeat();
        working.beat();
        std::thread::sleep(Duration::from_millis(20));
        assert!(watchdog.longest_silence() >= Duration::from_millis(15));
        working.beat();
        assert!(watchdog.longest_silence() < Duration::from_millis(15));
        resting.beat();
        std::thread::sleep(Duration::from_millis(20));
        drop(resting);
        working.rest();
        assert_eq!(watchdog.longest_silence(), Duration::ZERO);
    }
}
