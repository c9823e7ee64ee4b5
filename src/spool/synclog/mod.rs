//! Sync logs: where the daemons say what changed, and replication learns it (databases §17).

mod line;
mod reader;
mod writer;

pub use line::{LineError, LogItem, Parsed, parse_line};
pub use reader::{Items, WorkFile};
pub use writer::{Origin, append, channels_to_tell};
