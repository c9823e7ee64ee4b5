//! The database of quota roots.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::{Amounts, Limits, Quota, QuotaRoot};
use crate::mail::{MailboxName, ModSeq, Namespace};
use crate::spool::SpoolError;
use crate::spool::cyrusdb::{Backend, Create, Db, Transaction, Wanted};
use crate::spool::disk::Disk;
use crate::spool::lock::QuotaChangeLock;

/// All quota roots of a store.
#[derive(Debug)]
pub struct QuotaDb {
    disk: Disk,
    path: PathBuf,
    namespace: Namespace,
    db: Db,
}

/// What became of a wish to set limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetLimits {
    /// The limits are set; a `QUOTA` line in the sync log is due.
    Changed,
    /// They were so before. Nothing was written.
    Unchanged,
    /// There is no such root: [`QuotaDb::create`] it.
    NoSuchRoot,
}

/// How the modseq of a root in a user's tree comes about when the root is written: given the one
/// that it has (or is to have), returns the one to store. With `conversations: on` the user's
/// counters decide, else it is `last` for replication and `last + 1` for a local change. Roots
/// of shared mailboxes keep theirs (databases §12.2).
pub type Renumber<'a> = &'a mut dyn FnMut(ModSeq) -> Result<ModSeq, SpoolError>;

