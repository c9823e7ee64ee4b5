//! The configuration: `imapd.conf` or our own TOML form, read into one typed, validated value.

mod channel;
mod locks;
mod places;

pub use channel::{ChannelName, ChannelNameError};
pub use locks::{LockNaming, LockSettings};
pub use places::{MetadataFiles, PartitionPlaces, Places};
