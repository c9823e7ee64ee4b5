//! Where log events go: the journal when we are connected to it, else standard error.

use std::io::IsTerminal;

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// Environment variable that chooses what is logged, in the syntax of `tracing` filters.
const FILTER_VARIABLE: &str = "CYRUS_SYNC_LOG";

/// Environment variable that chooses the form on standard error: `plain` or `json`.
const FORM_VARIABLE: &str = "CYRUS_SYNC_LOG_FORMAT";

/// Target of the events that tell of every single thing that was done. They have the level DEBUG,
/// which is `info` in the journal, and are logged unless `CYRUS_SYNC_LOG` says otherwise.
pub const DONE: &str = "cyrus_sync_done";

/// Starts logging for the program `identifier`. In the journal everything from INFO on is
/// logged, and [`DONE`]; on standard error from `level` on, and [`DONE`] only in JSON, which is not
/// for people. `CYRUS_SYNC_LOG` outweighs all that. Fields keep their names in the journal (`sync_user`
/// becomes `SYNC_USER`); ERROR, WARN, INFO and DEBUG become `err`, `warning`, `notice` and `info`.
pub fn start(identifier: &str, level: LevelFilter) {
    let json = std::env::var(FORM_VARIABLE).is_ok_and(|form| form == "json");
    let everything = format!("info,{DONE}=debug");
    let (layer, default) = match journal(identifier) {
        Some(layer) => (layer, everything),
        None if json => (standard_error_in_json(), everything),
        None => (standard_error(), level.to_string()),
    };
    let wanted = std::env::var(FILTER_VARIABLE).unwrap_or(default);
    let filter = EnvFilter::builder().parse_lossy(wanted);
    let registry = tracing_subscriber::registry();
    // A second call (tests in one process) leaves the first subscriber in place.
    let _ = registry.with(layer.with_filter(filter)).try_init();
}

fn journal<S>(identifier: &str) -> Option<Box<dyn Layer<S> + Send + Sync>>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    if !libsystemd::logging::connected_to_journal() {
        return None;
    }
    let layer = tracing_journald::layer().ok()?;
    Some(
        layer
            .with_field_prefix(None)
            .with_syslog_identifier(identifier.to_owned())
            .boxed(),
    )
}

fn standard_error<S>() -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .boxed()
}

fn standard_error_in_json<S>() -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_writer(std::io::stderr)
        .boxed()
}
