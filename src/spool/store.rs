//! A whole mail store: one value per process, shared by its sessions.

use std::path::PathBuf;
use std::sync::Arc;

use jiff::tz::TimeZone;
use tracing::{debug, warn};

use super::annotations::{AnnotationDb, Scope};
use super::cyrusdb::{Backend, skiplist_stamp};
use super::disk::{Disk, LockKind};
use super::idle::IdleNotifier;
use super::layout::Layout;
use super::lock::{Locks, UserLock};
use super::mailbox::{
    Committed, IndexVersion, Mailbox, MailboxPlace, MailboxSettings, Mailboxes, Prepared,
    WritableMailbox,
};
use super::mailboxes::{MailboxEntry, MailboxList, VisibilityChange};
use super::message::{ParserOptions, server_time_zone};
use super::quota::{Amounts, QuotaDb, QuotaRoot};
use super::staging::{self, Staging, StagingSettings};
use super::synclog::{self, LogItem, Origin};
use super::{SpoolError, statuscache};
use crate::config::{self, Config, LockNaming};
use crate::mail::{Annotation, MailboxName, Namespace, UnixTime, UserId};

#[cfg(test)]
pub(crate) mod testing;
mod users;

pub use users::home_of;

/// What every part of the store is reached through.
#[derive(Debug)]
pub struct Store {
    /// The configuration.
    pub config: Arc<Config>,
    /// The door to the disk.
    pub disk: Disk,
    /// Where every file is.
    pub layout: Layout,
    /// The name locks.
    pub locks: Locks,
    /// The mailboxes.
    pub mailboxes: Mailboxes,
    time_zone: TimeZone,
    formats: Formats,
    origin: Origin,
    /// The way to idled; `None` with daemons that want to be told otherwise.
    idle: Option<IdleNotifier>,
}

/// What is to be known of the server to use the formats of databases.
#[derive(Clone, Copy, Debug)]
struct Formats {
    skiplist_stamp: UnixTime,
    full_hash: bool,
    virtual_domains: bool,
}

impl Formats {
    fn of(self, configured: config::Backend) -> Backend {
        match configured {
            config::Backend::Twoskip => Backend::Twoskip,
            config::Backend::Skiplist => Backend::Skiplist {
                recovered_since: self.skiplist_stamp,
            },
            config::Backend::Flat => Backend::Flat,
            config::Backend::QuotaLegacy => Backend::QuotaLegacy {
                full_hash: self.full_hash,
                virtual_domains: self.virtual_domains,
            },
        }
    }
}

/// Why a store cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A directory that the configuration names does not exist or is not readable.
    #[error("{option}: {} is not a usable directory", path.display())]
    Directory {
        /// The option that names it.
        option: String,
        /// The directory.
        path: PathBuf,
    },
    /// No partition is configured.
    #[error("no partition-<name> is configured: there is no place for mail")]
    NoPartition,
    /// A file of the store cannot be used.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

/// The way to the idled of Cyrus 3.4 to 3.10; later ones are told in another form.
fn idle_notifier(config: &Config) -> Option<IdleNotifier> {
    if config.locks.naming != LockNaming::UserId {
        return None;
    }
    IdleNotifier::new(&config.places.idle_socket)
        .inspect_err(|error| warn!("idled cannot be told of changes: {error}"))
        .ok()
}

impl Store {
    /// Opens the store that `config` describes. Checks that its directories and its mailbox
    /// list can be used, and removes what dead processes left in the staging directories.
    ///
    /// # Errors
    /// If something that every session needs is missing or of an unsupported form.
    pub fn open(config: Config) -> Result<Store, StoreError> {
        let store = Store::open_again(config)?;
        staging::remove_stale(&store.disk, &store.layout)?;
        Ok(store)
    }

