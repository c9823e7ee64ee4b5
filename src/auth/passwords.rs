//! Our own password file: no password in it, only what is needed to check one.
//!
//! One line for each user, fields separated by tabs: the user id, then verifiers in any order, at
//! most one of each kind:
//!
//! ```text
//! repl <TAB> SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY <TAB> SCRAM-SHA-1$… <TAB> $argon2id$v=19$…
//! ```
//!
//! The SCRAM verifiers have the form of RFC 5803 (configuration §7.3), the one for PLAIN and LOGIN
//! is a PHC string of Argon2id. Empty lines and lines that begin with `#` mean nothing.

use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use zeroize::Zeroizing;

use crate::mail::UserId;
use crate::protocol::sasl::ScramHash;
use crate::protocol::sasl::server::ScramSecret;

/// Larger files are not read: this is room for some hundred thousand users.
const MAX_SIZE: u64 = 64 << 20;
/// Rights that nobody but the owner may have, group reading apart.
const UNSAFE_MODE: u32 = 0o037;
/// Octets of a salt.
const SALT: usize = 16;
/// What Argon2id may cost, so that a file cannot take all memory: 256 MiB, 16 passes.
const MAX_MEMORY_KIB: u32 = 256 << 10;
const MAX_PASSES: u32 = 16;

/// Why the password file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum PasswordFileError {
    /// It cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Others may read or change it.
    #[error("{} may be read or changed by others (mode {mode:04o}): chmod 600", path.display())]
    UnsafeMode {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A line is not what it should be.
    #[error("{}: line {line}: {what}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A password cannot be stored.
    #[error("cannot make a verifier of the password: {0}")]
    Verifier(String),
}

/// What is known of one user's password.
#[derive(Debug, Clone, Default)]
pub struct Verifiers {
    scram: Vec<ScramSecret>,
    argon2: Option<String>,
}

impl Verifiers {
    /// The verifiers of a password, with salts of their own. This takes some tens of milliseconds.
    ///
    /// # Errors
    /// If the password is empty, or the system has no random octets.
    pub fn of_password(password: &[u8]) -> Result<Verifiers, PasswordFileError> {
        let wrong = |what: &dyn std::fmt::Display| PasswordFileError::Verifier(what.to_string());
        if password.is_empty() {
            return Err(wrong(&"it is empty"));
        }
        let scram: Result<Vec<_>, _> = [ScramHash::Sha256, ScramHash::Sha1]
            .into_iter()
            .map(|hash| ScramSecret::from_password(hash, password))
            .collect();
        let mut salt = [0; SALT];
        getrandom::fill(&mut salt).map_err(|_| wrong(&"no random octets"))?;
        let salt = SaltString::encode_b64(&salt).map_err(|error| wrong(&error))?;
        let hash = argon2id().hash_password(password, &salt);
        Ok(Verifiers {
            scram: scram.map_err(|error| wrong(&error))?,
            argon2: Some(hash.map_err(|error| wrong(&error))?.to_string()),
        })
    }

    /// Whether this is the password.
    pub fn fits(&self, password: &[u8]) -> bool {
        match (&self.argon2, self.scram.first()) {
            (Some(text), _) => PasswordHash::new(text)
                .is_ok_and(|hash| argon2id().verify_password(password, &hash).is_ok()),
            (None, Some(secret)) => secret.fits(password),
            (None, None) => false,
        }
    }

    /// What SCRAM with this hash needs.
    pub fn scram(&self, hash: ScramHash) -> Option<&ScramSecret> {
        self.scram.iter().find(|secret| secret.hash() == hash)
    }

    fn parse<'a>(fields: impl Iterator<Item = &'a str>) -> Result<Verifiers, &'static str> {
        let mut verifiers = Verifiers::default();
        for field in fields {
            if field.starts_with("$argon2id$") {
                check_cost(field)?;
                if verifiers.argon2.replace(field.to_owned()).is_some() {
                    return Err("two verifiers of one kind");
                }
                continue;
            }
            let secret = ScramSecret::from_text(field)
                .ok_or("a verifier that is neither SCRAM-SHA-… nor $argon2id$…")?;
            if verifiers.scram(secret.hash()).is_some() {
                return Err("two verifiers of one kind");
            }
            verifiers.scram.push(secret);
        }
        match verifiers.scram.is_empty() && verifiers.argon2.is_none() {
            true => Err("a user without verifier"),
            false => Ok(verifiers),
        }
    }

    fn line(&self, user: &UserId) -> Zeroizing<String> {
        let mut line = Zeroizing::new(user.to_string());
        for secret in &self.scram {
            line.push('\t');
            line.push_str(&secret.to_text());
        }
        if let Some(text) = &self.argon2 {
            line.push('\t');
            line.push_str(text);
        }
        line.push('\n');
        line
    }
}

