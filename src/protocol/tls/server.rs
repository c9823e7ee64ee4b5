//! The server's end of TLS.

use std::sync::Arc;
use std::time::Duration;

use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{ServerConfig, SupportedCipherSuite};

use super::{HandshakeError, TlsError, files, name, provider};
use crate::config::{Demand, TlsSettings};
use crate::protocol::stream::Transport;

/// Takes handshakes of clients with the server's certificate.
#[derive(Clone)]
pub struct TlsAcceptor {
    acceptor: tokio_rustls::TlsAcceptor,
}

/// A connection on which TLS is active.
pub struct Secured {
    /// What travels inside TLS.
    pub transport: Box<dyn Transport>,
    /// The common name of the client's certificate, if it showed one, which was then verified.
    pub client: Option<String>,
    /// Strength of the cipher in bits.
    pub strength: u32,
    /// Version and cipher, for the log.
    pub description: String,
}

impl TlsAcceptor {
    /// An acceptor with the files of the configuration; `None` if certificate and key are not both
    /// set, or STARTTLS is not allowed.
    ///
    /// # Errors
    /// If a file cannot be used.
    pub fn load(settings: &TlsSettings) -> Result<Option<TlsAcceptor>, TlsError> {
        let Some((certificate, key)) = settings.server.as_ref().filter(|_| settings.start_tls)
        else {
            return Ok(None);
        };
        let builder = ServerConfig::builder_with_provider(provider::provider())
            .with_protocol_versions(&provider::versions(settings))?;
        let builder = match client_verifier(settings)? {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let config = builder
            .with_single_cert(files::chain(certificate)?, files::key(key)?)
            .map_err(|reason| TlsError::Pair {
                certificate: certificate.clone(),
                key: key.clone(),
                reason,
            })?;
        Ok(Some(TlsAcceptor {
            acceptor: Arc::new(config).into(),
        }))
    }

    /// Takes a client's handshake, which must be complete within `limit`.
    ///
    /// # Errors
    /// If it fails: the client went away, does not like our certificate, or shows a wrong one.
    pub async fn accept(
        &self,
        transport: Box<dyn Transport>,
        limit: Duration,
    ) -> Result<Secured, HandshakeError> {
        let stream = tokio::time::timeout(limit, self.acceptor.accept(transport))
            .await
            .map_err(|_| HandshakeError::TimedOut(limit))?
            .map_err(HandshakeError::Failed)?;
        let (_, session) = stream.get_ref();
        let certificate = session.peer_certificates().and_then(<[_]>::first);
        let client = certificate.and_then(|certificate| name::common_name(certificate));
        let suite = session.negotiated_cipher_suite();
        let version = session.protocol_version();
        let description = format!(
            "{} {}",
            version
                .and_then(|version| version.as_str())
                .unwrap_or("TLS"),
            suite
                .and_then(|suite| suite.suite().as_str())
                .unwrap_or("unknown cipher")
        );
        Ok(Secured {
            client,
            strength: suite.map_or(0, strength),
            description,
            transport: Box::new(stream),
        })
    }
}

impl std::fmt::Debug for TlsAcceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsAcceptor").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Secured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secured")
            .field("client", &self.client)
            .field("description", &self.description)
            .finish_non_exhaustive()
    }
}

/// Who checks certificates of clients; `None` if none are asked for.
fn client_verifier(
    settings: &TlsSettings,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
    if settings.client_certs == Demand::Never {
        return Ok(None);
    }
    let file = settings.client_ca_file.as_deref();
    let directory = settings.client_ca_directory.as_deref();
    let Some(roots) = files::authorities(file, directory)? else {
        return match settings.client_certs {
            Demand::Require => Err(TlsError::NoClientAuthority),
            _ => Ok(None),
        };
    };
    let revoked = match &settings.revocation_list {
        Some(path) => files::revocation_lists(path)?,
        None => Vec::new(),
    };
    let builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider::provider())
            .with_crls(revoked);
    let builder = match settings.client_certs {
        Demand::Require => builder,
        _ => builder.allow_unauthenticated(),
    };
    let verifier = builder
        .build()
        .map_err(|error| TlsError::ClientCertificates(error.to_string()))?;
    Ok(Some(verifier))
}

/// Bits of a cipher's key.
fn strength(suite: SupportedCipherSuite) -> u32 {
    let name = suite.suite().as_str().unwrap_or_default();
    if name.contains("AES_128") { 128 } else { 256 }
}
