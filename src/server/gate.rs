//! Before a session: the client shows that it is an administrator (wire-protocol §3).

use std::sync::Arc;

use tokio::task::spawn_blocking;
use tracing::{info, warn};

use crate::auth::{AuthError, Authenticator, Identity};
use crate::protocol::connection::{ServerConnection, Verdict, Verifier};
use crate::protocol::sasl::server::{Exchange, Failure, NotOffered, PasswordLogin, ScramSecret};
use crate::protocol::sasl::wire::Response;
use crate::protocol::sasl::{Mechanism, Offer, ScramHash};
use crate::protocol::stream::StreamError;

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
            authenticator.password_of(&user)
        });
        let password = verdict_on(secret.await.map_err(|_| Failure::Internal)?, None)?;
        password
            .map(|password| ScramSecret::from_password(hash, &password))
            .transpose()
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

/// Runs one AUTHENTICATE and answers it, a refusal only after `failedloginpause`. `certificate` is
/// the name in the client's verified certificate. `None` if the client is not let in; it may try
/// again.
///
/// # Errors
/// If the connection is lost.
pub async fn authenticate(
    connection: &mut ServerConnection,
    authenticator: &Arc<Authenticator>,
    offer: &Offer,
    certificate: Option<&str>,
    (mechanism, initial): (&str, Option<Response>),
    peer: &str,
) -> Result<Option<Identity>, StreamError> {
    let allowed = mechanism
        .parse::<Mechanism>()
        .map_err(|_| Failure::NotOffered(NotOffered::NoMechanism))
        .and_then(|mechanism| {
            offer
                .check(mechanism)
                .map(|()| mechanism)
                .map_err(Failure::NotOffered)
        });
    let verdict = match allowed {
        Ok(mechanism) => {
            let exchange = Exchange::begin(mechanism, certificate.map(str::to_owned));
            connection
                .authenticate(exchange, initial, &Credentials(authenticator))
                .await?
        }
        Err(failure) => Verdict::Failed(failure),
    };
    let (verdict, identity) = admit(authenticator, verdict);
    match &identity {
        Some(identity) => {
            info!(
                sync_peer = peer,
                "login: {peer} {} {mechanism} User logged in", identity.user
            );
        }
        None => {
            warn!(
                sync_peer = peer,
                "badlogin: {peer} {mechanism} {}",
                verdict.status(offer.tls)
            );
            if matches!(verdict, Verdict::Failed(_)) {
                tokio::time::sleep(authenticator.failed_login_pause()).await;
            }
        }
    }
    connection.send_status(&verdict.status(offer.tls)).await?;
    Ok(identity)
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