/// The parameters that OWASP names for Argon2id: 19 MiB, two passes.
fn argon2id() -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::DEFAULT)
}

fn check_cost(text: &str) -> Result<(), &'static str> {
    let wrong = "an Argon2id verifier that is malformed or too costly";
    let hash = PasswordHash::new(text).map_err(|_| wrong)?;
    let params = Params::try_from(&hash).map_err(|_| wrong)?;
    let is_legal = hash.hash.is_some()
        && params.m_cost() <= MAX_MEMORY_KIB
        && params.t_cost() <= MAX_PASSES
        && params.p_cost() <= 4;
    if is_legal { Ok(()) } else { Err(wrong) }
}

/// What the file knows of a user; `None` if it does not name it.
///
/// # Errors
/// If the file cannot be read, is open to others, or the line of the user is malformed.
pub fn find(path: &Path, user: &UserId) -> Result<Option<Verifiers>, PasswordFileError> {
    let content = read(path)?;
    for (number, line) in content.split(|octet| *octet == b'\n').enumerate() {
        let Some(fields) = fields_of(line, user) else {
            continue;
        };
        let parsed = std::str::from_utf8(fields)
            .map_err(|_| "a line that is no text")
            .and_then(|fields| Verifiers::parse(fields.trim_end().split('\t')));
        return parsed
            .map(Some)
            .map_err(|what| PasswordFileError::Malformed {
                path: path.to_owned(),
                line: number + 1,
                what,
            });
    }
    Ok(None)
}

