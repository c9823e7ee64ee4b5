//! The database of server and mailbox annotations.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::key::{Key, user_field, user_of_field};
use super::value::{self, StoredValue};
use crate::mail::{Annotation, UniqueId, UserId};
use crate::spool::SpoolError;
use crate::spool::cyrusdb::{Backend, Db, Transaction, Wanted};
use crate::spool::disk::Disk;

/// Whose annotations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope<'a> {
    /// Those of the server.
    Server,
    /// Those of a mailbox.
    Mailbox {
        /// The mailbox's id.
        id: &'a UniqueId,
        /// Its owner, for whom a token is stored; `None` for a shared mailbox.
        owner: Option<&'a UserId>,
    },
}

impl<'a> Scope<'a> {
    fn key_field(self) -> &'a str {
        match self {
            Scope::Server => "",
            Scope::Mailbox { id, .. } => id.as_str(),
        }
    }

    fn owner(self) -> Option<&'a UserId> {
        match self {
            Scope::Server => None,
            Scope::Mailbox { owner, .. } => owner,
        }
    }
}

/// What a change did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Whether anything was written.
    pub changed: bool,
    /// By how many octets the values grew in sum: the change of the index header's
    /// `quota_annot_used` and of the quota root's annotation storage.
    pub size_delta: i64,
}

/// Scopes that are read under one lock.
const SCOPES_AT_ONCE: usize = 64;

/// `annotations.db`.
#[derive(Debug)]
pub struct AnnotationDb {
    disk: Disk,
    path: PathBuf,
    db: Db,
}

