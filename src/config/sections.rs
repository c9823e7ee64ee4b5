//! The parts of a configuration.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use zeroize::Zeroizing;

use super::{ChannelName, ReplicaAddress};
use crate::mail::{FlagName, MailboxOptions, Partition};

/// A text that is wiped from memory when dropped and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Keeps a text secret.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(Zeroizing::new(text.into()))
    }

    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// As whom the programs run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessSettings {
    /// The user who owns the store (`cyrus_user`).
    pub user: String,
    /// The group (`cyrus_group`).
    pub group: String,
    /// Permissions that new files do not have (`umask`).
    pub umask: u32,
}

/// When a deleted mailbox, or the file of an expunged message, is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// At once.
    Immediate,
    /// Files at once, records later.
    SemiDelayed,
    /// Later, by `cyr_expire`.
    Delayed,
}

/// How mailboxes are made and kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailboxSettings {
    /// Partition of new mailboxes (`defaultpartition`); the only one if there is only one. `None`
    /// if there are several and none is preferred.
    pub default_partition: Option<Partition>,
    /// New mailboxes get directories named after them (`mailbox_legacy_dirs`).
    pub legacy_directories: bool,
    /// What becomes of deleted mailboxes (`delete_mode`).
    pub delete_mode: Removal,
    /// What becomes of expunged messages (`expunge_mode`).
    pub expunge_mode: Removal,
    /// Options of new mailboxes (`mailbox_default_options`).
    pub default_options: MailboxOptions,
    /// Keywords of new mailboxes (`mailbox_initial_flags`).
    pub initial_flags: Vec<FlagName>,
    /// ACL identifiers have keys in the mailbox list (`reverseacls`).
    pub reverse_acls: bool,
    /// The status cache is in use (`statuscache`).
    pub status_cache: bool,
    /// Identical messages share a file (`singleinstancestore`).
    pub single_instance_store: bool,
    /// Header lines considered for the cache, `None` for all (`maxheaderlines`).
    pub max_header_lines: Option<u32>,
    /// Deepest MIME nesting parsed (`boundary_limit`).
    pub boundary_limit: u32,
    /// `rfc2046_strict`.
    pub rfc2046_strict: bool,
    /// `rfc2047_utf8`.
    pub rfc2047_utf8: bool,
    /// Last level of the name of the folder with a user's Sieve scripts (`sieve_folder`).
    pub sieve_folder: String,
    /// Format of new indexes: 17, 19 or 20 (`cyrus_sync_index_version`).
    pub index_version: u32,
}

/// The format of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// databases §2.
    Twoskip,
    /// databases §3.
    Skiplist,
    /// databases §4.
    Flat,
    /// databases §5.
    QuotaLegacy,
}

/// The formats of the databases; their places are in [`super::Places`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Databases {
    /// `mboxlist_db`.
    pub mailboxes: Backend,
    /// `annotation_db`, also for the annotations of messages.
    pub annotations: Backend,
    /// `seenstate_db`.
    pub seen: Backend,
    /// `subscription_db`.
    pub subscriptions: Backend,
    /// `quota_db`.
    pub quota: Backend,
    /// `statuscache_db`.
    pub status_cache: Backend,
    /// `userdeny_db`.
    pub denied_users: Backend,
    /// `sync_cache_db`.
    pub sync_cache: Backend,
    /// Skiplist files are written without waiting for the disk (`skiplist_unsafe`).
    pub skiplist_unsafe: bool,
}

/// Replication in general; what differs by channel is in [`ChannelSettings`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicationSettings {
    /// Changes are logged (`sync_log`).
    pub log: bool,
    /// Into the logs of these channels (`sync_log_channels`).
    pub log_channels: Vec<ChannelName>,
    /// Also changes that come by replication (`sync_log_chain`).
    pub log_chain: bool,
    /// Channels to which those are logged in any case (`sync_log_unsuppressable_channels`).
    pub log_always: Vec<ChannelName>,
    /// Longest wait for the peer (`sync_timeout`).
    pub timeout: Duration,
    /// Messages per upload batch (`sync_batchsize`).
    pub batch_size: u32,
    /// Extensions of the protocol are offered and used (`cyrus_sync_extensions`).
    pub extensions: bool,
    /// Longest pause before a lost connection is tried again (`sync_reconnect_maxwait`).
    pub reconnect_max_wait: Duration,
}

