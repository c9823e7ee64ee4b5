//! Quota roots: limits and usage (databases §12).

mod root;

pub use root::{QuotaRoot, QuotaRootError};
