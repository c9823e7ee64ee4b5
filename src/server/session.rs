//! One connection, from the banner to its end.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_compression::Level;
use tokio::runtime::Handle;
use tracing::field::display;
use tracing::{debug, error, info, warn};

use super::activity::Activity;
use super::admission::{Waiting, origin};
use super::engine::Engine;
use super::failure::Failure;
use super::gate::Gate;
use super::listener::ServerSettings;
use super::login::{self, Arrival};
use super::output::Output;
use super::received::Received;
use super::reserve::StagingSink;
use super::subject::Subject;
use crate::config::Config;
use crate::protocol::connection::{Access, Command, ReadError, ServerConnection};
use crate::protocol::greeting::Capabilities;
use crate::protocol::reply::Status;
use crate::protocol::sasl::{Mechanism, Offer};
use crate::protocol::stream::{Stream, StreamError};
use crate::protocol::tls::Certificates;
use crate::service::event;
use crate::service::listen::Accepted;
use crate::service::shutdown::Shutdown;
use crate::service::watchdog::{Heartbeat, Watchdog};
use crate::spool::store::Store;

/// How hard answers are compressed: little, since most of what travels comes from the client.
pub(super) const COMPRESSION: Level = Level::Fastest;

/// Octets that a client may send before it has logged in.
const LOGIN_OCTETS: usize = 64 << 10;
/// The answer to a command that took less may go with the next one.
const QUICK: Duration = Duration::from_millis(1);

/// What all sessions of a server share.
#[derive(Debug)]
pub struct SessionContext {
    pub(super) store: Arc<Store>,
    pub(super) gate: Gate,
    pub(super) settings: ServerSettings,
    pub(super) tls: Certificates,
    pub(super) shutdown: Shutdown,
    pub(super) watchdog: Watchdog,
    pub(super) activity: Arc<Activity>,
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
        received: Received::begin(None, peer),
        heartbeat: context.watchdog.heartbeat(),
        runtime: Handle::current(),
    };
    // The session waits for locks and disks, so it gets a thread of its own.
    let work = move || {
        let (heartbeat, shutdown) = (session.heartbeat.clone(), session.context.shutdown.clone());
        heartbeat.work(&shutdown, || session.run())
    };
    let ended = tokio::task::spawn_blocking(work).await;
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
    let config = context.config();
    let limits = &config.limits;
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
    let mut stream = Stream::tcp(socket, limits.login_timeout, config.network.line)?;
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
    received: Received,
    heartbeat: Heartbeat,
    runtime: Handle,
}

/// What a session does after a command.
enum Next {
    Answer(Status),
    /// The answer was sent.
    Continue,
    End(Status),
    /// As the end, but the client is still sending.
    Part(Status),
}

impl Session {
    fn run(mut self) -> Result<(), StreamError> {
        let mut engine = match Engine::new(Arc::clone(&self.context.store)) {
            Ok(engine) => engine,
            Err(error) => {
                error!(
                    message_id = event::STORE_ERROR,
                    sync_peer = self.peer,
                    "no session for {}: {error}",
                    self.peer
                );
                return self.send(&Status::ShuttingDown);
            }
        };
        let context = Arc::clone(&self.context);
        let _counted = context.activity.session();
        let result = self.commands(&mut engine);
        engine.restart();
        self.received.tell();
        result
    }

    /// Carries out one command after the other until the client leaves or we have to.
    fn commands(&mut self, engine: &mut Engine) -> Result<(), StreamError> {
        let activity = Arc::clone(&self.context.activity);
        loop {
            let _inside = self.received.span.clone().entered();
            if !self.wait_for_command()? {
                return self.send(&Status::ShuttingDown);
            }
            let sink = StagingSink::new(engine.staging(), &activity);
            let command = self.read_command(sink);
            let began = Instant::now();
            let next = match command {
                Ok(command) => self.carry_out(engine, command)?,
                Err(ReadError::Stream(error)) => return Err(error),
                Err(ReadError::Sink(failure)) => {
                    let status = Status::Refused(failure.answer());
                    self.refused("MESSAGE", None, &failure);
                    Next::Answer(status)
                }
            };
            match next {
                // The client may wait for what took long; what was quick can wait for the next one.
                Next::Answer(status) if began.elapsed() >= QUICK => self.send(&status)?,
                Next::Answer(status) => self.send_soon(&status)?,
                Next::Continue => {}
                Next::End(status) => return self.send(&status),
                Next::Part(status) => return self.part(&status),
            }
            engine.clean_up();
        }
    }

