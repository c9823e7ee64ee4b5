//! Whom a certificate names.

use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

/// The common name of a certificate's subject, by which EXTERNAL knows a client
/// (configuration §5.3). `None` without one, or if it holds control characters.
pub fn common_name(certificate: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let name = certificate
        .subject()
        .iter_common_name()
        .next()?
        .as_str()
        .ok()?;
    let is_usable = !name.is_empty() && !name.chars().any(char::is_control);
    is_usable.then(|| name.to_owned())
}