impl AnnotationDb {
    /// Opens the database, creating it if there is none.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(disk: &Disk, path: &Path, backend: Backend) -> Result<AnnotationDb, SpoolError> {
        Ok(AnnotationDb {
            disk: disk.clone(),
            path: path.to_owned(),
            db: Db::open_vital(disk, path, backend)?,
        })
    }

    /// All annotations of the scope, sorted by entry and user (the owner's under the owner's
    /// name).
    ///
    /// # Errors
    /// If the database cannot be read or a record is damaged.
    pub fn all(&mut self, scope: Scope<'_>) -> Result<Vec<Annotation>, SpoolError> {
        let mut found = self.all_of(&[scope])?;
        Ok(found.pop().unwrap_or_default())
    }

    /// The same for several scopes, in their order; the database is locked less often.
    ///
    /// # Errors
    /// As [`AnnotationDb::all`].
    pub fn all_of(&mut self, scopes: &[Scope<'_>]) -> Result<Vec<Vec<Annotation>>, SpoolError> {
        let mut found = Vec::with_capacity(scopes.len());
        for some in scopes.chunks(SCOPES_AT_ONCE) {
            found.extend(self.all_at_once(some)?);
        }
        Ok(found)
    }

    fn all_at_once(&mut self, scopes: &[Scope<'_>]) -> Result<Vec<Vec<Annotation>>, SpoolError> {
        let prefixes = scopes
            .iter()
            .map(|scope| Key::scope_prefix(scope.key_field()));
        let prefixes: Vec<Vec<u8>> = prefixes.collect();
        let wanted = prefixes.iter().map(|prefix| Wanted::Prefix(prefix));
        let wanted: Vec<Wanted<'_>> = wanted.collect();
        let mut found = vec![Vec::new(); scopes.len()];
        let path = &self.path;
        let failed = self.db.scan_all(&wanted, |index, key, value| {
            if let (Some(scope), Some(annotations)) = (scopes.get(index), found.get_mut(index)) {
                match decode(path, *scope, key, value) {
                    Ok(annotation) => annotations.extend(annotation),
                    Err(error) => return ControlFlow::Break(error),
                }
            }
            ControlFlow::Continue(())
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        found.iter_mut().for_each(|annotations| annotations.sort());
        Ok(found)
    }

    /// Sets one annotation; an empty value removes it. A value that is there already is not
    /// written again, whatever its modseq. On disk when this returns.
    ///
    /// # Errors
    /// If the database cannot be locked in time or changed.
    pub fn set(&mut self, scope: Scope<'_>, annotation: &Annotation) -> Result<Change, SpoolError> {
        let mut edit = Edit::begin(&mut self.db, &self.disk, &self.path)?;
        edit.set(scope, annotation)?;
        edit.commit()
    }

    /// Makes the given list all that the scope has, in one transaction: what is not in the list
    /// is removed, what is there with the same value is left alone. On disk when this returns.
    ///
    /// # Errors
    /// If the database cannot be locked in time or changed; then nothing is changed.
    pub fn replace(
        &mut self,
        scope: Scope<'_>,
        annotations: &[Annotation],
    ) -> Result<Change, SpoolError> {
        let mut edit = Edit::begin(&mut self.db, &self.disk, &self.path)?;
        let mut wanted = BTreeMap::new();
        for annotation in annotations {
            wanted.insert(edit.key(scope, annotation)?, annotation);
        }
        for key in edit.keys(scope)? {
            if !wanted.contains_key(&key) {
                edit.write(&key, &StoredValue::default())?;
            }
        }
        for (key, annotation) in wanted {
            edit.write(&key, &stored(annotation))?;
        }
        edit.commit()
    }

    /// Removes all annotations of the scope, as when a mailbox goes for good. On disk when this
    /// returns.
    ///
    /// # Errors
    /// If the database cannot be locked in time or changed; then nothing is changed.
    pub fn remove_all(&mut self, scope: Scope<'_>) -> Result<Change, SpoolError> {
        self.replace(scope, &[])
    }
}

fn stored(annotation: &Annotation) -> StoredValue {
    StoredValue {
        value: annotation.value.clone(),
        modseq: annotation.modseq,
        deleted: false,
    }
}

/// A record as annotation; `None` if it has no value.
fn decode(
    path: &Path,
    scope: Scope<'_>,
    key: &[u8],
    value: &[u8],
) -> Result<Option<Annotation>, SpoolError> {
    let fail = |error: &dyn std::fmt::Display| {
        SpoolError::corrupt(path, 0, format!("{}: {error}", key.escape_ascii()))
    };
    let stored = value::decode(value).map_err(|error| fail(&error))?;
    let key = Key::parse(key).map_err(|error| fail(&error))?;
    if stored.value.is_empty() {
        return Ok(None);
    }
    Ok(Some(Annotation {
        entry: key.entry.to_owned(),
        user: user_of_field(key.user, scope.owner()).to_owned(),
        modseq: stored.modseq,
        value: stored.value,
    }))
}

/// A transaction that keeps count.
struct Edit<'a> {
    transaction: Transaction<'a>,
    path: &'a Path,
    change: Change,
}

impl<'a> Edit<'a> {
    fn begin(db: &'a mut Db, disk: &Disk, path: &'a Path) -> Result<Edit<'a>, SpoolError> {
        Ok(Edit {
            transaction: db.begin(disk.lock_deadline())?,
            path,
            change: Change::default(),
        })
    }

    fn commit(self) -> Result<Change, SpoolError> {
        if self.change.changed {
            self.transaction.commit()?;
        }
        Ok(self.change)
    }

    fn key(&self, scope: Scope<'_>, annotation: &Annotation) -> Result<Vec<u8>, SpoolError> {
        let key = Key {
            scope: scope.key_field(),
            entry: &annotation.entry,
            user: user_field(&annotation.user, scope.owner()),
        };
        key.to_bytes()
            .map_err(|error| SpoolError::corrupt(self.path, 0, error.to_string()))
    }

    fn keys(&mut self, scope: Scope<'_>) -> Result<Vec<Vec<u8>>, SpoolError> {
        let mut keys = Vec::new();
        let prefix = Key::scope_prefix(scope.key_field());
        self.transaction.scan(&prefix, |key, _| {
            keys.push(key.to_owned());
            ControlFlow::<()>::Continue(())
        })?;
        Ok(keys)
    }

    fn set(&mut self, scope: Scope<'_>, annotation: &Annotation) -> Result<(), SpoolError> {
        let key = self.key(scope, annotation)?;
        self.write(&key, &stored(annotation))
    }

    fn write(&mut self, key: &[u8], new: &StoredValue) -> Result<(), SpoolError> {
        let fail = |error: value::ValueError| {
            SpoolError::corrupt(self.path, 0, format!("{}: {error}", key.escape_ascii()))
        };
        let old = self.transaction.get(key)?;
        let old_value = match &old {
            Some(record) => value::decode(record).map_err(fail)?.value,
            None => Vec::new(),
        };
        if new.value.is_empty() {
            if old.is_none() {
                return Ok(());
            }
            self.transaction.delete(key)?;
        } else if old_value == new.value {
            return Ok(());
        } else {
            let record = value::encode(new).map_err(fail)?;
            self.transaction.put(key, &record)?;
        }
        self.change.changed = true;
        let length = |value: &[u8]| i64::try_from(value.len()).unwrap_or(i64::MAX);
        self.change.size_delta += length(&new.value) - length(&old_value);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::ModSeq;
    use proptest::prelude::*;

    struct Store {
        directory: tempfile::TempDir,
        id: UniqueId,
        alice: UserId,
    }

    impl Store {
        fn new() -> Store {
            Store {
                directory: tempfile::tempdir().unwrap(),
                id: UniqueId::parse("54lxoc7sbxiyqaap5r8c1wsm").unwrap(),
                alice: UserId::parse("alice").unwrap(),
            }
        }

        fn scope(&self) -> Scope<'_> {
            Scope::Mailbox {
                id: &self.id,
                owner: Some(&self.alice),
            }
        }

        fn open(&self) -> AnnotationDb {
            let path = self.directory.path().join("annotations.db");
            AnnotationDb::open(&Disk::default(), &path, Backend::Twoskip).unwrap()
        }
    }

    fn annotation(entry: &str, user: &str, value: &str) -> Annotation {
        Annotation {
            entry: entry.to_owned(),
            user: user.to_owned(),
            modseq: ModSeq(0),
            value: value.as_bytes().to_vec(),
        }
    }

    #[test]
    fn several_scopes_at_once() {
        let store = Store::new();
        let mut db = store.open();
        let use_ = annotation("/specialuse", "alice", "\\Sent");
        let motd = annotation("/motd", "", "hello");
        db.set(store.scope(), &use_).unwrap();
        db.set(Scope::Server, &motd).unwrap();
        let other = UniqueId::parse("54lxoc7sbxiyqaap5r8c1wsn").unwrap();
        let other = Scope::Mailbox {
            id: &other,
            owner: None,
        };
        let mut scopes = vec![other; SCOPES_AT_ONCE];
        scopes.extend([store.scope(), Scope::Server, store.scope()]);
        let found = db.all_of(&scopes).unwrap();
        let (none, some) = found.split_at(SCOPES_AT_ONCE);
        assert!(none.iter().all(Vec::is_empty));
        assert_eq!(some, [vec![use_.clone()], vec![motd], vec![use_]]);
    }

    #[test]
    fn records_of_the_original() {
        let store = Store::new();
        let mut db = store.open();
        let use_ = annotation("/specialuse", "alice", "\\Sent");
        let change = db.set(store.scope(), &use_).unwrap();
        assert_eq!((change.changed, change.size_delta), (true, 5));
        let stored = db
            .db
            .get(b"54lxoc7sbxiyqaap5r8c1wsm\0/specialuse\0[.OwNeR.]\0")
            .unwrap()
            .unwrap();
        assert_eq!(&stored[..14], b"\0\0\0\x05\0\0\0\0\\Sent\0");
        assert_eq!(db.set(store.scope(), &use_).unwrap(), Change::default());
        assert_eq!(db.all(store.scope()).unwrap(), [use_]);
        assert!(db.all(Scope::Server).unwrap().is_empty());
    }

    #[test]
    fn a_list_replaces_what_there_was() {
        let store = Store::new();
        let mut db = store.open();
        let server = annotation("/comment", "", "server");
        db.set(Scope::Server, &server).unwrap();
        let first = [
            annotation("/comment", "", "one"),
            annotation("/comment", "Zoe", "z"),
            annotation("/comment", "alice", "two"),
            annotation("/expire", "", "7"),
        ];
        assert_eq!(db.replace(store.scope(), &first).unwrap().size_delta, 8);
        assert_eq!(db.all(store.scope()).unwrap(), first);
        let second = [annotation("/comment", "", "longer"), first[2].clone()];
        let change = db.replace(store.scope(), &second).unwrap();
        assert_eq!(change.size_delta, 3 - 1 - 1);
        assert_eq!(db.all(store.scope()).unwrap(), second);
        let again = db.replace(store.scope(), &second).unwrap();
        assert_eq!(again, Change::default());
        assert_eq!(db.remove_all(store.scope()).unwrap().size_delta, -9);
        assert_eq!(db.all(Scope::Server).unwrap(), [server]);
    }

    #[test]
    fn an_empty_value_removes() {
        let store = Store::new();
        let mut db = store.open();
        let none = annotation("/comment", "", "");
        assert!(!db.set(Scope::Server, &none).unwrap().changed);
        db.set(Scope::Server, &annotation("/comment", "", "x"))
            .unwrap();
        assert_eq!(db.set(Scope::Server, &none).unwrap().size_delta, -1);
        assert_eq!(db.db.get(b"\0/comment\0\0").unwrap(), None);
        let smuggled = annotation("/a\0b", "", "x");
        assert!(db.set(Scope::Server, &smuggled).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn lists_survive(
            lists in proptest::collection::vec(
                proptest::collection::btree_map(
                    ("/[a-c]{1,2}", "|alice|bob"), proptest::collection::vec(any::<u8>(), 1..9), 0..6,
                ),
                1..5,
            ),
        ) {
            let store = Store::new();
            let mut db = store.open();
            let mut size = 0;
            for list in lists {
                let list: Vec<Annotation> = list
                    .into_iter()
                    .map(|((entry, user), value)| Annotation { entry, user, modseq: ModSeq(0), value })
                    .collect();
                size += db.replace(store.scope(), &list).unwrap().size_delta;
                prop_assert_eq!(size, list.iter().map(|item| item.value.len() as i64).sum::<i64>());
                prop_assert_eq!(db.all(store.scope()).unwrap(), list);
            }
        }
    }
}
