//! A user's subscriptions (databases §10), one database per user, named by
//! [`UserFile::Subscriptions`](super::layout::UserFile::Subscriptions).
//!
//! Cyrus 3.6 to 3.10 write version 2, later ones version 3; older ones wrote no version. New
//! files are made in version 2, which all of these read.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::SpoolError;
use super::cyrusdb::{Backend, Create, Db};
use super::disk::Disk;
use super::lock::Locks;
use crate::mail::{MailboxName, NameError, Namespace, UserId};

const VERSION_KEY: &[u8] = b"\x1fVER\x1f";
/// Stands in keys instead of the name of the user's own INBOX.
const INBOX: &[u8] = b"INBOX";
const LEVEL_SEPARATOR: u8 = 0x1f;

/// How the keys are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Before 3.6: internal names.
    InternalNames,
    /// 3.6 to 3.10: a leading own INBOX is replaced whatever follows it.
    Version2,
    /// 3.12 and later: the own INBOX is replaced if the name or a level ends there.
    Version3,
}

/// The subscriptions of one user.
#[derive(Debug)]
pub struct Subscriptions {
    disk: Disk,
    path: PathBuf,
    db: Db,
    form: Form,
    keys: Keys,
}

/// How names become keys for this user.
#[derive(Debug)]
struct Keys {
    namespace: Namespace,
    /// DB name of the user's INBOX.
    inbox: Vec<u8>,
}

impl Subscriptions {
    /// Opens a user's subscriptions for reading; `None` if there are none.
    ///
    /// # Errors
    /// If they cannot be read or are of a later version than 3.
    pub fn open(
        disk: &Disk,
        path: &Path,
        backend: Backend,
        namespace: &Namespace,
        user: &UserId,
    ) -> Result<Option<Subscriptions>, SpoolError> {
        let Some(mut db) = Db::open(disk, path, backend, Create::No)? else {
            return Ok(None);
        };
        let form = form(&mut db, path)?;
        Ok(Some(Subscriptions {
            disk: disk.clone(),
            path: path.to_owned(),
            db,
            form,
            keys: Keys::new(namespace, user),
        }))
    }

    /// Opens a user's subscriptions for changes; creates the file if there is none and converts
    /// one of Cyrus 3.4 or older to version 2 under the lock that the daemons use for it. The
    /// conversion is on disk when this returns.
    ///
    /// # Errors
    /// If the file or a lock cannot be had, or the version is later than 3.
    pub fn open_for_change(
        disk: &Disk,
        path: &Path,
        backend: Backend,
        namespace: &Namespace,
        user: &UserId,
        locks: &Locks,
    ) -> Result<Subscriptions, SpoolError> {
        let keys = Keys::new(namespace, user);
        let db = Db::open(disk, path, backend, Create::Yes)?;
        let mut db = db.ok_or_else(|| SpoolError::corrupt(path, 0, "could not be created"))?;
        let mut form = form(&mut db, path)?;
        if form == Form::InternalNames {
            let _lock = locks.subscription_upgrade(user)?;
            convert(disk, &mut db, &keys)?;
            form = self::form(&mut db, path)?;
        }
        Ok(Subscriptions {
            disk: disk.clone(),
            path: path.to_owned(),
            db,
            form,
            keys,
        })
    }

    /// All subscriptions, in the order of the file. They may name mailboxes that do not exist.
    /// What cannot be the name of a mailbox is passed over.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn list(&mut self) -> Result<Vec<MailboxName>, SpoolError> {
        let prefix: &[u8] = match self.form {
            Form::InternalNames => b"",
            Form::Version2 | Form::Version3 => b"N",
        };
        let mut names = Vec::new();
        self.db.scan(prefix, |key, _| {
            match self.keys.name(self.form, key) {
                Ok(name) => names.push(name),
                Err(error) => {
                    tracing::warn!(file = %self.path.display(), %error, "subscription passed over");
                }
            }
            ControlFlow::<()>::Continue(())
        })?;
        Ok(names)
    }

    /// Whether the user is subscribed to a mailbox.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn contains(&mut self, mailbox: &MailboxName) -> Result<bool, SpoolError> {
        let key = self.keys.key(self.form, mailbox);
        Ok(self.db.get(&key)?.is_some())
    }

    /// Subscribes the user to a mailbox, existing or not. On disk when this returns.
    ///
    /// # Errors
    /// If the file cannot be locked in time or changed.
    pub fn add(&mut self, mailbox: &MailboxName) -> Result<(), SpoolError> {
        let key = self.keys.key(self.form, mailbox);
        let mut transaction = self.db.begin(self.disk.lock_deadline())?;
        if self.form != Form::InternalNames && transaction.get(VERSION_KEY)?.is_none() {
            transaction.put(VERSION_KEY, b"2")?;
        }
        transaction.put(&key, b"")?;
        transaction.commit()?;
        Ok(())
    }

    /// Unsubscribes the user; false if that was so already. On disk when this returns.
    ///
    /// # Errors
    /// If the file cannot be locked in time or changed.
    pub fn remove(&mut self, mailbox: &MailboxName) -> Result<bool, SpoolError> {
        let key = self.keys.key(self.form, mailbox);
        let mut transaction = self.db.begin(self.disk.lock_deadline())?;
        let existed = transaction.delete(&key)?;
        transaction.commit()?;
        Ok(existed)
    }
}

