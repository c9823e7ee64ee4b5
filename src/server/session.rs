//! One connection, from the banner to its end.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_compression::Level;
use tokio::runtime::Handle;
use tracing::{debug, error, info, warn};

use super::admission::{Waiting, origin};
use super::engine::Engine;
use super::failure::Failure;
use super::gate::Gate;
use super::listener::ServerSettings;
use super::login::{self, Arrival};
use super::output::Output;
use super::reserve::StagingSink;
use crate::config::Config;
use crate::protocol::connection::{Access, Command, ReadError, ServerConnection};
use crate::protocol::greeting::Capabilities;
use crate::protocol::reply::Status;
use crate::protocol::sasl::{Mechanism, Offer};
use crate::protocol::stream::{Stream, StreamError};
use crate::protocol::tls::Certificates;
use crate::service::listen::Accepted;
use crate::service::shutdown::Shutdown;
use crate::service::watchdog::{Heartbeat, Watchdog};
use crate::spool::store::Store;

/// How hard answers are compressed: little, since most of what travels comes from the client.
pub(super) const COMPRESSION: Level = Level::Fastest;

/// Octets that a client may send before it has logged in.
const LOGIN_OCTETS: usize = 64 << 10;

/// What all sessions of a server share.
#[derive(Debug)]
pub struct SessionContext {
    pub(super) store: Arc<Store>,
    pub(super) gate: Gate,
    pub(super) settings: ServerSettings,
    pub(super) tls: Certificates,
    pub(super) shutdown: Shutdown,
    pub(super) watchdog: Watchdog,
    /// Sessions of authenticated clients.
    pub(super) sessions: AtomicUsize,
}

impl SessionContext {
    pub(super) fn config(&self) -> &Config {
        &self.store.config
    }

    /// The login mechanisms without TLS.
    pub(super) fn offer(&self) -> Offer {
        let sasl = &self.config().sasl;
        let known = |names: &[String]| names.iter().filter_map(|name| name.parse().ok()).collect();
        Offer {
            mechanisms: sasl
                .mechanisms
                .as_deref()
                .map_or_else(|| Mechanism::ALL.to_vec(), known),
            minimum_layer: sasl.minimum_layer,
            allow_plain_text: sasl.allow_plaintext,
            external_strength: self.settings.external_strength,
            tls: false,
            certificate: false,
        }
    }
}

/// Serves a connection to its end.
pub async fn serve(context: Arc<SessionContext>, accepted: Accepted, waiting: Waiting) {
    let peer = match accepted.peer() {
        Some(address) => address.to_string(),
        None => "unix socket".to_owned(),
    };
    match converse(&context, accepted, &peer, waiting).await {
        Ok(()) | Err(StreamError::Closed) => debug!(sync_peer = peer, "connection closed"),
        Err(error) => info!(sync_peer = peer, "connection to {peer} ends: {error}"),
    }
}

async fn converse(
    context: &Arc<SessionContext>,
    accepted: Accepted,
    peer: &str,
    waiting: Waiting,
) -> Result<(), StreamError> {
    let Some((mut connection, access)) = welcome(context, accepted, peer, &waiting).await? else {
        return Ok(());
    };
    let room = match waiting.admit() {
        Ok(room) => room,
        Err(why) => {
            warn!(sync_peer = peer, "{peer} is sent away: {why}");
            return connection.send_status(&Status::TooManySessions).await;
        }
    };
    let stream = connection.stream();
    stream.set_allowance(None);
    stream.set_timeout(match access {
        Access::Administrator => context.config().replication.timeout,
        // Whoever may do nothing need not stay long.
        _ => context.config().limits.login_timeout,
    });
    let session = Session {
        context: Arc::clone(context),
        connection,
        access,
        peer: peer.to_owned(),
        heartbeat: context.watchdog.heartbeat(),
        runtime: Handle::current(),
    };
    // The session waits for locks and disks, so it gets a thread of its own.
    let ended = tokio::task::spawn_blocking(move || session.run()).await;
    drop(room);
    match ended {
        Ok(result) => result,
        Err(failed) => Err(StreamError::Io(io::Error::other(failed))),
    }
}

/// Greets the client and lets it log in, for which it has a limited time; `None` if it leaves or
/// must leave before.
async fn welcome(
    context: &Arc<SessionContext>,
    accepted: Accepted,
    peer: &str,
    waiting: &Waiting,
) -> Result<Option<(ServerConnection, Access)>, StreamError> {
    let limits = &context.config().limits;
    let (socket, address, is_tls) = match accepted {
        Accepted::Tcp(socket, address) => (socket, address, false),
        Accepted::Tls(socket, address) => (socket, address, true),
        Accepted::Unix(socket) => {
            let stream = Stream::unix(socket, limits.login_timeout);
            let mut connection = ServerConnection::new(stream, limits.syntax.clone());
            let banner = Capabilities::default();
            send_banner(context, &mut connection, &banner).await?;
            return Ok(Some((connection, Access::Administrator)));
        }
    };
    let mut stream = Stream::tcp(socket, limits.login_timeout)?;
    stream.set_allowance(Some(LOGIN_OCTETS));
    let arrival = Arrival {
        peer,
        origin: origin(address.ip()),
        is_tls,
    };
    let login = tokio::time::timeout(
        limits.login_timeout,
        login::log_in(context, stream, arrival),
    );
    tokio::select! {
        ended = login => ended.unwrap_or(Err(StreamError::TimedOut(limits.login_timeout))),
        () = waiting.evicted() => {
            debug!(sync_peer = peer, "{peer} makes room for newer connections");
            Ok(None)
        }
    }
}

