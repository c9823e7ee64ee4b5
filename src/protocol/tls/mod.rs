//! TLS for both ends of a connection (wire-protocol §4, configuration §2.5, §5.3, §6.5).
//!
//! A server asks for certificates of clients if it knows authorities for them. A client checks
//! chain, dates and name of the server, against the system's authorities unless the configuration
//! names others (`tls_server_ca_file`, `tls_server_ca_dir`).

mod client;
mod files;
mod name;
mod provider;
mod server;

pub use client::TlsConnector;
pub use server::{Certificates, Secured, TlsAcceptor};

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use rustls::CertificateError;

/// Why TLS cannot be set up. Another attempt helps only after a change of the configuration or of
/// the files.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read as PEM.
    #[error("cannot read {what} from {}: {reason}", path.display())]
    File {
        /// What it should hold.
        what: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A file does not hold what it should.
    #[error("{} holds no {what}", path.display())]
    Missing {
        /// What it should hold.
        what: &'static str,
        /// The file or directory.
        path: PathBuf,
    },
    /// Certificate and key cannot be used, together or at all.
    #[error("cannot use the certificate {} with the key {}: {reason}", certificate.display(), key.display())]
    Pair {
        /// File of the certificate.
        certificate: PathBuf,
        /// File of the key.
        key: PathBuf,
        /// Why not.
        reason: rustls::Error,
    },
    /// A revocation list or an authority cannot be used.
    #[error("cannot check certificates of clients: {0}")]
    ClientCertificates(String),
    /// Certificates of clients are required, but nobody vouches for them.
    #[error(
        "tls_client_certs is \"require\", but neither tls_client_ca_file nor tls_client_ca_dir is set"
    )]
    NoClientAuthority,
    /// The authorities for servers cannot be used.
    #[error("cannot check certificates of servers: {0}")]
    ServerCertificates(String),
    /// There is no authority to check servers with.
    #[error(
        "the system trusts no authority, and neither tls_server_ca_file nor tls_server_ca_dir is set"
    )]
    NoServerAuthority,
    /// TLS itself cannot be set up.
    #[error("cannot set up TLS: {0}")]
    Setup(#[from] rustls::Error),
}

/// Why a handshake failed. The connection is of no more use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The peer did not complete it in time.
    #[error("the TLS handshake was not complete after {} s", .0.as_secs())]
    TimedOut(Duration),
    /// No certificate can name such a server.
    #[error("{0:?} is no name that a certificate can hold")]
    ServerName(String),
    /// The connection broke, or the peer or we refused: the text says why.
    #[error("the TLS handshake failed: {}", reason(.0))]
    Failed(io::Error),
}

/// Why a handshake failed, in words where the library has only a name for it.
fn reason(error: &io::Error) -> String {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let Some(rustls::Error::InvalidCertificate(problem)) = inner else {
        return error.to_string();
    };
    match problem {
        CertificateError::UnknownIssuer => {
            "invalid peer certificate: nobody whom we trust vouches for it (UnknownIssuer)".into()
        }
        CertificateError::ApplicationVerificationFailure => {
            "invalid peer certificate: its key is none of cyrus_sync_server_pins".into()
        }
        _ => error.to_string(),
    }
}

impl HandshakeError {
    /// Whether another attempt may succeed: not if the peer or its certificate was refused.
    pub fn can_pass(&self) -> bool {
        match self {
            HandshakeError::TimedOut(_) => true,
            HandshakeError::ServerName(_) => false,
            HandshakeError::Failed(error) => error.kind() != io::ErrorKind::InvalidData,
        }
    }
}

#[cfg(test)]
mod tests;
