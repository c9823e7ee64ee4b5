//! Sieve scripts: their messages, the table in `dav.db` through which the daemons find them, and
//! the directory of compiled scripts (databases §14).

mod directory;
mod header;
mod schema;
mod script;
mod table;

pub use directory::{follow, remove};
pub use script::{
    Script, ScriptError, ScriptMessage, ScriptName, ScriptNameError, content_id, new_script_id,
};
pub use table::{ScriptChanges, ScriptRecord, ScriptRow, ScriptTable};