/// The form of a file; an empty one is about to become version 2.
fn form(db: &mut Db, path: &Path) -> Result<Form, SpoolError> {
    match db.get(VERSION_KEY)?.as_deref() {
        Some(b"2") => Ok(Form::Version2),
        Some(b"3") => Ok(Form::Version3),
        Some(version) => Err(SpoolError::Unsupported {
            path: path.to_owned(),
            what: format!("version {:?}", String::from_utf8_lossy(version)),
        }),
        None => {
            let first = db.scan(b"", |_, _| ControlFlow::Break(()))?;
            Ok(match first {
                Some(()) => Form::InternalNames,
                None => Form::Version2,
            })
        }
    }
}

/// Rewrites the keys of an old file. Somebody else may have done it in the meantime.
fn convert(disk: &Disk, db: &mut Db, keys: &Keys) -> Result<(), SpoolError> {
    let mut transaction = db.begin(disk.lock_deadline())?;
    if transaction.get(VERSION_KEY)?.is_some() {
        return Ok(());
    }
    let mut entries = Vec::new();
    transaction.scan(b"", |key, value| {
        entries.push((key.to_owned(), value.to_owned()));
        ControlFlow::<()>::Continue(())
    })?;
    for (key, _) in &entries {
        transaction.delete(key)?;
    }
    for (key, value) in &entries {
        let name = std::str::from_utf8(key).ok();
        match name.and_then(|name| MailboxName::parse(name).ok()) {
            Some(name) => transaction.put(&keys.key(Form::Version2, &name), value)?,
            None => tracing::warn!(key = %key.escape_ascii(), "subscription dropped"),
        }
    }
    transaction.put(VERSION_KEY, b"2")?;
    transaction.commit()?;
    Ok(())
}

impl Keys {
    fn new(namespace: &Namespace, user: &UserId) -> Keys {
        Keys {
            inbox: namespace.db_name(&namespace.inbox_of(user)),
            namespace: namespace.clone(),
        }
    }

    fn key(&self, form: Form, mailbox: &MailboxName) -> Vec<u8> {
        if form == Form::InternalNames {
            return mailbox.as_str().as_bytes().to_vec();
        }
        let name = self.namespace.db_name(mailbox);
        match name.strip_prefix(&self.inbox[..]) {
            Some(rest) if form.ends_inbox(rest) => [b"N", INBOX, rest].concat(),
            _ => [&b"N"[..], &name].concat(),
        }
    }

    fn name(&self, form: Form, key: &[u8]) -> Result<MailboxName, NameError> {
        if form == Form::InternalNames {
            return MailboxName::parse(&String::from_utf8_lossy(key));
        }
        let name = key.get(1..).unwrap_or_default();
        match name.strip_prefix(INBOX) {
            Some(rest) if form.ends_inbox(rest) => self
                .namespace
                .from_db_name(&[&self.inbox[..], rest].concat()),
            _ => self.namespace.from_db_name(name),
        }
    }
}

