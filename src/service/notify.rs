//! What we tell the service manager about ourselves.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sd_notify::NotifyState;

/// Whether READY was sent: only then a reload has a beginning and an end.
static READY: AtomicBool = AtomicBool::new(false);

/// Tells systemd that the service does what it is for.
pub fn ready() {
    READY.store(true, Ordering::Relaxed);
    send(&[NotifyState::Ready]);
}

/// Tells systemd that the service is going down in an orderly way.
pub fn stopping() {
    send(&[NotifyState::Stopping]);
}

/// Reads the configuration again with `read`, and tells systemd when that begins and ends.
pub fn reloading<T>(read: impl FnOnce() -> T) -> T {
    let is_ready = READY.load(Ordering::Relaxed);
    if is_ready {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => send(&[NotifyState::Reloading, now]),
            Err(_) => send(&[NotifyState::Reloading]),
        }
    }
    let result = read();
    if is_ready {
        send(&[NotifyState::Ready]);
    }
    result
}

/// Sets the line that `systemctl status` shows.
pub fn status(line: &str) {
    send(&[NotifyState::Status(line)]);
}

/// Says what is waited for before the work can begin or go on, and asks for at least `longest`
/// more before that counts as a failed start.
pub fn waiting(line: &str, longest: Duration) {
    let microseconds = u32::try_from(longest.as_micros()).unwrap_or(u32::MAX);
    send(&[
        NotifyState::Status(line),
        NotifyState::ExtendTimeoutUsec(microseconds),
    ]);
}

/// Tells systemd that work is going on. Only [`super::watchdog`] calls this.
pub(super) fn alive() {
    send(&[NotifyState::Watchdog]);
}

/// Without a service manager there is nobody to tell; a failing notification must not stop the work.
fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(false, states) {
        tracing::debug!(%error, "the service manager could not be notified");
    }
}
