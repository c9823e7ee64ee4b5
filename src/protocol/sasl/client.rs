//! The client's side of an exchange.

use zeroize::Zeroizing;

use super::scram::{ClientFinal, ClientFirst};
use super::{Mechanism, Secret, plain};

/// Why a client gives up an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The server offers no mechanism that may be used with what is configured.
    #[error("the server offers no usable mechanism")]
    NoMechanism,
    /// It offers some, but they would tell the password.
    #[error(
        "the server takes the password only as it is, and no verified TLS protects it \
         (cyrus_sync_client_plaintext allows that)"
    )]
    Unprotected,
    /// The server's message makes no sense.
    #[error("the server sent a malformed challenge")]
    BadChallenge,
    /// The server did not prove that it knows the password.
    #[error("the server did not prove its identity")]
    NotVerified,
    /// The system has no random octets.
    #[error("no random octets")]
    NoRandomness,
}

/// What decides which mechanism a client uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Only these, if given (`force_sasl_client_mech`, `<host>_mechs`).
    pub only: Option<Vec<Mechanism>>,
    /// TLS is active.
    pub tls: bool,
    /// Under TLS: the server was not verified, so that it must not see a password.
    pub unverified: bool,
    /// A client certificate was presented.
    pub certificate: bool,
    /// The password may travel without TLS.
    pub allow_plain_text: bool,
}

impl Policy {
    /// Chooses the best of the mechanisms that a server offers (configuration §9).
    ///
    /// # Errors
    /// If none may be used.
    pub fn choose(&self, offered: &[String]) -> Result<Mechanism, ClientError> {
        let mut usable = Mechanism::ALL.into_iter().filter(|known| {
            let offered = offered
                .iter()
                .any(|name| name.eq_ignore_ascii_case(known.name()));
            offered && self.wants(*known)
        });
        let mut problem = ClientError::NoMechanism;
        usable
            .find(|mechanism| match mechanism.is_plain_text() {
                true if !self.protects_passwords() => {
                    problem = ClientError::Unprotected;
                    false
                }
                _ => true,
            })
            .ok_or(problem)
    }

    fn wants(&self, mechanism: Mechanism) -> bool {
        let listed = self
            .only
            .as_ref()
            .is_none_or(|only| only.contains(&mechanism));
        let possible = mechanism != Mechanism::External || (self.tls && self.certificate);
        listed && possible
    }

    /// Whether nobody but the server sees what is sent, or that does not matter.
    fn protects_passwords(&self) -> bool {
        (self.tls && !self.unverified) || self.allow_plain_text
    }
}

/// One exchange.
#[derive(Debug)]
pub struct Exchange {
    state: State,
}

#[derive(Debug)]
enum State {
    LoginUser {
        user: String,
        password: Secret,
    },
    LoginPassword(Secret),
    ScramFirst(ClientFirst),
    ScramFinal(ClientFinal),
    /// All was said; the server may accept.
    Complete,
    /// The same, and the server has proved who it is.
    Verified,
    /// Nothing more can succeed.
    Failed,
}

impl Exchange {
    /// Begins an exchange; returns the initial response if the mechanism has one.
    ///
    /// # Errors
    /// If the system has no random octets.
    pub fn begin(
        mechanism: Mechanism,
        user: &str,
        password: &[u8],
    ) -> Result<(Exchange, Option<Secret>), ClientError> {
        let (state, initial) = match mechanism {
            // The certificate says who it is.
            Mechanism::External => (State::Complete, Some(Zeroizing::default())),
            Mechanism::Plain => (State::Complete, Some(plain::write(user, password))),
            Mechanism::Login => {
                let state = State::LoginUser {
                    user: user.to_owned(),
                    password: Zeroizing::new(password.to_vec()),
                };
                (state, None)
            }
            Mechanism::Scram(hash) => {
                let (client, message) = ClientFirst::begin(hash, user, password)?;
                (State::ScramFirst(client), Some(Zeroizing::new(message)))
            }
        };
        Ok((Exchange { state }, initial))
    }