    /// The same beside a store that this process has open already, whose staged messages stay.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_again(config: Config) -> Result<Store, StoreError> {
        let disk = Disk::new(config.process.umask, config.locks.timeout)
            .confined_to(config.places.directories());
        Store::through(config, disk)
    }

    /// The same through a door to the disk that the caller has.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn through(config: Config, disk: Disk) -> Result<Store, StoreError> {
        let layout = Layout::new(config.places.clone(), config.namespace.clone());
        let time_zone = server_time_zone();
        let formats = Formats {
            skiplist_stamp: skiplist_stamp(&disk, &config.places.config_directory)
                .map_err(SpoolError::from)?,
            full_hash: config.places.full_hash,
            virtual_domains: config.namespace.virtual_domains,
        };
        let settings = MailboxSettings {
            annotation_backend: formats.of(config.databases.annotations),
            expunge_mode: config.mailboxes.expunge_mode,
            time_zone: time_zone.clone(),
        };
        let idle = idle_notifier(&config);
        let store = Store {
            locks: Locks::new(disk.clone(), layout.clone(), config.locks),
            mailboxes: Mailboxes::new(disk.clone(), settings),
            origin: Origin::Replication {
                chain: config.replication.log_chain,
            },
            config: Arc::new(config),
            disk,
            layout,
            time_zone,
            formats,
            idle,
        };
        store.check_directories()?;
        store.open_list()?;
        Ok(store)
    }

    /// The same store, whose changes are not replicated ones but this host's own: every channel
    /// of the sync log is told of them.
    #[must_use]
    pub fn changed_locally(self) -> Store {
        Store {
            origin: Origin::Local,
            ..self
        }
    }

    fn check_directories(&self) -> Result<(), StoreError> {
        let places = self.layout.places();
        if places.partitions.is_empty() {
            return Err(StoreError::NoPartition);
        }
        let configuration = ("configdirectory".to_owned(), &places.config_directory);
        let partitions = places
            .partitions
            .iter()
            .map(|(name, partition)| (format!("partition-{name}"), &partition.data));
        for (option, path) in std::iter::once(configuration).chain(partitions) {
            let usable = self.disk.status(path).map_err(SpoolError::from)?;
            if !usable.is_some_and(|status| status.is_directory()) {
                return Err(StoreError::Directory {
                    option,
                    path: path.clone(),
                });
            }
        }
        Ok(())
    }

    /// The rules for names.
    pub fn namespace(&self) -> &Namespace {
        self.layout.namespace()
    }

    /// Opens the mailbox list, which exists since the store was opened; each session opens its own.
    ///
    /// # Errors
    /// If it has gone, cannot be opened, or is of an old form.
    pub fn mailbox_list(&self) -> Result<MailboxList, SpoolError> {
        let path = &self.layout.places().mailboxes_db;
        if self.disk.status(path)?.is_none() {
            return Err(SpoolError::corrupt(path, 0, "does not exist any more"));
        }
        self.open_list()
    }

    /// Opens the mailbox list, creating it if there is none.
    fn open_list(&self) -> Result<MailboxList, SpoolError> {
        MailboxList::open(
            &self.disk,
            &self.layout.places().mailboxes_db,
            self.backend(self.config.databases.mailboxes),
            self.namespace(),
            &self.config.sasl.admins,
        )
    }

    /// Where the mailbox of a list entry is; `None` if there is no mailbox behind the entry.
    ///
    /// # Errors
    /// If its partition is not configured.
    pub fn place(&self, entry: &MailboxEntry) -> Result<Option<MailboxPlace>, SpoolError> {
        let Some(partition) = entry.partition.clone().filter(|_| entry.is_real()) else {
            return Ok(None);
        };
        let place = MailboxPlace::new(
            &self.layout,
            entry.name.clone(),
            entry.unique_id.clone(),
            entry.mailbox_type,
            partition,
        )?;
        Ok(Some(place))
    }

    /// A staging area for one session.
    pub fn staging(&self) -> Staging {
        let mailboxes = &self.config.mailboxes;
        let settings = StagingSettings {
            parser: ParserOptions {
                max_header_lines: mailboxes.max_header_lines.unwrap_or(0),
                boundary_limit: usize::try_from(mailboxes.boundary_limit).unwrap_or(usize::MAX),
                rfc2046_strict: mailboxes.rfc2046_strict,
                rfc2047_utf8: mailboxes.rfc2047_utf8,
                ..ParserOptions::default()
            },
            share_files: mailboxes.single_instance_store,
        };
        Staging::new(self.disk.clone(), self.layout.clone(), settings)
    }

    /// Opens the mailbox of a list entry for reading; `None` if it has just been removed.
    ///
    /// # Errors
    /// If a lock cannot be had in time, or a file cannot be read.
    pub fn open_for_reading<'lock>(
        &self,
        lock: &'lock UserLock,
        entry: &MailboxEntry,
    ) -> Result<Option<Mailbox<'lock>>, SpoolError> {
        let Some(place) = self.place(entry)? else {
            return Ok(None);
        };
        let lock = self
            .locks
            .mailbox(lock, &entry.name, place.home(), LockKind::Shared)?;
        self.mailboxes.read(place, lock)
    }

    /// Opens the mailbox of a list entry for changes; `None` if it has just been removed.
    ///
    /// # Errors
    /// If a lock cannot be had in time, or a file cannot be read.
    pub fn open_for_writing<'lock>(
        &self,
        lock: &'lock UserLock,
        entry: &MailboxEntry,
    ) -> Result<Option<WritableMailbox<'lock>>, SpoolError> {
        let Some(place) = self.place(entry)? else {
            return Ok(None);
        };
        let lock = self
            .locks
            .mailbox(lock, &entry.name, place.home(), LockKind::Shared)?;
        self.mailboxes.write(place, lock)
    }

    /// The quota roots.
    ///
    /// # Errors
    /// If the database cannot be opened.
    pub fn quotas(&self) -> Result<QuotaDb, SpoolError> {
        let places = self.layout.places();
        let backend = self.backend(self.config.databases.quota);
        QuotaDb::open(&self.disk, &places.quotas_db, backend, self.namespace())
    }

    /// Adds to what is used of a quota root on behalf of a mailbox. A root that does not exist
    /// is no error: `quota -f` takes it out of the mailbox's header.
    ///
    /// # Errors
    /// If the root cannot be locked in time, read or written.
    pub fn charge(
        &self,
        mailbox: &MailboxName,
        root: &QuotaRoot,
        amounts: Amounts,
    ) -> Result<(), SpoolError> {
        self.quotas()?
            .change_used(root, mailbox, amounts, &mut Ok)?;
        Ok(())
    }

    /// Writes a prepared change of a mailbox and charges its quota root; durable as a whole when
    /// this returns.
    ///
    /// # Errors
    /// If something cannot be written.
    pub fn commit<'lock>(
        &self,
        mailbox: WritableMailbox<'lock>,
        prepared: Prepared,
        staging: Option<&Staging>,
    ) -> Result<(WritableMailbox<'lock>, Committed), SpoolError> {
        let name = mailbox.place().name.clone();
        mailbox.commit(prepared, staging, |root, amounts| {
            self.charge(&name, root, amounts)
        })
    }

    /// Makes the annotations of one mailbox those given. On disk when this returns.
    ///
    /// # Errors
    /// If the database cannot be locked in time or changed.
    pub fn replace_mailbox_annotations(
        &self,
        entry: &MailboxEntry,
        annotations: &[Annotation],
    ) -> Result<(), SpoolError> {
        let owner = self.namespace().owner_of(&entry.name);
        let scope = Scope::Mailbox {
            id: &entry.unique_id,
            owner: owner.as_ref(),
        };
        self.annotations()?.replace(scope, annotations)?;
        Ok(())
    }

    /// The annotations of the server and of mailboxes.
    ///
    /// # Errors
    /// If the database cannot be opened.
    pub fn annotations(&self) -> Result<AnnotationDb, SpoolError> {
        let path = &self.layout.places().annotations_db;
        AnnotationDb::open(
            &self.disk,
            path,
            self.backend(self.config.databases.annotations),
        )
    }

    /// The annotations of one mailbox, sorted by entry and user.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn mailbox_annotations(&self, entry: &MailboxEntry) -> Result<Vec<Annotation>, SpoolError> {
        self.mailbox_annotations_in(&mut self.annotations()?, entry)
    }

    /// The same from a database that is open.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn mailbox_annotations_in(
        &self,
        annotations: &mut AnnotationDb,
        entry: &MailboxEntry,
    ) -> Result<Vec<Annotation>, SpoolError> {
        let mut found = self.annotations_of_mailboxes(annotations, &[entry])?;
        Ok(found.pop().unwrap_or_default())
    }

    /// The annotations of several mailboxes, in their order.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn annotations_of_mailboxes(
        &self,
        annotations: &mut AnnotationDb,
        entries: &[&MailboxEntry],
    ) -> Result<Vec<Vec<Annotation>>, SpoolError> {
        let owner_of = |entry: &&MailboxEntry| self.namespace().owner_of(&entry.name);
        let owners: Vec<Option<UserId>> = entries.iter().map(owner_of).collect();
        let scopes = entries
            .iter()
            .zip(&owners)
            .map(|(entry, owner)| Scope::Mailbox {
                id: &entry.unique_id,
                owner: owner.as_ref(),
            });
        annotations.all_of(&scopes.collect::<Vec<_>>())
    }

    /// Tells others of changes: the channels of the sync log that want to know.
    ///
    /// # Errors
    /// If a log cannot be written.
    pub fn log(&self, items: &[LogItem]) -> Result<(), SpoolError> {
        let replication = &self.config.replication;
        let channels = synclog::channels_to_tell(
            replication.log,
            &replication.log_channels,
            &replication.log_always,
            self.origin,
        );
        for channel in channels {
            synclog::append(&self.disk, &self.layout.sync_log(channel), items)?;
        }
        Ok(())
    }

    /// Tells those who see more or less mailboxes than before: a line in the sync log for the
    /// INBOX of each (databases §9.1).
    ///
    /// # Errors
    /// If the mailbox list cannot be read or a log not be written.
    pub fn tell_visibility(
        &self,
        list: &mut MailboxList,
        change: &VisibilityChange,
    ) -> Result<(), SpoolError> {
        let mut items = Vec::new();
        for identifier in &change.identifiers {
            let Ok(user) = UserId::parse(identifier) else {
                continue;
            };
            let inbox = self.namespace().inbox_of(&user);
            if list.find(&inbox)?.is_some_and(|entry| entry.is_real()) {
                items.push(LogItem::Mailbox(inbox));
            }
        }
        if items.is_empty() {
            Ok(())
        } else {
            self.log(&items)
        }
    }

    /// What is to be done after a mailbox was changed: its readers are told, and the sync log gets
    /// `items`.
    ///
    /// # Errors
    /// If either cannot be written.
    pub fn mailbox_changed(&self, name: &MailboxName, items: &[LogItem]) -> Result<(), SpoolError> {
        self.tell_readers(name)?;
        self.log(items)
    }

    /// Tells those who look at a mailbox that it changed: its cached status is forgotten, and
    /// IDLE-ing clients are woken.
    ///
    /// # Errors
    /// If the status cache cannot be written.
    pub fn tell_readers(&self, name: &MailboxName) -> Result<(), SpoolError> {
        if self.config.mailboxes.status_cache {
            let path = &self.layout.places().status_cache_db;
            let backend = self.backend(self.config.databases.status_cache);
            statuscache::forget(&self.disk, path, backend, name)?;
        }
        if let Some(idle) = &self.idle
            && let Err(error) = idle.mailbox_changed(name)
        {
            // Its clients then see the change at their next command.
            debug!(sync_mailbox = %name, "idled cannot be told of {name}: {error}");
        }
        Ok(())
    }

    /// The format of a database, with what is to be known of this server to use it.
    pub fn backend(&self, configured: config::Backend) -> Backend {
        self.formats.of(configured)
    }

    /// The format of new indexes.
    pub fn index_version_of_new(&self) -> IndexVersion {
        IndexVersion::from_number(self.config.mailboxes.index_version)
            .unwrap_or(IndexVersion::CREATED)
    }

    /// The zone of the daemons on this host.
    pub fn time_zone(&self) -> &TimeZone {
        &self.time_zone
    }
}
