//! The table of scripts in a user's `dav.db` (databases §14.2).
//!
//! The daemons find scripts, and whether a compiled one is outdated, through this table. The file
//! is SQLite's: it does its own writing, locking and syncing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, Transaction, TransactionBehavior};

use super::schema;
use super::script::{Script, ScriptName};
use crate::mail::{Guid, ModSeq, Uid, UniqueId, UnixTime};
use crate::spool::SpoolError;
use crate::spool::disk::{Disk, FILE_MODE};

/// A user's `dav.db`, for the sake of its scripts.
#[derive(Debug)]
pub struct ScriptTable {
    path: PathBuf,
    connection: Connection,
}

/// What the table says of a living script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptRow {
    /// The stable id.
    pub id: String,
    /// The name.
    pub name: ScriptName,
    /// SHA-1 of the script.
    pub content_id: Guid,
    /// Its message in the `#sieve` mailbox.
    pub uid: Uid,
    /// The internal date of that message.
    pub last_updated: UnixTime,
    /// Whether it is the script in force.
    pub is_active: bool,
}

/// What the index of the `#sieve` mailbox says of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScriptRecord {
    /// The message's UID.
    pub uid: Uid,
    /// Modseq of its last change.
    pub modseq: ModSeq,
    /// Modseq of its creation.
    pub created_modseq: ModSeq,
    /// Its internal date.
    pub internal_date: UnixTime,
    /// `\Flagged`: the script is in force.
    pub is_active: bool,
    /// Expunged, but still in the index.
    pub is_expunged: bool,
}

/// What [`ScriptTable::synchronize`] found changed, for the script directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScriptChanges {
    /// Scripts whose content is new or that are gone: what was compiled of them is outdated.
    pub outdated: Vec<ScriptName>,
    /// The script in force from now on.
    pub active: Option<ScriptName>,
}

/// A row as it is stored.
struct Stored {
    row_id: i64,
    uid: u32,
    id: String,
    name: String,
    is_alive: bool,
}

impl Stored {
    /// The name whose compiled script goes when this row's script does.
    fn name_in_use(&self) -> Option<ScriptName> {
        let name = Some(&self.name).filter(|_| self.is_alive);
        name.and_then(|name| ScriptName::parse(name).ok())
    }
}

const ALIVE: &str = "SELECT id, name, contentid, imap_uid, lastupdated, isactive \
    FROM sieve_scripts WHERE alive = 1";

impl ScriptTable {
    /// Opens a user's `dav.db`, making it if there is none: with all the tables that 3.6.1 has in
    /// it, since it does not add them to an existing file. `timeout` is how long to wait for
    /// others who write to it (option `dav_lock_timeout`).
    ///
    /// # Errors
    /// If it cannot be opened or made, or is older than Cyrus 3.4's last form.
    pub fn open(disk: &Disk, path: &Path, timeout: Duration) -> Result<ScriptTable, SpoolError> {
        // SQLite would make the file with another mode. It takes an empty file for a new one.
        drop(disk.open_or_create(path, FILE_MODE)?);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let failed = |source| sql_error(path, source);
        let mut connection = Connection::open_with_flags(path, flags).map_err(failed)?;
        connection.busy_timeout(timeout).map_err(failed)?;
        schema::prepare(&mut connection, path)?;
        Ok(ScriptTable {
            path: path.to_owned(),
            connection,
        })
    }

    /// The living scripts, by name.
    ///
    /// # Errors
    /// If the table cannot be read or holds an illegal name or content id.
    pub fn scripts(&self) -> Result<Vec<ScriptRow>, SpoolError> {
        let query = format!("{ALIVE} ORDER BY name, imap_uid");
        self.select(&query, [])
    }

    /// The living script of that name.
    ///
    /// # Errors
    /// If the table cannot be read or the row makes no sense.
    pub fn find(&self, name: &ScriptName) -> Result<Option<ScriptRow>, SpoolError> {
        let query = format!("{ALIVE} AND name = ?1 ORDER BY imap_uid DESC");
        let rows = self.select(&query, [name.as_str()])?;
        Ok(rows.into_iter().next())
    }

