use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::mail::Partition;
use proptest::prelude::*;

const MAIN: &str = "/etc/imapd.conf";

/// The least that a configuration must have.
const MINIMUM: &str = "configdirectory: /conf\npartition-default: /spool\nservername: lab\n";

fn environment(ident: &str) -> Environment {
    Environment {
        ident: ident.to_owned(),
        host_name: Some("host.example".to_owned()),
        ..Environment::default()
    }
}

fn load_files(
    path: &str,
    files: &[(&str, &[u8])],
    environment: &Environment,
) -> Result<Config, ConfigError> {
    let files: BTreeMap<PathBuf, Vec<u8>> = files
        .iter()
        .map(|(path, content)| (PathBuf::from(path), content.to_vec()))
        .collect();
    Config::read(Path::new(path), environment, &|path| {
        files
            .get(path)
            .cloned()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    })
}

fn load(text: &str) -> Result<Config, ConfigError> {
    load_files(
        MAIN,
        &[(MAIN, text.as_bytes())],
        &environment("sync_server"),
    )
}

/// The minimum and these lines.
fn with(lines: &str) -> Result<Config, ConfigError> {
    load(&format!("{MINIMUM}{lines}\n"))
}

fn load_toml(text: &str) -> Result<Config, ConfigError> {
    let files = [("/etc/c.toml", text.as_bytes()), (MAIN, MINIMUM.as_bytes())];
    load_files("/etc/c.toml", &files, &environment("sync_client"))
}

fn error(result: Result<Config, ConfigError>) -> String {
    result.err().unwrap().to_string()
}

/// `cyr_info conf-all` of 3.6.1 with a minimal file, without the options that we do not have.
#[test]
fn defaults_are_those_of_cyrus() {
    let config = load(MINIMUM).unwrap();
    let mut compared = 0;
    for line in include_str!("tests/conf-all-3.6.1.txt").lines() {
        let (name, value) = line.split_once(':').unwrap();
        let value = value.trim();
        let setting = Setting::named(name).unwrap();
        // What Debian chose when building, what both sides write differently, and the versions
        // of TLS, of which we use the newest unless told otherwise.
        let built_in = [
            "cyrus_user",
            "cyrus_group",
            "syslog_facility",
            "sync_log_channels",
            "tls_versions",
        ];
        if built_in.contains(&name) || MINIMUM.contains(&format!("{name}:")) {
            continue;
        }
        let ours = config.shown(setting.key).unwrap_or_default();
        match setting.kind {
            Kind::Switch => assert_eq!(kind::switch(ours), kind::switch(value), "{name}"),
            Kind::Size(unit) => {
                assert_eq!(kind::size(ours, unit), kind::size(value, unit), "{name}");
            }
            _ => assert_eq!(ours, value, "{name}"),
        }
        compared += 1;
    }
    assert!(compared > 75, "{compared}");
}

/// The file that Debian ships (configuration §2.9), shortened.
#[test]
fn debian_file() {
    let config = load(
        "# Debian defaults\n\
         configdirectory: /var/lib/cyrus\n\
         proc_path: /run/cyrus/proc\n\
         mboxname_lockpath: /run/cyrus/lock\n\
         defaultpartition: default\n\
         partition-default: /var/spool/cyrus/mail\n\
         partition-news: /var/spool/cyrus/news\n\
         altnamespace: no\n\
         unixhierarchysep: no\n\
         hashimapspool: true\n\
         sievedir: /var/spool/sieve\n\
         allowplaintext: yes\n\
         sasl_pwcheck_method: auxprop saslauthd\n\
         sasl_mech_list: plain SCRAM-SHA-256\n\
         umask: 077\n\
         admins: cyrus  repl\n\
         tls_server_cert: {configdirectory}/cert.pem\n\
         tls_server_key: /etc/key.pem\n\
         imapidlepoll: 60\n\
         syslog_prefix: cyrus\n",
    )
    .unwrap();
    assert_eq!(config.server_name, "host.example");
    assert_eq!(config.places.lock_directory, Path::new("/run/cyrus/lock"));
    assert_eq!(
        config.places.process_directory,
        Path::new("/run/cyrus/proc")
    );
    assert_eq!(config.places.user_directory, Path::new("/var/lib/cyrus"));
    assert_eq!(
        config.places.mailboxes_db,
        Path::new("/var/lib/cyrus/mailboxes.db")
    );
    assert_eq!(
        config.places.quotas_db,
        Path::new("/var/lib/cyrus/quotas.db")
    );
    assert!(config.places.hash_names);
    assert!(!config.namespace.unix_hierarchy_separator);
    let partition = |name| Partition::parse(name).unwrap();
    assert_eq!(
        config.mailboxes.default_partition,
        Some(partition("default"))
    );
    let news = &config.places.partitions[&partition("news")];
    assert_eq!(news.data, Path::new("/var/spool/cyrus/news"));
    assert_eq!(config.process.umask, 0o77);
    assert_eq!(config.process.user, "cyrus");
    assert_eq!(config.sasl.admins, ["cyrus", "repl"]);
    assert_eq!(
        config.sasl.password_checks,
        [PasswordCheck::Sasldb, PasswordCheck::Saslauthd]
    );
    assert_eq!(
        config.sasl.mechanisms.as_deref(),
        Some(&["PLAIN".to_owned(), "SCRAM-SHA-256".to_owned()][..])
    );
    let cert = config.tls.server_cert.unwrap();
    assert_eq!(cert, Path::new("/var/lib/cyrus/cert.pem"));
    assert_eq!(config.logging.ident, "cyrus/sync_server");
    assert_eq!(config.replication.timeout, Duration::from_secs(1800));
    assert!(config.replication.log_channels[0].is_default());
}