impl QuotaDb {
    /// Opens the database.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(
        disk: &Disk,
        path: &Path,
        backend: Backend,
        namespace: &Namespace,
    ) -> Result<QuotaDb, SpoolError> {
        let db = Db::open(disk, path, backend, Create::Yes)?;
        Ok(QuotaDb {
            disk: disk.clone(),
            path: path.to_owned(),
            namespace: namespace.clone(),
            db: db.ok_or_else(|| SpoolError::corrupt(path, 0, "could not be created"))?,
        })
    }

    /// One root; `None` if it does not exist.
    ///
    /// # Errors
    /// If it cannot be read or is damaged.
    pub fn get(&mut self, root: &QuotaRoot) -> Result<Option<Quota>, SpoolError> {
        let value = self.db.get(root.as_str().as_bytes())?;
        decode(&self.path, root.as_str(), value)
    }

    /// Those of `roots` that exist, in their order; the database is locked once.
    ///
    /// # Errors
    /// If one of them cannot be read or is damaged.
    pub fn existing(
        &mut self,
        roots: &BTreeSet<QuotaRoot>,
    ) -> Result<Vec<(QuotaRoot, Quota)>, SpoolError> {
        let keys = roots
            .iter()
            .map(|root| Wanted::Key(root.as_str().as_bytes()));
        let keys: Vec<Wanted<'_>> = keys.collect();
        let mut values = Vec::new();
        self.db.scan_all(&keys, |index, _, value| {
            values.push((index, value.to_owned()));
            ControlFlow::<()>::Continue(())
        })?;
        let roots: Vec<&QuotaRoot> = roots.iter().collect();
        let mut existing = Vec::new();
        for (index, value) in values {
            if let Some(root) = roots.get(index)
                && let Some(quota) = decode(&self.path, root.as_str(), Some(value))?
            {
                existing.push((QuotaRoot::clone(root), quota));
            }
        }
        Ok(existing)
    }

    /// The root that a mailbox belongs to by its name: the closest that exists. (At run time the
    /// copy in the mailbox's header counts.)
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn find_root(&mut self, mailbox: &MailboxName) -> Result<Option<QuotaRoot>, SpoolError> {
        for root in QuotaRoot::candidates(mailbox) {
            if self.db.get(root.as_str().as_bytes())?.is_some() {
                return Ok(Some(root));
            }
        }
        Ok(None)
    }

    /// All roots whose names begin with `prefix`, in the order of the database. What cannot be
    /// a root's name (stray files beside legacy quota files) is passed over, and so are roots
    /// without content.
    ///
    /// # Errors
    /// If the database cannot be read or one of the roots is damaged.
    pub fn list(&mut self, prefix: &str) -> Result<Vec<(QuotaRoot, Quota)>, SpoolError> {
        let mut roots = Vec::new();
        let path = &self.path;
        let failed = self.db.scan(prefix.as_bytes(), |key, value| {
            let root = std::str::from_utf8(key).ok();
            let Some(root) = root.and_then(|root| QuotaRoot::parse(root).ok()) else {
                return ControlFlow::Continue(());
            };
            match decode(path, root.as_str(), Some(value.to_owned())) {
                Ok(quota) => roots.extend(quota.map(|quota| (root, quota))),
                Err(error) => return ControlFlow::Break(error),
            }
            ControlFlow::Continue(())
        })?;
        failed.map_or(Ok(roots), Err)
    }

    /// Adds a change of usage that happened in `mailbox`; false if the root does not exist.
    /// Amounts never fall below zero. On disk when this returns.
    ///
    /// # Errors
    /// If the root cannot be locked in time, read or written; its usage is then as before.
    pub fn change_used(
        &mut self,
        root: &QuotaRoot,
        mailbox: &MailboxName,
        delta: Amounts,
        renumber: Renumber<'_>,
    ) -> Result<bool, SpoolError> {
        self.change(root, renumber, |quota| {
            quota.change_used(delta, mailbox);
            true
        })
        .map(|changed| changed.is_some())
    }

    /// Sets the limits of an existing root; a resource without a limit becomes unlimited. `modseq`
    /// is what replication says; without it the root keeps the one it has, before renumbering.
    /// On disk when this returns.
    ///
    /// # Errors
    /// If the root cannot be locked in time, read or written; its limits are then as before.
    pub fn set_limits(
        &mut self,
        root: &QuotaRoot,
        limits: Limits,
        modseq: Option<ModSeq>,
        renumber: Renumber<'_>,
    ) -> Result<SetLimits, SpoolError> {
        let changed = self.change(root, renumber, |quota| {
            let differs = quota.limits != limits;
            quota.limits = limits;
            quota.modseq = modseq.filter(|_| differs).unwrap_or(quota.modseq);
            differs
        })?;
        Ok(match changed {
            Some(true) => SetLimits::Changed,
            Some(false) => SetLimits::Unchanged,
            None => SetLimits::NoSuchRoot,
        })
    }

    /// Makes a root with nothing used; the mailboxes below it are then to be put into it one by
    /// one, which adds their usage. A root that exists is replaced. On disk when this returns.
    ///
    /// # Errors
    /// If the root cannot be locked in time or written.
    pub fn create(
        &mut self,
        _lock: &QuotaChangeLock,
        root: &QuotaRoot,
        limits: Limits,
        modseq: Option<ModSeq>,
        renumber: Renumber<'_>,
    ) -> Result<(), SpoolError> {
        let mut quota = Quota {
            limits,
            modseq: modseq.unwrap_or_default(),
            ..Quota::default()
        };
        let in_user_tree = self.is_in_user_tree(root);
        let mut transaction = self.db.begin(self.disk.lock_deadline())?;
        if in_user_tree {
            quota.modseq = renumber(quota.modseq)?;
        }
        write(&mut transaction, root, &quota)?;
        transaction.commit()?;
        Ok(())
    }

    /// Removes a root; false if there is none. The mailboxes that belonged to it are to be taken
    /// out of it before. On disk when this returns.
    ///
    /// # Errors
    /// If the root cannot be locked in time or removed.
    pub fn delete(
        &mut self,
        _lock: &QuotaChangeLock,
        root: &QuotaRoot,
    ) -> Result<bool, SpoolError> {
        let mut transaction = self.db.begin(self.disk.lock_deadline())?;
        let existed = transaction.delete(root.as_str().as_bytes())?;
        transaction.commit()?;
        Ok(existed)
    }

    /// Reads, changes and writes a root under its lock. `None` if it does not exist, else whether
    /// `change` said that there is something to write.
    fn change(
        &mut self,
        root: &QuotaRoot,
        renumber: Renumber<'_>,
        change: impl FnOnce(&mut Quota) -> bool,
    ) -> Result<Option<bool>, SpoolError> {
        let in_user_tree = self.is_in_user_tree(root);
        let mut transaction = self.db.begin(self.disk.lock_deadline())?;
        let value = transaction.get(root.as_str().as_bytes())?;
        let Some(mut quota) = decode(&self.path, root.as_str(), value)? else {
            return Ok(None);
        };
        if !change(&mut quota) {
            return Ok(Some(false));
        }
        if in_user_tree {
            quota.modseq = renumber(quota.modseq)?;
        }
        write(&mut transaction, root, &quota)?;
        transaction.commit()?;
        Ok(Some(true))
    }

    fn is_in_user_tree(&self, root: &QuotaRoot) -> bool {
        root.mailbox()
            .is_some_and(|mailbox| self.namespace.owner_of(&mailbox).is_some())
    }
}

