//! From values to the configuration.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::error::{ConfigError, Problem};
use super::kind;
use super::places::{MetadataFiles, PartitionPlaces, Places};
use super::sections::*;
use super::table::Key;
use super::values::Values;
use super::{ChannelName, Environment, LockNaming, LockSettings, ReplicaAddress};
use crate::dlist;
use crate::mail::{FlagName, MailboxOptions, Namespace, Partition};

/// The shortest `sync_timeout` (configuration §2.4).
const SHORTEST_TIMEOUT: Duration = Duration::from_secs(3);

pub(super) fn server_name(
    values: &Values,
    environment: &Environment,
) -> Result<String, ConfigError> {
    let name = values
        .optional(Key::ServerName)
        .or_else(|| environment.host_name.clone());
    match name {
        Some(name) if name.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(name),
        Some(_) => Err(values.wrong(Key::ServerName, "a host name")),
        None => Err(ConfigError::whole(
            "servername is not set, and the name of this host is unknown",
        )),
    }
}

pub(super) fn places(values: &Values) -> Result<Places, ConfigError> {
    let directory = values.path(Key::ConfigDirectory);
    let defaults =
        Places::below(directory.ok_or_else(|| ConfigError::whole("configdirectory is not set"))?);
    let or = |key, default: PathBuf| values.path(key).unwrap_or(default);
    let quotas_db = or(Key::QuotaDbPath, defaults.quotas_db);
    if quotas_db.parent().is_none() {
        return Err(values.wrong(Key::QuotaDbPath, "a path below a directory"));
    }
    Ok(Places {
        user_directory: or(Key::UserPath, defaults.user_directory),
        lock_directory: or(Key::LockPath, defaults.lock_directory),
        process_directory: or(Key::ProcPath, defaults.process_directory),
        sieve_directory: or(Key::SieveDir, defaults.sieve_directory),
        partitions: partitions(values)?,
        metadata_files: MetadataFiles::from_bits_truncate(
            u16::try_from(values.set_of(Key::MetapartitionFiles)?).unwrap_or(u16::MAX),
        ),
        hash_names: values.switch(Key::HashImapSpool)?,
        full_hash: values.switch(Key::FullDirHash)?,
        mailboxes_db: or(Key::MboxlistDbPath, defaults.mailboxes_db),
        annotations_db: or(Key::AnnotationDbPath, defaults.annotations_db),
        status_cache_db: or(Key::StatuscacheDbPath, defaults.status_cache_db),
        idle_socket: or(Key::IdleSocket, defaults.idle_socket),
        denied_users_db: or(Key::UserdenyDbPath, defaults.denied_users_db),
        quotas_db,
        config_directory: defaults.config_directory,
    })
}

type Partitions = std::collections::BTreeMap<Partition, PartitionPlaces>;

fn partitions(values: &Values) -> Result<Partitions, ConfigError> {
    let mut partitions = Partitions::new();
    let names = values
        .unknown_names()
        .filter_map(|name| name.strip_prefix("partition-"))
        .filter_map(|name| Partition::parse(name).ok());
    for name in names {
        let directory = |prefix: &str| absolute(values, &format!("{prefix}-{name}"));
        let Some(data) = directory("partition")? else {
            continue;
        };
        let mut metadata_by_file = Vec::new();
        for (word, file) in [
            ("header", MetadataFiles::HEADER),
            ("index", MetadataFiles::INDEX),
            ("cache", MetadataFiles::CACHE),
            ("squat", MetadataFiles::SQUAT),
            ("dav", MetadataFiles::DAV),
            ("archivecache", MetadataFiles::ARCHIVE_CACHE),
        ] {
            if let Some(path) = directory(&format!("metadir-{word}"))? {
                metadata_by_file.push((file, path));
            }
        }
        let places = PartitionPlaces {
            data,
            metadata: directory("metapartition")?,
            archive: match values.switch(Key::ArchiveEnabled)? {
                true => directory("archivepartition")?,
                false => None,
            },
            metadata_by_file,
        };
        partitions.insert(name, places);
    }
    if partitions.is_empty() {
        return Err(ConfigError::whole("no partition-NAME is set"));
    }
    Ok(partitions)
}

