//! The listening side: accepts connections until it is told to stop, then lets sessions finish.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::Receiver;
use tokio::task::JoinSet;
use tracing::{info, warn};

use super::activity::Activity;
use super::admission::{Admission, AdmissionLimits};
use super::gate::Gate;
use super::session::{self, SessionContext};
use crate::protocol::tls::{Certificates, TlsError};
use crate::service::listen::{self, Accepted, Listener};
use crate::service::shutdown::Shutdown;
use crate::service::watchdog::Watchdog;
use crate::service::{event, notify};
use crate::spool::store::Store;

/// How long sessions may finish their commands after the wish to stop.
const DRAIN_LIMIT: Duration = Duration::from_secs(4);

/// Pause after a failed accept, such as for lack of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How often the status line is told, if it changes.
const STATUS_PAUSE: Duration = Duration::from_secs(1);

/// What the command line says of a server.
#[derive(Clone, Copy, Debug)]
pub struct ServerSettings {
    /// Strength of the layer that protects connections already, `-p` (configuration §5.2).
    pub external_strength: u32,
    /// The server ends after so long without a connection.
    pub idle_exit: Option<Duration>,
}

/// What new sessions are built on. It can be replaced while others go on with what they have.
#[derive(Debug)]
pub struct Foundation {
    store: Arc<Store>,
    gate: Gate,
    tls: Certificates,
}

impl Foundation {
    /// The foundation for sessions over `store`.
    ///
    /// # Errors
    /// If TLS is configured and a file it needs cannot be used.
    pub fn new(store: Store) -> Result<Foundation, TlsError> {
        Ok(Foundation {
            gate: Gate::new(&store.config),
            tls: Certificates::load(&store.config.tls)?,
            store: Arc::new(store),
        })
    }

    fn admission(&self) -> AdmissionLimits {
        let limits = &self.store.config.limits;
        AdmissionLimits {
            sessions: limits.connections,
            waiting: limits.unauthenticated,
            per_address: limits.per_address,
        }
    }
}

/// A replication server over one store.
#[derive(Debug)]
pub struct Server {
    context: Arc<SessionContext>,
    admission: Arc<Admission>,
    refused: Refused,
}

/// Connections refused since the log last told, so that a flood does not fill it.
#[derive(Debug, Default)]
struct Refused {
    count: u64,
    told: Option<Instant>,
}

/// Shortest time between two entries of the log about refused connections.
const REFUSED_PAUSE: Duration = Duration::from_secs(10);

impl Refused {
    fn note(&mut self, why: &dyn std::fmt::Display, peer: &dyn std::fmt::Display) {
        self.count += 1;
        if self.told.is_none_or(|told| told.elapsed() >= REFUSED_PAUSE) {
            warn!(
                message_id = event::TOO_MANY,
                "connection refused: {why}; {} refused, last {peer}", self.count
            );
            self.count = 0;
            self.told = Some(Instant::now());
        }
    }
}

impl Server {
    /// A server on `foundation`.
    pub fn new(
        foundation: Foundation,
        settings: ServerSettings,
        shutdown: Shutdown,
        watchdog: Watchdog,
    ) -> Server {
        let admission = Admission::new(foundation.admission());
        Server {
            context: Arc::new(SessionContext {
                store: foundation.store,
                gate: foundation.gate,
                tls: foundation.tls,
                settings,
                shutdown,
                watchdog,
                activity: Arc::new(Activity::default()),
            }),
            admission,
            refused: Refused::default(),
        }
    }

    /// Serves clients of all `listeners` until shutdown is requested or nobody has come for as
    /// long as the settings say, and the sessions have ended, each after the command in hand. What
    /// comes from `renewed` is the foundation of later sessions.
    pub async fn run(mut self, listeners: Vec<Listener>, mut renewed: Receiver<Foundation>) {
        let mut sessions = JoinSet::new();
        let shutdown = self.context.shutdown.clone();
        let mut status = tokio::time::interval(STATUS_PAUSE);
        let mut told = String::new();
        let mut busy = Instant::now();
        loop {
            tokio::select! {
                () = shutdown.requested() => break,
                accepted = listen::accept(&listeners) => match accepted {
                    Ok(accepted) => self.admit(accepted, &mut sessions),
                    Err(error) => {
                        warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(_) = sessions.join_next() => busy = Instant::now(),
                Some(foundation) = renewed.recv() => self.renew(foundation),
                _ = status.tick() => {
                    self.tell_status(&mut told);
                    if sessions.is_empty() && self.has_idled(busy) {
                        info!(message_id = event::IDLE, "nobody came for a while: ending");
                        break;
                    }
                }
            }
        }
        // Whoever comes from now on waits in the socket, if systemd has it too.
        drop(listeners);
        notify::stopping();
        self.drain(sessions).await;
    }

    fn has_idled(&self, busy: Instant) -> bool {
        let limit = self.context.settings.idle_exit;
        limit.is_some_and(|limit| busy.elapsed() >= limit)
    }

    /// Lets later sessions stand on another foundation.
    fn renew(&mut self, foundation: Foundation) {
        self.admission.set_limits(foundation.admission());
        self.context = Arc::new(SessionContext {
            store: foundation.store,
            gate: foundation.gate,
            tls: foundation.tls,
            settings: self.context.settings,
            shutdown: self.context.shutdown.clone(),
            watchdog: self.context.watchdog.clone(),
            activity: Arc::clone(&self.context.activity),
        });
    }

    /// Starts the session of a connection, or closes it if there are too many.
    fn admit(&mut self, accepted: Accepted, sessions: &mut JoinSet<()>) {
        let peer = accepted.peer();
        match self.admission.arrive(peer.map(|peer| peer.ip())) {
            Ok(waiting) => {
                let context = Arc::clone(&self.context);
                sessions.spawn(session::serve(context, accepted, waiting));
            }
            Err(why) => match peer {
                Some(peer) => self.refused.note(&why, &peer),
                None => self.refused.note(&why, &"a Unix socket"),
            },
        }
    }

    fn tell_status(&self, told: &mut String) {
        let status = self.context.activity.status();
        if *told != status {
            notify::status(&status);
            *told = status;
        }
    }

    async fn drain(self, mut sessions: JoinSet<()>) {
        let ended = tokio::time::timeout(DRAIN_LIMIT, async {
            while sessions.join_next().await.is_some() {}
        });
        match ended.await {
            Ok(()) => info!(message_id = event::STOPPED, "all sessions have ended"),
            Err(_) => warn!(
                message_id = event::CUT_OFF,
                sessions = sessions.len(),
                "sessions did not end within {} s and are cut off; what they had not finished \
                 their clients send again",
                DRAIN_LIMIT.as_secs()
            ),
        }
    }
}