/// The syntax, as `cyr_info conf` of 3.6.1 reads it.
#[test]
fn lines() {
    let config = with(
        "defaultdomain: a b \\\n  c\n\
         # a comment \\\nsync_host: swallowed\n\
         \x20 SYNC_Port:\x0b2005 # not a comment\t\n\
         sync_realm: \"quoted\"\n\
         sync_authname: abc\\",
    )
    .unwrap();
    let channel = config.channel(&ChannelName::default()).unwrap();
    assert_eq!(config.namespace.default_domain.as_deref(), Some("a b   c"));
    assert_eq!(channel.host, None);
    assert_eq!(channel.port.as_deref(), Some("2005 # not a comment"));
    assert_eq!(channel.realm.as_deref(), Some("\"quoted\""));
    // `with` ends the line, so that the setting is joined with a line that does not come.
    assert_eq!(channel.user, None);
    let unfinished = load(&format!("{MINIMUM}sync_authname: abc\\")).unwrap();
    let channel = unfinished.channel(&ChannelName::default()).unwrap();
    assert_eq!(channel.user.as_deref(), Some("abc\\"));
}

#[test]
fn includes() {
    let main = format!("{MINIMUM}@include: /etc/more\n");
    let files = |more: &'static str| {
        let files = [(MAIN, main.as_bytes()), ("/etc/more", more.as_bytes())];
        load_files(MAIN, &files, &environment("sync_server"))
    };
    assert_eq!(
        files("sync_batchsize: 5").unwrap().replication.batch_size,
        5
    );
    insta::assert_snapshot!(error(files("servername: x")), @"/etc/more:1: servername is set again; it was set at /etc/imapd.conf:3");
    insta::assert_snapshot!(error(files("@include: /etc/imapd.conf")), @"/etc/more:1: configuration file /etc/imapd.conf is included twice");
    insta::assert_snapshot!(error(with("@include: /none")), @"/etc/imapd.conf:4: cannot read configuration file /none: entity not found");
    let prefixed = Environment {
        prefix: Some("/chroot".to_owned()),
        ..environment("sync_server")
    };
    let files = [
        ("/chroot/etc/imapd.conf", main.as_bytes()),
        (MAIN, &b"nonsense"[..]),
        ("/etc/more", b"debug: yes"),
    ];
    assert!(load_files(MAIN, &files, &prefixed).unwrap().logging.debug);
}

