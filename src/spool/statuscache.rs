//! The status cache: answers to STATUS that the daemons trust without looking at the mailbox
//! (databases §15.2). Who changes a mailbox must take them away.

use std::ops::ControlFlow;
use std::path::Path;

use super::SpoolError;
use super::cyrusdb::{Backend, Create, Db};
use super::disk::Disk;
use crate::mail::MailboxName;

/// Removes what the cache knows of a mailbox, for all users. Without a cache there is nothing to
/// do. On disk when this returns.
///
/// # Errors
/// If the cache cannot be locked in time or changed; STATUS may then tell old numbers.
pub fn forget(
    disk: &Disk,
    path: &Path,
    backend: Backend,
    mailbox: &MailboxName,
) -> Result<(), SpoolError> {
    let Some(mut db) = Db::open(disk, path, backend, Create::No)? else {
        return Ok(());
    };
    let prefix = format!("{mailbox}%").into_bytes();
    let mut transaction = db.begin(disk.lock_deadline())?;
    let mut keys = Vec::new();
    transaction.scan(&prefix, |key, _| {
        keys.push(key.to_owned());
        ControlFlow::<()>::Continue(())
    })?;
    for key in keys {
        transaction.delete(&key)?;
    }
    transaction.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_mailbox_is_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("statuscache.db");
        let disk = Disk::default();
        let forget = |name: &str| {
            let name = MailboxName::parse(name).unwrap();
            forget(&disk, &path, Backend::Twoskip, &name).unwrap();
        };
        forget("user.a");
        assert!(!path.exists());

        let mut db = Db::open(&disk, &path, Backend::Twoskip, Create::Yes)
            .unwrap()
            .unwrap();
        let keys = [
            "user.a%",
            "user.a%%a",
            "user.a%%bob",
            "user.a.x%",
            "user.ab%",
        ];
        let mut transaction = db.begin(disk.lock_deadline()).unwrap();
        for key in keys {
            transaction.put(key.as_bytes(), b"I 8 ()").unwrap();
        }
        transaction.commit().unwrap();
        forget("user.a");
        let left: Vec<bool> = keys
            .iter()
            .map(|key| db.get(key.as_bytes()).unwrap().is_some())
            .collect();
        assert_eq!(left, [false, false, false, true, true]);
    }
}
