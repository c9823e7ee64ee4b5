//! What the replica had when it was last asked or told, so that it need not be asked again
//! (algorithm §12).

use std::collections::HashMap;

use crate::client::error::SyncError;
use crate::dlist::{LiteralStyle, parse_value};
use crate::mail::MailboxName;
use crate::protocol::command::MailboxItem;
use crate::spool::SpoolError;
use crate::spool::cyrusdb::{Backend, Create, Db};
use crate::spool::disk::Disk;

/// What is remembered of a replica's mailboxes: in a file between runs if one is configured, else
/// in memory during a session. If something of it is wrong, the replica says so and is asked.
#[derive(Debug, Default)]
pub struct Memory {
    file: Option<SyncCache>,
    session: Option<HashMap<MailboxName, MailboxItem>>,
}

/// Mailboxes that are remembered in memory.
const CAPACITY: usize = 4096;

impl Memory {
    /// Remembers in a file.
    pub fn in_file(cache: SyncCache) -> Memory {
        Memory {
            file: Some(cache),
            session: None,
        }
    }

    /// Remembers as long as the session lasts.
    pub fn of_session() -> Memory {
        Memory {
            file: None,
            session: Some(HashMap::new()),
        }
    }

    /// Whoever made the replica lose the connection may have changed it.
    pub fn reconnected(&mut self) {
        if let Some(items) = &mut self.session {
            items.clear();
        }
    }

    /// What is remembered of a mailbox.
    pub fn get(&mut self, name: &MailboxName) -> Option<MailboxItem> {
        if let Some(items) = &self.session {
            return items.get(name).cloned();
        }
        let found = self.file.as_mut().map(|cache| cache.get(name));
        found.and_then(note)?
    }

    /// Remembers the state of mailboxes.
    pub fn put<'i>(&mut self, items: impl IntoIterator<Item = &'i MailboxItem>) {
        if let Some(known) = &mut self.session {
            for item in items {
                if known.len() >= CAPACITY {
                    known.clear();
                }
                known.insert(item.name.clone(), item.clone());
            }
        } else if let Some(cache) = &mut self.file {
            note(cache.put(items));
        }
    }

    /// Forgets a mailbox.
    pub fn forget(&mut self, name: &MailboxName) {
        if let Some(items) = &mut self.session {
            items.remove(name);
        }
        if let Some(cache) = &mut self.file {
            note(cache.forget(name));
        }
    }
}

/// Trouble with the file only makes things slower.
fn note<T>(result: Result<T, SyncError>) -> Option<T> {
    result
        .map_err(|error| tracing::warn!("sync cache: {error}"))
        .ok()
}

/// Remembers the state of the replica's mailboxes between runs. Whatever happens to it, the only
/// cost is to ask the replica once more.
#[derive(Debug)]
pub struct SyncCache {
    db: Db,
    disk: Disk,
}

impl SyncCache {
    /// Opens the cache, creating it if there is none.
    ///
    /// # Errors
    /// If the file cannot be opened or is no database.
    pub fn open(
        disk: &Disk,
        path: &std::path::Path,
        backend: Backend,
    ) -> Result<Option<SyncCache>, SyncError> {
        let db = Db::open(disk, path, backend, Create::Yes).map_err(SpoolError::from)?;
        Ok(db.map(|db| SyncCache {
            db,
            disk: disk.clone(),
        }))
    }

    /// What is remembered of a mailbox. An entry that makes no sense counts as none.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn get(&mut self, name: &MailboxName) -> Result<Option<MailboxItem>, SyncError> {
        let value = self
            .db
            .get(name.as_str().as_bytes())
            .map_err(SpoolError::from)?;
        let Some(value) = value.and_then(|value| parse_value(&value).ok()) else {
            return Ok(None);
        };
        let item = value
            .fields()
            .ok()
            .and_then(|fields| MailboxItem::from_fields(fields).ok());
        Ok(item.filter(|item| item.name == *name))
    }

    /// Remembers the state of mailboxes, in one transaction, and only what is new.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub fn put<'i>(
        &mut self,
        items: impl IntoIterator<Item = &'i MailboxItem>,
    ) -> Result<(), SyncError> {
        let mut news = Vec::new();
        for item in items {
            if self.get(&item.name)?.as_ref() != Some(item) {
                let mut value = Vec::new();
                item.write(&mut value, LiteralStyle::Plain);
                news.push((item.name.as_str(), value));
            }
        }
        if news.is_empty() {
            return Ok(());
        }
        let mut transaction = self.begin()?;
        for (name, value) in news {
            transaction
                .put(name.as_bytes(), &value)
                .map_err(SpoolError::from)?;
        }
        Ok(transaction.commit().map_err(SpoolError::from)?)
    }

    /// Forgets a mailbox.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn forget(&mut self, name: &MailboxName) -> Result<(), SyncError> {
        let key = name.as_str().as_bytes();
        if self.db.get(key).map_err(SpoolError::from)?.is_none() {
            return Ok(());
        }
        let mut transaction = self.begin()?;
        transaction.delete(key).map_err(SpoolError::from)?;
        Ok(transaction.commit().map_err(SpoolError::from)?)
    }

    fn begin(&mut self) -> Result<crate::spool::cyrusdb::Transaction<'_>, SyncError> {
        let deadline = self.disk.lock_deadline();
        Ok(self.db.begin(deadline).map_err(SpoolError::from)?)
    }
}
