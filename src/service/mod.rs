//! The one door to systemd and to the process: sockets, notifications, the journal, signals.
//!
//! Nothing outside this module reads `LISTEN_FDS`, `NOTIFY_SOCKET`, `WATCHDOG_USEC` or
//! `CREDENTIALS_DIRECTORY`.

pub mod credentials;
pub mod event;
pub mod exit;
pub mod journal;
pub mod listen;
pub mod notify;
pub mod process;
pub mod shutdown;
pub mod signals;
pub mod watchdog;
