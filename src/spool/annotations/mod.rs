//! Annotations: `annotations.db` with server and mailbox scope, and the key and value codecs
//! that message annotations share with it (databases §13).

mod db;
pub mod key;
pub mod value;

pub use db::{AnnotationDb, Change, Scope};
