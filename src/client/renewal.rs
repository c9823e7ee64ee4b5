//! What the command line and the configuration make together, and how it is replaced while the
//! rolling client runs.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::client::activity::Activity;
use crate::client::cache::Known;
use crate::client::connect::{Connector, Demands};
use crate::client::options::Options;
use crate::client::report::Reporter;
use crate::client::rolling::Rhythm;
use crate::client::run::RunError;
use crate::client::session::{Settings, Shared};
use crate::client::stop::Stop;
use crate::client::worker::Target;
use crate::config::{ChannelSettings, Config, Environment};
use crate::protocol::command::Scope;
use crate::service::{credentials, process};
use crate::spool::store::Store;

/// All that follows from the command line and the configuration.
#[derive(Clone, Debug)]
pub struct Setup {
    /// What all connections share.
    pub shared: Arc<Shared>,
    /// Where they lead to.
    pub target: Target,
    /// How the log is processed.
    pub rhythm: Rhythm,
}

/// What goes on when the rest is replaced.
#[derive(Clone, Debug)]
pub struct Lasting {
    /// Who is told what happens.
    pub reporter: Arc<Reporter>,
    /// What was done so far.
    pub activity: Arc<Activity>,
    /// Tells when the program is to end.
    pub stop: Stop,
}

/// The configuration and the channel that the options name.
///
/// # Errors
/// If the configuration is wrong.
pub fn configuration(options: &Options) -> Result<(Config, ChannelSettings), RunError> {
    let config = Config::load(&options.config, &Environment::of_process("sync_client"))?;
    let mut channel = config.channel(&options.channel)?;
    credentials::password(&mut channel)?;
    process::become_user(&config.process)?;
    if options.shutdown_file.is_some() {
        channel.shutdown_file.clone_from(&options.shutdown_file);
    }
    Ok((config, channel))
}

impl Setup {
    /// Reads the configuration. `open` opens the store.
    ///
    /// # Errors
    /// If the configuration is wrong, names no replica, or the store cannot be used.
    pub fn load(
        options: &Options,
        lasting: &Lasting,
        open: impl FnOnce(Config) -> Result<Store, crate::spool::store::StoreError>,
    ) -> Result<Setup, RunError> {
        let (config, channel) = configuration(options)?;
        let address = options.server.clone().or_else(|| channel.host.clone());
        let demands = Demands {
            compression: options.require_compression,
            force: options.no_copy_back && !options.dry_run,
            trace: options.verbose > 1,
        };
        let connector =
            Connector::new(&config, &channel, address.ok_or(RunError::NoHost)?, demands)?;
        let settings = settings(options, &config, &channel, connector.name());
        let target = Target {
            connector,
            longest_pause: config.replication.reconnect_max_wait,
        };
        let delay = options.delay.map(Duration::from_secs);
        let rhythm = Rhythm {
            delay: delay.unwrap_or(channel.repeat_interval),
            shutdown_file: channel.shutdown_file,
            once: options.once,
            jobs: options.jobs(),
        };
        let store = open(config)?;
        let mut brief = Config::clone(&store.config);
        brief.locks.timeout = brief.locks.timeout.min(Shared::BRIEFLY);
        let shared = Arc::new(Shared {
            brief_store: Arc::new(Store::open_again(brief)?),
            store: Arc::new(store),
            settings,
            reporter: Arc::clone(&lasting.reporter),
            activity: Arc::clone(&lasting.activity),
            known: Known::default(),
            stop: lasting.stop.clone(),
        });
        Ok(Setup {
            shared,
            target,
            rhythm,
        })
    }
}

fn settings(
    options: &Options,
    config: &Config,
    channel: &ChannelSettings,
    server: String,
) -> Settings {
    Settings {
        channel: options.channel.clone(),
        server,
        scope: if options.local_only {
            Scope::Local
        } else {
            Scope::Everywhere
        },
        force: options.no_copy_back,
        partition: options.partition.clone(),
        skip_locked: options.skip_locked,
        session_age: Duration::from_secs(options.session_age),
        dry_run: options.dry_run,
        batch_size: config.replication.batch_size,
        rolling: options.rolling || options.foreground_rolling,
        cache_path: channel.cache_path.clone(),
    }
}

/// A setup on its way to the rolling client, which takes it between two runs.
#[derive(Clone, Debug, Default)]
pub struct Renewal {
    waiting: Arc<Mutex<Option<Setup>>>,
    put: Arc<Notify>,
}

impl Renewal {
    /// Hands a setup over.
    pub fn put(&self, setup: Setup) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        *waiting = Some(setup);
        self.put.notify_one();
    }

    /// Takes the setup that waits.
    pub fn take(&self) -> Option<Setup> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.take()
    }

    /// Waits until one is handed over.
    pub async fn arrival(&self) {
        self.put.notified().await;
    }
}
