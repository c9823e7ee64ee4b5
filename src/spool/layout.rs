//! Where every file of the store is (databases §8, §17; mailbox-format §1).
//!
//! Pure: computes paths from typed names, touches no file. Only typed names come in, so that no
//! path can leave its root.

use std::path::{Path, PathBuf};

use crate::config::{ChannelName, MetadataFiles, PartitionPlaces, Places};
use crate::mail::{
    Guid, MailboxName, MailboxType, Namespace, Partition, TypeFlags, Uid, UniqueId, UserId,
};

/// The directories of the store.
#[derive(Debug, Clone)]
pub struct Layout {
    places: Places,
    namespace: Namespace,
}

/// A partition without a directory in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no partition-{0} is configured")]
pub struct UnknownPartition(pub Partition);

/// What the directory of a mailbox is named after (mailbox-format §1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailboxHome<'a> {
    /// The unique id: since 3.6, for mailboxes whose type lacks the letter `l`.
    UniqueId(&'a UniqueId),
    /// The mailbox name: the legacy layout.
    Name(&'a MailboxName),
}

impl<'a> MailboxHome<'a> {
    /// The home of a mailbox of this type.
    pub fn of(kind: MailboxType, id: &'a UniqueId, name: &'a MailboxName) -> MailboxHome<'a> {
        if kind.flags.contains(TypeFlags::LEGACY_LAYOUT) {
            MailboxHome::Name(name)
        } else {
            MailboxHome::UniqueId(id)
        }
    }
}

/// What the places of a user's files are named after (databases §8.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserHome<'a> {
    /// The unique id of the user's INBOX.
    UniqueId(&'a UniqueId),
    /// The user id: the legacy layout, and whoever has no INBOX in the mailbox list.
    UserId(&'a UserId),
}

impl<'a> UserHome<'a> {
    /// The home of a user, given type and unique id of the INBOX if the mailbox list has one.
    pub fn of(user: &'a UserId, inbox: Option<(MailboxType, &'a UniqueId)>) -> UserHome<'a> {
        match inbox {
            Some((kind, id)) if !kind.flags.contains(TypeFlags::LEGACY_LAYOUT) => {
                UserHome::UniqueId(id)
            }
            _ => UserHome::UserId(user),
        }
    }
}

/// A per-user file (databases §8.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserFile {
    /// Subscribed mailboxes.
    Subscriptions,
    /// Seen state in other users' mailboxes.
    Seen,
    /// Modseqs and uidvalidity of the account.
    Counters,
    /// Conversations.
    Conversations,
    /// DAV and Sieve index, SQLite.
    Dav,
    /// Active tiers of the search index.
    SearchTiers,
    /// Mailbox keys for URLAUTH.
    MailboxKeys,
}

impl UserFile {
    /// All kinds.
    pub const ALL: [UserFile; 7] = [
        UserFile::Subscriptions,
        UserFile::Seen,
        UserFile::Counters,
        UserFile::Conversations,
        UserFile::Dav,
        UserFile::SearchTiers,
        UserFile::MailboxKeys,
    ];

    fn suffix(self) -> &'static str {
        match self {
            UserFile::Subscriptions => "sub",
            UserFile::Seen => "seen",
            UserFile::Counters => "counters",
            UserFile::Conversations => "conversations",
            UserFile::Dav => "dav",
            UserFile::SearchTiers => "xapianactive",
            UserFile::MailboxKeys => "mboxkey",
        }
    }
}

/// A metadata file of a mailbox (mailbox-format §1.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailboxFile {
    /// `cyrus.header`.
    Header,
    /// `cyrus.index`.
    Index,
    /// `cyrus.cache`.
    Cache,
    /// `cyrus.cache` of archived messages.
    ArchiveCache,
    /// `cyrus.annotations`.
    Annotations,
    /// `cyrus.squat`, an old search index.
    Squat,
    /// `cyrus.expunge`, of index versions below 12.
    Expunge,
}