    fn read_command(&mut self, mut sink: StagingSink<'_>) -> Result<Command, ReadError<Failure>> {
        let read = self.connection.read_command(self.access, &mut sink);
        self.runtime.block_on(self.heartbeat.watch(read))
    }

    /// Waits for the beginning of a command; false if the server is to stop.
    fn wait_for_command(&mut self) -> Result<bool, StreamError> {
        let shutdown = self.context.shutdown.clone();
        let wait = async {
            tokio::select! {
                biased;
                () = shutdown.requested() => Ok(false),
                waited = self.connection.wait_for_command() => waited.map(|()| true),
            }
        };
        self.runtime.block_on(self.heartbeat.watch(wait))
    }

    fn carry_out(&mut self, engine: &mut Engine, command: Command) -> Result<Next, StreamError> {
        Ok(Next::Answer(match command {
            Command::Request(request) => {
                let subject = Subject::of(&request, self.context.store.namespace());
                let Session {
                    connection,
                    runtime,
                    heartbeat,
                    ..
                } = self;
                let mut send = |octets: &[u8]| {
                    connection.stream().queue().extend_from_slice(octets);
                    let relieve = connection.stream().relieve();
                    runtime
                        .block_on(heartbeat.watch(relieve))
                        .map_err(io::Error::other)
                };
                let mut output = Output::new(&mut send);
                let result = engine.handle(request, &mut output);
                match result.and_then(|()| Ok(output.flush()?)) {
                    Ok(()) => {
                        self.received.applied(&subject);
                        Status::Success
                    }
                    Err(Failure::Connection(error)) => {
                        self.connection.stream().abandon();
                        return Err(StreamError::Io(error));
                    }
                    Err(failure) => {
                        self.refused(subject.verb, Some(&subject), &failure);
                        Status::Refused(failure.answer())
                    }
                }
            }
            Command::Undecodable { verb, name, error } => {
                self.received.refused();
                warn!(
                    message_id = event::REFUSED,
                    sync_verb = name,
                    sync_result = "refused",
                    "{} {name}: {error}",
                    verb.name()
                );
                Status::Refused(error.refusal())
            }
            Command::Endless { announced } => {
                warn!(
                    sync_peer = self.peer,
                    "a literal of {announced} octets is announced: session closed"
                );
                return Ok(Next::Part(Status::TooMuchAnnounced));
            }
            Command::Rejected { status, error } => {
                if let Some(error) = error {
                    self.received.refused();
                    warn!(
                        message_id = event::REFUSED,
                        sync_result = "refused",
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
            Command::Run(run) => {
                self.received.tell();
                self.received = Received::begin(run, &self.peer);
                Status::RunNoted
            }
            Command::Exit => return Ok(Next::End(Status::Finished)),
            Command::Compress(algorithm) => {
                let compressed = self.connection.compress(&algorithm, COMPRESSION);
                self.runtime.block_on(self.heartbeat.watch(compressed))?;
                return Ok(Next::Continue);
            }
            Command::StartTls => Status::TlsAfterAuthentication,
            Command::Authenticate { .. } => Status::AlreadyAuthenticated,
        }))
    }

    /// Logs that a request was refused.
    fn refused(&mut self, verb: &str, subject: Option<&Subject>, failure: &Failure) {
        self.received.refused();
        let user = subject.and_then(|subject| subject.user.as_ref());
        let mailbox = subject.and_then(|subject| subject.mailbox.as_ref());
        let (user, mailbox) = (user.map(display), mailbox.map(display));
        if failure.is_serious() {
            error!(
                message_id = event::STORE_ERROR,
                sync_user = user,
                sync_mailbox = mailbox,
                sync_verb = verb,
                sync_result = "failed",
                "{verb}: {failure}"
            );
        } else {
            warn!(
                message_id = event::REFUSED,
                sync_user = user,
                sync_mailbox = mailbox,
                sync_verb = verb,
                sync_result = "refused",
                "{verb}: {failure}"
            );
        }
    }

    /// Sends an answer, together with those to the commands that are here already.
    fn send_soon(&mut self, status: &Status) -> Result<(), StreamError> {
        let send = self.connection.send_status_soon(status);
        self.runtime.block_on(self.heartbeat.watch(send))
    }

    fn send(&mut self, status: &Status) -> Result<(), StreamError> {
        let send = self.connection.send_status(status);
        self.runtime.block_on(self.heartbeat.watch(send))
    }
    fn part(&mut self, status: &Status) -> Result<(), StreamError> {
        let part = self.connection.part(status);
        self.runtime.block_on(self.heartbeat.watch(part))
    }
}
