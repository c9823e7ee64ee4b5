//! `syncctl init`: makes what is missing of a store.

use std::path::{Path, PathBuf};

use nix::unistd::{Group, Uid, User, chown};
use serde_json::json;

use super::options::Init;
use super::output::Output;
use super::{OperatorError, load};
use crate::config::{Config, Places};
use crate::mail::{MailboxName, NameError, Partition};
use crate::service::process;
use crate::spool::SpoolError;
use crate::spool::disk::{Disk, LockKind};
use crate::spool::mailboxes::MailboxEntry;
use crate::spool::store::Store;

/// What the daemons expect below the configuration directory.
const DIRECTORIES: [&str; 11] = [
    "db", "domain", "log", "msg", "ptclient", "quota", "socket", "stats", "sync", "tls", "user",
];

/// Makes directories and databases, then users and mailboxes. What exists stays as it is.
pub fn run(options: &Init, output: &mut Output) -> Result<(), OperatorError> {
    let config = load(&options.config)?;
    for directory in make_directories(&config)? {
        let path = directory.display();
        output.result(&json!({"directory": path.to_string()}), || {
            format!("made {path}")
        })?;
    }
    process::become_user(&config.process)?;
    // Opening it makes the mailbox list.
    let store = Store::open(config)?.changed_locally();
    drop(store.annotations()?);
    let namespace = store.namespace();
    let inboxes = options
        .users
        .iter()
        .map(|user| Ok(namespace.inbox_of(user)));
    let named = options
        .mailboxes
        .iter()
        .map(|name| namespace.from_admin(name));
    let names: Result<Vec<MailboxName>, NameError> = inboxes.chain(named).collect();
    for name in names? {
        let made = make_mailbox(&store, &name)?.is_some();
        let shown = namespace.to_admin(&name);
        output.result(&json!({"mailbox": shown, "made": made}), || match made {
            true => format!("made {shown}"),
            false => format!("{shown} exists"),
        })?;
    }
    Ok(())
}

/// Makes a mailbox, and those between it and the user's INBOX; `None` if it exists.
///
/// # Errors
/// If the name is not allowed, the user does not exist, or something cannot be made.
pub fn make_mailbox(
    store: &Store,
    name: &MailboxName,
) -> Result<Option<MailboxEntry>, OperatorError> {
    let namespace = store.namespace();
    name.is_creatable(namespace.virtual_domains)?;
    if namespace.is_deleted(name) {
        return Err(OperatorError::Name(NameError {
            what: "mailbox name",
            text: name.to_string(),
            reason: "is one of deleted mailboxes",
        }));
    }
    let lock = store
        .locks
        .owner_of(name, LockKind::Exclusive)
        .map_err(SpoolError::from)?;
    let mut list = store.mailbox_list()?;
    if list.find(name)?.is_some_and(|entry| entry.is_real()) {
        return Ok(None);
    }
    let mut partition = None;
    if let Some(owner) = namespace.owner_of(name)
        && !namespace.is_inbox(name)
    {
        let inbox = list.find(&namespace.inbox_of(&owner))?;
        let inbox = inbox.filter(MailboxEntry::is_real);
        partition = inbox.ok_or(OperatorError::NoUser(owner))?.partition;
    }
    let partition = match partition {
        Some(partition) => partition,
        None => default_partition(&store.config)?,
    };
    store.create_parents(&mut list, &lock, name, &partition)?;
    Ok(Some(
        store.create_mailbox(&mut list, &lock, name, partition)?,
    ))
}

fn default_partition(config: &Config) -> Result<Partition, OperatorError> {
    let preferred = config.mailboxes.default_partition.clone();
    preferred.ok_or(OperatorError::NoDefaultPartition)
}

/// Makes the directories that are missing, for the user who owns the store if root asks; returns
/// what was made.
fn make_directories(config: &Config) -> Result<Vec<PathBuf>, OperatorError> {
    let disk = Disk::new(config.process.umask, config.locks.timeout);
    let mut made = Vec::new();
    for directory in directories(&config.places) {
        let missing = directory.ancestors().take_while(|path| !path.exists());
        let missing: Vec<PathBuf> = missing.map(Path::to_owned).collect();
        disk.create_dirs(&directory).map_err(SpoolError::from)?;
        for directory in missing.into_iter().rev() {
            hand_over(&directory, config)?;
            made.push(directory);
        }
    }
    Ok(made)
}

/// Gives what root made to the user who owns the store.
///
/// # Errors
/// If the system refuses.
pub fn hand_over(path: &Path, config: &Config) -> Result<(), OperatorError> {
    if !Uid::effective().is_root() {
        return Ok(());
    }
    let handed_over = || {
        let user = User::from_name(&config.process.user)?.map(|user| user.uid);
        let group = Group::from_name(&config.process.group)?.map(|group| group.gid);
        chown(path, user, group)
    };
    handed_over().map_err(|error: nix::Error| OperatorError::Directory {
        path: path.to_owned(),
        source: error.into(),
    })
}

fn directories(places: &Places) -> Vec<PathBuf> {
    let root = &places.config_directory;
    let mut directories = vec![root.clone()];
    directories.extend(DIRECTORIES.iter().map(|name| root.join(name)));
    directories.extend([
        places.user_directory.clone(),
        places.lock_directory.clone(),
        places.process_directory.clone(),
        places.sieve_directory.clone(),
        places
            .quotas_db
            .parent()
            .unwrap_or(&places.config_directory)
            .to_owned(),
    ]);
    for partition in places.partitions.values() {
        directories.push(partition.data.clone());
        directories.extend(partition.metadata.clone());
        directories.extend(partition.archive.clone());
        let others = partition.metadata_by_file.iter();
        directories.extend(others.map(|(_, directory)| directory.clone()));
    }
    for database in [
        &places.mailboxes_db,
        &places.annotations_db,
        &places.status_cache_db,
        &places.denied_users_db,
    ] {
        directories.extend(database.parent().map(Path::to_owned));
    }
    directories
}
