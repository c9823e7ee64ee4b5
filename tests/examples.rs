//! The example configurations are ones that the programs take. Those for systemd are tried on real
//! hosts (tests/system).

#![allow(clippy::unwrap_used)]

use std::path::Path;

use cyrus_sync::config::{ChannelName, Config, Environment, ReplicaAddress};

#[test]
fn lines_for_a_master() {
    let example = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/contrib/examples/imapd.conf.master"
    );
    let base = "configdirectory: /var/lib/cyrus\npartition-default: /var/spool/cyrus/mail\n\
                defaultpartition: default\nservername: m.example.org\n";
    let whole = [base.as_bytes(), &std::fs::read(example).unwrap()].concat();
    let config = Config::read(
        Path::new("/etc/imapd.conf"),
        &Environment::default(),
        &|_| Ok(whole.clone()),
    )
    .unwrap();
    let name = ChannelName::parse("replica1").unwrap();
    assert!(config.replication.log);
    assert_eq!(
        config.replication.log_channels.as_slice(),
        std::slice::from_ref(&name)
    );
    let channel = config.channel(&name).unwrap();
    assert!(matches!(
        channel.host,
        Some(ReplicaAddress::Host { name, .. }) if name == "replica1.example.org"
    ));
    assert_eq!(channel.port.as_deref(), Some("csync"));
    assert!(channel.user.is_some() && channel.password.is_some());
    assert!(channel.shutdown_file.is_some());
}
