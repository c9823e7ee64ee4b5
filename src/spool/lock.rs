//! The name locks, through which sessions and the Cyrus daemons keep apart (databases §16).
//!
//! # The one order
//!
//! Whoever needs several locks takes them in this order, and waits for none while holding a later
//! one (databases §16.2):
//!
//! 1. `$GLOBAL`, shared — taken here with every exclusive lock where the daemons want it;
//! 2. the sync lock of a user ([`SyncLock`]), clients only;
//! 3. the lock of a user or of the shared mailboxes ([`UserLock`]); several in the order of their
//!    ids, the shared mailboxes first — [`Locks::owners`] does that;
//! 4. the lock of a mailbox ([`MailboxLock`]), which needs the guard of 3;
//! 5. the conversations database;
//! 6. `cyrus.index`;
//! 7. message annotations, cache, quota (with [`QuotaChangeLock`] before it where roots come or
//!    go), counters, annotations, seen state, subscriptions, status cache;
//! 8. the mailbox list: short, nothing is taken inside;
//! 9. the sync log.
//!
//! A guard releases its lock when dropped. Locks belong to the guard, not to the process: a
//! session that asks again for what it holds waits for itself until the time-out, so guards are
//! handed down as arguments.

use std::time::{Duration, Instant};

use super::disk::{Disk, DiskError, DiskFile, FILE_MODE, LockKind};
use super::layout::{Layout, MailboxHome};
use crate::config::{LockNaming, LockSettings};
use crate::mail::{MailboxName, Namespace, UserId};

/// A name lock could not be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// It could not be had in time, or not at all.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The guard of another user was shown, or a shared one where an exclusive one is needed.
    #[error("mailbox {mailbox} cannot be locked while holding the {held} lock of {holder}")]
    NotCovered {
        /// The mailbox.
        mailbox: MailboxName,
        /// Kind of the lock held.
        held: LockKind,
        /// Whose lock is held.
        holder: String,
    },
}

impl LockError {
    /// Whether the same may succeed later with nothing repaired.
    pub fn is_retryable(&self) -> bool {
        match self {
            LockError::Disk(error) => error.is_temporary(),
            LockError::NotCovered { .. } => false,
        }
    }
}

/// Hands out the name locks of a store.
#[derive(Debug, Clone)]
pub struct Locks {
    disk: Disk,
    layout: Layout,
    settings: LockSettings,
}

/// What is locked, by name (databases §16.1).
#[derive(Debug, Clone, Copy)]
enum LockName<'a> {
    Global,
    Sync {
        host: &'a str,
        user: Option<&'a UserId>,
    },
    Owner(Option<&'a UserId>),
    Mailbox(MailboxHome<'a>),
    QuotaChange,
    SubscriptionUpgrade(&'a UserId),
}

impl LockName<'_> {
    fn text(self, naming: LockNaming, namespace: &Namespace) -> String {
        let plain_to_internal = crate::mail::namespace::plain_to_internal;
        match self {
            LockName::Global => "$GLOBAL".to_owned(),
            LockName::Sync { host, user } => {
                let host = plain_to_internal(host);
                let user = user.map_or("", UserId::as_str);
                format!("*S*{host}*{}", plain_to_internal(user))
            }
            LockName::Owner(None) => "*U*".to_owned(),
            LockName::Owner(Some(user)) => match naming {
                LockNaming::UserId => {
                    let user = namespace.canonical_user(user);
                    format!("*U*{}", plain_to_internal(user.as_str()))
                }
                LockNaming::Inbox => format!("*U*{}", namespace.inbox_of(user)),
            },
            LockName::Mailbox(MailboxHome::UniqueId(id)) => id.to_string(),
            LockName::Mailbox(MailboxHome::Name(name)) => name.to_string(),
            LockName::QuotaChange => "$QUOTACHANGE".to_owned(),
            LockName::SubscriptionUpgrade(user) => format!("$SUBS_UPGRADE${user}"),
        }
    }
}

/// One lock file, locked, with the hold on `$GLOBAL` that it needs.
#[derive(Debug)]
struct Held {
    /// Declared first: released before `$GLOBAL`.
    file: DiskFile,
    _global: Option<DiskFile>,
}

/// The lock of everything that belongs to one user, or of all shared mailboxes.
#[derive(Debug)]
pub struct UserLock {
    owner: Option<UserId>,
    kind: LockKind,
    held: Held,
}

impl UserLock {
    /// The user; `None` for the shared mailboxes.
    pub fn owner(&self) -> Option<&UserId> {
        self.owner.as_ref()
    }

    /// Whether others may hold the lock too.
    pub fn kind(&self) -> LockKind {
        self.kind
    }

    /// Whether changes are allowed under this guard.
    pub fn is_exclusive(&self) -> bool {
        self.kind == LockKind::Exclusive
    }
}

/// The locks of one or two owners, as a rename needs them.
#[derive(Debug)]
pub struct UserLocks(Vec<UserLock>);

impl UserLocks {
    /// The guard of one of the owners.
    pub fn of(&self, owner: Option<&UserId>) -> Option<&UserLock> {
        self.0.iter().find(|lock| lock.owner() == owner)
    }
}

/// The lock of one mailbox; alive no longer than the guard of its owner.
#[derive(Debug)]
pub struct MailboxLock<'user> {
    user: &'user UserLock,
    kind: LockKind,
    held: Held,
}

