//! Before a session: the client shows that it is an administrator (wire-protocol §3).

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::task::spawn_blocking;
use tracing::{info, warn};

use crate::auth::{AuthError, Authenticator, FailedLogins, Identity, failures};
use crate::config::Config;
use crate::protocol::connection::{ServerConnection, Verdict, Verifier};
use crate::protocol::sasl::server::{Exchange, Failure, NotOffered, PasswordLogin, ScramSecret};
use crate::protocol::sasl::wire::Response;
use crate::protocol::sasl::{Mechanism, Offer, ScramHash};
use crate::protocol::stream::StreamError;
use crate::service::event;

/// Checks credentials against what the configuration names, on threads that may wait.
struct Credentials<'a>(&'a Arc<Authenticator>);

impl Verifier for Credentials<'_> {
    async fn check_password(&self, login: &PasswordLogin) -> Result<bool, Failure> {
        let authenticator = Arc::clone(self.0);
        let user = login.identity.authentication.clone();
        let password = login.password.clone();
        let checked = spawn_blocking(move || {
            authenticator
                .check_plain(&user, "", &password)
                .map(|_| true)
        });
        verdict_on(checked.await.map_err(|_| Failure::Internal)?, false)
    }

    async fn scram_secret(
        &self,
        user: &str,
        hash: ScramHash,
    ) -> Result<Option<ScramSecret>, Failure> {
        let authenticator = Arc::clone(self.0);
        let user = user.to_owned();
        let secret = spawn_blocking(move || {
            let user = authenticator.canonical(&user)?;
            authenticator.scram_secret(&user, hash)
        });
        verdict_on(secret.await.map_err(|_| Failure::Internal)?, None)
    }
}

/// Somebody unknown or wrong is no error; a database that cannot be asked is.
fn verdict_on<T>(checked: Result<T, AuthError>, refused: T) -> Result<T, Failure> {
    match checked {
        Ok(value) => Ok(value),
        Err(error) if error.is_temporary() => {
            warn!(%error, "credentials cannot be checked");
            Err(Failure::Internal)
        }
        Err(_) => Ok(refused),
    }
}

/// Who decides about logins, and what it remembers of those that failed.
#[derive(Debug)]
pub struct Gate {
    authenticator: Arc<Authenticator>,
    failed: Mutex<FailedLogins>,
    /// Failures of one address after which no login is tried (`cyrus_sync_max_login_failures`).
    most_failures: u32,
}

/// A client that wants to log in.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// Its address, as the log shows it.
    pub peer: &'a str,
    /// Where its failures are counted.
    pub origin: IpAddr,
    /// The name in its verified certificate.
    pub certificate: Option<&'a str>,
    /// The mechanisms it may use.
    pub offer: &'a Offer,
}

impl Gate {
    /// A gate as the configuration says.
    pub fn new(config: &Config) -> Gate {
        Gate {
            authenticator: Arc::new(Authenticator::new(config)),
            failed: Mutex::default(),
            most_failures: config.limits.login_failures,
        }
    }

    /// Runs one AUTHENTICATE and answers it, a refusal only after `failedloginpause`, which grows
    /// with the failures of the address. `None` if the client is not let in; it may try again.
    ///
    /// # Errors
    /// If the connection is lost.
    pub async fn authenticate(
        &self,
        connection: &mut ServerConnection,
        candidate: Candidate<'_>,
        (mechanism, initial): (&str, Option<Response>),
    ) -> Result<Option<Identity>, StreamError> {
        let Candidate {
            peer,
            origin,
            certificate,
            offer,
        } = candidate;
        let failures = self.failed().of(origin, Instant::now());
        let verdict = match usable(mechanism, offer) {
            // Nobody learns whether this password was right.
            _ if failures >= self.most_failures => {
                warn!(
                    sync_peer = peer,
                    "{peer}: login not tried after {failures} failures of this address"
                );
                Verdict::Failed(Failure::WrongPassword)
            }
            Ok(mechanism) => {
                let exchange = Exchange::begin(mechanism, certificate.map(str::to_owned));
                connection
                    .authenticate(exchange, initial, &Credentials(&self.authenticator))
                    .await?
            }
            Err(why) => Verdict::Failed(Failure::NotOffered(why)),
        };
        let (verdict, identity) = admit(&self.authenticator, verdict);
        match &identity {
            Some(identity) => {
                self.failed().forgive(origin);
                info!(
                    message_id = event::LOGIN,
                    sync_peer = peer,
                    "login: {peer} {} {mechanism} User logged in",
                    identity.user
                );
            }
            None => {
                let count = self.failure(&verdict, origin);
                // The mechanism is what the peer says it is.
                warn!(
                    message_id = event::LOGIN_FAILED,
                    sync_peer = peer,
                    "badlogin: {peer} {} {} ({count} failures)",
                    mechanism.escape_default(),
                    verdict.status(offer.tls)
                );
                if matches!(verdict, Verdict::Failed(_)) {
                    let pause = self.authenticator.failed_login_pause();
                    tokio::time::sleep(failures::pause(pause, count)).await;
                }
            }
        }
        connection.send_status(&verdict.status(offer.tls)).await?;
        Ok(identity)
    }

    /// Counts a wrong password; returns the failures of the address.
    fn failure(&self, verdict: &Verdict, origin: IpAddr) -> u32 {
        let now = Instant::now();
        match verdict {
            Verdict::Failed(Failure::WrongPassword) => self.failed().note(origin, now),
            _ => self.failed().of(origin, now),
        }
    }

    fn failed(&self) -> MutexGuard<'_, FailedLogins> {
        // Every change is complete before anything can panic.
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn usable(mechanism: &str, offer: &Offer) -> Result<Mechanism, NotOffered> {
    let mechanism = mechanism
        .parse::<Mechanism>()
        .map_err(|_| NotOffered::NoMechanism)?;
    offer.check(mechanism).map(|()| mechanism)
}

/// Whoever has shown its credentials must also be allowed to log in, and as itself.
fn admit(authenticator: &Authenticator, verdict: Verdict) -> (Verdict, Option<Identity>) {
    let Verdict::Authenticated(shown) = &verdict else {
        return (verdict, None);
    };
    let admitted = authenticator
        .canonical(&shown.authentication)
        .and_then(|user| authenticator.admit(&user, &shown.authorization));
    match admitted {
        Ok(identity) => (verdict, Some(identity)),
        Err(error) => {
            warn!(%error, "credentials are right, but the login is refused");
            (Verdict::Failed(Failure::WrongPassword), None)
        }
    }
}
