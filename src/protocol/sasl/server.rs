//! The server's side of an exchange.

use zeroize::Zeroizing;

pub use super::mechanism::NotOffered;
pub use super::scram::ScramSecret;
use super::scram::{ServerFinal, ServerFirst};
use super::{Mechanism, ScramHash, plain};

/// Who a client is, and as whom it wants to act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Whose credentials were shown.
    pub authentication: String,
    /// As whom the client wants to act; empty = as itself.
    pub authorization: String,
}

impl Identity {
    /// Whether the client wants to act as somebody else.
    pub fn is_proxy(&self) -> bool {
        !self.authorization.is_empty() && self.authorization != self.authentication
    }
}

/// A password that is to be checked.
#[derive(Debug)]
pub struct PasswordLogin {
    /// Who claims to know it.
    pub identity: Identity,
    /// The password.
    pub password: Zeroizing<Vec<u8>>,
}

/// Why an exchange failed; its text follows `NO `.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The mechanism may not be used.
    #[error("{}", .0.text())]
    NotOffered(NotOffered),
    /// Wrong password, or no such user.
    #[error("authentication failure")]
    WrongPassword,
    /// A message or its base64 is malformed.
    #[error("bad protocol / cancel")]
    Malformed,
    /// The server cannot do its part.
    #[error("generic failure")]
    Internal,
}

impl Failure {
    /// The text of the original.
    pub fn text(self) -> &'static str {
        match self {
            Failure::NotOffered(why) => why.text(),
            Failure::WrongPassword => "authentication failure",
            Failure::Malformed => "bad protocol / cancel",
            Failure::Internal => "generic failure",
        }
    }
}

/// What an exchange needs next.
#[derive(Debug)]
pub enum Step {
    /// Send this and give the answer to [`Exchange::respond`].
    Challenge(Vec<u8>),
    /// Check this password: if it is right, the exchange has succeeded.
    CheckPassword(PasswordLogin),
    /// Give the secret of this user, if there is one, to [`Exchange::secret`].
    NeedSecret {
        /// The user.
        user: String,
        /// The hash of the secret.
        hash: ScramHash,
    },
    /// The exchange has succeeded.
    Done(Identity),
}

/// One exchange. Neither it nor its caller waits inside: every need is a [`Step`].
#[derive(Debug)]
pub struct Exchange {
    mechanism: Mechanism,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Nothing came from the client.
    Start,
    /// EXTERNAL: the name in the certificate.
    Certificate(String),
    LoginPassword(Vec<u8>),
    ScramSecret(ServerFirst),
    ScramProof(ServerFinal),
    /// The last challenge was sent; an empty answer completes the exchange.
    Acknowledge(Identity),
    Over,
}

impl Exchange {
    /// Begins an exchange with a mechanism that the [`super::Offer`] allows. `certificate` is
    /// the name in the client's verified certificate, which EXTERNAL needs.
    pub fn begin(mechanism: Mechanism, certificate: Option<String>) -> Exchange {
        let state = match (mechanism, certificate) {
            (Mechanism::External, Some(name)) => State::Certificate(name),
            (Mechanism::External, None) => State::Over,
            _ => State::Start,
        };
        Exchange { mechanism, state }
    }

    /// Begins with the initial response, if the client sent one.
    ///
    /// # Errors
    /// If the exchange has failed.
    pub fn start(&mut self, initial: Option<&[u8]>) -> Result<Step, Failure> {
        match initial {
            Some(message) => self.respond(message),
            None => Ok(Step::Challenge(match self.mechanism {
                Mechanism::Login => b"Username:".to_vec(),
                _ => Vec::new(),
            })),
        }
    }

    /// Takes the client's answer to a challenge.
    ///
    /// # Errors
    /// If the exchange has failed.
    pub fn respond(&mut self, message: &[u8]) -> Result<Step, Failure> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Start => self.first(message),
            State::Certificate(name) => external(name, message),
            State::LoginPassword(user) => {
                plain::login(&[], &user, message).map(Step::CheckPassword)
            }
            State::ScramProof(server) => {
                let (identity, proof) = server.read(message)?;
                self.state = State::Acknowledge(identity);
                Ok(Step::Challenge(proof))
            }
            State::Acknowledge(identity) if message.is_empty() => Ok(Step::Done(identity)),
            State::Acknowledge(_) => Err(Failure::Malformed),
            State::ScramSecret(_) | State::Over => Err(Failure::Internal),
        }
    }

    /// Takes what [`Step::NeedSecret`] asked for.
    ///
    /// # Errors
    /// If the exchange has failed.
    pub fn secret(&mut self, secret: Option<ScramSecret>) -> Result<Step, Failure> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::ScramSecret(server) => {
                let (server, challenge) = server.go_on(secret)?;
                self.state = State::ScramProof(server);
                Ok(Step::Challenge(challenge))
            }
            _ => Err(Failure::Internal),
        }
    }

    fn first(&mut self, message: &[u8]) -> Result<Step, Failure> {
        match self.mechanism {
            Mechanism::Plain => plain::read(message).map(Step::CheckPassword),
            Mechanism::Login => {
                self.state = State::LoginPassword(message.to_vec());
                Ok(Step::Challenge(b"Password:".to_vec()))
            }
            Mechanism::Scram(hash) => {
                let server = ServerFirst::read(hash, message)?;
                let user = server.identity.authentication.clone();
                self.state = State::ScramSecret(server);
                Ok(Step::NeedSecret { user, hash })
            }
            Mechanism::External => Err(Failure::Internal),
        }
    }
}