/// A path from a setting that is not in the table.
fn absolute(values: &Values, name: &str) -> Result<Option<PathBuf>, ConfigError> {
    match values.unknown(name) {
        None => Ok(None),
        Some(raw) if raw.is_utf8 && raw.text.starts_with('/') => {
            Ok(Some(PathBuf::from(raw.text.as_str())))
        }
        Some(raw) => {
            let problem = Problem::Value {
                name: raw.name.clone(),
                value: raw.text.to_string(),
                expected: "an absolute path".to_owned(),
            };
            Err(ConfigError::at(&raw.place, problem))
        }
    }
}

pub(super) fn namespace(values: &Values) -> Result<Namespace, ConfigError> {
    let deleted_prefix = values.optional(Key::DeletedPrefix).unwrap_or_default();
    if deleted_prefix == "user" || deleted_prefix.contains(['.', '/', '!', '^', ' ']) {
        return Err(values.wrong(
            Key::DeletedPrefix,
            "the name of a single level other than user",
        ));
    }
    Ok(Namespace {
        deleted_prefix,
        virtual_domains: values.choice(Key::VirtDomains)? != "off",
        default_domain: values.optional(Key::DefaultDomain),
        unix_hierarchy_separator: values.switch(Key::UnixHierarchySep)?,
    })
}

pub(super) fn process(
    values: &Values,
    environment: &Environment,
) -> Result<ProcessSettings, ConfigError> {
    let or = |given: &Option<String>, key| {
        given
            .clone()
            .or_else(|| values.optional(key))
            .unwrap_or_default()
    };
    Ok(ProcessSettings {
        user: or(&environment.user, Key::CyrusUser),
        group: or(&environment.group, Key::CyrusGroup),
        umask: values.octal(Key::Umask)?,
    })
}

pub(super) fn mailboxes(values: &Values, places: &Places) -> Result<MailboxSettings, ConfigError> {
    let default_partition = match values.optional(Key::DefaultPartition) {
        Some(name) => {
            let known = Partition::parse(&name)
                .ok()
                .filter(|name| places.partitions.contains_key(name));
            if known.is_none() {
                let expected = "the NAME of a partition-NAME that is set";
                return Err(values.wrong(Key::DefaultPartition, expected));
            }
            known
        }
        None if places.partitions.len() == 1 => places.partitions.keys().next().cloned(),
        None => None,
    };
    let initial_flags: Result<Vec<FlagName>, ConfigError> = values
        .list(Key::InitialFlags)
        .iter()
        .map(|flag| FlagName::parse(flag).map_err(|_| values.wrong(Key::InitialFlags, "keywords")))
        .collect();
    let sieve_folder = values.optional(Key::SieveFolder).unwrap_or_default();
    if sieve_folder.contains(['.', '/', '!']) {
        return Err(values.wrong(Key::SieveFolder, "the name of a single level"));
    }
    Ok(MailboxSettings {
        default_partition,
        legacy_directories: values.switch(Key::LegacyDirs)?,
        delete_mode: removal(values, Key::DeleteMode)?,
        expunge_mode: removal(values, Key::ExpungeMode)?,
        default_options: MailboxOptions::from_bits_truncate(values.number(Key::DefaultOptions)?)
            & MailboxOptions::REPLICATED,
        initial_flags: initial_flags?,
        reverse_acls: values.switch(Key::ReverseAcls)?,
        status_cache: values.switch(Key::StatusCache)?,
        single_instance_store: values.switch(Key::SingleInstanceStore)?,
        max_header_lines: Some(values.number(Key::MaxHeaderLines)?).filter(|lines| *lines > 0),
        boundary_limit: values.number(Key::BoundaryLimit)?,
        rfc2046_strict: values.switch(Key::Rfc2046Strict)?,
        rfc2047_utf8: values.switch(Key::Rfc2047Utf8)?,
        sieve_folder,
        index_version: match values.choice(Key::IndexVersion)? {
            "20" => 20,
            "19" => 19,
            _ => 17,
        },
    })
}

fn removal(values: &Values, key: Key) -> Result<Removal, ConfigError> {
    Ok(match values.choice(key)? {
        "immediate" => Removal::Immediate,
        "semidelayed" => Removal::SemiDelayed,
        _ => Removal::Delayed,
    })
}

