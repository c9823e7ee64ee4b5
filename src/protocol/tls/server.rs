//! The server's end of TLS.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{ServerConfig, SupportedCipherSuite};

use super::{HandshakeError, TlsError, files, name, provider};
use crate::config::{CertificateRule, Demand, TlsSettings};
use crate::protocol::stream::Transport;

/// Takes handshakes of clients with the server's certificate.
#[derive(Clone)]
pub struct TlsAcceptor {
    acceptor: tokio_rustls::TlsAcceptor,
    map: Arc<[CertificateRule]>,
}

/// The acceptor in use, which can be replaced while connections come in.
#[derive(Clone, Debug)]
pub struct Certificates {
    settings: Arc<TlsSettings>,
    current: Arc<RwLock<Option<TlsAcceptor>>>,
}

impl Certificates {
    /// Reads the files of the configuration.
    ///
    /// # Errors
    /// If one cannot be used.
    pub fn load(settings: &TlsSettings) -> Result<Certificates, TlsError> {
        Ok(Certificates {
            current: Arc::new(RwLock::new(TlsAcceptor::load(settings)?)),
            settings: Arc::new(settings.clone()),
        })
    }

    /// Reads the files anew: certificate, key, authorities and revocation list hold for the
    /// connections that come from now on; those that are there stay as they are.
    ///
    /// # Errors
    /// If one cannot be used; then the old ones stay in use.
    pub fn reload(&self) -> Result<(), TlsError> {
        let new = TlsAcceptor::load(&self.settings)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }

    /// What takes the next handshake; `None` if no certificate is configured.
    pub fn acceptor(&self) -> Option<TlsAcceptor> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.clone()
    }
}

/// A connection on which TLS is active.
pub struct Secured {
    /// What travels inside TLS.
    pub transport: Box<dyn Transport>,
    /// Whom the client's certificate stands for, if it showed one, which was then verified.
    pub client: Option<String>,
    /// The client showed a certificate.
    pub has_certificate: bool,
    /// Strength of the cipher in bits.
    pub strength: u32,
    /// Version and cipher, for the log.
    pub description: String,
}

impl TlsAcceptor {
    /// An acceptor with the files of the configuration; `None` if certificate and key are not both
    /// set.
    ///
    /// # Errors
    /// If a file cannot be used.
    pub fn load(settings: &TlsSettings) -> Result<Option<TlsAcceptor>, TlsError> {
        let (Some(certificate), Some(key)) = (&settings.server_cert, &settings.server_key) else {
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
            map: settings.certificate_map.as_slice().into(),
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
        let client = certificate.and_then(|certificate| name::client(certificate, &self.map));
        let has_certificate = certificate.is_some();
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
            has_certificate,
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