impl<'user> MailboxLock<'user> {
    /// The guard of the owner.
    pub fn user(&self) -> &'user UserLock {
        self.user
    }

    /// Whether others may hold the lock too.
    pub fn kind(&self) -> LockKind {
        self.kind
    }
}

/// The lock under which quota roots come and go.
#[derive(Debug)]
pub struct QuotaChangeLock {
    held: Held,
}

/// The lock that keeps two clients from sending the same user to the same replica.
#[derive(Debug)]
pub struct SyncLock {
    held: Held,
}

/// The lock under which old subscriptions are converted.
#[derive(Debug)]
pub struct SubscriptionUpgradeLock {
    held: Held,
}

macro_rules! lock_path {
    ($($guard:ty),*) => {
        $(impl $guard {
            /// The file that is locked.
            pub fn path(&self) -> &std::path::Path {
                self.held.file.path()
            }
        })*
    };
}

lock_path!(
    UserLock,
    MailboxLock<'_>,
    QuotaChangeLock,
    SyncLock,
    SubscriptionUpgradeLock
);

impl Locks {
    /// The locks of the store with this layout.
    pub fn new(disk: Disk, layout: Layout, settings: LockSettings) -> Locks {
        Locks {
            disk,
            layout,
            settings,
        }
    }

    /// The same locks with another longest wait; zero means to try once.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Locks {
        Locks {
            settings: LockSettings {
                timeout,
                ..self.settings
            },
            ..self.clone()
        }
    }

    /// Locks everything of a user: shared for reading, exclusive for changes.
    ///
    /// # Errors
    /// If the lock cannot be had within the longest wait; trying again later can help.
    pub fn user(&self, user: &UserId, kind: LockKind) -> Result<UserLock, LockError> {
        self.owner(Some(user), kind)
    }

    /// Locks everything of a user, or the shared mailboxes.
    ///
    /// # Errors
    /// If the lock cannot be had within the longest wait; trying again later can help.
    pub fn owner(&self, owner: Option<&UserId>, kind: LockKind) -> Result<UserLock, LockError> {
        let owner = owner.map(|user| self.layout.namespace().canonical_user(user));
        let held = self.take(LockName::Owner(owner.as_ref()), kind)?;
        Ok(UserLock { owner, kind, held })
    }

    /// Locks what the owner of this mailbox has: the owner's lock, or that of shared mailboxes.
    ///
    /// # Errors
    /// If the lock cannot be had within the longest wait; trying again later can help.
    pub fn owner_of(&self, mailbox: &MailboxName, kind: LockKind) -> Result<UserLock, LockError> {
        let owner = self.layout.namespace().owner_of(mailbox);
        self.owner(owner.as_ref(), kind)
    }

    /// Locks what the owners of two mailboxes have, in the one order; the same owner only once.
    ///
    /// # Errors
    /// If a lock cannot be had within the longest wait, which is that of each alone; trying again
    /// later can help.
    pub fn owners(
        &self,
        mailboxes: [&MailboxName; 2],
        kind: LockKind,
    ) -> Result<UserLocks, LockError> {
        let mut owners: Vec<Option<UserId>> = mailboxes
            .iter()
            .map(|mailbox| self.layout.namespace().owner_of(mailbox))
            .collect();
        owners.sort();
        owners.dedup();
        let locks: Result<Vec<UserLock>, LockError> = owners
            .iter()
            .map(|owner| self.owner(owner.as_ref(), kind))
            .collect();
        Ok(UserLocks(locks?))
    }

    /// Locks a mailbox: shared for reading and ordinary changes, exclusive to create, remove,
    /// rename or repack it, for which its owner must be locked exclusively.
    ///
    /// # Errors
    /// If the lock cannot be had within the longest wait (trying again later can help), or if
    /// `user` is not the guard that this mailbox needs.
    pub fn mailbox<'user>(
        &self,
        user: &'user UserLock,
        name: &MailboxName,
        home: MailboxHome<'_>,
        kind: LockKind,
    ) -> Result<MailboxLock<'user>, LockError> {
        let owner = self.layout.namespace().owner_of(name);
        let strong_enough = kind == LockKind::Shared || user.is_exclusive();
        if owner != user.owner || !strong_enough {
            let holder = user.owner.as_ref().map(UserId::to_string);
            return Err(LockError::NotCovered {
                mailbox: name.clone(),
                held: user.kind,
                holder: holder.unwrap_or_else(|| "the shared mailboxes".to_owned()),
            });
        }
        let held = self.take(LockName::Mailbox(home), kind)?;
        Ok(MailboxLock { user, kind, held })
    }

    /// Locks the set of quota roots against changes.
    ///
    /// # Errors
    /// If the lock cannot be had within the longest wait; trying again later can help.
    pub fn quota_change(&self) -> Result<QuotaChangeLock, LockError> {
        let held = self.take(LockName::QuotaChange, LockKind::Exclusive)?;
        Ok(QuotaChangeLock { held })
    }

    /// Makes this the only client that sends `user` to the replica `host`.
    ///
    /// # Errors
    /// If the lock cannot be had within the longest wait; trying again later can help.
    pub fn sync(&self, host: &str, user: Option<&UserId>) -> Result<SyncLock, LockError> {
        let held = self.take(LockName::Sync { host, user }, LockKind::Exclusive)?;
        Ok(SyncLock { held })
    }

    /// Keeps others from converting the subscriptions of a user.
    ///
    /// # Errors
    /// If the lock cannot be had within the longest wait; trying again later can help.
    pub fn subscription_upgrade(
        &self,
        user: &UserId,
    ) -> Result<SubscriptionUpgradeLock, LockError> {
        let held = self.take(LockName::SubscriptionUpgrade(user), LockKind::Exclusive)?;
        Ok(SubscriptionUpgradeLock { held })
    }

    fn take(&self, name: LockName<'_>, kind: LockKind) -> Result<Held, LockError> {
        let deadline = Instant::now() + self.settings.timeout;
        let global = if self.settings.global && kind == LockKind::Exclusive {
            Some(self.open(LockName::Global, LockKind::Shared, deadline)?)
        } else {
            None
        };
        Ok(Held {
            file: self.open(name, kind, deadline)?,
            _global: global,
        })
    }

    fn open(
        &self,
        name: LockName<'_>,
        kind: LockKind,
        deadline: Instant,
    ) -> Result<DiskFile, LockError> {
        let text = name.text(self.settings.naming, self.layout.namespace());
        let path = self.layout.lock_file(&text);
        Ok(self.disk.open_locked(&path, FILE_MODE, kind, deadline)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Places;
    use crate::mail::UniqueId;

    fn locks(root: &std::path::Path, settings: LockSettings) -> Locks {
        let layout = Layout::new(Places::below(root), Namespace::default());
        Locks::new(Disk::default(), layout, settings).with_timeout(Duration::from_millis(20))
    }

    fn user(text: &str) -> UserId {
        UserId::parse(text).unwrap()
    }

    fn name(text: &str) -> MailboxName {
        MailboxName::parse(text).unwrap()
    }

    fn relative(root: &std::path::Path, path: &std::path::Path) -> String {
        let path = path.strip_prefix(root.join("lock")).unwrap();
        path.to_str().unwrap().to_owned()
    }

    #[test]
    fn names_of_user_locks() {
        let dir = tempfile::tempdir().unwrap();
        let old = locks(dir.path(), LockSettings::default());
        let new = locks(
            dir.path(),
            LockSettings {
                naming: LockNaming::Inbox,
                ..LockSettings::default()
            },
        );
        for (id, old_file, new_file) in [
            ("alice", "*U*alice.lock", "*U*user/alice.lock"),
            ("bo.b", "*U*bo^b.lock", "*U*user/bo^b.lock"),
            ("alice@internal", "*U*alice.lock", "*U*user/alice.lock"),
            (
                "x@example.com",
                "*U*x@example^com.lock",
                "domain/*U*example.com/user/x.lock",
            ),
        ] {
            let path = |locks: &Locks| {
                let lock = locks.user(&user(id), LockKind::Exclusive).unwrap();
                relative(dir.path(), lock.path())
            };
            assert_eq!(path(&old), old_file);
            assert_eq!(path(&new), new_file);
        }
        let shared = old.owner(None, LockKind::Shared).unwrap();
        assert_eq!(relative(dir.path(), shared.path()), "*U*.lock");
    }

    #[test]
    fn names_of_other_locks() {
        let dir = tempfile::tempdir().unwrap();
        let locks = locks(dir.path(), LockSettings::default());
        let alice = locks.user(&user("alice"), LockKind::Shared).unwrap();
        let id = UniqueId::parse("q3fgr7etnueolpppp7y44dqn").unwrap();
        let mailbox = name("user.alice.Sub");
        let path = |home| {
            let lock = locks
                .mailbox(&alice, &mailbox, home, LockKind::Shared)
                .unwrap();
            relative(dir.path(), lock.path())
        };
        assert_eq!(
            path(MailboxHome::UniqueId(&id)),
            "q3fgr7etnueolpppp7y44dqn.lock"
        );
        assert_eq!(path(MailboxHome::Name(&mailbox)), "user/alice/Sub.lock");
        let sync = locks
            .sync("replica.example.com", Some(&user("bo.b")))
            .unwrap();
        assert_eq!(
            relative(dir.path(), sync.path()),
            "*S*replica^example^com*bo^b.lock"
        );
        let quota = locks.quota_change().unwrap();
        assert_eq!(relative(dir.path(), quota.path()), "$QUOTACHANGE.lock");
    }

    #[test]
    fn a_busy_lock_is_reported() {
        let dir = tempfile::tempdir().unwrap();
        let locks = locks(dir.path(), LockSettings::default());
        let reading = locks.user(&user("alice"), LockKind::Shared).unwrap();
        let also_reading = locks.user(&user("alice"), LockKind::Shared).unwrap();
        let error = locks.user(&user("alice"), LockKind::Exclusive).unwrap_err();
        assert!(error.is_retryable());
        assert!(error.to_string().contains("/lock/*U*alice.lock"), "{error}");
        drop((reading, also_reading));
        locks.user(&user("alice"), LockKind::Exclusive).unwrap();
    }

    /// The daemons' locks belong to processes, ours to open files; they exclude each other.
    #[test]
    fn locks_of_daemons_are_respected() {
        use nix::fcntl::{FcntlArg, fcntl};
        use nix::libc;
        let dir = tempfile::tempdir().unwrap();
        let locks = locks(dir.path(), LockSettings::default());
        let path = dir.path().join("lock/*U*alice.lock");
        drop(locks.user(&user("alice"), LockKind::Exclusive).unwrap());
        let daemon = std::fs::File::options()
            .read(true)
            .write(true)
            .open(path)
            .unwrap();
        let lock = |kind: libc::c_int| {
            let whole_file = libc::flock {
                l_type: kind as libc::c_short,
                l_whence: libc::SEEK_SET as libc::c_short,
                l_start: 0,
                l_len: 0,
                l_pid: 0,
            };
            fcntl(&daemon, FcntlArg::F_SETLK(&whole_file)).is_ok()
        };
        assert!(lock(libc::F_RDLCK));
        let shared = locks.user(&user("alice"), LockKind::Shared).unwrap();
        assert!(!lock(libc::F_WRLCK));
        drop(shared);
        assert!(lock(libc::F_WRLCK));
        locks.user(&user("alice"), LockKind::Shared).unwrap_err();
    }

    #[test]
    fn a_mailbox_needs_the_guard_of_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let locks = locks(dir.path(), LockSettings::default());
        let reading = locks.user(&user("alice"), LockKind::Shared).unwrap();
        let mailbox = |text: &str, kind| {
            let name = name(text);
            locks
                .mailbox(&reading, &name, MailboxHome::Name(&name), kind)
                .map(drop)
        };
        for own in ["user.alice", "DELETED.user.alice.x.68A1B2C3"] {
            mailbox(own, LockKind::Shared).unwrap();
            mailbox(own, LockKind::Exclusive).unwrap_err();
        }
        for other in ["user.bob", "shared"] {
            let error = mailbox(other, LockKind::Shared).unwrap_err();
            assert!(!error.is_retryable());
        }
    }

    #[test]
    fn two_owners_in_one_order() {
        let dir = tempfile::tempdir().unwrap();
        let locks = locks(dir.path(), LockSettings::default());
        let both = |a: &str, b: &str| {
            let locks = locks.owners([&name(a), &name(b)], LockKind::Exclusive);
            locks.map(|locks| {
                locks
                    .0
                    .iter()
                    .map(|lock| lock.owner.clone())
                    .collect::<Vec<_>>()
            })
        };
        let (alice, bob) = (Some(user("alice")), Some(user("bob")));
        assert_eq!(
            both("user.bob", "user.alice.x").unwrap(),
            [alice.clone(), bob]
        );
        assert_eq!(both("user.alice", "user.alice.x").unwrap().len(), 1);
        assert_eq!(both("user.alice", "shared").unwrap(), [None, alice]);
    }

    #[test]
    fn exclusive_locks_hold_the_global_one_where_it_is_wanted() {
        let dir = tempfile::tempdir().unwrap();
        let with_global = LockSettings {
            global: true,
            ..LockSettings::default()
        };
        let locks = locks(dir.path(), with_global);
        let stop_the_world = |expected: bool| {
            let path = dir.path().join("lock/$GLOBAL.lock");
            let taken =
                Disk::default().open_locked(&path, FILE_MODE, LockKind::Exclusive, Instant::now());
            assert_eq!(taken.is_ok(), expected);
        };
        let reading = locks.user(&user("alice"), LockKind::Shared).unwrap();
        stop_the_world(true);
        drop(reading);
        let writing = locks.user(&user("alice"), LockKind::Exclusive).unwrap();
        stop_the_world(false);
        drop(writing);
        stop_the_world(true);
    }
}
