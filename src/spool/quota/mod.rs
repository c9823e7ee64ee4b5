//! Quota roots: limits and usage (databases §12).

mod db;
mod root;
mod value;

pub use db::{QuotaDb, Renumber, SetLimits};
pub use root::{QuotaRoot, QuotaRootError};
pub use value::{Amounts, Limits, Quota, QuotaValueError, Scan};
