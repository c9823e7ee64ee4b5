//! SCRAM (RFC 5802, RFC 7677) without channel binding, both sides.
//!
//! User ids and passwords are used as they are: preparation (SASLprep) leaves ASCII alone, and
//! the original prepares nothing else either.

use std::num::NonZeroU32;

use aws_lc_rs::{constant_time, digest, hmac, pbkdf2};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::client::ClientError;
use super::server::{Failure, Identity};

/// The hash function of a SCRAM mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ScramHash {
    /// SHA-256
    Sha256,
    /// SHA-1
    Sha1,
}

impl ScramHash {
    fn digest(self) -> &'static digest::Algorithm {
        match self {
            ScramHash::Sha256 => &digest::SHA256,
            ScramHash::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
        }
    }

    fn hmac(self) -> hmac::Algorithm {
        match self {
            ScramHash::Sha256 => hmac::HMAC_SHA256,
            ScramHash::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        }
    }

    fn pbkdf2(self) -> pbkdf2::Algorithm {
        match self {
            ScramHash::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            ScramHash::Sha1 => pbkdf2::PBKDF2_HMAC_SHA1,
        }
    }

    fn sign(self, key: &[u8], text: &[u8]) -> Zeroizing<Vec<u8>> {
        let key = hmac::Key::new(self.hmac(), key);
        Zeroizing::new(hmac::sign(&key, text).as_ref().to_vec())
    }

    fn hash(self, octets: &[u8]) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(digest::digest(self.digest(), octets).as_ref().to_vec())
    }

    fn salted(self, password: &[u8], salt: &[u8], iterations: NonZeroU32) -> Zeroizing<Vec<u8>> {
        let mut salted = Zeroizing::new(vec![0; self.digest().output_len()]);
        pbkdf2::derive(self.pbkdf2(), iterations, salt, password, &mut salted);
        salted
    }
}

/// Iterations that a server uses for passwords it knows in plain text.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(4096).unwrap();
/// Fewest iterations that a client accepts: less would help whoever records the exchange.
const MIN_ITERATIONS: u32 = 4096;
/// Most iterations that a client accepts: more would only keep it busy.
const MAX_ITERATIONS: u32 = 1_000_000;
/// Octets of a nonce or salt before base64.
const RANDOM: usize = 18;

/// What a server must know of a user.
#[derive(Clone, Debug)]
pub struct ScramSecret {
    hash: ScramHash,
    salt: Vec<u8>,
    iterations: NonZeroU32,
    stored_key: Zeroizing<Vec<u8>>,
    server_key: Zeroizing<Vec<u8>>,
}

impl ScramSecret {
    /// Derives the secret from a password in plain text, with a salt of its own. This takes
    /// some milliseconds.
    ///
    /// # Errors
    /// If the system has no random octets.
    pub fn from_password(hash: ScramHash, password: &[u8]) -> Result<ScramSecret, Failure> {
        let mut salt = vec![0; RANDOM];
        getrandom::fill(&mut salt).map_err(|_| Failure::Internal)?;
        Ok(ScramSecret::derive(hash, password, salt, ITERATIONS))
    }

    fn derive(
        hash: ScramHash,
        password: &[u8],
        salt: Vec<u8>,
        iterations: NonZeroU32,
    ) -> ScramSecret {
        let salted = hash.salted(password, &salt, iterations);
        let client_key = hash.sign(&salted, b"Client Key");
        ScramSecret {
            hash,
            salt,
            iterations,
            stored_key: hash.hash(&client_key),
            server_key: hash.sign(&salted, b"Server Key"),
        }
    }

    /// The hash it is for.
    pub fn hash(&self) -> ScramHash {
        self.hash
    }

    /// Whether it is that of this password.
    pub fn fits(&self, password: &[u8]) -> bool {
        let other = ScramSecret::derive(self.hash, password, self.salt.clone(), self.iterations);
        constant_time::verify_slices_are_equal(&other.stored_key, &self.stored_key).is_ok()
    }