impl Form {
    /// Whether what follows the own INBOX leaves it the own INBOX.
    fn ends_inbox(self, rest: &[u8]) -> bool {
        self == Form::Version2 || matches!(rest.first(), None | Some(&LEVEL_SEPARATOR))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{LockSettings, Places};
    use crate::spool::layout::Layout;

    struct Store {
        directory: tempfile::TempDir,
        disk: Disk,
    }

    impl Store {
        fn new() -> Store {
            Store {
                directory: tempfile::tempdir().unwrap(),
                disk: Disk::default(),
            }
        }

        fn path(&self) -> PathBuf {
            self.directory.path().join("sub.db")
        }

        fn put_raw(&self, pairs: &[(&[u8], &[u8])]) {
            let mut db = self.db();
            let mut transaction = db.begin(self.disk.lock_deadline()).unwrap();
            for (key, value) in pairs {
                transaction.put(key, value).unwrap();
            }
            transaction.commit().unwrap();
        }

        fn db(&self) -> Db {
            Db::open(&self.disk, &self.path(), Backend::Twoskip, Create::Yes)
                .unwrap()
                .unwrap()
        }

        fn keys(&self) -> Vec<String> {
            let mut keys = Vec::new();
            self.db()
                .scan(b"", |key, value| {
                    let line = [key, b"=", value].concat();
                    keys.push(String::from_utf8(line).unwrap().replace('\x1f', "/"));
                    ControlFlow::<()>::Continue(())
                })
                .unwrap();
            keys
        }

        fn open(&self, user: &str) -> Result<Option<Subscriptions>, SpoolError> {
            let user = UserId::parse(user).unwrap();
            let namespace = Namespace::default();
            Subscriptions::open(
                &self.disk,
                &self.path(),
                Backend::Twoskip,
                &namespace,
                &user,
            )
        }

        fn open_for_change(&self, user: &str) -> Subscriptions {
            let namespace = Namespace::default();
            let places = Places::below(self.directory.path());
            let layout = Layout::new(places, namespace.clone());
            let locks = Locks::new(self.disk.clone(), layout, LockSettings::default());
            let user = UserId::parse(user).unwrap();
            Subscriptions::open_for_change(
                &self.disk,
                &self.path(),
                Backend::Twoskip,
                &namespace,
                &user,
                &locks,
            )
            .unwrap()
        }
    }

    fn name(text: &str) -> MailboxName {
        MailboxName::parse(text).unwrap()
    }

    /// The file and the quirk of databases §10.
    #[test]
    fn version_2_replaces_the_inbox_as_a_prefix() {
        let store = Store::new();
        assert!(store.open("bob").unwrap().is_none());
        let mut bob = store.open_for_change("bob");
        let names = [
            "user.bob",
            "user.bob.Sub^two",
            "user.bobby.Priv",
            "shared.news",
        ];
        for mailbox in names {
            bob.add(&name(mailbox)).unwrap();
        }
        assert_eq!(
            store.keys(),
            [
                "/VER/=2",
                "NINBOX=",
                "NINBOX/Sub.two=",
                "NINBOXby/Priv=",
                "Nshared/news="
            ]
        );
        let mut list = store.open("bob").unwrap().unwrap().list().unwrap();
        list.sort();
        let mut expected: Vec<MailboxName> = names.iter().map(|text| name(text)).collect();
        expected.sort();
        assert_eq!(list, expected);
        assert!(bob.contains(&name("user.bobby.Priv")).unwrap());
        assert!(bob.remove(&name("user.bobby.Priv")).unwrap());
        assert!(!bob.remove(&name("user.bobby.Priv")).unwrap());
        assert_eq!(store.keys().len(), 4);
    }

    #[test]
    fn version_3_wants_a_whole_level() {
        let store = Store::new();
        store.put_raw(&[
            (VERSION_KEY, b"3"),
            (b"NINBOX\x1fSub", b""),
            (b"NINBOXby", b""),
        ]);
        let mut bob = store.open_for_change("bob");
        assert_eq!(bob.list().unwrap(), [name("user.bob.Sub"), name("INBOXby")]);
        bob.add(&name("user.bobby")).unwrap();
        bob.add(&name("user.bob")).unwrap();
        assert!(store.keys().contains(&"Nuser/bobby=".to_owned()));
        assert!(store.keys().contains(&"NINBOX=".to_owned()));
    }

    #[test]
    fn old_files_are_read_and_converted() {
        let store = Store::new();
        store.put_raw(&[(b"user.bob.a^b", b""), (b"user.bob", b""), (b"shared", b"")]);
        let mut old = store.open("bob").unwrap().unwrap();
        assert_eq!(
            old.list().unwrap(),
            [name("shared"), name("user.bob"), name("user.bob.a^b")]
        );
        assert_eq!(store.keys().len(), 3);
        let mut bob = store.open_for_change("bob");
        assert_eq!(
            store.keys(),
            ["/VER/=2", "NINBOX=", "NINBOX/a.b=", "Nshared="]
        );
        assert_eq!(bob.list().unwrap().len(), 3);
    }

    #[test]
    fn later_versions_are_refused() {
        let store = Store::new();
        store.put_raw(&[(VERSION_KEY, b"4")]);
        assert!(matches!(
            store.open("bob"),
            Err(SpoolError::Unsupported { .. })
        ));
    }
}
