//! Who somebody is: user ids, passwords, administrators.
//!
//! The mechanisms of SASL are in `protocol::sasl`; here is what they ask. Everything blocks.

pub mod failures;
mod identity;
pub mod passwords;
mod saslauthd;
mod sasldb;

pub use failures::FailedLogins;
pub use identity::{AuthError, Authenticator, Identity, UserIdPolicy};
pub use saslauthd::SaslauthdError;
pub use sasldb::{Password, SasldbError};