#[test]
fn errors_of_lines() {
    insta::assert_snapshot!(error(with("servername : x")), @r#"/etc/imapd.conf:4: a line is "name: value", with nothing between the name and the colon"#);
    insta::assert_snapshot!(error(with("nonsense")), @r#"/etc/imapd.conf:4: a line is "name: value", with nothing between the name and the colon"#);
    insta::assert_snapshot!(error(with("\nsync_host:  ")), @"/etc/imapd.conf:5: sync_host has no value");
    insta::assert_snapshot!(error(with("@exclude: x")), @"/etc/imapd.conf:4: unknown directive @exclude; there is only @include");
    insta::assert_snapshot!(error(with("foo: 1\nFOO: 2")), @"/etc/imapd.conf:5: foo is set again; it was set at /etc/imapd.conf:4");
    insta::assert_snapshot!(error(with("sync_log: YES")), @r#"/etc/imapd.conf:4: sync_log is "YES", but should be on, off, yes, no, true, false, 1 or 0, in lower case"#);
    insta::assert_snapshot!(error(with("sync_batchsize: 5k")), @r#"/etc/imapd.conf:4: sync_batchsize is "5k", but should be a number"#);
    insta::assert_snapshot!(error(with("sync_batchsize: -1")), @r#"/etc/imapd.conf:4: sync_batchsize is "-1", but should be a number from 0 to 4294967295"#);
    insta::assert_snapshot!(error(with("sync_timeout: soon")), @r#"/etc/imapd.conf:4: sync_timeout is "soon", but should be a duration such as 90s, 30m, 1h30m or 7d"#);
    insta::assert_snapshot!(error(with("virtdomains: maybe")), @r#"/etc/imapd.conf:4: virtdomains is "maybe", but should be one of off, userid, on"#);
    insta::assert_snapshot!(error(with("cyrus_sync_lock_timeut: 5")), @"/etc/imapd.conf:4: unknown setting cyrus_sync_lock_timeut; did you mean cyrus_sync_lock_timeout?");
    insta::assert_snapshot!(error(with("proc_path: proc")), @r#"/etc/imapd.conf:4: proc_path is "proc", but should be an absolute path"#);
    let files = [(MAIN, &b"servername: \xff\n"[..])];
    insta::assert_snapshot!(error(load_files(MAIN, &files, &environment("x"))), @r#"/etc/imapd.conf:1: servername is "�", but should be UTF-8"#);
    assert!(error(with("a\0: b")).ends_with("the line holds a NUL character"));
}

#[test]
fn errors_of_the_whole() {
    insta::assert_snapshot!(error(load("partition-default: /s\n")), @"configdirectory is not set");
    insta::assert_snapshot!(error(load("configdirectory: /c\n")), @"no partition-NAME is set");
    insta::assert_snapshot!(error(with("defaultpartition: other")), @r#"/etc/imapd.conf:4: defaultpartition is "other", but should be the NAME of a partition-NAME that is set"#);
    insta::assert_snapshot!(error(with("partition-b: spool")), @r#"/etc/imapd.conf:4: partition-b is "spool", but should be an absolute path"#);
    insta::assert_snapshot!(error(with("tls_versions: tls1_0")), @r#"/etc/imapd.conf:4: tls_versions is "tls1_0", but should be a list with tls1_2 or tls1_3"#);
    let nameless = Environment {
        host_name: None,
        ..environment("x")
    };
    let text = b"configdirectory: /c\npartition-default: /s\n";
    insta::assert_snapshot!(error(load_files(MAIN, &[(MAIN, text)], &nameless)), @"servername is not set, and the name of this host is unknown");
}

#[test]
fn unsupported_settings_are_all_named() {
    let text = "conversations: yes\narchive_enabled: 1\nquota_db: sql\nannotation_db: zeroskip\n\
                sasl_pwcheck_method: alwaystrue\nauth_mech: pts\nsasl_auxprop_plugin: sql\n\
                sieveusehomedir: on\nobject_storage_enabled: t";
    insta::assert_snapshot!(error(with(text)), @r"
    /etc/imapd.conf:4: conversations: yes is not supported: the conversations databases would not follow the changes
    /etc/imapd.conf:5: archive_enabled: 1 is not supported: messages would be missed or stored in the wrong place
    /etc/imapd.conf:12: object_storage_enabled: t is not supported: messages are only looked for in partitions
    /etc/imapd.conf:11: sieveusehomedir: on is not supported: scripts are only looked for in sievedir and in mailboxes
    /etc/imapd.conf:7: annotation_db: zeroskip is not supported: databases are twoskip, skiplist or flat
    /etc/imapd.conf:6: quota_db: sql is not supported: quota databases are quotalegacy, twoskip, skiplist or flat
    /etc/imapd.conf:9: auth_mech: pts is not supported: groups are those of the system
    /etc/imapd.conf:8: sasl_pwcheck_method: alwaystrue is not supported: passwords are checked by auxprop (sasldb) or saslauthd
    /etc/imapd.conf:10: sasl_auxprop_plugin: sql is not supported: secrets are only read from sasldb
    ");
}

#[test]
fn settings_of_one_service() {
    let text = format!(
        "{MINIMUM}csync_sync_batchsize: 1\nsync_batchsize: 2\ncsync_partition-default: /other\n\
         csync_cyrus_sync_lock_timeout: 5s\n"
    );
    let read =
        |ident: &str| load_files(MAIN, &[(MAIN, text.as_bytes())], &environment(ident)).unwrap();
    let (service, tool) = (read("csync"), read("sync_client"));
    assert_eq!(service.replication.batch_size, 1);
    assert_eq!(tool.replication.batch_size, 2);
    assert_eq!(service.locks.timeout, Duration::from_secs(5));
    assert_eq!(tool.locks.timeout, Duration::from_secs(60));
    let spool = |config: &Config| {
        let default = Partition::parse("default").unwrap();
        config.places.partitions[&default].data.clone()
    };
    assert_eq!(spool(&service), Path::new("/other"));
    assert_eq!(spool(&tool), Path::new("/spool"));
}

/// The trap of configuration §1.3.
#[test]
fn a_service_named_sync() {
    let text = format!("{MINIMUM}sync_timeout: 30\nsync_batchsize: 7\n");
    let config = load_files(MAIN, &[(MAIN, text.as_bytes())], &environment("sync")).unwrap();
    assert_eq!(config.replication.timeout, Duration::from_secs(1800));
    assert_eq!(config.replication.batch_size, 7);
}

#[test]
fn old_names_count_where_new_ones_are_missing() {
    let server = |lines: &str| {
        let tls = with(lines).unwrap().tls;
        tls.server_cert.zip(tls.server_key)
    };
    let old = "tls_cert_file: /old.pem\ntls_key_file: /old.key\n";
    let pair = |cert: &str, key: &str| Some((PathBuf::from(cert), PathBuf::from(key)));
    assert_eq!(server(old), pair("/old.pem", "/old.key"));
    assert_eq!(
        server(&format!("{old}tls_server_cert: /new.pem")),
        pair("/new.pem", "/old.key")
    );
    assert_eq!(server(&format!("{old}tls_server_key: disabled")), None);
}

#[test]
fn channels() {
    let config = with(
        "sync_host: main\nsync_authname: repl\nsync_password: secret\nsync_log_channels: \"\" east\n\
         east_sync_host: east.example:2005/tls\neast_sync_repeat_interval: 2m\n\
         West_sync_host: west\nbad_sync_repeat_interval: x\nsquatter_sync_port: 5",
    )
    .unwrap();
    let channel = |name: &str| config.channel(&ChannelName::parse(name).unwrap());
    let host = |name: &str| match channel(name).unwrap().host {
        Some(ReplicaAddress::Host { name, .. }) => name,
        other => panic!("{other:?}"),
    };
    assert_eq!(host(""), "main");
    assert_eq!(host("east"), "east.example");
    // The name is folded when it is read, but not when it is looked for.
    assert_eq!(host("West"), "main");
    assert_eq!(host("west"), "west");
    let east = channel("east").unwrap();
    assert_eq!(east.repeat_interval, Duration::from_secs(120));
    assert_eq!(east.user.as_deref(), Some("repl"));
    assert_eq!(format!("{:?}", east.password), "Some((secret))");
    assert_eq!(channel("squatter").unwrap().port.as_deref(), Some("5"));
    insta::assert_snapshot!(channel("bad").unwrap_err(), @r#"/etc/imapd.conf:11: bad_sync_repeat_interval is "x", but should be a duration such as 90s, 30m, 1h30m or 7d"#);
}

#[test]
fn replica_hosts() {
    let config =
        with("tls_client_cert: /c\ntls_client_key: /k\neast_client_cert: /e\neast_mechs: plain")
            .unwrap();
    let east = config.host("east.example.com").unwrap();
    assert_eq!(east.client_cert.as_deref(), Some(Path::new("/e")));
    assert_eq!(east.client_key.as_deref(), Some(Path::new("/k")));
    assert_eq!(east.mechanisms, Some(vec!["PLAIN".to_owned()]));
    assert_eq!(config.host("west").unwrap().mechanisms, None);
}

#[test]
fn limits_of_the_syntax() {
    let defaults = load(MINIMUM).unwrap().limits.syntax;
    assert_eq!(defaults, crate::dlist::Limits::default());
    let config = with("maxword: 1K\ncyrus_sync_max_file: 99G\ncyrus_sync_max_nesting: 3").unwrap();
    let syntax = config.limits.syntax;
    assert_eq!(
        (syntax.word, syntax.file, syntax.nesting),
        (1024, u32::MAX, 3)
    );
}

#[test]
fn secrets_are_not_shown() {
    let config = with("sync_password: geheim").unwrap();
    assert!(config.is_given(Key::SyncPassword));
    assert_eq!(config.shown(Key::SyncPassword), None);
    assert!(!format!("{config:?}").contains("geheim"));
}

#[test]
fn toml_form() {
    let config = load_toml(
        r#"
        imapd_conf = "/etc/imapd.conf"

        [server]
        name = "other"
        admins = ["cyrus", "repl"]

        [replication]
        batch_size = 100
        log_channels = ["", "east"]
        timeout = "1h"

        [partition.fast]
        data = "/fast"
        metadata = "/meta"

        [channel.east]
        host = "east:2005"
        password = "secret"

        [host.east]
        client_cert = "/e"

        [locks]
        naming = "3.12"
        global = false
        "#,
    )
    .unwrap();
    assert_eq!(config.server_name, "other");
    assert_eq!(config.places.config_directory, Path::new("/conf"));
    assert_eq!(config.places.partitions.len(), 2);
    assert_eq!(config.mailboxes.default_partition, None);
    assert_eq!(config.replication.batch_size, 100);
    assert_eq!(config.replication.timeout, Duration::from_secs(3600));
    assert_eq!(config.replication.log_channels[1].as_str(), "east");
    assert_eq!(config.locks.naming, LockNaming::Inbox);
    assert!(!config.locks.global);
    let east = config.channel(&config.replication.log_channels[1]).unwrap();
    assert_eq!(east.password, Some(Secret::new("secret")));
    let certificate = config.host("east").unwrap().client_cert;
    assert_eq!(certificate.as_deref(), Some(Path::new("/e")));
}

#[test]
fn errors_of_the_toml_form() {
    insta::assert_snapshot!(error(load_toml("[replication]\nbatchsize = 1")), @"/etc/c.toml:2: unknown setting replication.batchsize; did you mean replication.batch_size?");
    insta::assert_snapshot!(error(load_toml("[replicaton]\n")), @"/etc/c.toml:1: unknown setting replicaton; did you mean replication?");
    insta::assert_snapshot!(error(load_toml("name = 1\n")), @"/etc/c.toml:1: unknown setting name; did you mean names?");
    insta::assert_snapshot!(error(load_toml("[channel.east]\nhots = 'x'")), @"/etc/c.toml:2: unknown setting channel.east.hots; did you mean host?");
    insta::assert_snapshot!(error(load_toml("[channel.East]\nhost = 'x'")), @r#"/etc/c.toml:2: channel is "East", but should be a name in lower case"#);
    insta::assert_snapshot!(error(load_toml("[replication]\n\nbatch_size = 'many'")), @r#"/etc/c.toml:3: replication.batch_size is "many", but should be a number"#);
    insta::assert_snapshot!(error(load_toml("[replication]\nbatch_size = 1.5")), @r#"/etc/c.toml:2: replication.batch_size is "float", but should be a string, number, boolean or list of words"#);
    insta::assert_snapshot!(error(load_toml("[server]\nname = ''")), @r#"/etc/c.toml:2: server.name is "", but should be a value"#);
    insta::assert_snapshot!(error(load_toml("server = 1")), @r#"/etc/c.toml:1: server is "integer", but should be a table"#);
    insta::assert_snapshot!(error(load_toml("[server")), @"/etc/c.toml:1: unclosed table, expected `]`");
    insta::assert_snapshot!(error(load_toml("imapd_conf = '/none'")), @"cannot read configuration file /none: entity not found");
}

proptest! {
    #[test]
    fn no_text_panics(lines in prop::collection::vec(
        "[a-z_@:# \\\\]{0,12}|(sync_log|east_sync_host|partition-[a-z]|umask|@include|cyrus_sync_[a-z]{0,9}) ?: ?[ -~]{0,9}",
        0..12,
    ), tail in prop::collection::vec(any::<u8>(), 0..30)) {
        let mut text = format!("{MINIMUM}{}\n", lines.join("\n")).into_bytes();
        text.extend_from_slice(&tail);
        for path in [MAIN, "/etc/c.toml"] {
            if let Ok(config) = load_files(path, &[(path, &text)], &environment("east")) {
                let _ = config.channel(&ChannelName::default());
            }
        }
    }

    #[test]
    fn no_toml_panics(text in "(\\[(server|channel\\.[a-z]|locks)\\]\n)?([a-z_]{1,9} = (true|-?[0-9]{1,3}|'[ -~]{0,9}'|\\[1\\])\n){0,4}") {
        let _ = load_toml(&text);
    }
}
