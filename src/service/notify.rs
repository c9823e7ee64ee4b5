//! What we tell the service manager about ourselves.

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
