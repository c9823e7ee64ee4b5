//! The one table of settings, from which reading, checking and documentation follow.

use super::kind::Kind;

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// By which the program asks for it.
    pub key: Key,
    /// Its name in `imapd.conf`.
    pub name: &'static str,
    /// Its table and name in our TOML form.
    pub toml: &'static str,
    /// What values it takes.
    pub kind: Kind,
    /// The value if it is not set, in the syntax of `imapd.conf`.
    pub default: Option<&'static str>,
    /// What it is for.
    pub doc: &'static str,
}

macro_rules! settings {
    ($($(#[doc = $doc:literal])+ $key:ident: $name:literal, $toml:literal, $kind:expr, $default:expr;)+) => {
        /// The settings, for lookup.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Key {
            $($(#[doc = $doc])+ $key,)+
        }

        /// Every setting, in the order in which it is documented.
        pub static SETTINGS: &[Setting] = &[
            $(Setting {
                key: Key::$key,
                name: $name,
                toml: $toml,
                kind: $kind,
                default: $default,
                doc: concat!($($doc),+),
            },)+
        ];

        impl Key {
            /// The setting.
            pub fn setting(self) -> &'static Setting {
                // The array is made in the order of the enum; the test below holds it to that.
                &SETTINGS[self as usize]
            }
        }
    };
}

const BACKENDS: Kind = Kind::Choice(&[
    "twoskip",
    "skiplist",
    "flat",
    "quotalegacy",
    "sql",
    "zeroskip",
    "lmdb",
    "twom",
]);

settings! {
    /// Root of the databases. Must be set.
    ConfigDirectory: "configdirectory", "server.config_directory", Kind::Path, None;
    /// Name of the server in the greeting, and default SASL realm. If unset, the host name.
    ServerName: "servername", "server.name", Kind::Text, None;
    /// User who owns the store and whose identity the programs take.
    CyrusUser: "cyrus_user", "server.user", Kind::Text, Some("cyrus");
    /// Group of the processes.
    CyrusGroup: "cyrus_group", "server.group", Kind::Text, Some("mail");
    /// Permissions that new files do not have, in octal.
    Umask: "umask", "server.umask", Kind::Octal, Some("077");
    /// Directory with one file per process. If unset, `proc` below the configuration directory.
    ProcPath: "proc_path", "server.process_directory", Kind::Path, None;
    /// Directory of the name locks. If unset, `lock` below the configuration directory.
    LockPath: "mboxname_lockpath", "server.lock_directory", Kind::Path, None;
    /// Root of the per-user databases. If unset, the configuration directory.
    UserPath: "mboxname_userpath", "server.user_directory", Kind::Path, None;
    /// Directory of Sieve scripts and byte code.
    SieveDir: "sievedir", "server.sieve_directory", Kind::Path, Some("/usr/sieve");
    /// User ids who may replicate; `group:NAME` stands for a Unix group.
    Admins: "admins", "server.admins", Kind::List, Some("");

    /// Partition of new mailboxes when the master names none that exists here.
    DefaultPartition: "defaultpartition", "mailboxes.default_partition", Kind::Text, None;
    /// Which files of a mailbox live on the metapartition.
    MetapartitionFiles: "metapartition_files", "mailboxes.metapartition_files",
        Kind::Set(&["header", "index", "cache", "expunge", "squat", "annotations", "lock", "dav",
            "archivecache"]), Some("");
    /// Second-tier storage. Not supported.
    ArchiveEnabled: "archive_enabled", "mailboxes.archive", Kind::Switch, Some("no");
    /// Messages in an object store. Not supported.
    ObjectStorage: "object_storage_enabled", "mailboxes.object_storage", Kind::Switch, Some("no");
    /// Directories of new mailboxes are named after the mailbox, not after its unique id.
    LegacyDirs: "mailbox_legacy_dirs", "mailboxes.legacy_directories", Kind::Switch, Some("no");
    /// What becomes of a deleted mailbox: removed at once, or renamed and removed later.
    DeleteMode: "delete_mode", "mailboxes.delete_mode",
        Kind::Choice(&["immediate", "delayed"]), Some("delayed");
    /// When the files of expunged messages are removed.
    ExpungeMode: "expunge_mode", "mailboxes.expunge_mode",
        Kind::Choice(&["immediate", "semidelayed", "delayed"]), Some("delayed");
    /// Index options of new mailboxes.
    DefaultOptions: "mailbox_default_options", "mailboxes.default_options", Kind::Number, Some("0");
    /// Keywords that new mailboxes know from the start.
    InitialFlags: "mailbox_initial_flags", "mailboxes.initial_flags", Kind::List, Some("");
    /// Conversations databases. Not supported.
    Conversations: "conversations", "mailboxes.conversations", Kind::Switch, Some("no");
    /// Keys in the mailbox list by which mailboxes are found by ACL identifier.
    ReverseAcls: "reverseacls", "mailboxes.reverse_acls", Kind::Switch, Some("no");
    /// Socket of idled, which is told of every change. Its default is socket/idle in the
    /// configuration directory.
    IdleSocket: "idlesocket", "server.idle_socket", Kind::Path, None;
    /// A cache of mailbox counts that must follow every change.
    StatusCache: "statuscache", "mailboxes.status_cache", Kind::Switch, Some("no");
    /// Identical messages on a partition share a file.
    SingleInstanceStore: "singleinstancestore", "mailboxes.single_instance_store",
        Kind::Switch, Some("yes");
    /// Lines of a header that the cache considers; 0 means all.
    MaxHeaderLines: "maxheaderlines", "mailboxes.max_header_lines", Kind::Number, Some("1000");
    /// Deepest MIME nesting that is parsed.
    BoundaryLimit: "boundary_limit", "mailboxes.boundary_limit", Kind::Number, Some("1000");
    /// Strict reading of MIME boundaries.
    Rfc2046Strict: "rfc2046_strict", "mailboxes.rfc2046_strict", Kind::Switch, Some("no");
    /// Encoded words are cached in UTF-8.
    Rfc2047Utf8: "rfc2047_utf8", "mailboxes.rfc2047_utf8", Kind::Switch, Some("no");
    /// Name of the folder that holds a user's Sieve scripts.
    SieveFolder: "sieve_folder", "mailboxes.sieve_folder", Kind::Text, Some("#sieve");
    /// Sieve scripts live in home directories. Not supported.
    SieveUseHomeDir: "sieveusehomedir", "mailboxes.sieve_in_home_directories",
        Kind::Switch, Some("no");
    /// Format of the index of new mailboxes: the one of the oldest daemon on this store.
    IndexVersion: "cyrus_sync_index_version", "mailboxes.index_version",
        Kind::Choice(&["17", "19", "20"]), Some("17");

    /// Whether names may have domains.
    VirtDomains: "virtdomains", "names.virtual_domains",
        Kind::Choice(&["off", "userid", "on"]), Some("off");
    /// The domain that is never written into names.
    DefaultDomain: "defaultdomain", "names.default_domain", Kind::Text, Some("internal");
    /// Administrators write `/` between the levels of a name.
    UnixHierarchySep: "unixhierarchysep", "names.unix_hierarchy_separator",
        Kind::Switch, Some("yes");
    /// First level of the names of deleted mailboxes.
    DeletedPrefix: "deletedprefix", "names.deleted_prefix", Kind::Text, Some("DELETED");
    /// A level of one letter in paths that come from names.
    HashImapSpool: "hashimapspool", "names.hash_directories", Kind::Switch, Some("no");
    /// That letter is a hash of the whole level instead of its first letter.
    FullDirHash: "fulldirhash", "names.full_hash", Kind::Switch, Some("no");
    /// User ids are folded to lower case when they log in.
    UsernameToLower: "username_tolower", "names.lower_case_users", Kind::Switch, Some("yes");

    /// Backend of the mailbox list.
    MboxlistDb: "mboxlist_db", "databases.mailboxes", BACKENDS, Some("twoskip");
    /// File of the mailbox list. If unset, `mailboxes.db` below the configuration directory.
    MboxlistDbPath: "mboxlist_db_path", "databases.mailboxes_path", Kind::Path, None;
    /// Backend of annotations.
    AnnotationDb: "annotation_db", "databases.annotations", BACKENDS, Some("twoskip");
    /// File of the annotations. If unset, `annotations.db` below the configuration directory.
    AnnotationDbPath: "annotation_db_path", "databases.annotations_path", Kind::Path, None;
    /// Backend of seen state.
    SeenstateDb: "seenstate_db", "databases.seen", BACKENDS, Some("twoskip");
    /// Backend of subscriptions.
    SubscriptionDb: "subscription_db", "databases.subscriptions", BACKENDS, Some("flat");
    /// Backend of quota; `quotalegacy` is one file per quota root.
    QuotaDb: "quota_db", "databases.quota", BACKENDS, Some("quotalegacy");
    /// File of the quota roots; with `quotalegacy`, their directories are beside it. If unset,
    /// `quotas.db` below the configuration directory.
    QuotaDbPath: "quota_db_path", "databases.quota_path", Kind::Path, None;
    /// Backend of the status cache.
    StatuscacheDb: "statuscache_db", "databases.status_cache", BACKENDS, Some("twoskip");
    /// File of the status cache. If unset, `statuscache.db` below the configuration directory.
    StatuscacheDbPath: "statuscache_db_path", "databases.status_cache_path", Kind::Path, None;
    /// Backend of the list of denied users.
    UserdenyDb: "userdeny_db", "databases.denied_users", BACKENDS, Some("flat");
    /// File of denied users. If unset, `user_deny.db` below the configuration directory.
    UserdenyDbPath: "userdeny_db_path", "databases.denied_users_path", Kind::Path, None;
    /// Backend of the cache of what a replica has.
    SyncCacheDb: "sync_cache_db", "databases.sync_cache", BACKENDS, Some("twoskip");
    /// Skiplist databases are written without waiting for the disk.
    SkiplistUnsafe: "skiplist_unsafe", "databases.skiplist_unsafe", Kind::Switch, Some("no");

    /// Daemons write the replication log.
    SyncLog: "sync_log", "replication.log", Kind::Switch, Some("no");
    /// Channels into whose logs changes are written; `""` is the default channel.
    SyncLogChannels: "sync_log_channels", "replication.log_channels", Kind::List, Some("\"\"");
    /// A server logs the changes that it receives.
    SyncLogChain: "sync_log_chain", "replication.log_chain", Kind::Switch, Some("no");
    /// Channels that a server logs to in any case.
    SyncLogUnsuppressable: "sync_log_unsuppressable_channels", "replication.log_always",
        Kind::List, Some("squatter");
    /// Longest wait for the peer, at least 3 seconds.
    SyncTimeout: "sync_timeout", "replication.timeout", Kind::Duration('s'), Some("30m");
    /// Messages per upload batch.
    SyncBatchSize: "sync_batchsize", "replication.batch_size", Kind::Number, Some("8192");
    /// Both programs shorten their conversation with each other (docs/protocol-extensions.md).
    Extensions: "cyrus_sync_extensions", "replication.extensions", Kind::Switch, Some("yes");
    /// Longest pause before a lost connection is tried again.
    SyncReconnectMaxWait: "sync_reconnect_maxwait", "replication.reconnect_max_wait",
        Kind::Duration('s'), Some("20m");
    /// The replica: `HOST[:PORT][/tls][/noauth]` or an absolute socket path.
    SyncHost: "sync_host", "replication.host", Kind::Text, None;
    /// Port of the replica, a number or the name of a service. If unset, `csync`.
    SyncPort: "sync_port", "replication.port", Kind::Text, None;
    /// User id by which a client logs in to the replica.
    SyncAuthname: "sync_authname", "replication.user", Kind::Text, None;
    /// Password of that user.
    SyncPassword: "sync_password", "replication.password", Kind::Secret, None;
    /// SASL realm of that user.
    SyncRealm: "sync_realm", "replication.realm", Kind::Text, None;
    /// Shortest time between two runs of a rolling client.
    SyncRepeatInterval: "sync_repeat_interval", "replication.repeat_interval",
        Kind::Duration('s'), Some("1s");
    /// File whose appearance ends a rolling client.
    SyncShutdownFile: "sync_shutdown_file", "replication.shutdown_file", Kind::Path, None;
    /// File of the cache of what the replica has. If unset, there is none.
    SyncCacheDbPath: "sync_cache_db_path", "replication.cache_path", Kind::Path, None;
    /// Without a port, IMAP is tried before the replication protocol. With a port, the first line
    /// of the server tells what it speaks.
    SyncTryImap: "sync_try_imap", "replication.try_imap", Kind::Switch, Some("yes");

    /// The source address of outgoing connections is bound.
    ClientBind: "client_bind", "network.bind", Kind::Switch, Some("no");
    /// Host name or address to bind to. If unset, the server name.
    ClientBindName: "client_bind_name", "network.bind_name", Kind::Text, None;
    /// Longest wait for a connection.
    ClientTimeout: "client_timeout", "network.connect_timeout", Kind::Duration('s'), Some("10s");
    /// How long the peer's host may acknowledge nothing of what was sent to it before the connection
    /// counts as lost; 0 leaves that to the system. What keeps the peer itself busy does not count.
    LineTimeout: "cyrus_sync_line_timeout", "network.line_timeout",
        Kind::Duration('s'), Some("30s");
    /// TCP keepalive as the next three say. Without it, an idle connection is probed so that it counts
    /// as lost after `cyrus_sync_line_timeout`.
    TcpKeepalive: "tcp_keepalive", "network.keepalive", Kind::Switch, Some("no");
    /// Keepalive probes before a connection counts as lost; 0 means the system's number.
    TcpKeepaliveCount: "tcp_keepalive_cnt", "network.keepalive_probes", Kind::Number, Some("0");
    /// Idle time before the first probe; 0 means the system's.
    TcpKeepaliveIdle: "tcp_keepalive_idle", "network.keepalive_idle",
        Kind::Duration('s'), Some("0");
    /// Time between probes; 0 means the system's.
    TcpKeepaliveInterval: "tcp_keepalive_intvl", "network.keepalive_interval",
        Kind::Duration('s'), Some("0");

    /// Certificate chain of the server, PEM; `disabled` means none.
    TlsServerCert: "tls_server_cert", "tls.server_cert", Kind::Text, None;
    /// Private key of the server, PEM; `disabled` means none.
    TlsServerKey: "tls_server_key", "tls.server_key", Kind::Text, None;
    /// Whether a client may or must show a certificate.
    TlsClientCerts: "tls_client_certs", "tls.client_certs",
        Kind::Choice(&["off", "optional", "require"]), Some("optional");
    /// File of the authorities that vouch for clients.
    TlsClientCaFile: "tls_client_ca_file", "tls.client_ca_file", Kind::Path, None;
    /// Directory of the authorities that vouch for clients.
    TlsClientCaDir: "tls_client_ca_dir", "tls.client_ca_directory", Kind::Path, None;
    /// Whom certificates of clients stand for with EXTERNAL: rules `cn:NAME=USER` for a common name,
    /// `san:NAME=USER` for an alternative name, `sha256:BASE64=USER` for the SHA-256 of a public
    /// key; the first that fits counts. If unset, the common name is the user.
    CertificateMap: "cyrus_sync_certificate_map", "tls.certificate_map", Kind::List, Some("");
    /// Revocation list for certificates of clients.
    TlsCrlFile: "tls_crl_file", "tls.revocation_list", Kind::Path, None;
    /// File of the authorities that vouch for replicas.
    TlsServerCaFile: "tls_server_ca_file", "tls.server_ca_file", Kind::Path, None;
    /// Directory of the authorities that vouch for replicas.
    TlsServerCaDir: "tls_server_ca_dir", "tls.server_ca_directory", Kind::Path, None;
    /// Certificate that a client shows to replicas.
    TlsClientCert: "tls_client_cert", "tls.client_cert", Kind::Path, None;
    /// Private key of that certificate.
    TlsClientKey: "tls_client_key", "tls.client_key", Kind::Path, None;
    /// Enabled protocol versions: TLS 1.3, and TLS 1.2 if it is named; older ones are never spoken.
    TlsVersions: "tls_versions", "tls.versions", Kind::List, Some("tls1_3");
    /// STARTTLS is offered once certificate and key are set.
    AllowStartTls: "allowstarttls", "tls.starttls", Kind::Switch, Some("yes");
    /// Nobody logs in before TLS.
    TlsRequired: "tls_required", "tls.required", Kind::Switch, Some("no");
    /// Whether a client starts TLS: never, when it is offered, or not go on without it. If unset,
    /// require where authorities, pins or a certificate are set for clients, else offered.
    ClientTls: "cyrus_sync_client_tls", "tls.client",
        Kind::Choice(&["never", "offered", "require"]), None;
    /// Public keys that a replica may have, each the SHA-256 of its SubjectPublicKeyInfo in base64
    /// behind `sha256:`. A replica with one of them needs no authority.
    ServerPins: "cyrus_sync_server_pins", "tls.server_pins", Kind::List, Some("");
    /// A client checks the certificate and name of the replica.
    ClientVerify: "cyrus_sync_client_verify", "tls.verify_server", Kind::Switch, Some("yes");

    /// Password mechanisms without TLS.
    AllowPlaintext: "allowplaintext", "sasl.allow_plaintext", Kind::Switch, Some("no");
    /// A client may send a password without TLS.
    ClientPlaintext: "cyrus_sync_client_plaintext", "sasl.client_plaintext",
        Kind::Switch, Some("no");
    /// Mechanisms that a server offers, in this order. If unset, all it has.
    SaslMechList: "sasl_mech_list", "sasl.mechanisms", Kind::List, None;
    /// How passwords are checked, tried in turn.
    SaslPwcheckMethod: "sasl_pwcheck_method", "sasl.password_check", Kind::List, Some("auxprop");
    /// Where secrets of users come from. If unset, sasldb.
    SaslAuxpropPlugin: "sasl_auxprop_plugin", "sasl.secrets", Kind::List, None;
    /// Password file that `syncctl passwd` writes: verifiers of passwords, asked before all others.
    PasswordFile: "cyrus_sync_password_file", "sasl.password_file", Kind::Path, None;
    /// The sasldb file.
    SaslSasldbPath: "sasl_sasldb_path", "sasl.sasldb_path", Kind::Path, Some("/etc/sasldb2");
    /// The socket of saslauthd.
    SaslSaslauthdPath: "sasl_saslauthd_path", "sasl.saslauthd_path",
        Kind::Path, Some("/var/run/saslauthd/mux");
    /// Weakest protection of a connection that is accepted.
    SaslMinimumLayer: "sasl_minimum_layer", "sasl.minimum_layer", Kind::Number, Some("0");
    /// Strongest protection by SASL itself; TLS is not limited.
    SaslMaximumLayer: "sasl_maximum_layer", "sasl.maximum_layer", Kind::Number, Some("256");
    /// The only mechanism a client uses.
    ForceSaslClientMech: "force_sasl_client_mech", "sasl.client_mechanism", Kind::Text, None;
    /// Realms that may log in as `user@realm`.
    LoginRealms: "loginrealms", "sasl.login_realms", Kind::List, Some("");
    /// `group:` entries are looked up in the system's groups.
    UnixGroupEnable: "unix_group_enable", "sasl.unix_groups", Kind::Switch, Some("yes");
    /// How groups are looked up. Only `unix` is supported.
    AuthMech: "auth_mech", "sasl.groups", Kind::Choice(&["unix", "pts", "krb", "krb5", "mboxgroups"]),
        Some("unix");
    /// Pause before a failed login is answered.
    FailedLoginPause: "failedloginpause", "sasl.failed_login_pause",
        Kind::Duration('s'), Some("3s");

    /// Syslog messages begin with this and a slash.
    SyslogPrefix: "syslog_prefix", "logging.prefix", Kind::Text, None;
    /// Syslog facility.
    SyslogFacility: "syslog_facility", "logging.facility", Kind::Text, Some("MAIL");
    /// Debug messages are logged.
    Debug: "debug", "logging.debug", Kind::Switch, Some("no");
    /// Every change to a message or mailbox is logged.
    AuditLog: "auditlog", "logging.audit", Kind::Switch, Some("no");

    /// Which name the locks of users have: that of Cyrus 3.4 to 3.10, or that of 3.12 and later.
    LockNames: "cyrus_sync_lock_naming", "locks.naming",
        Kind::Choice(&["before-3.12", "3.12"]), Some("before-3.12");
    /// With the names of 3.12, whoever changes something holds the global lock.
    GlobalLock: "global_lock", "locks.global", Kind::Switch, Some("yes");
    /// Longest wait for a lock.
    LockTimeout: "cyrus_sync_lock_timeout", "locks.timeout", Kind::Duration('s'), Some("1m");

    /// Longest word that a peer may send.
    MaxWord: "maxword", "limits.word", Kind::Size(1), Some("128K");
    /// Longest quoted string that a peer may send.
    MaxQuoted: "maxquoted", "limits.quoted", Kind::Size(1), Some("128K");
    /// Largest literal that a peer may send, message files apart.
    MaxLiteral: "cyrus_sync_max_literal", "limits.literal", Kind::Size(1), Some("16M");
    /// Largest message file that a peer may send.
    MaxFile: "cyrus_sync_max_file", "limits.file", Kind::Size(1), Some("4294967295");
    /// Longest line that a peer may send, message files apart.
    MaxLine: "cyrus_sync_max_line", "limits.line", Kind::Size(1), Some("4G");
    /// Brackets that may be open at the same time.
    MaxNesting: "cyrus_sync_max_nesting", "limits.nesting", Kind::Number, Some("16");
    /// Longest list that a peer may send.
    MaxList: "cyrus_sync_max_list", "limits.list", Kind::Number, Some("16777216");
    /// Memory for the values of one line, message files and record lists apart.
    MaxTree: "cyrus_sync_max_memory", "limits.memory", Kind::Size(1), Some("256M");
    /// Sessions of clients that have logged in at the same time.
    MaxConnections: "cyrus_sync_max_connections", "limits.connections", Kind::Number, Some("100");
    /// Further connections that have not logged in; when there are more, the oldest is closed.
    MaxUnauthenticated: "cyrus_sync_max_unauthenticated", "limits.unauthenticated",
        Kind::Number, Some("200");
    /// Connections of one address (of one /64 network in IPv6) that are logged in, and as many that
    /// are not.
    MaxPerAddress: "cyrus_sync_max_per_address", "limits.per_address", Kind::Number, Some("70");
    /// Time in which a connection must have logged in.
    LoginTimeout: "cyrus_sync_login_timeout", "limits.login_timeout",
        Kind::Duration('s'), Some("30s");
    /// Failed logins after which a connection is closed, and after which no login of its address is
    /// tried until some minutes have passed: each minute makes up for one.
    MaxLoginFailures: "cyrus_sync_max_login_failures", "limits.login_failures",
        Kind::Number, Some("10");
    /// Messages that one connection may keep in staging.
    MaxStaged: "cyrus_sync_max_staged", "limits.staged_messages", Kind::Number, Some("1048576");
}

/// Old names, and the settings that took their place (configuration §2.5).
pub(super) static OLD_NAMES: &[(&str, Key)] = &[
    ("tls_ca_file", Key::TlsClientCaFile),
    ("tls_ca_path", Key::TlsClientCaDir),
    ("tls_cert_file", Key::TlsServerCert),
    ("tls_key_file", Key::TlsServerKey),
];

/// Settings that every channel may have for itself; in TOML `[channel.NAME]` holds the last part of
/// the name (configuration §1.3).
pub(super) static CHANNEL_SETTINGS: &[Key] = &[
    Key::SyncHost,
    Key::SyncPort,
    Key::SyncAuthname,
    Key::SyncPassword,
    Key::SyncRealm,
    Key::SyncShutdownFile,
    Key::SyncCacheDbPath,
    Key::SyncRepeatInterval,
];

/// The first words of settings for single partitions, and their names in `[partition.NAME]`.
pub(super) static PARTITION_SETTINGS: &[(&str, &str)] = &[
    ("partition-", "data"),
    ("metapartition-", "metadata"),
    ("archivepartition-", "archive"),
    ("metadir-header-", "header"),
    ("metadir-index-", "index"),
    ("metadir-cache-", "cache"),
    ("metadir-squat-", "squat"),
    ("metadir-dav-", "dav"),
    ("metadir-archivecache-", "archive_cache"),
];

/// The last words of settings for single hosts, and their names in `[host.NAME]`.
pub(super) static HOST_SETTINGS: &[(&str, &str)] = &[
    ("_mechs", "mechanisms"),
    ("_client_cert", "client_cert"),
    ("_client_key", "client_key"),
];

impl Setting {
    /// The setting with this name in `imapd.conf`.
    pub fn named(name: &str) -> Option<&'static Setting> {
        SETTINGS.iter().find(|setting| setting.name == name)
    }

    /// Whether the setting is one of ours, unknown to Cyrus.
    pub fn is_our_own(&self) -> bool {
        self.name.starts_with(super::OWN_PREFIX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_table_is_consistent() {
        let mut names = BTreeSet::new();
        for (place, setting) in SETTINGS.iter().enumerate() {
            assert_eq!(setting.key as usize, place);
            assert!(std::ptr::eq(setting.key.setting(), setting));
            assert!(names.insert(setting.name), "{}", setting.name);
            assert!(names.insert(setting.toml), "{}", setting.toml);
            assert_eq!(setting.toml.split('.').count(), 2, "{}", setting.toml);
            assert!(setting.doc.ends_with('.'), "{}", setting.name);
            if let Some(default) = setting.default {
                setting.kind.check(default).unwrap();
            }
        }
    }
}
