//! What we tell the service manager about ourselves.

use std::time::Duration;

use sd_notify::NotifyState;

/// Tells systemd that the service does what it is for.
pub fn ready() {
    send(&[NotifyState::Ready]);
}

/// Tells systemd that the service is going down in an orderly way.
pub fn stopping() {
    send(&[NotifyState::Stopping]);
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
