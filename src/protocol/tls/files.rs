//! Certificates, keys, authorities and revocation lists as PEM files.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::pem::{Error, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use super::TlsError;

/// A certificate and those that lead from it to its authority.
pub fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    all(path, "certificate")
}

/// A private key. One that everybody may read is used, but complained about.
pub fn key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let what = "private key";
    let key = PrivateKeyDer::from_pem_file(path).map_err(|error| unreadable(what, path, error))?;
    let mode = std::fs::metadata(path).map(|metadata| metadata.permissions().mode());
    if mode.is_ok_and(|mode| mode & 0o007 != 0) {
        tracing::warn!("{}: everybody may read this private key", path.display());
    }
    Ok(key)
}

/// Revocation lists.
pub fn revocation_lists(
    path: &Path,
) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    all(path, "revocation list")
}

/// Authorities of a file and of a directory with file names made of hashes; `None` if neither is
/// given.
pub fn authorities(
    file: Option<&Path>,
    directory: Option<&Path>,
) -> Result<Option<RootCertStore>, TlsError> {
    let what = "certificate of an authority";
    let Some(place) = file.or(directory) else {
        return Ok(None);
    };
    let found = rustls_native_certs::load_certs_from_paths(file, directory);
    if let Some(error) = found.errors.first() {
        return Err(TlsError::File {
            what,
            path: place.to_owned(),
            reason: error.to_string(),
        });
    }
    let mut roots = RootCertStore::empty();
    for certificate in found.certs {
        roots.add(certificate).map_err(|error| TlsError::File {
            what,
            path: place.to_owned(),
            reason: error.to_string(),
        })?;
    }
    if roots.is_empty() {
        return Err(TlsError::Missing {
            what,
            path: place.to_owned(),
        });
    }
    Ok(Some(roots))
}

/// The authorities that the system trusts, as far as they can be used.
pub fn system_authorities() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    roots
}

fn all<T: PemObject>(path: &Path, what: &'static str) -> Result<Vec<T>, TlsError> {
    let items = T::pem_file_iter(path)
        .and_then(|items| items.collect::<Result<Vec<T>, _>>())
        .map_err(|error| unreadable(what, path, error))?;
    if items.is_empty() {
        return Err(TlsError::Missing {
            what,
            path: path.to_owned(),
        });
    }
    Ok(items)
}

fn unreadable(what: &'static str, path: &Path, error: Error) -> TlsError {
    let path = path.to_owned();
    match error {
        Error::NoItemsFound => TlsError::Missing { what, path },
        error => TlsError::File {
            what,
            path,
            reason: error.to_string(),
        },
    }
}