    /// Reads the form `SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY` (RFC 5803).
    pub fn from_text(text: &str) -> Option<ScramSecret> {
        let mut parts = text.split('$');
        let hash = match parts.next()? {
            "SCRAM-SHA-256" => ScramHash::Sha256,
            "SCRAM-SHA-1" => ScramHash::Sha1,
            _ => return None,
        };
        let (iterations, salt) = parts.next()?.split_once(':')?;
        let (stored_key, server_key) = parts.next()?.split_once(':')?;
        let key = |text: &str| {
            let key = Zeroizing::new(STANDARD.decode(text).ok()?);
            (key.len() == hash.digest().output_len()).then_some(key)
        };
        let iterations = iterations.parse::<NonZeroU32>().ok()?;
        let salt = STANDARD.decode(salt).ok()?;
        let is_legal =
            parts.next().is_none() && !salt.is_empty() && iterations.get() <= MAX_ITERATIONS;
        is_legal.then_some(ScramSecret {
            hash,
            salt,
            iterations,
            stored_key: key(stored_key)?,
            server_key: key(server_key)?,
        })
    }

    /// Writes the form that [`ScramSecret::from_text`] reads.
    pub fn to_text(&self) -> Zeroizing<String> {
        let name = match self.hash {
            ScramHash::Sha256 => "SCRAM-SHA-256",
            ScramHash::Sha1 => "SCRAM-SHA-1",
        };
        Zeroizing::new(format!(
            "{name}${}:{}${}:{}",
            self.iterations,
            STANDARD.encode(&self.salt),
            STANDARD.encode(&self.stored_key),
            STANDARD.encode(&self.server_key)
        ))
    }

    /// A secret that no password fits, for a user who does not exist: the exchange then fails
    /// where it would with a wrong password.
    fn unknown(hash: ScramHash) -> Result<ScramSecret, Failure> {
        let mut password = Zeroizing::new([0; RANDOM]);
        getrandom::fill(&mut password[..]).map_err(|_| Failure::Internal)?;
        ScramSecret::from_password(hash, &password[..])
    }
}

fn nonce() -> Result<String, getrandom::Error> {
    let mut octets = [0; RANDOM];
    getrandom::fill(&mut octets)?;
    Ok(STANDARD.encode(octets))
}

/// A user id as SCRAM writes it.
fn escape(name: &str) -> String {
    name.replace('=', "=3D").replace(',', "=2C")
}

fn unescape(text: &str) -> Option<String> {
    let mut parts = text.split('=');
    let mut name = parts.next()?.to_owned();
    for part in parts {
        let (octet, rest) = if let Some(rest) = part.strip_prefix("2C") {
            (',', rest)
        } else {
            ('=', part.strip_prefix("3D")?)
        };
        name.push(octet);
        name.push_str(rest);
    }
    Some(name)
}

/// The value of an attribute `x=value`.
fn attribute<'a>(field: Option<&'a str>, name: &str) -> Option<&'a str> {
    field?.strip_prefix(name)?.strip_prefix('=')
}

/// A server after the client's first message, waiting for the user's secret.
#[derive(Debug)]
pub(super) struct ServerFirst {
    hash: ScramHash,
    pub(super) identity: Identity,
    /// The channel binding header, which the client repeats.
    header: String,
    client_first_bare: String,
    client_nonce: String,
}

impl ServerFirst {
    pub(super) fn read(hash: ScramHash, message: &[u8]) -> Result<ServerFirst, Failure> {
        let text = std::str::from_utf8(message).map_err(|_| Failure::Malformed)?;
        ServerFirst::parse(hash, text).ok_or(Failure::Malformed)
    }