/// One channel: a replica, and how to reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelSettings {
    /// Which channel.
    pub name: ChannelName,
    /// The replica (`sync_host`).
    pub host: Option<ReplicaAddress>,
    /// Its port, if the address has none: a number or the name of a service (`sync_port`).
    pub port: Option<String>,
    /// Without a port, IMAP is tried first (`sync_try_imap`).
    pub try_imap: bool,
    /// User id to log in with (`sync_authname`).
    pub user: Option<String>,
    /// Password (`sync_password`).
    pub password: Option<Secret>,
    /// SASL realm (`sync_realm`).
    pub realm: Option<String>,
    /// File whose appearance ends a rolling client (`sync_shutdown_file`).
    pub shutdown_file: Option<PathBuf>,
    /// The cache of what the replica has (`sync_cache_db_path`).
    pub cache_path: Option<PathBuf>,
    /// Shortest time between two runs (`sync_repeat_interval`).
    pub repeat_interval: Duration,
}

/// What is set for one replica host by its short name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostSettings {
    /// Mechanisms to choose from (`NAME_mechs`).
    pub mechanisms: Option<Vec<String>>,
    /// Certificate to show (`NAME_client_cert`, else `tls_client_cert`).
    pub client_cert: Option<PathBuf>,
    /// Its key (`NAME_client_key`, else `tls_client_key`).
    pub client_key: Option<PathBuf>,
}

/// Outgoing connections, and the lines of all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkSettings {
    /// Source address or its host name (`client_bind`, `client_bind_name`).
    pub bind: Option<String>,
    /// Longest wait for a connection (`client_timeout`).
    pub connect_timeout: Duration,
    /// What is demanded of TCP connections, in either direction.
    pub line: LineSettings,
}

/// How it is noticed that the peer's host is out of reach; `None` leaves it to the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineSettings {
    /// How long that host may acknowledge nothing of what was sent to it (`cyrus_sync_line_timeout`).
    pub timeout: Option<Duration>,
    /// What is sent to it while there is nothing to send (`tcp_keepalive`; else within the same time).
    pub keepalive: Option<Keepalive>,
}

/// TCP keepalive; zero means the system's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keepalive {
    /// Probes before the connection counts as lost.
    pub probes: u32,
    /// Idle time before the first probe.
    pub idle: Duration,
    /// Time between probes.
    pub interval: Duration,
}

impl Keepalive {
    /// Probes that find out within `limit` that nobody is there, in whole seconds: after a silence of
    /// half that time, three.
    pub fn within(limit: Duration) -> Keepalive {
        let seconds = |time: Duration| Duration::from_secs(time.as_secs().max(1));
        Keepalive {
            probes: 3,
            idle: seconds(limit / 2),
            interval: seconds(limit / 6),
        }
    }
}

/// Whether something is never, possibly or always asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demand {
    /// Never.
    Never,
    /// If the peer can.
    Optional,
    /// Without it there is no session.
    Require,
}

/// What a certificate must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateMark {
    /// This common name in its subject.
    CommonName(String),
    /// This name or address among its alternative names (DNS, mail or URI).
    AlternativeName(String),
    /// A public key with this SHA-256.
    Key([u8; 32]),
}

/// Whom a certificate with this mark stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateRule {
    /// The mark.
    pub mark: CertificateMark,
    /// The user id it logs in as.
    pub user: String,
}

