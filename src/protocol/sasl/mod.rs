//! SASL (wire-protocol §3, configuration §5).
//!
//! The exchanges here take and give the octets of messages; lines and base64 around them are
//! the business of [`wire`]. Secrets are wiped when they are dropped.

pub mod client;
mod mechanism;
mod plain;
mod scram;
pub mod server;
pub mod wire;

pub use mechanism::{Mechanism, Offer};
pub use scram::ScramHash;

/// Octets that are wiped when they are dropped.
pub type Secret = zeroize::Zeroizing<Vec<u8>>;