    fn parse(hash: ScramHash, text: &str) -> Option<ServerFirst> {
        let mut header = text.splitn(3, ',');
        let (binding, authorization, bare) = (header.next()?, header.next()?, header.next()?);
        // `p=` would be a binding to a channel, which is not offered.
        if !matches!(binding, "n" | "y") {
            return None;
        }
        let authorization = match authorization {
            "" => String::new(),
            text => unescape(attribute(Some(text), "a")?)?,
        };
        let mut fields = bare.split(',');
        let user = unescape(attribute(fields.next(), "n")?)?;
        let client_nonce = attribute(fields.next(), "r")?;
        let printable = client_nonce.bytes().all(|byte| byte.is_ascii_graphic());
        if user.is_empty() || user.contains('\0') || client_nonce.is_empty() || !printable {
            return None;
        }
        Some(ServerFirst {
            hash,
            identity: Identity {
                authentication: user,
                authorization,
            },
            header: text.strip_suffix(bare)?.to_owned(),
            client_first_bare: bare.to_owned(),
            client_nonce: client_nonce.to_owned(),
        })
    }

    /// Goes on with the secret of the user, or with none if there is no such user. Returns the
    /// server's first message.
    pub(super) fn go_on(
        self,
        secret: Option<ScramSecret>,
    ) -> Result<(ServerFinal, Vec<u8>), Failure> {
        let known = secret.is_some();
        let secret = match secret {
            Some(secret) if secret.hash == self.hash => secret,
            Some(_) => return Err(Failure::Internal),
            None => ScramSecret::unknown(self.hash)?,
        };
        let server_nonce = nonce().map_err(|_| Failure::Internal)?;
        Ok(self.first_message(secret, known, &server_nonce))
    }

    fn first_message(
        self,
        secret: ScramSecret,
        known: bool,
        server_nonce: &str,
    ) -> (ServerFinal, Vec<u8>) {
        let nonce = format!("{}{server_nonce}", self.client_nonce);
        let server_first = format!(
            "r={nonce},s={},i={}",
            STANDARD.encode(&secret.salt),
            secret.iterations
        );
        let next = ServerFinal {
            identity: self.identity,
            without_proof: format!("c={},r={nonce}", STANDARD.encode(&self.header)),
            signed: format!("{},{server_first},", self.client_first_bare),
            secret,
            known,
        };
        (next, server_first.into_bytes())
    }
}

/// A server after its first message, waiting for the client's proof.
#[derive(Debug)]
pub(super) struct ServerFinal {
    identity: Identity,
    /// What the client's final message must begin with.
    without_proof: String,
    /// The part of the authenticated text before that.
    signed: String,
    secret: ScramSecret,
    known: bool,
}

impl ServerFinal {
    /// Checks the proof. Returns who it was and the server's own proof.
    pub(super) fn read(self, message: &[u8]) -> Result<(Identity, Vec<u8>), Failure> {
        let text = std::str::from_utf8(message).map_err(|_| Failure::Malformed)?;
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or(Failure::Malformed)?;
        let proof = STANDARD.decode(proof).map_err(|_| Failure::Malformed)?;
        // Extensions between nonce and proof are optional, and signed like the rest.
        let rest = without_proof
            .strip_prefix(self.without_proof.as_str())
            .ok_or(Failure::Malformed)?;
        if !(rest.is_empty() || rest.starts_with(',')) {
            return Err(Failure::Malformed);
        }
        let hash = self.secret.hash;
        let signed = format!("{}{without_proof}", self.signed);
        let signature = hash.sign(&self.secret.stored_key, signed.as_bytes());
        if proof.len() != signature.len() {
            return Err(Failure::Malformed);
        }
        let client_key = xor(&proof, &signature);
        let stored_key = hash.hash(&client_key);
        let right =
            constant_time::verify_slices_are_equal(&stored_key, &self.secret.stored_key).is_ok();
        if !(right && self.known) {
            return Err(Failure::WrongPassword);
        }
        let server_signature = hash.sign(&self.secret.server_key, signed.as_bytes());
        let server_final = format!("v={}", STANDARD.encode(&server_signature[..]));
        Ok((self.identity, server_final.into_bytes()))
    }
}