    /// Answers a challenge.
    ///
    /// # Errors
    /// If the server's message cannot be answered; the exchange must be canceled.
    pub fn respond(&mut self, challenge: &[u8]) -> Result<Secret, ClientError> {
        match std::mem::replace(&mut self.state, State::Failed) {
            State::LoginUser { user, password } => {
                self.state = State::LoginPassword(password);
                Ok(Zeroizing::new(user.into_bytes()))
            }
            State::LoginPassword(password) => {
                self.state = State::Complete;
                Ok(password)
            }
            State::ScramFirst(client) => {
                let (client, message) = client.respond(challenge)?;
                self.state = State::ScramFinal(client);
                Ok(Zeroizing::new(message))
            }
            State::ScramFinal(client) => {
                client.check(challenge)?;
                self.state = State::Verified;
                Ok(Zeroizing::default())
            }
            State::Complete | State::Verified | State::Failed => Err(ClientError::BadChallenge),
        }
    }

    /// Whether the server has proved that it knows the password, which it does only for a client
    /// that it accepts (RFC 5802 §3).
    pub fn server_is_verified(&self) -> bool {
        matches!(self.state, State::Verified)
    }

    /// The server has accepted: was that the end of the exchange?
    ///
    /// # Errors
    /// If the server did not prove its identity where the mechanism demands it.
    pub fn succeeded(&self) -> Result<(), ClientError> {
        match self.state {
            State::Complete | State::Verified => Ok(()),
            _ => Err(ClientError::NotVerified),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::sasl::ScramHash;

    fn choose(policy: &Policy, offered: &str) -> Result<Mechanism, ClientError> {
        let offered: Vec<_> = offered.split(' ').map(str::to_owned).collect();
        policy.choose(&offered)
    }

    #[test]
    fn the_strongest_usable_mechanism_is_chosen() {
        let mut policy = Policy::default();
        let all = "PLAIN LOGIN SCRAM-SHA-1 EXTERNAL SCRAM-SHA-256 DIGEST-MD5";
        assert_eq!(
            choose(&policy, all),
            Ok(Mechanism::Scram(ScramHash::Sha256))
        );
        assert_eq!(
            choose(&policy, "PLAIN SCRAM-SHA-1"),
            Ok(Mechanism::Scram(ScramHash::Sha1))
        );
        assert_eq!(
            choose(&policy, "PLAIN LOGIN CRAM-MD5"),
            Err(ClientError::Unprotected)
        );
        policy.allow_plain_text = true;
        assert_eq!(choose(&policy, "LOGIN plain"), Ok(Mechanism::Plain));
        policy.allow_plain_text = false;
        policy.tls = true;
        assert_eq!(choose(&policy, "PLAIN"), Ok(Mechanism::Plain));
        policy.unverified = true;
        assert_eq!(choose(&policy, "PLAIN"), Err(ClientError::Unprotected));
        assert_eq!(choose(&policy, "GSSAPI"), Err(ClientError::NoMechanism));
        policy.unverified = false;
        policy.certificate = true;
        assert_eq!(choose(&policy, all), Ok(Mechanism::External));
        policy.only = Some(vec![Mechanism::Plain]);
        assert_eq!(choose(&policy, all), Ok(Mechanism::Plain));
        assert_eq!(
            choose(&policy, "SCRAM-SHA-1"),
            Err(ClientError::NoMechanism)
        );
    }

    #[test]
    fn a_server_that_accepts_too_early_is_not_trusted() {
        let scram = Mechanism::Scram(ScramHash::Sha256);
        let (mut exchange, initial) = Exchange::begin(scram, "repl", b"secret").unwrap();
        assert!(initial.unwrap().starts_with(b"n,,n=repl,r="));
        assert_eq!(exchange.succeeded(), Err(ClientError::NotVerified));
        assert!(exchange.respond(b"nonsense").is_err());
        assert_eq!(exchange.succeeded(), Err(ClientError::NotVerified));
        assert!(exchange.respond(b"").is_err());
    }
}
