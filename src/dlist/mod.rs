//! The "dlist" syntax: nested values in brackets, as the wire and several store files use it
//! (wire-protocol §8, databases §9.2, mailbox-format §2.1).
//!
//! [`parse_value`] and [`Value::write`] turn whole buffers into values and back, for store files.
//! [`Parser`] is the machine underneath: it takes octets in pieces as they arrive and tells a
//! [`Visitor`] what they mean, so that neither a message nor a long line is ever held whole.

mod event;
mod field;
mod limits;
mod parser;
mod skip;
mod tree;
mod value;
mod write;

pub use event::{Event, FileHeader, ParseError, ParseProblem, Visitor};
pub use field::{FieldError, FieldProblem, Fields, parse_number};
pub use limits::Limits;
pub use parser::{Fed, Parser};
pub use skip::LineSkipper;
pub use tree::{Line, TreeBuilder, parse_value};
pub use value::Value;
pub use write::{
    LiteralStyle, write_file_header, write_flag, write_guid, write_literal, write_number,
    write_text,
};
