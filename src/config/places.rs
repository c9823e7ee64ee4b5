//! Where the store's directories and databases are, as configured.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::mail::Partition;

bitflags::bitflags! {
    /// The files of a mailbox that may live on a metapartition (`metapartition_files`).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct MetadataFiles: u16 {
        /// `cyrus.header`.
        const HEADER = 1;
        /// `cyrus.index`.
        const INDEX = 2;
        /// `cyrus.cache`.
        const CACHE = 4;
        /// `cyrus.expunge`, of index versions below 12.
        const EXPUNGE = 8;
        /// `cyrus.squat`.
        const SQUAT = 16;
        /// `cyrus.annotations`.
        const ANNOTATIONS = 32;
        /// A lock file of old versions.
        const LOCK = 64;
        /// `cyrus.dav`.
        const DAV = 128;
        /// The cache of archived messages.
        const ARCHIVE_CACHE = 256;
    }
}

/// The directories of one partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PartitionPlaces {
    /// Messages, and all that is not placed elsewhere (`partition-NAME`).
    pub data: PathBuf,
    /// The files named by `metapartition_files` (`metapartition-NAME`).
    pub metadata: Option<PathBuf>,
    /// Archived messages (`archivepartition-NAME`).
    pub archive: Option<PathBuf>,
    /// Directories of single kinds of files (`metadir-KIND-NAME`).
    pub metadata_by_file: Vec<(MetadataFiles, PathBuf)>,
}

/// Where everything is. Databases whose option for a path is unset have the default path here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// Root of the databases (`configdirectory`).
    pub config_directory: PathBuf,
    /// Root of the per-user databases (`mboxname_userpath`; until 3.12 always `configdirectory`).
    pub user_directory: PathBuf,
    /// The name locks (`mboxname_lockpath`).
    pub lock_directory: PathBuf,
    /// One file per process (`proc_path`).
    pub process_directory: PathBuf,
    /// Sieve scripts and their byte code (`sievedir`).
    pub sieve_directory: PathBuf,
    /// The partitions by name.
    pub partitions: BTreeMap<Partition, PartitionPlaces>,
    /// Which files live on the metapartition.
    pub metadata_files: MetadataFiles,
    /// `hashimapspool`: a level of one letter in paths that come from names.
    pub hash_names: bool,
    /// `fulldirhash`: the letter is a hash of the whole level.
    pub full_hash: bool,
    /// The mailbox list (`mboxlist_db_path`).
    pub mailboxes_db: PathBuf,
    /// Server and mailbox annotations (`annotation_db_path`).
    pub annotations_db: PathBuf,
    /// The status cache (`statuscache_db_path`).
    pub status_cache_db: PathBuf,
    /// idled's socket (`idlesocket`).
    pub idle_socket: PathBuf,
    /// Users who may not log in (`userdeny_db_path`).
    pub denied_users_db: PathBuf,
    /// The quota roots (`quota_db_path`). With `quotalegacy` no such file exists: the directories
    /// `quota` and `domain` beside it hold the files of the roots (databases §5).
    pub quotas_db: PathBuf,
}

impl Places {
    /// The directories of the store: partitions, and those of databases and scripts.
    pub fn directories(&self) -> Vec<PathBuf> {
        let of_partitions = self.partitions.values().flat_map(|partition| {
            let more = partition.metadata_by_file.iter().map(|(_, path)| path);
            [
                Some(&partition.data),
                partition.metadata.as_ref(),
                partition.archive.as_ref(),
            ]
            .into_iter()
            .flatten()
            .chain(more)
        });
        [
            &self.config_directory,
            &self.user_directory,
            &self.lock_directory,
            &self.sieve_directory,
        ]
        .into_iter()
        .chain(of_partitions)
        .cloned()
        .collect()
    }

    /// The default places below a configuration directory, without any partition.
    pub fn below(config_directory: impl Into<PathBuf>) -> Places {
        let config_directory = config_directory.into();
        Places {
            user_directory: config_directory.clone(),
            lock_directory: config_directory.join("lock"),
            process_directory: config_directory.join("proc"),
            sieve_directory: PathBuf::from("/usr/sieve"),
            partitions: BTreeMap::new(),
            metadata_files: MetadataFiles::empty(),
            hash_names: false,
            full_hash: false,
            mailboxes_db: config_directory.join("mailboxes.db"),
            annotations_db: config_directory.join("annotations.db"),
            status_cache_db: config_directory.join("statuscache.db"),
            idle_socket: config_directory.join("socket/idle"),
            denied_users_db: config_directory.join("user_deny.db"),
            quotas_db: config_directory.join("quotas.db"),
            config_directory,
        }
    }
}
