//! Quota roots: limits and usage (databases §12).

mod root;
mod value;

pub use root::{QuotaRoot, QuotaRootError};
pub use value::{Amounts, Limits, Quota, QuotaValueError, Scan};