pub(super) fn databases(values: &Values) -> Result<Databases, ConfigError> {
    let backend = |key| match values.choice(key)? {
        "twoskip" => Ok(Backend::Twoskip),
        "skiplist" => Ok(Backend::Skiplist),
        "flat" => Ok(Backend::Flat),
        "quotalegacy" if key == Key::QuotaDb => Ok(Backend::QuotaLegacy),
        _ => Err(values.wrong(key, "twoskip, skiplist or flat")),
    };
    Ok(Databases {
        mailboxes: backend(Key::MboxlistDb)?,
        annotations: backend(Key::AnnotationDb)?,
        seen: backend(Key::SeenstateDb)?,
        subscriptions: backend(Key::SubscriptionDb)?,
        quota: backend(Key::QuotaDb)?,
        status_cache: backend(Key::StatuscacheDb)?,
        denied_users: backend(Key::UserdenyDb)?,
        sync_cache: backend(Key::SyncCacheDb)?,
        skiplist_unsafe: values.switch(Key::SkiplistUnsafe)?,
    })
}

pub(super) fn replication(values: &Values) -> Result<ReplicationSettings, ConfigError> {
    let channels = |key| {
        let parsed: Result<Vec<ChannelName>, ConfigError> = values
            .list(key)
            .iter()
            .map(|name| {
                ChannelName::parse(name).map_err(|_| values.wrong(key, "names of channels"))
            })
            .collect();
        parsed
    };
    Ok(ReplicationSettings {
        log: values.switch(Key::SyncLog)?,
        log_channels: channels(Key::SyncLogChannels)?,
        log_chain: values.switch(Key::SyncLogChain)?,
        log_always: channels(Key::SyncLogUnsuppressable)?,
        timeout: values.duration(Key::SyncTimeout)?.max(SHORTEST_TIMEOUT),
        batch_size: values.number(Key::SyncBatchSize)?.max(1),
        extensions: values.switch(Key::Extensions)?,
        reconnect_max_wait: values.duration(Key::SyncReconnectMaxWait)?,
    })
}

pub(super) fn channel(values: &Values, name: &ChannelName) -> Result<ChannelSettings, ConfigError> {
    let own = |key: Key| {
        let full = format!("{name}_{}", key.setting().name);
        values.unknown(&full).filter(|_| !name.is_default())
    };
    let text = |key: Key| match own(key) {
        Some(raw) => Some(raw.text.to_string()),
        None => values.optional(key),
    };
    let wrong = |key: Key, expected: String| match own(key) {
        Some(raw) => {
            let problem = Problem::Value {
                name: raw.name.clone(),
                value: raw.text.to_string(),
                expected,
            };
            ConfigError::at(&raw.place, problem)
        }
        None => values.wrong(key, &expected),
    };
    let path = |key| match text(key) {
        Some(path) if path.starts_with('/') => Ok(Some(PathBuf::from(path))),
        Some(_) => Err(wrong(key, "an absolute path".to_owned())),
        None => Ok(None),
    };
    let host = match text(Key::SyncHost) {
        Some(address) => Some(ReplicaAddress::parse(&address).map_err(|_| {
            let expected = "HOST, HOST:PORT with /tls or /noauth behind, or an absolute path";
            wrong(Key::SyncHost, expected.to_owned())
        })?),
        None => None,
    };
    let interval = text(Key::SyncRepeatInterval).unwrap_or_default();
    Ok(ChannelSettings {
        name: name.clone(),
        host,
        port: text(Key::SyncPort),
        try_imap: kind::switch(&text(Key::SyncTryImap).unwrap_or_default())
            .map_err(|expected| wrong(Key::SyncTryImap, expected))?,
        user: text(Key::SyncAuthname),
        password: text(Key::SyncPassword).map(Secret::new),
        realm: text(Key::SyncRealm),
        shutdown_file: path(Key::SyncShutdownFile)?,
        cache_path: path(Key::SyncCacheDbPath)?,
        repeat_interval: kind::duration(&interval, 's')
            .map_err(|expected| wrong(Key::SyncRepeatInterval, expected))?,
    })
}

pub(super) fn host(values: &Values, short_name: &str) -> Result<HostSettings, ConfigError> {
    let path = |suffix: &str, key| {
        let own = absolute(values, &format!("{short_name}_client_{suffix}"))?;
        Ok::<_, ConfigError>(own.or_else(|| values.path(key)))
    };
    let mechanisms = values.unknown(&format!("{short_name}_mechs")).map(|raw| {
        let words = raw.text.split_ascii_whitespace();
        words.map(str::to_ascii_uppercase).collect()
    });
    Ok(HostSettings {
        mechanisms,
        client_cert: path("cert", Key::TlsClientCert)?,
        client_key: path("key", Key::TlsClientKey)?,
    })
}

