//! Watchdog pings that prove progress.
//!
//! Each worker (a session, the rolling client) holds a [`Heartbeat`]. While it works it must beat;
//! while it waits for somebody else, within limits of its own, it is at rest. systemd is pinged only
//! if every working heartbeat has beaten since the last ping, so work that hangs (on a dead disk, say)
//! lets the watchdog expire although the rest of the process is alive. Every operation on a disk that
//! comes to its end, and every attempt at a lock, is a beat ([`progress`]).

use std::cell::RefCell;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::Poll;
use std::time::{Duration, Instant};

use super::notify;
use super::shutdown::Shutdown;

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

/// Longest time between two pings: so much later than the last sign of life the watchdog expires.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// One worker's sign of life. Clones are of the same worker.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    pulse: Arc<Pulse>,
    started: Instant,
}

thread_local! {
    /// For whom this thread works.
    static WORKER: RefCell<Option<(Heartbeat, Shutdown)>> = const { RefCell::new(None) };
}

/// A step of the work that this thread does is done.
pub fn progress() {
    WORKER.with_borrow(|worker| {
        if let Some((heartbeat, _)) = worker {
            heartbeat.beat();
        }
    });
}

/// Whether the work that this thread does should have ended by now: nothing is waited for then.
pub fn is_overdue() -> bool {
    WORKER.with_borrow(|worker| {
        worker
            .as_ref()
            .is_some_and(|(_, shutdown)| shutdown.is_overdue())
    })
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
    /// dropped. For a runtime of several threads, whose own stand-still it proves as well.
    pub async fn run(&self) {
        let Some(pause) = self.pause() else {
            return std::future::pending().await;
        };
        let mut ticks = tokio::time::interval(pause);
        loop {
            ticks.tick().await;
            self.ping_if_alive(pause);
        }
    }

    /// The same on a thread of its own, for as long as the process lives: for work that blocks its
    /// runtime.
    ///
    /// # Errors
    /// If the system has no thread.
    pub fn run_aside(&self) -> std::io::Result<()> {
        let Some(pause) = self.pause() else {
            return Ok(());
        };
        let watchdog = self.clone();
        std::thread::Builder::new()
            .name("watchdog".to_owned())
            .spawn(move || {
                loop {
                    watchdog.ping_if_alive(pause);
                    std::thread::sleep(pause);
                }
            })?;
        Ok(())
    }

    fn pause(&self) -> Option<Duration> {
        let interval = self.shared.interval?;
        Some((interval / 3).min(LONGEST_PAUSE))
    }

    fn ping_if_alive(&self, pause: Duration) {
        if self.longest_silence() < pause {
            notify::alive();
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

    /// Does `work` on this thread: until it is done, [`progress`] is this worker's, and
    /// [`is_overdue`] is what `shutdown` says.
    pub fn work<T>(&self, shutdown: &Shutdown, work: impl FnOnce() -> T) -> T {
        let before = WORKER.replace(Some((self.clone(), shutdown.clone())));
        self.beat();
        let result = work();
        self.rest();
        WORKER.set(before);
        result
    }

    /// Drives `future`; while it is pending it waits for somebody else.
    pub async fn watch<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        std::future::poll_fn(move |context| {
            self.beat();
            let polled = future.as_mut().poll(context);
            match polled {
                Poll::Pending => self.rest(),
                Poll::Ready(_) => self.beat(),
            }
            polled
        })
        .await
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

    #[test]
    fn steps_of_a_thread_are_beats_of_its_worker() {
        let watchdog = Watchdog::new(None);
        let heartbeat = watchdog.heartbeat();
        let shutdown = Shutdown::default();
        heartbeat.work(&shutdown, || {
            std::thread::sleep(Duration::from_millis(20));
            assert!(watchdog.longest_silence() >= Duration::from_millis(15));
            progress();
            assert!(watchdog.longest_silence() < Duration::from_millis(15));
        });
        assert_eq!(watchdog.longest_silence(), Duration::ZERO);
    }

    #[tokio::test]
    async fn a_future_is_at_rest_while_it_waits() {
        let watchdog = Watchdog::new(None);
        let heartbeat = watchdog.heartbeat();
        let waiting = heartbeat.watch(async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            std::thread::sleep(Duration::from_millis(20));
            watchdog.longest_silence()
        });
        assert!(waiting.await >= Duration::from_millis(15));
        let waiting = heartbeat.watch(std::future::pending::<()>());
        assert!(
            tokio::time::timeout(Duration::from_millis(20), waiting)
                .await
                .is_err()
        );
        assert_eq!(watchdog.longest_silence(), Duration::ZERO);
    }

    #[test]
    fn pings_come_soon_after_the_last_sign_of_life() {
        let pause = |seconds| Watchdog::new(Some(Duration::from_secs(seconds))).pause();
        assert_eq!(pause(3), Some(Duration::from_secs(1)));
        assert_eq!(pause(30), Some(LONGEST_PAUSE));
        assert_eq!(Watchdog::new(None).pause(), None);
    }
}
