//! The time before a session: the banner, TLS, and the login (wire-protocol §2 to §4).

use std::net::IpAddr;
use std::sync::Arc;

use tracing::{info, warn};

use super::gate::Candidate;
use super::session::{COMPRESSION, SessionContext, send_banner};
use crate::protocol::command::NoFiles;
use crate::protocol::connection::{Access, Command, ReadError, ServerConnection};
use crate::protocol::greeting::Capabilities;
use crate::protocol::reply::Status;
use crate::protocol::sasl::wire::Response;
use crate::protocol::sasl::{Mechanism, Offer};
use crate::protocol::stream::{Stream, StreamError};
use crate::protocol::tls::TlsAcceptor;

/// Strength of a layer below that keeps nothing private.
const INTEGRITY: u32 = 1;

/// A client that has just connected.
#[derive(Clone, Copy)]
pub struct Arrival<'a> {
    /// Its address, as the log shows it.
    pub peer: &'a str,
    /// Where its failed logins are counted.
    pub origin: IpAddr,
    /// It speaks TLS from the first octet on.
    pub is_tls: bool,
}

/// Talks to the client until it has logged in; `None` if it leaves or must leave before.
///
/// # Errors
/// If the connection is lost, or the client sends more than it may.
pub async fn log_in(
    context: &Arc<SessionContext>,
    stream: Stream,
    arrival: Arrival<'_>,
) -> Result<Option<(ServerConnection, Access)>, StreamError> {
    let mut login = Login::new(context, stream, arrival);
    if arrival.is_tls {
        let Some(acceptor) = context.tls.acceptor() else {
            warn!(
                sync_peer = arrival.peer,
                "{} wants TLS, but neither tls_server_cert nor tls_server_key is set", arrival.peer
            );
            return Ok(None);
        };
        match login.secure(&acceptor).await? {
            Some(secured) => login = secured,
            None => return Ok(None),
        }
    } else {
        login.greet().await?;
    }
    login.run().await
}

/// A connection whose client has not logged in.
struct Login<'a> {
    context: &'a Arc<SessionContext>,
    connection: ServerConnection,
    arrival: Arrival<'a>,
    /// Present if STARTTLS is a command here.
    acceptor: Option<TlsAcceptor>,
    offer: Offer,
    /// Whom the client's verified certificate stands for.
    certificate: Option<String>,
    failures: u32,
}

/// What follows a command.
enum Next {
    Answer(Status),
    /// The answer was sent.
    Continue,
    /// The client is let in.
    Admitted(Access),
    /// The connection is to be closed.
    End,
    StartTls,
}

