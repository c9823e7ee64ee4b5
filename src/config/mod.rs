//! The configuration: `imapd.conf` or our own TOML form, read into one typed, validated value.
//!
//! Both forms are read into [`values::Values`] under the names of `imapd.conf`, checked by the one
//! [`table`], and put together by [`build`].

mod address;
mod build;
mod channel;
mod cyrus;
mod environment;
mod error;
mod imapd_conf;
mod kind;
mod locks;
mod places;
mod sections;
mod table;
mod toml_form;
mod unsupported;
mod values;

use std::io;
use std::path::Path;

pub use address::{ReplicaAddress, ReplicaAddressError};
pub use channel::{ChannelName, ChannelNameError};
pub use environment::Environment;
pub use error::{ConfigError, Place, Problem};
pub use kind::Kind;
pub use locks::{LockNaming, LockSettings};
pub use places::{MetadataFiles, PartitionPlaces, Places};
pub use sections::{
    Backend, CertificateMark, CertificateRule, ChannelSettings, Databases, Demand, HostSettings,
    Keepalive, Limits, LineSettings, LoggingSettings, MailboxSettings, NetworkSettings,
    PasswordCheck, ProcessSettings, Removal, ReplicationSettings, SaslSettings, Secret,
    TlsSettings,
};
pub use table::{Key, SETTINGS, Setting};
pub use unsupported::Unsupported;

use crate::mail::Namespace;
use imapd_conf::Files;
use values::Values;

/// The names of our own settings in `imapd.conf` begin with this.
const OWN_PREFIX: &str = "cyrus_sync_";

/// A whole configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Name of this server (`servername`).
    pub server_name: String,
    /// Where everything is.
    pub places: Places,
    /// The rules for names.
    pub namespace: Namespace,
    /// As whom the programs run.
    pub process: ProcessSettings,
    /// How mailboxes are made and kept.
    pub mailboxes: MailboxSettings,
    /// The formats of the databases.
    pub databases: Databases,
    /// Replication in general.
    pub replication: ReplicationSettings,
    /// Connections.
    pub network: NetworkSettings,
    /// TLS.
    pub tls: TlsSettings,
    /// Authentication.
    pub sasl: SaslSettings,
    /// Logging.
    pub logging: LoggingSettings,
    /// Name locks.
    pub locks: LockSettings,
    /// What a peer may use up.
    pub limits: Limits,
    values: Values,
}

impl Config {
    /// Where the configuration is if no other file is named.
    pub const DEFAULT_PATH: &str = "/etc/imapd.conf";

    /// Reads a configuration: our own form if the name ends in `.toml`, else that of Cyrus.
    ///
    /// # Errors
    /// If it cannot be read, or if Cyrus or we would not start with it; with file and line.
    /// Settings that only we cannot work with are among that ([`Problem::Unsupported`]).
    pub fn load(path: &Path, environment: &Environment) -> Result<Config, ConfigError> {
        Config::read(path, environment, &|path| std::fs::read(path))
    }

    /// The same with files from elsewhere.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn read(
        path: &Path,
        environment: &Environment,
        read: &dyn Fn(&Path) -> io::Result<Vec<u8>>,
    ) -> Result<Config, ConfigError> {
        let files = Files {
            read,
            prefix: environment.prefix.clone(),
        };
        let mut values = Values::new(&environment.ident);
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            toml_form::read(&files, path, &mut values)?;
        } else {
            imapd_conf::read(&files, path, &mut values)?;
        }
        Config::of(values, environment)
    }

    fn of(values: Values, environment: &Environment) -> Result<Config, ConfigError> {
        let unsupported = unsupported::find(&values)?;
        if !unsupported.is_empty() {
            return Err(ConfigError {
                place: None,
                problem: Problem::Unsupported(unsupported),
            });
        }
        let places = build::places(&values)?;
        let server_name = build::server_name(&values, environment)?;
        Ok(Config {
            namespace: build::namespace(&values)?,
            process: build::process(&values, environment)?,
            mailboxes: build::mailboxes(&values, &places)?,
            databases: build::databases(&values)?,
            replication: build::replication(&values)?,
            network: build::network(&values, &server_name)?,
            tls: build::tls(&values)?,
            sasl: build::sasl(&values)?,
            logging: build::logging(&values, environment)?,
            locks: build::locks(&values)?,
            limits: build::limits(&values)?,
            places,
            server_name,
            values,
        })
    }

    /// The settings of a channel (configuration §1.3).
    ///
    /// # Errors
    /// If one of them has a value that does not fit.
    pub fn channel(&self, name: &ChannelName) -> Result<ChannelSettings, ConfigError> {
        build::channel(&self.values, name)
    }

    /// What is set for a replica host; `name` is cut at its first dot.
    ///
    /// # Errors
    /// If one of the settings has a value that does not fit.
    pub fn host(&self, name: &str) -> Result<HostSettings, ConfigError> {
        let short = name.split('.').next().unwrap_or_default();
        build::host(&self.values, short)
    }

    /// The value of a setting as text, given or default, as `imapd.conf` would have it. Secrets
    /// are not shown.
    pub fn shown(&self, key: Key) -> Option<&str> {
        match key.setting().kind {
            Kind::Secret => None,
            _ => self.values.text(key),
        }
    }

    /// Whether the files set it.
    pub fn is_given(&self, key: Key) -> bool {
        self.values.is_given(key)
    }
}

#[cfg(test)]
mod tests;
