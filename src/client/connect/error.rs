//! Why there is no session with a replica.

use std::time::Duration;

use crate::client::peer::PeerError;
use crate::protocol::connection::{AuthenticationError, ReplyError};
use crate::protocol::sasl::client::ClientError;
use crate::protocol::stream::StreamError;
use crate::protocol::tls::{HandshakeError, TlsError};

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The replica cannot be reached.
    #[error("cannot reach {0}: {1}")]
    Unreachable(String, std::io::Error),
    /// It does not answer in time.
    #[error("{server} does not answer within {} s", limit.as_secs())]
    Silent {
        /// The replica.
        server: String,
        /// How long was waited.
        limit: Duration,
    },
    /// The port has a name that no service has.
    #[error("{0}: no service has the name {1:?}")]
    UnknownService(String, String),
    /// The connection broke off.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The login failed.
    #[error("couldn't authenticate to backend server: {0}")]
    Login(#[from] AuthenticationError),
    /// The login inside IMAP failed.
    #[error("couldn't authenticate to backend server: {0}")]
    ImapLogin(String),
    /// An IMAP server without replication.
    #[error("the IMAP server does not offer X-REPLICATION to this user")]
    NoReplication,
    /// No user or password is configured.
    #[error("no sync_authname and sync_password are configured")]
    NoCredentials,
    /// TLS cannot be set up here.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The handshake failed.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// TLS is required, and the replica does not offer it.
    #[error("{0} does not offer STARTTLS, which cyrus_sync_client_tls requires")]
    TlsNotOffered(String),
    /// The replica offers TLS and then refuses it.
    #[error("{0} refuses STARTTLS: {1}")]
    TlsRefused(String, String),
    /// Somebody put octets between STARTTLS and the handshake.
    #[error("{0}: {1} octets of plain text follow the answer to STARTTLS")]
    Injected(String, usize),
    /// IMAP would take the password only in clear.
    #[error("{0}: no password without verified TLS unless cyrus_sync_client_plaintext is set")]
    Unprotected(String),
    /// The replica refuses what a session begins with.
    #[error(transparent)]
    Refused(#[from] PeerError),
    /// The replica has no answer to the first command, which went with the login.
    #[error("APPLY CAPABILITIES: {0}")]
    Capabilities(#[source] ReplyError),
    /// `-z` was given, and the replica has no compression.
    #[error("Failed to enable compression to server '{0}'")]
    NoCompression(String),
}

impl ConnectError {
    /// Whether it may be different next time.
    pub fn can_pass(&self) -> bool {
        !matches!(
            self,
            ConnectError::NoCompression(_)
                | ConnectError::NoCredentials
                | ConnectError::Tls(_)
                | ConnectError::TlsNotOffered(_)
                | ConnectError::Injected(..)
                | ConnectError::Unprotected(_)
                | ConnectError::UnknownService(..)
                | ConnectError::Login(AuthenticationError::Exchange(
                    ClientError::NoMechanism | ClientError::Unprotected
                ))
        ) && !matches!(self, ConnectError::Handshake(problem) if !problem.can_pass())
    }
}
