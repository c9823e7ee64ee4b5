//! Kinds of events: the `MESSAGE_ID` of their journal entries. `systemd/cyrus-sync.catalog` explains
//! each of them to whoever asks `journalctl -x`.

/// sync_server is ready.
pub const STARTED: &str = "f73cda21a47b439c8d4a50e034974595";
/// The program ends as it was asked to.
pub const STOPPED: &str = "e73dc5e47bd84d7cb5a84467eafb05c0";
/// The program ends although something was under way.
pub const CUT_OFF: &str = "3ceab30afdae4606aa17a5704e44a21b";
/// sync_server ends because nobody came.
pub const IDLE: &str = "ac74406481e948029bc1e627be74db60";
/// The configuration was read again.
pub const RELOADED: &str = "967d816c803c41fc907f126a1936615c";
/// The configuration could not be read again.
pub const RELOAD_FAILED: &str = "125fcb180e644464afcacabe53d79f7d";
/// sync_client has logged in to the replica.
pub const CONNECTED: &str = "8be2ab12be034d1185d1f99d895bb70f";
/// sync_client cannot reach the replica, and tries on.
pub const WAITING: &str = "64b0d5d162514ef89e0470bed83cfedb";
/// The replica has been out of reach for long, or trying on is no use.
pub const UNREACHABLE: &str = "b2c3de41d54a42f0912a48ad63611ffb";
/// The connection broke; a new one is made.
pub const LOST: &str = "d2bfba27c3ca4724aa0c443dc0fbc87d";
/// A replication run is over.
pub const RUN: &str = "e3e363a36ee94257a89f491f465dbbca";
/// A user or mailbox was replicated.
pub const REPLICATED: &str = "e26749c5f5d345629292f8ccc72d97ea";
/// A user or mailbox could not be replicated.
pub const FAILED: &str = "a7f0b217389c413b9fbbc2fb5630f24c";
/// An entry of the log failed and is tried again later.
pub const SET_ASIDE: &str = "e45f9f732f744ebea45bad7a172075bd";
/// Both sides differed where they should not, and were made equal.
pub const REPAIRED: &str = "2ae93c02f5ea43ef810a92bfe535352a";
/// A line of the log was passed over.
pub const SKIPPED: &str = "354fddacbbda47288059fadafbb0e443";
/// A client has logged in.
pub const LOGIN: &str = "8fa46c65e35a40dbb67ef61cdf8d5af8";
/// A client could not log in.
pub const LOGIN_FAILED: &str = "41f313b9b12340ed8d0dd8a7efd8634d";
/// A connection was refused for lack of places.
pub const TOO_MANY: &str = "d6e6d198b17a426a80228457057dcf8f";
/// sync_server has received what a run of a client sent.
pub const RECEIVED: &str = "3abe4249490d46ad97597537358a3fde";
/// sync_server has carried out a change.
pub const APPLIED: &str = "e3a3c6ae82b34618b613674591bb289d";
/// sync_server has refused a change.
pub const REFUSED: &str = "c2683f08163040ef8c7871f9561e47fa";
/// The store could not be read or written.
pub const STORE_ERROR: &str = "8f38644cf39344d9bb14445d294f490c";

/// All kinds, with their names.
pub const ALL: &[(&str, &str)] = &[
    ("STARTED", STARTED),
    ("STOPPED", STOPPED),
    ("CUT_OFF", CUT_OFF),
    ("IDLE", IDLE),
    ("RELOADED", RELOADED),
    ("RELOAD_FAILED", RELOAD_FAILED),
    ("CONNECTED", CONNECTED),
    ("WAITING", WAITING),
    ("UNREACHABLE", UNREACHABLE),
    ("LOST", LOST),
    ("RUN", RUN),
    ("REPLICATED", REPLICATED),
    ("FAILED", FAILED),
    ("SET_ASIDE", SET_ASIDE),
    ("REPAIRED", REPAIRED),
    ("SKIPPED", SKIPPED),
    ("LOGIN", LOGIN),
    ("LOGIN_FAILED", LOGIN_FAILED),
    ("TOO_MANY", TOO_MANY),
    ("RECEIVED", RECEIVED),
    ("APPLIED", APPLIED),
    ("REFUSED", REFUSED),
    ("STORE_ERROR", STORE_ERROR),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The ids and subjects of the entries of the catalog.
    fn catalog() -> Vec<(String, String)> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/systemd/cyrus-sync.catalog");
        let text = std::fs::read_to_string(path).unwrap();
        let mut lines = text.lines();
        let mut entries = Vec::new();
        while let Some(line) = lines.next() {
            if let Some(id) = line.strip_prefix("-- ") {
                let subject = lines.next().and_then(|line| line.strip_prefix("Subject: "));
                entries.push((id.to_owned(), subject.unwrap().to_owned()));
            }
        }
        entries
    }

    #[test]
    fn the_catalog_explains_every_kind_once() {
        let explained: Vec<String> = catalog().into_iter().map(|(id, _)| id).collect();
        let kinds: Vec<&str> = ALL.iter().map(|(_, id)| *id).collect();
        assert_eq!(explained, kinds);
        let different: BTreeSet<&str> = kinds.iter().copied().collect();
        assert_eq!(different.len(), kinds.len());
    }

    #[test]
    fn ids_are_those_of_the_journal() {
        for (name, id) in ALL {
            let is_digit = |octet: u8| octet.is_ascii_digit() || (b'a'..=b'f').contains(&octet);
            assert!(id.len() == 32 && id.bytes().all(is_digit), "{name}");
        }
    }
}
