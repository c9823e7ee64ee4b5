//! The listening side: accepts connections until it is told to stop, then lets sessions finish.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use super::session::{self, SessionContext};
use crate::auth::Authenticator;
use crate::protocol::tls::{TlsAcceptor, TlsError};
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
    connections: Arc<Semaphore>,
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
        let tls = TlsAcceptor::load(&store.config.tls)?;
        let limit = usize::try_from(store.config.limits.connections).unwrap_or(usize::MAX);
        let authenticator = Arc::new(Authenticator::new(&store.config));
        Ok(Server {
            context: Arc::new(SessionContext {
                store: Arc::new(store),
                authenticator,
                settings,
                tls,
                shutdown,
                watchdog,
                sessions: AtomicUsize::new(0),
            }),
            connections: Arc::new(Semaphore::new(limit.min(Semaphore::MAX_PERMITS))),
        })
    }

    /// Serves clients of all `listeners` until shutdown is requested and the sessions have
    /// ended, each after the command in hand.
    pub async fn run(self, listeners: Vec<Listener>) {
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
    fn admit(&self, accepted: Accepted, sessions: &mut JoinSet<()>) {
        match Arc::clone(&self.connections).try_acquire_owned() {
            Ok(permit) => {
                let context = Arc::clone(&self.context);
                sessions.spawn(async move {
                    session::serve(context, accepted).await;
                    drop(permit);
                });
            }
            Err(_) => warn!("connection refused: cyrus_sync_max_connections is reached"),
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