impl MailboxFile {
    const ALL: [MailboxFile; 7] = [
        MailboxFile::Header,
        MailboxFile::Index,
        MailboxFile::Cache,
        MailboxFile::ArchiveCache,
        MailboxFile::Annotations,
        MailboxFile::Squat,
        MailboxFile::Expunge,
    ];

    /// The name of the file.
    pub fn file_name(self) -> &'static str {
        match self {
            MailboxFile::Header => "cyrus.header",
            MailboxFile::Index => "cyrus.index",
            MailboxFile::Cache | MailboxFile::ArchiveCache => "cyrus.cache",
            MailboxFile::Annotations => "cyrus.annotations",
            MailboxFile::Squat => "cyrus.squat",
            MailboxFile::Expunge => "cyrus.expunge",
        }
    }

    fn listed_as(self) -> MetadataFiles {
        match self {
            MailboxFile::Header => MetadataFiles::HEADER,
            MailboxFile::Index => MetadataFiles::INDEX,
            MailboxFile::Cache => MetadataFiles::CACHE,
            MailboxFile::ArchiveCache => MetadataFiles::ARCHIVE_CACHE,
            MailboxFile::Annotations => MetadataFiles::ANNOTATIONS,
            MailboxFile::Squat => MetadataFiles::SQUAT,
            MailboxFile::Expunge => MetadataFiles::EXPUNGE,
        }
    }

    /// The file whose `metadir-` option moves this one (mailbox-format §1.4).
    fn moved_with(self) -> MetadataFiles {
        match self {
            MailboxFile::Annotations => MetadataFiles::INDEX,
            other => other.listed_as(),
        }
    }

    fn root(self, partition: &PartitionPlaces, on_metapartition: MetadataFiles) -> &Path {
        let moved = partition
            .metadata_by_file
            .iter()
            .find(|(file, _)| *file == self.moved_with())
            .map(|(_, root)| root);
        let metadata = partition
            .metadata
            .as_ref()
            .filter(|_| on_metapartition.contains(self.listed_as()));
        let archive = partition
            .archive
            .as_ref()
            .filter(|_| self == MailboxFile::ArchiveCache);
        moved.or(metadata).or(archive).unwrap_or(&partition.data)
    }
}

/// The paths of one mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailboxPaths {
    data: PathBuf,
    archive: PathBuf,
    metadata: [PathBuf; MailboxFile::ALL.len()],
}

impl MailboxPaths {
    /// The directory of the message files.
    pub fn data_directory(&self) -> &Path {
        &self.data
    }

    /// The directory of archived message files; may be that of all others.
    pub fn archive_directory(&self) -> &Path {
        &self.archive
    }

    /// A metadata file.
    pub fn file(&self, file: MailboxFile) -> PathBuf {
        self.directory_of(file).join(file.file_name())
    }

    /// The file beside a metadata file in which its successor is written.
    pub fn new_file(&self, file: MailboxFile) -> PathBuf {
        self.directory_of(file)
            .join(format!("{}.NEW", file.file_name()))
    }

    /// A message file.
    pub fn message(&self, uid: Uid) -> PathBuf {
        self.data.join(format!("{uid}."))
    }

    /// The file of a message whose record has the archived flag.
    pub fn archived_message(&self, uid: Uid) -> PathBuf {
        self.archive.join(format!("{uid}."))
    }

    /// Every directory of the mailbox once, that of the messages first.
    pub fn directories(&self) -> Vec<&Path> {
        let mut directories = vec![self.data.as_path()];
        for directory in self.metadata.iter().chain([&self.archive]) {
            if !directories.contains(&directory.as_path()) {
                directories.push(directory);
            }
        }
        directories
    }

    fn directory_of(&self, file: MailboxFile) -> &Path {
        let place = MailboxFile::ALL.iter().position(|known| *known == file);
        place
            .and_then(|place| self.metadata.get(place))
            .unwrap_or(&self.data)
    }
}

impl Layout {
    /// The layout that places and names result in.
    pub fn new(places: Places, namespace: Namespace) -> Layout {
        Layout { places, namespace }
    }

