//! What the replica had when it was last asked or told, so that it need not be asked again
//! (algorithm §12).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::client::error::SyncError;
use crate::dlist::{LiteralStyle, parse_value};
use crate::mail::MailboxName;
use crate::protocol::command::MailboxItem;
use crate::spool::SpoolError;
use crate::spool::cyrusdb::{Backend, Create, Db};
use crate::spool::disk::Disk;

/// What is remembered of a replica's mailboxes: in a file between runs if one is configured, else
/// in memory if the process goes on. If something of it is wrong, the replica says so and is
/// asked.
#[derive(Debug)]
pub enum Memory {
    /// Nothing is remembered.
    None,
    /// In a file.
    File(SyncCache),
    /// In memory, for all connections of the process.
    Process(Known),
}

/// What is remembered in memory.
#[derive(Clone, Debug, Default)]
pub struct Known(Arc<Mutex<HashMap<MailboxName, MailboxItem>>>);

/// Mailboxes that are remembered in memory.
const CAPACITY: usize = 4096;

impl Known {
    fn items(&self) -> MutexGuard<'_, HashMap<MailboxName, MailboxItem>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, item: &MailboxItem) {
        let mut items = self.items();
        if items.len() >= CAPACITY {
            items.clear();
        }
        items.insert(item.name.clone(), item.clone());
    }
}

impl Memory {
    /// Whoever made the replica lose the connection may have changed it.
    pub fn reconnected(&mut self) {
        if let Memory::Process(known) = self {
            known.items().clear();
        }
    }

    /// What is remembered of a mailbox.
    pub fn get(&mut self, name: &MailboxName) -> Option<MailboxItem> {
        match self {
            Memory::None => None,
            Memory::File(cache) => note(cache.get(name))?,
            Memory::Process(known) => known.items().get(name).cloned(),
        }
    }

    /// Remembers the state of mailboxes.
    pub fn put<'i>(&mut self, items: impl IntoIterator<Item = &'i MailboxItem>) {
        match self {
            Memory::None => {}
            Memory::File(cache) => {
                note(cache.put(items));
            }
            Memory::Process(known) => items.into_iter().for_each(|item| known.put(item)),
        }
    }

    /// Forgets a mailbox.
    pub fn forget(&mut self, name: &MailboxName) {
        match self {
            Memory::None => {}
            Memory::File(cache) => {
                note(cache.forget(name));
            }
            Memory::Process(known) => {
                known.items().remove(name);
            }
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
