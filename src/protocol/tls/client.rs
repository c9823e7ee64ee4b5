//! The client's end of TLS.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

use super::{HandshakeError, TlsError, files, name, provider};
use crate::config::{HostSettings, TlsSettings};
use crate::protocol::stream::Transport;

/// Makes handshakes with servers.
#[derive(Clone)]
pub struct TlsConnector {
    connector: tokio_rustls::TlsConnector,
    certificate: bool,
}

impl TlsConnector {
    /// A connector with the files of the configuration.
    ///
    /// # Errors
    /// If a file cannot be used.
    pub fn load(settings: &TlsSettings, host: &HostSettings) -> Result<TlsConnector, TlsError> {
        let verifier = Verifier::load(settings)?;
        let builder = ClientConfig::builder_with_provider(provider::provider())
            .with_protocol_versions(&provider::versions(settings))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let own = host.client_cert.as_ref().zip(host.client_key.as_ref());
        let config = match own {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => builder
                .with_client_auth_cert(files::chain(certificate)?, files::key(key)?)
                .map_err(|reason| TlsError::Pair {
                    certificate: certificate.clone(),
                    key: key.clone(),
                    reason,
                })?,
        };
        Ok(TlsConnector {
            connector: Arc::new(config).into(),
            certificate: own.is_some(),
        })
    }

    /// Whether the server is shown a certificate if it asks.
    pub fn has_certificate(&self) -> bool {
        self.certificate
    }

    /// Makes the handshake with the server `name`. The caller limits the time.
    ///
    /// # Errors
    /// If it fails, above all because the server is not who it should be.
    pub async fn connect(
        &self,
        transport: Box<dyn Transport>,
        name: &str,
    ) -> Result<Box<dyn Transport>, HandshakeError> {
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| HandshakeError::ServerName(name.to_owned()))?;
        let stream = self
            .connector
            .connect(name, transport)
            .await
            .map_err(HandshakeError::Failed)?;
        Ok(Box::new(stream))
    }
}

impl std::fmt::Debug for TlsConnector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsConnector")
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

/// Checks certificates of servers.
#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    /// Absent only if nothing needs to be verified and no authority is known.
    chains: Option<Arc<WebPkiServerVerifier>>,
    /// Certificates that are trusted as they are: a self-signed certificate of a server is no
    /// authority in the strict sense, though files of authorities often hold one.
    pinned: Vec<CertificateDer<'static>>,
    /// SHA-256 of the public keys that a server may have; empty for any.
    keys: Vec<[u8; 32]>,
    /// Whether a wrong certificate ends the handshake; else it is only logged.
    strict: bool,
}

impl Verifier {
    fn load(settings: &TlsSettings) -> Result<Verifier, TlsError> {
        let file = settings.server_ca_file.as_deref();
        let directory = settings.server_ca_directory.as_deref();
        let strict = settings.verify_server;
        let provider = provider::provider();
        let pinned = match file {
            Some(path) => files::chain(path)?,
            None => Vec::new(),
        };
        let roots = match files::authorities(file, directory)? {
            Some(roots) => roots,
            None => files::system_authorities(),
        };
        if roots.is_empty() && strict && settings.server_pins.is_empty() {
            return Err(TlsError::NoServerAuthority);
        }
        let chains = match roots.is_empty() {
            true => None,
            false => Some(
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                    .build()
                    .map_err(|error| TlsError::ServerCertificates(error.to_string()))?,
            ),
        };
        Ok(Verifier {
            provider,
            chains,
            pinned,
            keys: settings.server_pins.clone(),
            strict,
        })
    }

    fn check(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if !self.keys.is_empty() && !self.keys.contains(&name::key_digest(certificate)?) {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        let is_pinned = self.pinned.iter().any(|pinned| pinned == certificate);
        if is_pinned || !self.keys.is_empty() {
            name::check_dates(certificate, now)?;
            rustls::client::verify_server_name(&ParsedCertificate::try_from(certificate)?, server)?;
            return Ok(ServerCertVerified::assertion());
        }
        match &self.chains {
            Some(chains) => chains
                .verify_server_cert(certificate, intermediates, server, ocsp, now)
                // A self-signed certificate, for which the error is only of internal meaning.
                .map_err(|error| match error {
                    Error::InvalidCertificate(CertificateError::Other(_))
                        if name::is_authority(certificate) =>
                    {
                        CertificateError::UnknownIssuer.into()
                    }
                    error => error,
                }),
            None => Err(CertificateError::UnknownIssuer.into()),
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.check(certificate, intermediates, server, ocsp, now) {
            Err(error) if !self.strict => {
                tracing::warn!("{}: not verified: {error}", server.to_str());
                Ok(ServerCertVerified::assertion())
            }
            checked => checked,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
