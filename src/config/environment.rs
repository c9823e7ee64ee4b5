//! What a program knows before it reads its configuration.

/// Name of the program or service, and what its environment says (configuration §4).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment {
    /// The name of the service or program: settings that begin with it and `_` are for it alone.
    pub ident: String,
    /// `CYRUS_PREFIX`: tried in front of the path of every configuration file.
    pub prefix: Option<String>,
    /// `CYRUS_USER`, which outweighs the configuration.
    pub user: Option<String>,
    /// `CYRUS_GROUP`, which outweighs the configuration.
    pub group: Option<String>,
    /// `CYRUS_SYSLOG_PREFIX`, which outweighs the configuration.
    pub syslog_prefix: Option<String>,
    /// The name of this host, where `servername` is not set.
    pub host_name: Option<String>,
}

impl Environment {
    /// What this process finds; `program` is its name if it is not run as a service of Cyrus.
    pub fn of_process(program: &str) -> Environment {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let host_name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
        Environment {
            ident: variable("CYRUS_SERVICE").unwrap_or_else(|| program.to_owned()),
            prefix: variable("CYRUS_PREFIX"),
            user: variable("CYRUS_USER"),
            group: variable("CYRUS_GROUP"),
            syslog_prefix: variable("CYRUS_SYSLOG_PREFIX"),
            host_name: host_name
                .map(|name| name.trim().to_owned())
                .filter(|name| !name.is_empty()),
        }
    }
}