impl<'a> Login<'a> {
    /// A connection to which nothing was sent yet.
    fn new(context: &'a Arc<SessionContext>, stream: Stream, arrival: Arrival<'a>) -> Login<'a> {
        let config = context.config();
        let mut connection = ServerConnection::new(stream, config.limits.syntax.clone());
        let acceptor = context.tls.acceptor().filter(|_| config.tls.start_tls);
        if acceptor.is_some() {
            connection.know_tls();
        }
        let mut offer = context.offer();
        if config.tls.required && offer.external_strength <= INTEGRITY {
            offer.mechanisms.clear();
        }
        Login {
            context,
            connection,
            arrival,
            acceptor,
            offer,
            certificate: None,
            failures: 0,
        }
    }

    /// Carries out commands until the client has logged in.
    async fn run(mut self) -> Result<Option<(ServerConnection, Access)>, StreamError> {
        loop {
            tokio::select! {
                waited = self.connection.wait_for_command() => waited?,
                () = self.context.shutdown.requested() => {
                    self.connection.send_status(&Status::ShuttingDown).await?;
                    return Ok(None);
                }
            }
            let command = match self
                .connection
                .read_command(Access::Anonymous, &mut NoFiles)
                .await
            {
                Ok(command) => command,
                Err(ReadError::Stream(error)) => return Err(error),
                Err(ReadError::Sink(never)) => match never {},
            };
            match self.carry_out(command).await? {
                Next::Answer(status) => self.connection.send_status(&status).await?,
                Next::Continue => {}
                Next::Admitted(access) => return Ok(Some((self.connection, access))),
                Next::End => return Ok(None),
                Next::StartTls => match self.start_tls().await? {
                    Some(secured) => self = secured,
                    None => return Ok(None),
                },
            }
        }
    }

    async fn greet(&mut self) -> Result<(), StreamError> {
        let banner = Capabilities {
            mechanisms: names(&self.offer.offered()),
            starttls: self.acceptor.is_some() && !self.offer.tls,
            // Compressing what is then encrypted can tell secrets by its length.
            deflate: !self.offer.tls,
            zstd: !self.offer.tls,
            sieve_mailbox: true,
            replication_archive: false,
            unmailbox_id: true,
            run_id: true,
            digest: true,
            compact_records: true,
        }
        .with_extensions(self.context.config().replication.extensions);
        send_banner(self.context, &mut self.connection, &banner).await
    }

    async fn carry_out(&mut self, command: Command) -> Result<Next, StreamError> {
        Ok(Next::Answer(match command {
            Command::Authenticate { mechanism, initial } => {
                return self.authenticate((mechanism.as_str(), initial)).await;
            }
            Command::Compress(algorithm) => {
                self.connection.compress(&algorithm, COMPRESSION).await?;
                return Ok(Next::Continue);
            }
            Command::StartTls if self.offer.tls => Status::TlsActive,
            // TLS goes below compression, which cannot be taken away any more.
            Command::StartTls if self.connection.stream().is_compressed() => Status::TlsUnavailable,
            Command::StartTls => return Ok(Next::StartTls),
            Command::Exit => {
                self.connection.send_status(&Status::Finished).await?;
                return Ok(Next::End);
            }
            Command::Endless { .. } => {
                self.connection.part(&Status::TooMuchAnnounced).await?;
                return Ok(Next::End);
            }
            Command::Noop => Status::Noop,
            Command::Restart => Status::Restarting,
            Command::Request(_) | Command::Undecodable { .. } | Command::Run(_) => {
                Status::AuthenticateFirst
            }
            Command::Rejected { status, .. } => status,
        }))
    }

    async fn authenticate(
        &mut self,
        request: (&str, Option<Response>),
    ) -> Result<Next, StreamError> {
        let Arrival { peer, origin, .. } = self.arrival;
        let candidate = Candidate {
            peer,
            origin,
            certificate: self.certificate.as_deref(),
            offer: &self.offer,
        };
        let identity = self
            .context
            .gate
            .authenticate(&mut self.connection, candidate, request)
            .await?;
        if let Some(identity) = identity {
            return Ok(Next::Admitted(match identity.is_admin {
                true => Access::Administrator,
                false => Access::Unprivileged,
            }));
        }
        self.failures += 1;
        if self.failures < self.context.config().limits.login_failures {
            return Ok(Next::Continue);
        }
        warn!(
            sync_peer = peer,
            "{peer} failed to log in {} times", self.failures
        );
        Ok(Next::End)
    }

    /// Carries out STARTTLS, whereupon the client is greeted again. `None` if the handshake fails.
    async fn start_tls(mut self) -> Result<Option<Login<'a>>, StreamError> {
        let Some(acceptor) = self.acceptor.take() else {
            self.connection.send_status(&Status::TlsUnavailable).await?;
            return Ok(Some(self));
        };
        self.connection.send_status(&Status::BeginTls).await?;
        self.secure(&acceptor).await
    }

    /// Takes the handshake and greets the client, which is now safe.
    async fn secure(mut self, acceptor: &TlsAcceptor) -> Result<Option<Login<'a>>, StreamError> {
        let limits = &self.context.config().limits;
        let peer = self.arrival.peer;
        let allowance = self.connection.stream().allowance();
        let (transport, discarded) = self.connection.into_stream().into_transport()?;
        if discarded > 0 {
            // Somebody put it there, and it must not be taken for what the client says in TLS.
            warn!(
                sync_peer = peer,
                "{peer} sent {discarded} octets behind STARTTLS: connection closed"
            );
            return Ok(None);
        }
        let secured = match acceptor.accept(transport, limits.login_timeout).await {
            Ok(secured) => secured,
            Err(error) => {
                warn!(sync_peer = peer, "TLS with {peer}: {error}");
                return Ok(None);
            }
        };
        info!(
            sync_peer = peer,
            "starttls: {peer} {} {}",
            secured.description,
            secured.client.as_deref().unwrap_or("as nobody")
        );
        if secured.has_certificate && secured.client.is_none() {
            warn!(
                sync_peer = peer,
                "{peer} shows a certificate that stands for nobody (cyrus_sync_certificate_map)"
            );
        }
        let mut stream = Stream::new(secured.transport, limits.login_timeout);
        stream.set_allowance(allowance);
        let mut connection = ServerConnection::new(stream, limits.syntax.clone());
        connection.know_tls();
        let mut login = Login {
            connection,
            offer: Offer {
                tls: true,
                certificate: secured.client.is_some(),
                external_strength: secured.strength,
                ..self.context.offer()
            },
            certificate: secured.client,
            acceptor: None,
            context: self.context,
            arrival: self.arrival,
            failures: self.failures,
        };
        login.greet().await?;
        Ok(Some(login))
    }
}

fn names(mechanisms: &[Mechanism]) -> Vec<String> {
    mechanisms.iter().map(ToString::to_string).collect()
}