    /// The configured places.
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// The configured rules for names.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    fn partition(&self, partition: &Partition) -> Result<&PartitionPlaces, UnknownPartition> {
        self.places
            .partitions
            .get(partition)
            .ok_or_else(|| UnknownPartition(partition.clone()))
    }

    /// The paths of a mailbox.
    ///
    /// # Errors
    /// If the partition is not configured.
    pub fn mailbox(
        &self,
        partition: &Partition,
        home: MailboxHome<'_>,
    ) -> Result<MailboxPaths, UnknownPartition> {
        let places = self.partition(partition)?;
        let tail = match home {
            MailboxHome::UniqueId(id) => by_id(id),
            MailboxHome::Name(name) => self.by_name(name.domain(), name.local_part()),
        };
        let listed = self.places.metadata_files;
        Ok(MailboxPaths {
            data: places.data.join(&tail),
            archive: places.archive.as_ref().unwrap_or(&places.data).join(&tail),
            metadata: MailboxFile::ALL.map(|file| file.root(places, listed).join(&tail)),
        })
    }

    /// The directory in which the process with this id keeps messages it receives by replication.
    ///
    /// # Errors
    /// If the partition is not configured.
    pub fn staging_directory(
        &self,
        partition: &Partition,
        process: u32,
    ) -> Result<PathBuf, UnknownPartition> {
        Ok(self.staging_root(partition)?.join(process.to_string()))
    }

    /// The directory that holds the staging directories of all processes.
    ///
    /// # Errors
    /// If the partition is not configured.
    pub fn staging_root(&self, partition: &Partition) -> Result<PathBuf, UnknownPartition> {
        Ok(self.partition(partition)?.data.join("sync."))
    }

    /// The file of a staged message.
    ///
    /// # Errors
    /// If the partition is not configured.
    pub fn staged_message(
        &self,
        partition: &Partition,
        process: u32,
        guid: &Guid,
    ) -> Result<PathBuf, UnknownPartition> {
        let directory = self.staging_directory(partition, process)?;
        Ok(directory.join(guid.to_string()))
    }

    /// A per-user file.
    pub fn user_file(&self, home: UserHome<'_>, file: UserFile) -> PathBuf {
        match home {
            UserHome::UniqueId(id) => self
                .user_directory(id)
                .join(format!("{}.db", file.suffix())),
            UserHome::UserId(user) => {
                let local = user.local_part();
                self.legacy_domain(&self.places.user_directory, self.domain_of(user))
                    .join("user")
                    .join(self.hash(local))
                    .join(format!("{local}.{}", file.suffix()))
            }
        }
    }

    /// The directory that holds all files of the user with this INBOX, and no other's.
    pub fn user_directory(&self, inbox: &UniqueId) -> PathBuf {
        self.places.user_directory.join("user").join(by_id(inbox))
    }

    /// The file of this kind that the shared mailboxes of a domain have in common.
    pub fn shared_file(&self, mailbox: &MailboxName, file: UserFile) -> PathBuf {
        let domain = self.namespace.parts(mailbox).domain;
        self.legacy_domain(&self.places.user_directory, domain)
            .join(format!("shared.{}", file.suffix()))
    }

    /// The directory of a user's Sieve scripts or byte code.
    pub fn sieve_directory(&self, home: UserHome<'_>) -> PathBuf {
        let root = &self.places.sieve_directory;
        match home {
            UserHome::UniqueId(id) => root.join(by_id(id)),
            UserHome::UserId(user) if self.namespace.virtual_domains => {
                let local = user.local_part();
                self.legacy_domain(root, self.domain_of(user))
                    .join(self.hash(local))
                    .join(local)
            }
            UserHome::UserId(user) => {
                let user = self.namespace.canonical_user(user);
                root.join(self.hash(user.local_part())).join(user.as_str())
            }
        }
    }

    /// The file of a quota root in the `quotalegacy` form.
    pub fn quota_file(&self, root: &MailboxName) -> PathBuf {
        let (domain, name) = match root.domain() {
            Some(domain) if self.namespace.virtual_domains => (Some(domain), root.local_part()),
            _ => (None, root.as_str()),
        };
        let hashed = name.split_once('.').map_or(name, |(_, below)| below);
        let directory = self.places.quotas_db.parent();
        self.legacy_domain(directory.unwrap_or(&self.places.config_directory), domain)
            .join("quota")
            .join(self.hash(hashed))
            .join(name)
    }

    /// The log of a channel.
    pub fn sync_log(&self, channel: &ChannelName) -> PathBuf {
        self.sync_directory(channel).join("log")
    }

    /// The log of a channel while a client works on it.
    pub fn sync_log_work_file(&self, channel: &ChannelName) -> PathBuf {
        self.sync_directory(channel).join("log-run")
    }

    fn sync_directory(&self, channel: &ChannelName) -> PathBuf {
        self.places
            .config_directory
            .join("sync")
            .join(channel.as_str())
    }

    /// The directory in which a user's sessions are recorded, if it exists.
    pub fn telemetry_directory(&self, user: &UserId) -> PathBuf {
        self.places.config_directory.join("log").join(user.as_str())
    }

    /// The file whose existence keeps all but replication from writing a user's mail (3.12).
    pub fn replica_only_mark(&self, user: &UserId) -> PathBuf {
        self.places
            .config_directory
            .join("replicaonly")
            .join(user.as_str())
    }

    /// The file that tells what a process does.
    pub fn process_file(&self, process: u32) -> PathBuf {
        self.places.process_directory.join(process.to_string())
    }

    /// The file of a name lock; `name` as in databases §16.1, which is read like a mailbox name.
    pub(super) fn lock_file(&self, name: &str) -> PathBuf {
        let (domain, local) = match name.split_once('!') {
            Some((domain, local)) => (Some(domain), local),
            None => (None, name),
        };
        let mut path = self
            .places
            .lock_directory
            .join(self.by_name(domain, local))
            .into_os_string();
        path.push(".lock");
        path.into()
    }

    /// The legacy path of a name (mailbox-format §1.3).
    fn by_name(&self, domain: Option<&str>, local: &str) -> PathBuf {
        let mut path = PathBuf::new();
        let domain =
            domain.filter(|domain| Some(*domain) != self.namespace.default_domain.as_deref());
        if let Some(domain) = domain {
            path.push("domain");
            if self.places.hash_names {
                path.push(self.hash(domain));
            }
            path.push(domain);
        }
        if self.places.hash_names {
            let hashed = local.split('.').nth(1).unwrap_or(local);
            path.push(self.hash(&hashed.replace('^', ".")));
        }
        path.extend(local.split('.'));
        path
    }

    fn domain_of<'a>(&self, user: &'a UserId) -> Option<&'a str> {
        user.domain()
            .filter(|domain| Some(*domain) != self.namespace.default_domain.as_deref())
    }

    /// The part of per-user paths that comes from the domain; always hashed (databases §8.3).
    fn legacy_domain(&self, root: &Path, domain: Option<&str>) -> PathBuf {
        match domain {
            Some(domain) => root.join("domain").join(self.hash(domain)).join(domain),
            None => root.to_owned(),
        }
    }

    /// The hash letter (databases §8.1).
    fn hash(&self, text: &str) -> String {
        let letter = if self.places.full_hash {
            let n = text
                .bytes()
                .take_while(|byte| *byte != b'.')
                .fold(0u32, |n, byte| (n << 3) ^ (n >> 5) ^ u32::from(byte));
            // The remainder is below 23.
            char::from(b'A' + (n % 23) as u8)
        } else {
            match text.bytes().next().map(|byte| byte.to_ascii_lowercase()) {
                Some(byte @ b'a'..=b'z') => char::from(byte),
                _ => 'q',
            }
        };
        letter.to_string()
    }
}

/// The path of a unique id (mailbox-format §1.2).
fn by_id(id: &UniqueId) -> PathBuf {
    let mut letters = id.as_str().chars().map(String::from);
    let mut path = PathBuf::from("uuid");
    path.extend(letters.by_ref().take(2));
    path.push(id.as_str());
    path
}

#[cfg(test)]
mod tests;
