//! The one cryptographic library, and which versions of TLS are spoken.

use std::sync::Arc;

use rustls::SupportedProtocolVersion;
use rustls::crypto::CryptoProvider;

use crate::config::TlsSettings;

/// The library behind TLS.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// The versions of `tls_versions`, newest first.
pub fn versions(settings: &TlsSettings) -> Vec<&'static SupportedProtocolVersion> {
    let newest = settings.tls13.then_some(&rustls::version::TLS13);
    let older = settings.tls12.then_some(&rustls::version::TLS12);
    newest.into_iter().chain(older).collect()
}
