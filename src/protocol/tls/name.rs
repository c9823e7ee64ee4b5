//! Whom a certificate names, and when it is valid.

use rustls::CertificateError;
use rustls::pki_types::UnixTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::{FromDer, GeneralName};

use crate::config::{CertificateMark, CertificateRule};

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

/// Whom a client's certificate stands for: the user of the first rule that fits, or without any
/// rules the one whom the common name names.
pub fn client(certificate: &[u8], rules: &[CertificateRule]) -> Option<String> {
    if rules.is_empty() {
        return common_name(certificate);
    }
    let fits = |mark: &CertificateMark| match mark {
        CertificateMark::CommonName(name) => common_name(certificate).as_ref() == Some(name),
        CertificateMark::AlternativeName(name) => has_alternative_name(certificate, name),
        CertificateMark::Key(digest) => key_digest(certificate).as_ref() == Ok(digest),
    };
    let rule = rules.iter().find(|rule| fits(&rule.mark))?;
    Some(rule.user.clone())
}

fn has_alternative_name(certificate: &[u8], wanted: &str) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
        return false;
    };
    let Ok(Some(extension)) = certificate.subject_alternative_name() else {
        return false;
    };
    extension.value.general_names.iter().any(|name| match name {
        GeneralName::DNSName(name) => name.eq_ignore_ascii_case(wanted),
        GeneralName::RFC822Name(name) | GeneralName::URI(name) => *name == wanted,
        _ => false,
    })
}

/// Whether a certificate is one for signing others.
pub fn is_authority(certificate: &[u8]) -> bool {
    X509Certificate::from_der(certificate).is_ok_and(|(_, certificate)| certificate.is_ca())
}

/// SHA-256 of a certificate's public key, as `SubjectPublicKeyInfo` in DER.
///
/// # Errors
/// If the certificate is malformed.
pub fn key_digest(certificate: &[u8]) -> Result<[u8; 32], CertificateError> {
    let (_, certificate) =
        X509Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let key = certificate.public_key().raw;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, key);
    digest
        .as_ref()
        .try_into()
        .map_err(|_| CertificateError::BadEncoding)
}

/// Whether a certificate is valid at this time.
///
/// # Errors
/// If it is malformed, expired or not valid yet.
pub fn check_dates(certificate: &[u8], now: UnixTime) -> Result<(), CertificateError> {
    let (_, certificate) =
        X509Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let validity = certificate.validity();
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now < validity.not_before.timestamp() {
        return Err(CertificateError::NotValidYet);
    }
    if now > validity.not_after.timestamp() {
        return Err(CertificateError::Expired);
    }
    Ok(())
}