fn xor(a: &[u8], b: &[u8]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(a.iter().zip(b).map(|(a, b)| a ^ b).collect())
}

/// A client after its first message.
#[derive(Debug)]
pub(super) struct ClientFirst {
    hash: ScramHash,
    password: Zeroizing<Vec<u8>>,
    nonce: String,
    bare: String,
}

impl ClientFirst {
    /// Begins; returns the first message.
    pub(super) fn begin(
        hash: ScramHash,
        user: &str,
        password: &[u8],
    ) -> Result<(ClientFirst, Vec<u8>), ClientError> {
        let nonce = nonce().map_err(|_| ClientError::NoRandomness)?;
        Ok(ClientFirst::begin_with(hash, user, password, nonce))
    }

    fn begin_with(
        hash: ScramHash,
        user: &str,
        password: &[u8],
        nonce: String,
    ) -> (ClientFirst, Vec<u8>) {
        let bare = format!("n={},r={nonce}", escape(user));
        let message = format!("n,,{bare}").into_bytes();
        let first = ClientFirst {
            hash,
            password: Zeroizing::new(password.to_vec()),
            nonce,
            bare,
        };
        (first, message)
    }

    /// Answers the server's first message with the proof.
    pub(super) fn respond(self, message: &[u8]) -> Result<(ClientFinal, Vec<u8>), ClientError> {
        let text = std::str::from_utf8(message).map_err(|_| ClientError::BadChallenge)?;
        let mut fields = text.split(',');
        let nonce = attribute(fields.next(), "r").ok_or(ClientError::BadChallenge)?;
        let salt = attribute(fields.next(), "s").ok_or(ClientError::BadChallenge)?;
        let iterations = attribute(fields.next(), "i").ok_or(ClientError::BadChallenge)?;
        let salt = STANDARD
            .decode(salt)
            .map_err(|_| ClientError::BadChallenge)?;
        let iterations = iterations
            .parse::<NonZeroU32>()
            .ok()
            .filter(|count| (MIN_ITERATIONS..=MAX_ITERATIONS).contains(&count.get()))
            .ok_or(ClientError::BadChallenge)?;
        if nonce.len() <= self.nonce.len() || !nonce.starts_with(&self.nonce) {
            return Err(ClientError::BadChallenge);
        }
        let hash = self.hash;
        let salted = hash.salted(&self.password, &salt, iterations);
        let client_key = hash.sign(&salted, b"Client Key");
        let stored_key = hash.hash(&client_key);
        let without_proof = format!("c={},r={nonce}", STANDARD.encode("n,,"));
        let signed = format!("{},{text},{without_proof}", self.bare);
        let signature = hash.sign(&stored_key, signed.as_bytes());
        let proof = xor(&client_key, &signature);
        let server_key = hash.sign(&salted, b"Server Key");
        let expected = hash.sign(&server_key, signed.as_bytes());
        let message = format!("{without_proof},p={}", STANDARD.encode(&proof[..]));
        Ok((ClientFinal { expected }, message.into_bytes()))
    }
}

/// A client that waits for the server's own proof.
#[derive(Debug)]
pub(super) struct ClientFinal {
    expected: Zeroizing<Vec<u8>>,
}

impl ClientFinal {
    /// Checks that the server knows the password too.
    pub(super) fn check(&self, message: &[u8]) -> Result<(), ClientError> {
        let text = std::str::from_utf8(message).map_err(|_| ClientError::BadChallenge)?;
        let signature = attribute(text.split(',').next(), "v").ok_or(ClientError::NotVerified)?;
        let signature = STANDARD
            .decode(signature)
            .map_err(|_| ClientError::BadChallenge)?;
        constant_time::verify_slices_are_equal(&signature, &self.expected)
            .map_err(|_| ClientError::NotVerified)
    }
}

#[cfg(test)]
mod tests;