pub(super) fn network(values: &Values, server_name: &str) -> Result<NetworkSettings, ConfigError> {
    let bind_name = values.optional(Key::ClientBindName);
    let timeout = Some(values.duration(Key::LineTimeout)?).filter(|limit| !limit.is_zero());
    let keepalive = Keepalive {
        probes: values.number(Key::TcpKeepaliveCount)?,
        idle: values.duration(Key::TcpKeepaliveIdle)?,
        interval: values.duration(Key::TcpKeepaliveInterval)?,
    };
    Ok(NetworkSettings {
        bind: values
            .switch(Key::ClientBind)?
            .then(|| bind_name.unwrap_or_else(|| server_name.to_owned())),
        connect_timeout: values.duration(Key::ClientTimeout)?,
        line: LineSettings {
            timeout,
            keepalive: match values.switch(Key::TcpKeepalive)? {
                true => Some(keepalive),
                false => timeout.map(Keepalive::within),
            },
        },
    })
}

pub(super) fn tls(values: &Values) -> Result<TlsSettings, ConfigError> {
    let file = |key| match values.optional(key) {
        None => Ok(None),
        Some(text) if text == "disabled" => Ok(None),
        Some(text) if text.starts_with('/') => Ok(Some(PathBuf::from(text))),
        Some(_) => Err(values.wrong(key, "an absolute path, or disabled")),
    };
    let versions = values.list(Key::TlsVersions);
    let has = |version: &str| versions.iter().any(|known| known == version);
    let (tls12, tls13) = (has("tls1_2"), has("tls1_3"));
    if !tls12 && !tls13 {
        return Err(values.wrong(Key::TlsVersions, "a list with tls1_2 or tls1_3"));
    }
    Ok(TlsSettings {
        server_cert: file(Key::TlsServerCert)?,
        server_key: file(Key::TlsServerKey)?,
        client_certs: demand(values, Key::TlsClientCerts)?,
        client_ca_file: values.path(Key::TlsClientCaFile),
        client_ca_directory: values.path(Key::TlsClientCaDir),
        revocation_list: values.path(Key::TlsCrlFile),
        server_ca_file: values.path(Key::TlsServerCaFile),
        server_ca_directory: values.path(Key::TlsServerCaDir),
        tls12,
        tls13,
        start_tls: values.switch(Key::AllowStartTls)?,
        required: values.switch(Key::TlsRequired)?,
        client: client_tls(values)?,
        server_pins: pins(values)?,
        certificate_map: certificate_map(values)?,
        verify_server: values.switch(Key::ClientVerify)?,
    })
}

/// Whoever says how replicas are to be known does not want to go on without knowing them.
fn client_tls(values: &Values) -> Result<Demand, ConfigError> {
    const KNOWN_BY: [Key; 4] = [
        Key::TlsServerCaFile,
        Key::TlsServerCaDir,
        Key::TlsClientCert,
        Key::ServerPins,
    ];
    if values.is_given(Key::ClientTls) {
        return demand(values, Key::ClientTls);
    }
    match KNOWN_BY.into_iter().any(|key| values.is_given(key)) {
        true => Ok(Demand::Require),
        false => Ok(Demand::Optional),
    }
}

fn pins(values: &Values) -> Result<Vec<[u8; 32]>, ConfigError> {
    let pins = values.list(Key::ServerPins);
    let pins: Option<Vec<_>> = pins.iter().map(|text| pin(text)).collect();
    pins.ok_or_else(|| values.wrong(Key::ServerPins, "sha256:BASE64 of 32 octets"))
}

fn pin(text: &str) -> Option<[u8; 32]> {
    let digest = STANDARD.decode(text.strip_prefix("sha256:")?).ok()?;
    <[u8; 32]>::try_from(digest).ok()
}

fn certificate_map(values: &Values) -> Result<Vec<CertificateRule>, ConfigError> {
    let rule = |text: &String| {
        let (mark, user) = text.rsplit_once('=')?;
        let mark = match mark.split_once(':')? {
            ("cn", name) => CertificateMark::CommonName(name.to_owned()),
            ("san", name) => CertificateMark::AlternativeName(name.to_owned()),
            _ => CertificateMark::Key(pin(mark)?),
        };
        let user = Some(user.to_owned()).filter(|user| !user.is_empty())?;
        Some(CertificateRule { mark, user })
    };
    let rules: Option<Vec<_>> = values.list(Key::CertificateMap).iter().map(rule).collect();
    rules.ok_or_else(|| {
        let expected = "rules cn:NAME=USER, san:NAME=USER or sha256:BASE64=USER";
        values.wrong(Key::CertificateMap, expected)
    })
}

