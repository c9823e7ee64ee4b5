//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;

use crate::config::Config;
use crate::service::listen::ListenAddress;

/// Keeps a replica of a Cyrus IMAP mail store up to date with what sync_client tells.
///
/// Listening sockets come from systemd (LISTEN_FDS), or from --listen.
#[derive(Clone, Debug, Parser)]
#[command(name = "sync_server", version)]
pub struct Options {
    /// Configuration: Cyrus's imapd.conf, or the TOML form if the name ends in .toml
    #[arg(short = 'C', value_name = "CONFIG-FILE", default_value = Config::DEFAULT_PATH)]
    pub config: PathBuf,

    /// Strength of a layer that protects the connections already (0 none, 1 integrity, more: privacy)
    #[arg(short = 'p', value_name = "SSF", default_value_t = 0)]
    pub external_strength: u32,

    /// Listen on ADDRESS:PORT or on a Unix socket, if no socket is inherited; may be repeated
    #[arg(long, value_name = "ADDR")]
    pub listen: Vec<ListenAddress>,

    /// Listen on ADDRESS:PORT with TLS from the first octet on, if no socket is inherited; may be
    /// repeated
    #[arg(long, value_name = "ADDR")]
    pub listen_tls: Vec<SocketAddr>,

    /// End after so many seconds without a connection; systemd, which keeps the sockets, starts
    /// the program for the next one
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub idle_exit: Option<u64>,

    /// Print the directories of the store as settings of a unit (ReadWritePaths=), and exit
    #[arg(long)]
    pub print_write_paths: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_table_is_consistent() {
        Options::command().debug_assert();
    }
}