    fn select(
        &self,
        query: &str,
        parameters: impl rusqlite::Params,
    ) -> Result<Vec<ScriptRow>, SpoolError> {
        let failed = |source| sql_error(&self.path, source);
        let mut statement = self.connection.prepare_cached(query).map_err(failed)?;
        let mut rows = statement.query(parameters).map_err(failed)?;
        let mut scripts = Vec::new();
        while let Some(row) = rows.next().map_err(failed)? {
            scripts.push(script_row(&self.path, row)?);
        }
        Ok(scripts)
    }

    /// Makes the table say what the mailbox says, in one transaction. `records` are all records
    /// of the `#sieve` mailbox `mailbox`, ascending by UID, without those whose file is gone;
    /// `read` reads the message of one of them, and is asked only for those that the table does
    /// not know. A message that holds no script, or is not there, is passed over. Scripts of any
    /// other mailbox are forgotten: a user has one.
    ///
    /// The same call again changes nothing, so after a crash it puts things right. On disk when
    /// this returns.
    ///
    /// # Errors
    /// If the table cannot be locked in time or changed, or `read` fails; then nothing is changed.
    pub fn synchronize(
        &mut self,
        mailbox: &UniqueId,
        records: &[ScriptRecord],
        mut read: impl FnMut(Uid) -> Result<Option<Vec<u8>>, SpoolError>,
    ) -> Result<ScriptChanges, SpoolError> {
        let path = &self.path;
        let failed = |source| sql_error(path, source);
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(failed)?;
        remove_strangers(&transaction, mailbox).map_err(failed)?;
        let mut changes = ScriptChanges::default();
        let mut stored = stored_rows(&transaction, mailbox).map_err(failed)?;
        for record in records {
            if let Some(row) = stored.remove(&record.uid.0) {
                update_state(&transaction, &row, record).map_err(failed)?;
                if record.is_expunged {
                    changes.outdated.extend(row.name_in_use());
                }
            } else if !record.is_expunged {
                let Some(script) = read_script(record.uid, &mut read)? else {
                    continue;
                };
                // The version before, which this one replaces under its id.
                let before = stored.extract_if(.., |_, row| row.id == script.id);
                let names = before.filter_map(|(_, row)| row.name_in_use());
                changes.outdated.extend(names);
                if store_script(&transaction, mailbox, record, &script).map_err(failed)? {
                    changes.outdated.push(script.name);
                }
            }
        }
        for row in stored.into_values() {
            remove_row(&transaction, &row).map_err(failed)?;
            changes.outdated.extend(row.name_in_use());
        }
        changes.active = active_script(&transaction).map_err(failed)?;
        transaction.commit().map_err(failed)?;
        changes.outdated.sort_unstable();
        changes.outdated.dedup();
        Ok(changes)
    }

    /// Forgets all scripts, as when the `#sieve` mailbox is removed. On disk when this returns.
    ///
    /// # Errors
    /// If the table cannot be locked in time or changed.
    pub fn remove_all(&mut self) -> Result<(), SpoolError> {
        self.connection
            .execute("DELETE FROM sieve_scripts", [])
            .map_err(|source| sql_error(&self.path, source))?;
        Ok(())
    }
}

pub(super) fn sql_error(path: &Path, source: rusqlite::Error) -> SpoolError {
    SpoolError::Sql {
        path: path.to_owned(),
        source,
    }
}

fn script_row(path: &Path, row: &Row<'_>) -> Result<ScriptRow, SpoolError> {
    let failed = |source| sql_error(path, source);
    let id: String = row.get(0).map_err(failed)?;
    let name: String = row.get(1).map_err(failed)?;
    let content_id: String = row.get(2).map_err(failed)?;
    let bad = |error: String| SpoolError::corrupt(path, 0, format!("script {id}: {error}"));
    Ok(ScriptRow {
        name: ScriptName::parse(&name).map_err(|error| bad(error.to_string()))?,
        content_id: content_id
            .parse()
            .map_err(|_| bad(format!("content id {content_id:?} is no SHA-1")))?,
        uid: Uid(row.get(3).map_err(failed)?),
        last_updated: UnixTime(row.get(4).map_err(failed)?),
        is_active: row.get(5).map_err(failed)?,
        id,
    })
}

