//! Between store and wire: the state of a mailbox as the MAILBOX item and the records that both
//! sides of a replication exchange.

mod facts;
mod item;
mod record;

pub use item::{intermediate_item, mailbox_item};
pub use record::{Records, wire_record};