/// TLS on both sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSettings {
    /// Certificate chain of the server (`tls_server_cert`). Without it or the key there is no TLS.
    pub server_cert: Option<PathBuf>,
    /// Its key (`tls_server_key`).
    pub server_key: Option<PathBuf>,
    /// Certificates of clients (`tls_client_certs`).
    pub client_certs: Demand,
    /// Authorities that vouch for clients (`tls_client_ca_file`, `tls_client_ca_dir`).
    pub client_ca_file: Option<PathBuf>,
    /// The same as a directory.
    pub client_ca_directory: Option<PathBuf>,
    /// Revoked certificates of clients (`tls_crl_file`).
    pub revocation_list: Option<PathBuf>,
    /// Authorities that vouch for replicas (`tls_server_ca_file`, `tls_server_ca_dir`).
    pub server_ca_file: Option<PathBuf>,
    /// The same as a directory.
    pub server_ca_directory: Option<PathBuf>,
    /// Whom certificates of clients stand for (`cyrus_sync_certificate_map`); if empty, the user
    /// whom their common name names.
    pub certificate_map: Vec<CertificateRule>,
    /// TLS 1.2 may be spoken (`tls_versions`).
    pub tls12: bool,
    /// TLS 1.3 may be spoken (`tls_versions`).
    pub tls13: bool,
    /// A server offers STARTTLS (`allowstarttls`).
    pub start_tls: bool,
    /// Nobody logs in before TLS (`tls_required`).
    pub required: bool,
    /// A client starts TLS (`cyrus_sync_client_tls`).
    pub client: Demand,
    /// SHA-256 of the public keys that a replica may have (`cyrus_sync_server_pins`).
    pub server_pins: Vec<[u8; 32]>,
    /// A client checks certificate and name of the replica (`cyrus_sync_client_verify`).
    pub verify_server: bool,
}

/// How a plain password is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PasswordCheck {
    /// Against the sasldb file.
    Sasldb,
    /// By asking saslauthd.
    Saslauthd,
}

/// Who may log in, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaslSettings {
    /// Users and `group:` entries that may replicate (`admins`).
    pub admins: Vec<String>,
    /// Password mechanisms without TLS (`allowplaintext`).
    pub allow_plaintext: bool,
    /// A client sends passwords without TLS (`cyrus_sync_client_plaintext`).
    pub client_plaintext: bool,
    /// Mechanisms of a server in upper case, in order (`sasl_mech_list`); `None` for all.
    pub mechanisms: Option<Vec<String>>,
    /// Checks of passwords, in turn (`sasl_pwcheck_method`).
    pub password_checks: Vec<PasswordCheck>,
    /// Our own password file, asked before all others (`cyrus_sync_password_file`).
    pub password_file: Option<PathBuf>,
    /// The sasldb file (`sasl_sasldb_path`).
    pub sasldb_path: PathBuf,
    /// The socket of saslauthd (`sasl_saslauthd_path`).
    pub saslauthd_path: PathBuf,
    /// Weakest protection accepted (`sasl_minimum_layer`).
    pub minimum_layer: u32,
    /// Strongest protection by SASL itself (`sasl_maximum_layer`).
    pub maximum_layer: u32,
    /// The only mechanism of a client (`force_sasl_client_mech`).
    pub client_mechanism: Option<String>,
    /// Realms that may log in as `user@realm` (`loginrealms`).
    pub login_realms: Vec<String>,
    /// User ids are folded to lower case (`username_tolower`).
    pub lower_case_users: bool,
    /// `group:` entries are looked up in the system's groups (`unix_group_enable`).
    pub unix_groups: bool,
    /// Pause before a failed login is answered (`failedloginpause`).
    pub failed_login_pause: Duration,
}

/// What is logged, and under which name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggingSettings {
    /// Name of the service or program, with the configured prefix (`syslog_prefix`).
    pub ident: String,
    /// Syslog facility (`syslog_facility`).
    pub facility: String,
    /// Debug messages are logged (`debug`).
    pub debug: bool,
    /// Every change is logged (`auditlog`).
    pub audit: bool,
}

/// What a peer may use up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bounds of the syntax (`maxword`, `maxquoted`, `cyrus_sync_max_literal`, `…_file`, `…_line`,
    /// `…_nesting`, `…_list`, `…_memory`).
    pub syntax: crate::dlist::Limits,
    /// Connections served at the same time (`cyrus_sync_max_connections`).
    pub connections: u32,
    /// Connections that have not logged in (`cyrus_sync_max_unauthenticated`).
    pub unauthenticated: u32,
    /// Connections of one address, logged in, and as many that are not
    /// (`cyrus_sync_max_per_address`).
    pub per_address: u32,
    /// Time for logging in (`cyrus_sync_login_timeout`).
    pub login_timeout: Duration,
    /// Failed logins before the connection is closed (`cyrus_sync_max_login_failures`).
    pub login_failures: u32,
    /// Messages in staging per connection (`cyrus_sync_max_staged`).
    pub staged_messages: u32,
}
