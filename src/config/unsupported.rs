//! Settings of Cyrus with which this program would spoil or overlook data.

use super::error::{ConfigError, Place};
use super::table::Key;
use super::values::Values;

/// A setting that is legal for Cyrus but that this program cannot work with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{name}: {value} is not supported: {reason}",
    place.as_ref().map_or_else(String::new, |place| format!("{place}: ")))]
pub struct Unsupported {
    /// Where it is set; `None` if it is the default.
    pub place: Option<Place>,
    /// What the setting is called there.
    pub name: String,
    /// Its value.
    pub value: String,
    /// Why not.
    pub reason: &'static str,
}

const DATABASES: [Key; 7] = [
    Key::MboxlistDb,
    Key::AnnotationDb,
    Key::SeenstateDb,
    Key::SubscriptionDb,
    Key::StatuscacheDb,
    Key::UserdenyDb,
    Key::SyncCacheDb,
];

/// Looks for settings that are not supported.
pub(super) fn find(values: &Values) -> Result<Vec<Unsupported>, ConfigError> {
    let mut found = Vec::new();
    let mut refuse = |key: Key, reason| {
        found.push(Unsupported {
            place: values.place(key).cloned(),
            name: values.name(key).to_owned(),
            value: values.text(key).unwrap_or_default().to_owned(),
            reason,
        });
    };
    for (key, reason) in [
        (
            Key::Conversations,
            "the conversations databases would not follow the changes",
        ),
        (
            Key::ArchiveEnabled,
            "messages would be missed or stored in the wrong place",
        ),
        (
            Key::ObjectStorage,
            "messages are only looked for in partitions",
        ),
        (
            Key::SieveUseHomeDir,
            "scripts are only looked for in sievedir and in mailboxes",
        ),
    ] {
        if values.switch(key)? {
            refuse(key, reason);
        }
    }
    for key in DATABASES {
        if !matches!(values.choice(key)?, "twoskip" | "skiplist" | "flat") {
            refuse(key, "databases are twoskip, skiplist or flat");
        }
    }
    if !matches!(
        values.choice(Key::QuotaDb)?,
        "quotalegacy" | "twoskip" | "skiplist" | "flat"
    ) {
        refuse(
            Key::QuotaDb,
            "quota databases are quotalegacy, twoskip, skiplist or flat",
        );
    }
    if values.choice(Key::AuthMech)? != "unix" {
        refuse(Key::AuthMech, "groups are those of the system");
    }
    let methods = values.list(Key::SaslPwcheckMethod);
    if methods
        .iter()
        .any(|method| !matches!(method.as_str(), "auxprop" | "saslauthd"))
    {
        refuse(
            Key::SaslPwcheckMethod,
            "passwords are checked by auxprop (sasldb) or saslauthd",
        );
    }
    let plugins = values.list(Key::SaslAuxpropPlugin);
    if !plugins.is_empty() && plugins.iter().all(|plugin| plugin != "sasldb") {
        refuse(Key::SaslAuxpropPlugin, "secrets are only read from sasldb");
    }
    Ok(found)
}
