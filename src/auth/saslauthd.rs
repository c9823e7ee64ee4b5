//! Asks saslauthd whether a password is right (configuration §7.1).

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use zeroize::Zeroizing;

/// Longest wait for each step of the answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// saslauthd could not be asked.
#[derive(Debug, thiserror::Error)]
#[error("saslauthd at {}: {source}", path.display())]
pub struct SaslauthdError {
    /// Its socket.
    pub path: PathBuf,
    /// What went wrong.
    pub source: io::Error,
}

/// Whether saslauthd accepts the password. An empty realm means its default.
///
/// # Errors
/// If it cannot be reached or does not answer; trying again later can help.
pub fn check(
    socket: &Path,
    user: &str,
    password: &[u8],
    service: &str,
    realm: &str,
) -> Result<bool, SaslauthdError> {
    let fields = [
        user.as_bytes(),
        password,
        service.as_bytes(),
        realm.as_bytes(),
    ];
    ask(socket, &fields).map_err(|source| SaslauthdError {
        path: socket.to_owned(),
        source,
    })
}

fn ask(socket: &Path, fields: &[&[u8]]) -> io::Result<bool> {
    let mut request = Zeroizing::new(Vec::new());
    for field in fields {
        let length = u16::try_from(field.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        request.extend_from_slice(&length.to_be_bytes());
        request.extend_from_slice(field);
    }
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.write_all(&request)?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer)?;
    Ok(answer.starts_with(b"OK"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    /// Serves one request with this answer; returns what was asked and what came of it.
    fn serve(answer: &'static [u8]) -> (Vec<u8>, Result<bool, SaslauthdError>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mux");
        let listener = UnixListener::bind(&path).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = vec![0; 4 * 2 + 4 + 2 + 5 + 1];
            stream.read_exact(&mut request).unwrap();
            stream.write_all(answer).unwrap();
            request
        });
        let result = check(&path, "user", b"pw", "csync", "r");
        (server.join().unwrap(), result)
    }

    #[test]
    fn answers() {
        let (request, accepted) = serve(b"\0\x02OK");
        assert_eq!(request, b"\0\x04user\0\x02pw\0\x05csync\0\x01r");
        assert!(accepted.unwrap());
        assert!(!serve(b"\0\x09NO reason").1.unwrap());
        assert!(!serve(b"\0\0").1.unwrap());
        assert!(serve(b"\0\x09NO").1.is_err());
    }

    #[test]
    fn an_absent_daemon_is_an_error() {
        let error = check(Path::new("/nonexistent/mux"), "u", b"p", "csync", "").unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("saslauthd at /nonexistent/mux: ")
        );
        let long = vec![b'x'; 70_000];
        assert!(check(Path::new("/nonexistent/mux"), "u", &long, "csync", "").is_err());
    }
}
