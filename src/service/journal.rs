//! Where log events go: the journal when we are connected to it, else standard error.

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// Environment variable that chooses what is logged, in the syntax of `tracing` filters.
const FILTER_VARIABLE: &str = "CYRUS_SYNC_LOG";

/// Starts logging for the program `identifier`; `level` holds unless `CYRUS_SYNC_LOG` says
/// otherwise. Fields keep their names in the journal (`sync_user` becomes `SYNC_USER`).
pub fn start(identifier: &str, level: LevelFilter) {
    let filter = EnvFilter::builder()
        .with_env_var(FILTER_VARIABLE)
        .with_default_directive(level.into())
        .from_env_lossy();
    let registry = tracing_subscriber::registry();
    // A second call (tests in one process) leaves the first subscriber in place.
    let _ = registry
        .with(output(identifier).with_filter(filter))
        .try_init();
}

fn output<S>(identifier: &str) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    if libsystemd::logging::connected_to_journal()
        && let Ok(journal) = tracing_journald::layer()
    {
        return journal
            .with_field_prefix(None)
            .with_syslog_identifier(identifier.to_owned())
            .boxed();
    }
    tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .boxed()
}