pub(super) async fn send_banner(
    context: &SessionContext,
    connection: &mut ServerConnection,
    capabilities: &Capabilities,
) -> Result<(), StreamError> {
    let name = &context.config().server_name;
    connection
        .send_banner(
            capabilities,
            name,
            concat!("cyrus-sync ", env!("CARGO_PKG_VERSION")),
        )
        .await
}

/// The session of an authenticated client, on its own thread.
struct Session {
    context: Arc<SessionContext>,
    connection: ServerConnection,
    access: Access,
    peer: String,
    heartbeat: Heartbeat,
    runtime: Handle,
}

/// What a session does after a command.
enum Next {
    Answer(Status),
    /// The answer was sent.
    Continue,
    End(Status),
}

impl Session {
    fn run(mut self) -> Result<(), StreamError> {
        let mut engine = match Engine::new(Arc::clone(&self.context.store)) {
            Ok(engine) => engine,
            Err(error) => {
                error!(
                    sync_peer = self.peer,
                    "no session for {}: {error}", self.peer
                );
                return self.send(&Status::ShuttingDown);
            }
        };
        self.context.sessions.fetch_add(1, Ordering::Relaxed);
        let result = self.commands(&mut engine);
        engine.restart();
        self.context.sessions.fetch_sub(1, Ordering::Relaxed);
        result
    }

    /// Carries out one command after the other until the client leaves or we have to.
    fn commands(&mut self, engine: &mut Engine) -> Result<(), StreamError> {
        loop {
            if !self.wait_for_command()? {
                return self.send(&Status::ShuttingDown);
            }
            let command = self.runtime.block_on(self.connection.read_command(
                self.access,
                &mut StagingSink::new(engine.staging(), &self.heartbeat),
            ));
            self.heartbeat.beat();
            let next = match command {
                Ok(command) => self.carry_out(engine, command)?,
                Err(ReadError::Stream(error)) => return Err(error),
                Err(ReadError::Sink(failure)) => Next::Answer(self.refuse("MESSAGE", &failure)),
            };
            match next {
                Next::Answer(status) => self.send(&status)?,
                Next::Continue => {}
                Next::End(status) => return self.send(&status),
            }
            engine.clean_up();
        }
    }

    /// Waits for the beginning of a command; false if the server is to stop.
    fn wait_for_command(&mut self) -> Result<bool, StreamError> {
        self.heartbeat.rest();
        let shutdown = self.context.shutdown.clone();
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = shutdown.requested() => Ok(false),
                waited = self.connection.wait_for_command() => waited.map(|()| true),
            }
        })
    }

    fn carry_out(&mut self, engine: &mut Engine, command: Command) -> Result<Next, StreamError> {
        Ok(Next::Answer(match command {
            Command::Request(request) => {
                let name = request.name();
                let Session {
                    connection,
                    runtime,
                    ..
                } = self;
                let mut send = |octets: &[u8]| {
                    connection.stream().queue().extend_from_slice(octets);
                    runtime
                        .block_on(connection.stream().relieve())
                        .map_err(io::Error::other)
                };
                let mut output = Output::new(&mut send);
                let result = engine.handle(request, &mut output);
                match result.and_then(|()| Ok(output.flush()?)) {
                    Ok(()) => Status::Success,
                    Err(Failure::Connection(error)) => {
                        self.connection.stream().abandon();
                        return Err(StreamError::Io(error));
                    }
                    Err(failure) => self.refuse(name, &failure),
                }
            }
            Command::Undecodable { verb, name, error } => {
                warn!(
                    sync_peer = self.peer,
                    sync_verb = name,
                    "{} {name}: {error}",
                    verb.name()
                );
                Status::Refused(error.refusal())
            }
            Command::Rejected { status, error } => {
                if let Some(error) = error {
                    warn!(
                        sync_peer = self.peer,
                        "IOERROR: received bad command: {error}"
                    );
                }
                status
            }
            Command::Noop => Status::Noop,
            Command::Restart => {
                engine.restart();
                Status::Restarting
            }
            Command::Exit => return Ok(Next::End(Status::Finished)),
            Command::Compress(algorithm) => {
                let compressed = self.connection.compress(&algorithm, COMPRESSION);
                self.runtime.block_on(compressed)?;
                return Ok(Next::Continue);
            }
            Command::StartTls => Status::TlsAfterAuthentication,
            Command::Authenticate { .. } => Status::AlreadyAuthenticated,
        }))
    }

    /// Logs a failure and gives the status that tells it.
    fn refuse(&self, verb: &str, failure: &Failure) -> Status {
        if failure.is_serious() {
            error!(sync_peer = self.peer, sync_verb = verb, "{verb}: {failure}");
        } else {
            warn!(sync_peer = self.peer, sync_verb = verb, "{verb}: {failure}");
        }
        Status::Refused(failure.answer())
    }

    fn send(&mut self, status: &Status) -> Result<(), StreamError> {
        self.runtime.block_on(self.connection.send_status(status))
    }
}