fn write(
    transaction: &mut Transaction<'_>,
    root: &QuotaRoot,
    quota: &Quota,
) -> Result<(), SpoolError> {
    transaction.put(root.as_str().as_bytes(), &quota.encode())?;
    Ok(())
}

/// An empty value is no root (databases §5).
fn decode(path: &Path, root: &str, value: Option<Vec<u8>>) -> Result<Option<Quota>, SpoolError> {
    value
        .filter(|value| !value.is_empty())
        .map(|value| Quota::decode(&value))
        .transpose()
        .map_err(|error| SpoolError::corrupt(path, 0, format!("quota root {root}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{LockSettings, Places};
    use crate::spool::layout::Layout;
    use crate::spool::lock::Locks;

    struct Store {
        directory: tempfile::TempDir,
    }

    impl Store {
        fn new() -> Store {
            Store {
                directory: tempfile::tempdir().unwrap(),
            }
        }

        fn open(&self) -> QuotaDb {
            QuotaDb::open(
                &Disk::default(),
                &self.directory.path().join("quotas.db"),
                Backend::Twoskip,
                &Namespace::default(),
            )
            .unwrap()
        }

        fn lock(&self) -> QuotaChangeLock {
            let layout = Layout::new(Places::below(self.directory.path()), Namespace::default());
            Locks::new(Disk::default(), layout, LockSettings::default())
                .quota_change()
                .unwrap()
        }
    }

    fn root(text: &str) -> QuotaRoot {
        QuotaRoot::parse(text).unwrap()
    }

    fn mailbox(text: &str) -> MailboxName {
        MailboxName::parse(text).unwrap()
    }

    fn keep(last: ModSeq) -> Result<ModSeq, SpoolError> {
        Ok(last)
    }

    fn next(last: ModSeq) -> Result<ModSeq, SpoolError> {
        Ok(ModSeq(last.0 + 1))
    }

    const LIMITS: Limits = Limits {
        storage: Some(100),
        messages: None,
        annotation_storage: None,
        mailboxes: Some(4),
    };

    #[test]
    fn roots_that_exist() {
        let store = Store::new();
        let mut db = store.open();
        for name in ["user.alice", "user.alice.lists", "user.alicia"] {
            db.create(&store.lock(), &root(name), LIMITS, None, &mut keep)
                .unwrap();
        }
        let names = ["user.alice.lists.a", "user.alice.sent"];
        let candidates = names.iter().map(|name| mailbox(name));
        let candidates = candidates
            .flat_map(|name| QuotaRoot::candidates(&name))
            .collect();
        let existing = db.existing(&candidates).unwrap();
        let found: Vec<(&str, Limits)> = existing
            .iter()
            .map(|(root, quota)| (root.as_str(), quota.limits))
            .collect();
        assert_eq!(
            found,
            [("user.alice", LIMITS), ("user.alice.lists", LIMITS)]
        );
    }

    #[test]
    fn limits_and_usage() {
        let store = Store::new();
        let mut db = store.open();
        let alice = root("user.alice");
        assert_eq!(
            db.set_limits(&alice, LIMITS, None, &mut next).unwrap(),
            SetLimits::NoSuchRoot
        );
        let three = Some(ModSeq(3));
        db.create(&store.lock(), &alice, LIMITS, three, &mut keep)
            .unwrap();
        let delta = Amounts {
            storage: 700,
            messages: 1,
            annotation_storage: -4,
            mailboxes: 1,
        };
        let inbox = mailbox("user.alice");
        assert!(db.change_used(&alice, &inbox, delta, &mut next).unwrap());
        let quota = db.get(&alice).unwrap().unwrap();
        assert_eq!(
            quota.encode(),
            b"%(S (700 100) M (1) AS (0) NF (1 4) MODSEQ 4)"
        );
        assert_eq!(
            db.set_limits(&alice, LIMITS, Some(ModSeq(9)), &mut keep)
                .unwrap(),
            SetLimits::Unchanged
        );
        assert_eq!(
            db.set_limits(&alice, Limits::default(), Some(ModSeq(9)), &mut keep)
                .unwrap(),
            SetLimits::Changed
        );
        let quota = db.get(&alice).unwrap().unwrap();
        assert_eq!(quota.encode(), b"%(S (700) M (1) AS (0) NF (1) MODSEQ 9)");
        assert!(
            !db.change_used(&root("user.b"), &inbox, delta, &mut next)
                .unwrap()
        );
    }

    #[test]
    fn shared_roots_keep_their_modseq() {
        let store = Store::new();
        let mut db = store.open();
        let shared = root("shared");
        db.create(&store.lock(), &shared, LIMITS, Some(ModSeq(3)), &mut next)
            .unwrap();
        let delta = Amounts::default();
        db.change_used(&shared, &mailbox("shared.x"), delta, &mut next)
            .unwrap();
        assert_eq!(db.get(&shared).unwrap().unwrap().modseq, ModSeq(3));
    }

    #[test]
    fn the_closest_root_is_found() {
        let store = Store::new();
        let mut db = store.open();
        for name in ["user.alice", "user.alice.big", "example.com!"] {
            db.create(&store.lock(), &root(name), LIMITS, None, &mut keep)
                .unwrap();
        }
        let mut found = |name| db.find_root(&mailbox(name)).unwrap();
        assert_eq!(found("user.alice.big.x"), Some(root("user.alice.big")));
        assert_eq!(found("user.alice.bigger"), Some(root("user.alice")));
        assert_eq!(found("user.bob"), None);
        assert_eq!(found("example.com!user.bob.x"), Some(root("example.com!")));
        assert_eq!(found("DELETED.user.alice.6B029D23"), None);
        let names: Vec<QuotaRoot> = db
            .list("user.")
            .unwrap()
            .into_iter()
            .map(|(root, _)| root)
            .collect();
        assert_eq!(names, [root("user.alice"), root("user.alice.big")]);
        assert!(db.delete(&store.lock(), &root("user.alice.big")).unwrap());
        assert!(!db.delete(&store.lock(), &root("user.alice.big")).unwrap());
        assert_eq!(db.list("").unwrap().len(), 2);
    }

    #[test]
    fn damage_is_told_and_kept() {
        let store = Store::new();
        let mut db = store.open();
        let mut transaction = db.db.begin(Disk::default().lock_deadline()).unwrap();
        transaction.put(b"user.a", b"%(S").unwrap();
        transaction.put(b"user.b", b"").unwrap();
        transaction.commit().unwrap();
        let a = mailbox("user.a");
        let error = db
            .change_used(&root("user.a"), &a, Amounts::default(), &mut keep)
            .unwrap_err();
        assert!(error.to_string().contains("user.a"), "{error}");
        assert_eq!(db.get(&root("user.b")).unwrap(), None);
        assert_eq!(db.db.get(b"user.a").unwrap().unwrap(), b"%(S");
    }

    #[test]
    fn concurrent_changes_all_count() {
        let store = Store::new();
        let alice = root("user.alice");
        store
            .open()
            .create(&store.lock(), &alice, LIMITS, None, &mut keep)
            .unwrap();
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let mut db = store.open();
                    let delta = Amounts {
                        storage: 3,
                        ..Amounts::default()
                    };
                    for _ in 0..20 {
                        db.change_used(&alice, &mailbox("user.alice"), delta, &mut next)
                            .unwrap();
                    }
                });
            }
        });
        let quota = store.open().get(&alice).unwrap().unwrap();
        assert_eq!((quota.used.storage, quota.modseq), (180, ModSeq(60)));
    }
}
