//! What systemd hands to the unit alone (`LoadCredential=`). It outweighs the configuration.

use std::io::Read;
use std::path::PathBuf;

use libsystemd::credentials::CredentialsLoader;
use zeroize::Zeroizing;

use crate::config::{ChannelSettings, HostSettings, Secret, TlsSettings};

/// The password for the replica.
const PASSWORD: &str = "sync-password";
/// Our certificate, the server's or the client's.
const TLS_CERTIFICATE: &str = "tls-cert";
/// Its key.
const TLS_KEY: &str = "tls-key";

/// A credential that is there and cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("credential {name}: {problem}")]
pub struct CredentialError {
    name: &'static str,
    problem: String,
}

/// Gives a client the password of its unit. A line end behind it does not belong to it.
///
/// # Errors
/// If it cannot be read.
pub fn password(channel: &mut ChannelSettings) -> Result<(), CredentialError> {
    let Some(path) = path_of(PASSWORD) else {
        return Ok(());
    };
    let failed = |problem: String| CredentialError {
        name: PASSWORD,
        problem,
    };
    let mut text = Zeroizing::new(String::new());
    std::fs::File::open(path)
        .and_then(|mut file| file.read_to_string(&mut text))
        .map_err(|error| failed(error.to_string()))?;
    let password = text.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return Err(failed("it is empty".to_owned()));
    }
    channel.password = Some(Secret::new(password));
    Ok(())
}

/// Lets a server take its certificate and key from its unit.
pub fn server_certificate(tls: &mut TlsSettings) {
    replace(&mut tls.server_cert, TLS_CERTIFICATE);
    replace(&mut tls.server_key, TLS_KEY);
}

/// Lets a client take its certificate and key from its unit.
pub fn client_certificate(host: &mut HostSettings) {
    replace(&mut host.client_cert, TLS_CERTIFICATE);
    replace(&mut host.client_key, TLS_KEY);
}

fn replace(file: &mut Option<PathBuf>, name: &str) {
    if let Some(path) = path_of(name) {
        *file = Some(path);
    }
}

fn path_of(name: &str) -> Option<PathBuf> {
    let path = CredentialsLoader::path_from_env()?.join(name);
    path.exists().then_some(path)
}