fn demand(values: &Values, key: Key) -> Result<Demand, ConfigError> {
    Ok(match values.choice(key)? {
        "require" => Demand::Require,
        "off" | "never" => Demand::Never,
        _ => Demand::Optional,
    })
}

pub(super) fn sasl(values: &Values) -> Result<SaslSettings, ConfigError> {
    let upper = |words: Vec<String>| words.iter().map(|word| word.to_ascii_uppercase()).collect();
    let mechanisms = values.optional(Key::SaslMechList);
    Ok(SaslSettings {
        admins: values.list(Key::Admins),
        allow_plaintext: values.switch(Key::AllowPlaintext)?,
        client_plaintext: values.switch(Key::ClientPlaintext)?,
        mechanisms: mechanisms.map(|_| upper(values.list(Key::SaslMechList))),
        password_checks: password_checks(values)?,
        password_file: values.path(Key::PasswordFile),
        sasldb_path: values.path(Key::SaslSasldbPath).unwrap_or_default(),
        saslauthd_path: values.path(Key::SaslSaslauthdPath).unwrap_or_default(),
        minimum_layer: values.number(Key::SaslMinimumLayer)?,
        maximum_layer: values.number(Key::SaslMaximumLayer)?,
        client_mechanism: values
            .optional(Key::ForceSaslClientMech)
            .map(|name| name.to_ascii_uppercase()),
        login_realms: values.list(Key::LoginRealms),
        lower_case_users: values.switch(Key::UsernameToLower)?,
        unix_groups: values.switch(Key::UnixGroupEnable)?,
        failed_login_pause: values.duration(Key::FailedLoginPause)?,
    })
}

fn password_checks(values: &Values) -> Result<Vec<PasswordCheck>, ConfigError> {
    values
        .list(Key::SaslPwcheckMethod)
        .iter()
        .map(|method| match method.as_str() {
            "auxprop" => Ok(PasswordCheck::Sasldb),
            "saslauthd" => Ok(PasswordCheck::Saslauthd),
            _ => Err(values.wrong(Key::SaslPwcheckMethod, "auxprop or saslauthd")),
        })
        .collect()
}

pub(super) fn logging(
    values: &Values,
    environment: &Environment,
) -> Result<LoggingSettings, ConfigError> {
    let ident = &environment.ident;
    let prefix = environment
        .syslog_prefix
        .clone()
        .or_else(|| values.optional(Key::SyslogPrefix));
    Ok(LoggingSettings {
        ident: prefix.map_or_else(|| ident.clone(), |prefix| format!("{prefix}/{ident}")),
        facility: values.optional(Key::SyslogFacility).unwrap_or_default(),
        debug: values.switch(Key::Debug)?,
        audit: values.switch(Key::AuditLog)?,
    })
}

pub(super) fn locks(values: &Values) -> Result<LockSettings, ConfigError> {
    let naming = match values.choice(Key::LockNames)? {
        "3.12" => LockNaming::Inbox,
        _ => LockNaming::UserId,
    };
    Ok(LockSettings {
        naming,
        global: naming == LockNaming::Inbox && values.switch(Key::GlobalLock)?,
        timeout: values.duration(Key::LockTimeout)?,
    })
}

pub(super) fn limits(values: &Values) -> Result<Limits, ConfigError> {
    Ok(Limits {
        syntax: dlist::Limits {
            line: values.size(Key::MaxLine)?,
            nesting: to_usize(values.number(Key::MaxNesting)?.into()),
            list: values.number(Key::MaxList)?.into(),
            word: to_usize(values.size(Key::MaxWord)?),
            quoted: to_usize(values.size(Key::MaxQuoted)?),
            literal: to_usize(values.size(Key::MaxLiteral)?),
            file: u32::try_from(values.size(Key::MaxFile)?).unwrap_or(u32::MAX),
            tree: to_usize(values.size(Key::MaxTree)?),
        },
        connections: values.number(Key::MaxConnections)?.max(1),
        unauthenticated: values.number(Key::MaxUnauthenticated)?.max(1),
        per_address: values.number(Key::MaxPerAddress)?.max(1),
        login_timeout: values.duration(Key::LoginTimeout)?,
        login_failures: values.number(Key::MaxLoginFailures)?.max(1),
        staged_messages: values.number(Key::MaxStaged)?,
    })
}

fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