/// The rows of the mailbox by UID.
fn stored_rows(
    transaction: &Transaction<'_>,
    mailbox: &UniqueId,
) -> rusqlite::Result<BTreeMap<u32, Stored>> {
    let mut statement = transaction.prepare_cached(
        "SELECT rowid, imap_uid, id, name, alive FROM sieve_scripts WHERE mailbox = ?1",
    )?;
    let rows = statement.query_map([mailbox.as_str()], |row| {
        Ok(Stored {
            row_id: row.get(0)?,
            uid: row.get(1)?,
            id: row.get(2)?,
            name: row.get(3)?,
            is_alive: row.get(4)?,
        })
    })?;
    rows.map(|row| row.map(|row| (row.uid, row))).collect()
}

fn read_script(
    uid: Uid,
    read: &mut impl FnMut(Uid) -> Result<Option<Vec<u8>>, SpoolError>,
) -> Result<Option<Script>, SpoolError> {
    let Some(message) = read(uid)? else {
        tracing::warn!(%uid, "Sieve script has no message file");
        return Ok(None);
    };
    match Script::parse(&message) {
        Ok(script) => Ok(Some(script)),
        Err(error) => {
            tracing::warn!(%uid, %error, "message in the Sieve mailbox passed over");
            Ok(None)
        }
    }
}

fn update_state(
    transaction: &Transaction<'_>,
    row: &Stored,
    record: &ScriptRecord,
) -> rusqlite::Result<()> {
    let mut statement = transaction.prepare_cached(
        "UPDATE sieve_scripts SET modseq = ?1, isactive = ?2, alive = ?3 WHERE rowid = ?4",
    )?;
    statement.execute((
        record.modseq.0.cast_signed(),
        record.is_active,
        !record.is_expunged,
        row.row_id,
    ))?;
    Ok(())
}

fn remove_strangers(transaction: &Transaction<'_>, mailbox: &UniqueId) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("DELETE FROM sieve_scripts WHERE mailbox <> ?1")?
        .execute([mailbox.as_str()])?;
    Ok(())
}

/// Adds or replaces the row of a script; false if the table knows a newer version already.
fn store_script(
    transaction: &Transaction<'_>,
    mailbox: &UniqueId,
    record: &ScriptRecord,
    script: &Script,
) -> rusqlite::Result<bool> {
    let known: Option<u32> = transaction
        .prepare_cached("SELECT imap_uid FROM sieve_scripts WHERE id = ?1")?
        .query_row([&script.id], |row| row.get(0))
        .optional()?;
    if known.is_some_and(|uid| uid > record.uid.0) {
        return Ok(false);
    }
    let mut statement = transaction.prepare_cached(
        "INSERT INTO sieve_scripts (creationdate, lastupdated, mailbox, imap_uid, modseq, \
             createdmodseq, id, name, contentid, isactive, alive) \
         VALUES (?1, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 1) \
         ON CONFLICT (id) DO UPDATE SET lastupdated = ?1, imap_uid = ?3, \
             modseq = ?4, name = ?7, contentid = ?8, isactive = ?9, alive = 1",
    )?;
    statement.execute((
        record.internal_date.0,
        mailbox.as_str(),
        record.uid.0,
        record.modseq.0.cast_signed(),
        record.created_modseq.0.cast_signed(),
        &script.id,
        script.name.as_str(),
        script.content_id.to_string(),
        record.is_active,
    ))?;
    Ok(true)
}

fn remove_row(transaction: &Transaction<'_>, row: &Stored) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("DELETE FROM sieve_scripts WHERE rowid = ?1")?
        .execute([row.row_id])?;
    Ok(())
}

/// The script in force: if several claim to be, the one that changed last.
fn active_script(transaction: &Transaction<'_>) -> rusqlite::Result<Option<ScriptName>> {
    let name: Option<String> = transaction
        .prepare_cached(
            "SELECT name FROM sieve_scripts WHERE alive = 1 AND isactive = 1 \
             ORDER BY modseq DESC, imap_uid DESC LIMIT 1",
        )?
        .query_row([], |row| row.get(0))
        .optional()?;
    Ok(name.and_then(|name| ScriptName::parse(&name).ok()))
}

#[cfg(test)]
mod tests;
