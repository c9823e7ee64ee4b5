//! A Cyrus mail store on disk; the only place that knows its formats.

pub mod annotations;
pub mod disk;
pub mod error;
pub mod layout;
pub mod lock;

pub use error::SpoolError;
