//! The tables of `dav.db`, version 14, as Cyrus 3.6.1 has them (databases §14.2).

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::table::sql_error;
use crate::spool::SpoolError;

/// The version of new files. Later versions keep the table of scripts as it is.
const VERSION: u32 = 14;
/// Older versions that only lack the table of scripts.
const WITHOUT_SCRIPTS: std::ops::RangeInclusive<u32> = 10..=11;

/// Columns that the three tables of DAV objects begin with.
macro_rules! object_columns {
    () => {
        "rowid INTEGER PRIMARY KEY, creationdate INTEGER, \
         mailbox TEXT NOT NULL, resource TEXT NOT NULL, \
         imap_uid INTEGER, modseq INTEGER, createdmodseq INTEGER, \
         lock_token TEXT, lock_owner TEXT, lock_ownerid TEXT, lock_expire INTEGER, "
    };
}

/// Keys of these tables.
macro_rules! object_keys {
    () => {
        "alive INTEGER, UNIQUE (mailbox, imap_uid), UNIQUE (mailbox, resource)"
    };
}

const SCRIPT_TABLE: &str = "CREATE TABLE IF NOT EXISTS sieve_scripts (
        rowid INTEGER PRIMARY KEY, creationdate INTEGER, lastupdated INTEGER,
        mailbox TEXT NOT NULL, imap_uid INTEGER, modseq INTEGER, createdmodseq INTEGER,
        id TEXT NOT NULL, name TEXT NOT NULL, contentid TEXT NOT NULL,
        isactive INTEGER, alive INTEGER, UNIQUE (mailbox, imap_uid), UNIQUE (id));
    CREATE INDEX IF NOT EXISTS idx_sieve_name ON sieve_scripts (name);";

/// Calendars and address books. They stay empty here, but the daemons take them for granted.
const OTHER_TABLES: &[&str] = &[
    concat!(
        "CREATE TABLE ical_objs (",
        object_columns!(),
        "comp_type INTEGER, ical_uid TEXT, organizer TEXT, dtstart TEXT, dtend TEXT, \
         comp_flags INTEGER, sched_tag TEXT, ",
        object_keys!(),
        ")"
    ),
    "CREATE INDEX idx_ical_uid ON ical_objs (ical_uid)",
    concat!(
        "CREATE TABLE vcard_objs (",
        object_columns!(),
        "version INTEGER, vcard_uid TEXT, kind INTEGER, fullname TEXT, name TEXT, \
         nickname TEXT, ",
        object_keys!(),
        ")"
    ),
    "CREATE INDEX idx_vcard_fn ON vcard_objs (fullname)",
    "CREATE INDEX idx_vcard_uid ON vcard_objs (vcard_uid)",
    "CREATE TABLE vcard_emails (
        rowid INTEGER PRIMARY KEY, objid INTEGER, pos INTEGER NOT NULL,
        email TEXT NOT NULL COLLATE NOCASE,
        ispref INTEGER NOT NULL DEFAULT 0, ispinned INTEGER NOT NULL DEFAULT 0,
        FOREIGN KEY (objid) REFERENCES vcard_objs (rowid) ON DELETE CASCADE)",
    "CREATE INDEX idx_vcard_email ON vcard_emails (email COLLATE NOCASE)",
    "CREATE TABLE vcard_groups (
        rowid INTEGER PRIMARY KEY, objid INTEGER, pos INTEGER NOT NULL,
        member_uid TEXT NOT NULL, otheruser TEXT NOT NULL DEFAULT '',
        FOREIGN KEY (objid) REFERENCES vcard_objs (rowid) ON DELETE CASCADE)",
    concat!(
        "CREATE TABLE dav_objs (",
        object_columns!(),
        "filename TEXT, type TEXT, subtype TEXT, res_uid TEXT, ref_count INTEGER, ",
        object_keys!(),
        ")"
    ),
    "CREATE TABLE ical_jmapcache (
        rowid INTEGER NOT NULL, userid TEXT NOT NULL,
        jmapversion INTEGER NOT NULL, jmapdata TEXT NOT NULL,
        PRIMARY KEY (rowid, userid),
        FOREIGN KEY (rowid) REFERENCES ical_objs (rowid) ON DELETE CASCADE)",
    "CREATE TABLE vcard_jmapcache (
        rowid INTEGER NOT NULL PRIMARY KEY,
        jmapversion INTEGER NOT NULL, jmapdata TEXT NOT NULL,
        FOREIGN KEY (rowid) REFERENCES vcard_objs (rowid) ON DELETE CASCADE)",
];

/// Sees to it that the file has the table of scripts, in one transaction if it must be made.
pub(super) fn prepare(connection: &mut Connection, path: &Path) -> Result<(), SpoolError> {
    let failed = |source| sql_error(path, source);
    connection
        .pragma_update(None, "foreign_keys", true)
        .map_err(failed)?;
    if version(connection).map_err(failed)? >= VERSION {
        return Ok(());
    }
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Exclusive)
        .map_err(failed)?;
    // Somebody else may have been quicker.
    match version(&transaction).map_err(failed)? {
        VERSION.. => return Ok(()),
        0 => transaction.execute_batch(&OTHER_TABLES.join(";\n")),
        old if WITHOUT_SCRIPTS.contains(&old) => Ok(()),
        old => {
            return Err(SpoolError::Unsupported {
                path: path.to_owned(),
                what: format!("version {old} of the DAV tables"),
            });
        }
    }
    .and_then(|()| transaction.execute_batch(SCRIPT_TABLE))
    .and_then(|()| transaction.pragma_update(None, "user_version", VERSION))
    .and_then(|()| transaction.commit())
    .map_err(failed)
}

fn version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}