/// EXTERNAL (RFC 4422, appendix A): the message is the authorization identity.
fn external(name: String, message: &[u8]) -> Result<Step, Failure> {
    let authorization = std::str::from_utf8(message)
        .ok()
        .filter(|text| !text.contains('\0'))
        .ok_or(Failure::Malformed)?;
    Ok(Step::Done(Identity {
        authentication: name,
        authorization: authorization.to_owned(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::sasl::client;

    fn login(step: Result<Step, Failure>) -> (String, String, Vec<u8>) {
        match step {
            Ok(Step::CheckPassword(login)) => (
                login.identity.authentication,
                login.identity.authorization,
                login.password.to_vec(),
            ),
            other => panic!("{other:?}"),
        }
    }

    fn challenge(step: Result<Step, Failure>) -> Vec<u8> {
        match step {
            Ok(Step::Challenge(message)) => message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn plain_with_and_without_initial_response() {
        let mut exchange = Exchange::begin(Mechanism::Plain, None);
        assert_eq!(
            login(exchange.start(Some(b"\0cyrus\0secret"))),
            ("cyrus".to_owned(), String::new(), b"secret".to_vec())
        );
        let mut exchange = Exchange::begin(Mechanism::Plain, None);
        assert_eq!(challenge(exchange.start(None)), b"");
        assert_eq!(
            login(exchange.respond(b"bob\0cyrus\0s\xff")),
            ("cyrus".to_owned(), "bob".to_owned(), b"s\xff".to_vec())
        );
        assert_eq!(exchange.respond(b"").unwrap_err(), Failure::Internal);
    }

    #[test]
    fn malformed_plain_messages() {
        let long = vec![b'x'; 2000];
        for message in [
            b"".as_slice(),
            b"cyrus",
            b"\0cyrus",
            b"\0cyrus\0secret\0",
            b"\0\0secret",
            b"\0cyrus\0",
            b"\0\xff\0secret",
            &[b"\0cyrus\0", long.as_slice()].concat(),
        ] {
            let mut exchange = Exchange::begin(Mechanism::Plain, None);
            assert_eq!(
                exchange.start(Some(message)).unwrap_err(),
                Failure::Malformed
            );
        }
    }

    #[test]
    fn login_dialogue() {
        for initial in [None, Some(b"cyrus".as_slice())] {
            let mut exchange = Exchange::begin(Mechanism::Login, None);
            let mut step = exchange.start(initial);
            if initial.is_none() {
                assert_eq!(challenge(step), b"Username:");
                step = exchange.respond(b"cyrus");
            }
            assert_eq!(challenge(step), b"Password:");
            assert_eq!(
                login(exchange.respond(b"secret")),
                ("cyrus".to_owned(), String::new(), b"secret".to_vec())
            );
        }
    }

    #[test]
    fn external_needs_a_certificate() {
        let mut exchange = Exchange::begin(Mechanism::External, Some("repl".to_owned()));
        match exchange.start(Some(b"")).unwrap() {
            Step::Done(identity) => {
                assert_eq!(identity.authentication, "repl");
                assert!(!identity.is_proxy());
            }
            other => panic!("{other:?}"),
        }
        let mut exchange = Exchange::begin(Mechanism::External, None);
        assert_eq!(exchange.start(Some(b"")).unwrap_err(), Failure::Internal);
    }

    /// Both sides of this module, for every mechanism with a password.
    #[test]
    fn client_and_server_agree() {
        for mechanism in Mechanism::ALL.into_iter().skip(1) {
            let (mut client, initial) =
                client::Exchange::begin(mechanism, "repl", b"secret").unwrap();
            let mut server = Exchange::begin(mechanism, None);
            let mut step = server.start(initial.as_ref().map(|message| message.as_slice()));
            loop {
                step = match step.unwrap() {
                    Step::Challenge(message) => {
                        let response = client.respond(&message).unwrap();
                        server.respond(&response)
                    }
                    Step::NeedSecret { user, hash } => {
                        assert_eq!(user, "repl");
                        server.secret(Some(ScramSecret::from_password(hash, b"secret").unwrap()))
                    }
                    Step::CheckPassword(login) => {
                        assert_eq!(login.identity.authentication, "repl");
                        assert_eq!(*login.password, b"secret");
                        break;
                    }
                    Step::Done(identity) => {
                        assert_eq!(identity.authentication, "repl");
                        break;
                    }
                };
            }
            client.succeeded().unwrap();
        }
    }
}