/// The verifiers of a line, if it is that of the user.
fn fields_of<'a>(line: &'a [u8], user: &UserId) -> Option<&'a [u8]> {
    line.strip_prefix(user.as_str().as_bytes())?
        .strip_prefix(b"\t")
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, PasswordFileError> {
    let failed = |source| PasswordFileError::Io {
        path: path.to_owned(),
        source,
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & UNSAFE_MODE != 0 {
        let path = path.to_owned();
        return Err(PasswordFileError::UnsafeMode { path, mode });
    }
    let mut content = Zeroizing::new(Vec::new());
    let read = file.take(MAX_SIZE + 1).read_to_end(&mut content);
    if read.map_err(failed)? as u64 > MAX_SIZE {
        return Err(failed(io::ErrorKind::FileTooLarge.into()));
    }
    Ok(content)
}

/// Sets the password of a user. The file is made if there is none, else replaced as a whole; its
/// owner and mode stay.
///
/// # Errors
/// If the password cannot be stored, or the file not be read or written.
pub fn set(path: &Path, user: &UserId, password: &[u8]) -> Result<(), PasswordFileError> {
    let line = Verifiers::of_password(password)?.line(user);
    change(path, user, Some(line.as_bytes())).map(drop)
}

/// Removes a user; false if the file does not name it.
///
/// # Errors
/// If the file cannot be read or written.
pub fn remove(path: &Path, user: &UserId) -> Result<bool, PasswordFileError> {
    change(path, user, None)
}

/// Replaces the line of a user; tells whether there was one.
fn change(path: &Path, user: &UserId, line: Option<&[u8]>) -> Result<bool, PasswordFileError> {
    let failed = |source| PasswordFileError::Io {
        path: path.to_owned(),
        source,
    };
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    // Whoever else changes the file waits here.
    let handle = std::fs::File::open(directory).map_err(failed)?;
    handle.lock().map_err(failed)?;
    let old = match read(path) {
        Err(PasswordFileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Zeroizing::default()
        }
        old => old?,
    };
    let mut found = false;
    let mut new = Zeroizing::new(Vec::new());
    for kept in old.split_inclusive(|octet| *octet == b'\n') {
        if fields_of(kept, user).is_none() {
            new.extend_from_slice(kept);
            if !kept.ends_with(b"\n") {
                new.push(b'\n');
            }
        } else if !std::mem::replace(&mut found, true) {
            new.extend_from_slice(line.unwrap_or_default());
        }
    }
    if !found {
        match line {
            Some(line) => new.extend_from_slice(line),
            None => return Ok(false),
        }
    }
    replace(path, directory, &new).map_err(failed)?;
    handle.sync_all().map_err(failed)?;
    Ok(found)
}

fn replace(path: &Path, directory: &Path, content: &[u8]) -> io::Result<()> {
    // Only the owner may read what is made here.
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(content)?;
    match std::fs::metadata(path) {
        Ok(old) => {
            fchown(file.as_file(), Some(old.uid()), Some(old.gid()))?;
            file.as_file().set_permissions(old.permissions())?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(text: &str) -> UserId {
        UserId::parse(text).unwrap()
    }

    fn scene() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("passwords");
        (directory, path)
    }

    fn write(path: &Path, text: &str, mode: u32) {
        std::fs::write(path, text).unwrap();
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    }

    #[test]
    fn passwords_are_set_checked_and_removed() {
        let (_directory, path) = scene();
        let (anna, ann) = (user("anna"), user("ann"));
        set(&path, &anna, b"secret").unwrap();
        set(&path, &ann, b"other").unwrap();
        set(&path, &anna, "n\u{e4}w".as_bytes()).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 2);
        assert!(!text.contains("other") && text.starts_with("anna\tSCRAM-SHA-256$"));

        let of_anna = find(&path, &anna).unwrap().unwrap();
        assert!(of_anna.fits("n\u{e4}w".as_bytes()));
        assert!(!of_anna.fits(b"secret") && !of_anna.fits(b""));
        for hash in [ScramHash::Sha256, ScramHash::Sha1] {
            assert!(of_anna.scram(hash).unwrap().fits("n\u{e4}w".as_bytes()));
        }
        assert!(remove(&path, &anna).unwrap());
        assert!(!remove(&path, &anna).unwrap());
        assert!(find(&path, &anna).unwrap().is_none());
        assert!(find(&path, &ann).unwrap().unwrap().fits(b"other"));
        assert!(set(&path, &anna, b"").is_err());
    }

    #[test]
    fn a_line_of_somebody_else() {
        let (_directory, path) = scene();
        // Made elsewhere: the password is "pencil" (RFC 5802's example salt).
        let line = "# comment\n\nrepl\tSCRAM-SHA-1$4096:QSXCR+Q6sek8bf92$6dlGYMOdZcOPutkcNY8U2g7vK9Y=:D+CSWLOshSulAsxiupA+qs2/fTE=\r\n";
        write(&path, line, 0o640);
        let repl = find(&path, &user("repl")).unwrap().unwrap();
        assert!(repl.fits(b"pencil") && !repl.fits(b"pen"));
        assert!(repl.scram(ScramHash::Sha256).is_none());
        assert!(find(&path, &user("rep")).unwrap().is_none());
        set(&path, &user("new"), b"x").unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with(line), "{text}");
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let (_directory, path) = scene();
        let error = |text: &str, mode| {
            write(&path, text, mode);
            find(&path, &user("repl")).unwrap_err().to_string()
        };
        for mode in [0o644, 0o660, 0o602] {
            let text = error("", mode);
            assert!(text.contains("may be read or changed by others"), "{text}");
        }
        for (line, what) in [
            ("repl\t\n", "neither SCRAM"),
            ("a\tb\nrepl\tsecret\n", "line 2: "),
            ("repl\tSCRAM-SHA-256$0:QSXC$AAAA:AAAA\n", "neither SCRAM"),
            (
                "repl\t$argon2id$v=19$m=4000000000,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo\n",
                "too costly",
            ),
            ("repl\t$argon2id$nonsense\n", "malformed"),
        ] {
            let text = error(line, 0o600);
            assert!(text.contains(what), "{text}");
        }
        std::fs::remove_file(&path).unwrap();
        let text = find(&path, &user("repl")).unwrap_err().to_string();
        assert!(text.contains("passwords: No such file"), "{text}");
    }
}
