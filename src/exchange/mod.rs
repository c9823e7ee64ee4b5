//! Between store and wire: the state of a mailbox as the MAILBOX item and the records that both
//! sides of a replication exchange, and all that they compare of a user.

mod facts;
mod item;
mod record;
mod user;

pub use item::{bare_item, compared_state, intermediate_item, mailbox_item};
pub use record::{Records, wire_record};
pub use user::UserState;
