//! The listening side: accepts connections until it is told to stop, then lets sessions finish.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tracing::{error, info, warn};

use super::admission::{Admission, AdmissionLimits};
use super::gate::Gate;
use super::session::{self, SessionContext};
use crate::protocol::tls::{Certificates, TlsError};
use crate::service::listen::{Accepted, Listener};
use crate::service::notify;
use crate::service::shutdown::Shutdown;
use crate::service::watchdog::Watchdog;
use crate::spool::store::Store;

/// How long sessions may finish their commands after the wish to stop.
const DRAIN_LIMIT: Duration = Duration::from_secs(25);

/// Pause after a failed accept, such as for lack of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the command line says of a server.
#[derive(Clone, Copy, Debug)]
pub struct ServerSettings {
    /// Strength of the layer that protects connections already, `-p` (configuration §5.2).
    pub external_strength: u32,
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
                "connection refused: {why}; {} refused, last {peer}",
                self.count
            );
            self.count = 0;
            self.told = Some(Instant::now());
        }
    }
}

impl Server {
    /// A server over `store`.
    ///
    /// # Errors
    /// If TLS is configured and a file it needs cannot be used.
    pub fn new(
        store: Store,
        settings: ServerSettings,
        shutdown: Shutdown,
        watchdog: Watchdog,
    ) -> Result<Server, TlsError> {
        let tls = Certificates::load(&store.config.tls)?;
        let limits = AdmissionLimits {
            sessions: store.config.limits.connections,
            waiting: store.config.limits.unauthenticated,
            per_address: store.config.limits.per_address,
        };
        let gate = Gate::new(&store.config);
        Ok(Server {
            context: Arc::new(SessionContext {
                store: Arc::new(store),
                gate,
                settings,
                tls,
                shutdown,
                watchdog,
                sessions: AtomicUsize::new(0),
            }),
            admission: Admission::new(limits),
            refused: Refused::default(),
        })
    }

    /// The certificates in use, to be read anew when the service is reloaded.
    pub fn certificates(&self) -> Certificates {
        self.context.tls.clone()
    }

    /// Serves clients of all `listeners` until shutdown is requested and the sessions have
    /// ended, each after the command in hand.
    pub async fn run(mut self, listeners: Vec<Listener>) {
        let mut sessions = JoinSet::new();
        let mut accepting = JoinSet::new();
        let (arrivals, mut arrived) = tokio::sync::mpsc::channel(1);
        for listener in listeners {
            let arrivals = arrivals.clone();
            accepting.spawn(async move {
                loop {
                    match listener.accept().await {
                        Ok(accepted) => {
                            if arrivals.send(accepted).await.is_err() {
                                return;
                            }
                        }
                        Err(error) => {
                            warn!(%error, "a connection could not be accepted");
                            tokio::time::sleep(ACCEPT_PAUSE).await;
                        }
                    }
                }
            });
        }
        let shutdown = self.context.shutdown.clone();
        let mut status = tokio::time::interval(Duration::from_secs(1));
        let mut told = usize::MAX;
        loop {
            tokio::select! {
                () = shutdown.requested() => break,
                accepted = arrived.recv() => match accepted {
                    Some(accepted) => self.admit(accepted, &mut sessions),
                    None => break,
                },
                Some(_) = sessions.join_next() => {}
                _ = status.tick() => self.tell_status(&mut told),
            }
        }
        accepting.shutdown().await;
        notify::stopping();
        self.drain(sessions).await;
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

    fn tell_status(&self, told: &mut usize) {
        let count = self.context.sessions.load(Ordering::Relaxed);
        if *told != count {
            notify::status(&format!("{count} sessions"));
            *told = count;
        }
    }

    async fn drain(self, mut sessions: JoinSet<()>) {
        let ended = tokio::time::timeout(DRAIN_LIMIT, async {
            while sessions.join_next().await.is_some() {}
        });
        match ended.await {
            Ok(()) => info!("all sessions have ended"),
            Err(_) => error!(
                sessions = sessions.len(),
                "sessions did not end within {} s and are cut off",
                DRAIN_LIMIT.as_secs()
            ),
        }
    }
}
