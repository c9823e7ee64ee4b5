//! `cyrus.annotations`: the annotations of a mailbox's messages (mailbox-format §10.1).

use std::ops::ControlFlow;
use std::path::Path;

use super::version::FormatError;
use crate::mail::{Annotation, Uid, UserId};
use crate::spool::SpoolError;
use crate::spool::annotations::key::{Key, user_field, user_of_field};
use crate::spool::annotations::value::{self, StoredValue};
use crate::spool::cyrusdb::{Backend, Create, Db};
use crate::spool::disk::Disk;

/// After so many single look-ups the UIDs that have annotations are collected in one scan.
const LOOKUPS_BEFORE_SCAN: u32 = 64;

/// The annotations of all messages of one mailbox, for reading.
#[derive(Debug)]
pub(super) struct MessageAnnotations {
    /// `None` if the database does not exist.
    db: Option<Db>,
    owner: Option<UserId>,
    lookups: u32,
    /// Ascending, once collected.
    annotated: Option<Vec<Uid>>,
}

impl MessageAnnotations {
    pub fn open(
        disk: &Disk,
        path: &Path,
        backend: Backend,
        owner: Option<&UserId>,
    ) -> Result<MessageAnnotations, SpoolError> {
        Ok(MessageAnnotations {
            db: Db::open(disk, path, backend, Create::No)?,
            owner: owner.cloned(),
            lookups: 0,
            annotated: None,
        })
    }

    /// The annotations of one message, sorted by entry and user, without those removed.
    pub fn of(&mut self, path: &Path, uid: Uid) -> Result<Vec<Annotation>, SpoolError> {
        if !self.may_have(uid)? {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        self.scan(path, &Key::scope_prefix(&uid.to_string()), |_, one| {
            found.push(one);
        })?;
        found.sort_by(|a, b| (&a.entry, &a.user).cmp(&(&b.entry, &b.user)));
        Ok(found)
    }

    /// Gives the annotations of all messages, in no useful order.
    pub fn for_each(
        &mut self,
        path: &Path,
        each: impl FnMut(Uid, Annotation),
    ) -> Result<(), SpoolError> {
        self.scan(path, b"", each)
    }

    fn may_have(&mut self, uid: Uid) -> Result<bool, SpoolError> {
        let Some(db) = &mut self.db else {
            return Ok(false);
        };
        self.lookups = self.lookups.saturating_add(1);
        if self.annotated.is_none() && self.lookups > LOOKUPS_BEFORE_SCAN {
            let mut uids = Vec::new();
            db.scan(b"", |key, _| -> ControlFlow<()> {
                if let Some(uid) = uid_of_key(key)
                    && uids.last() != Some(&uid)
                {
                    uids.push(uid);
                }
                ControlFlow::Continue(())
            })?;
            uids.sort_unstable();
            uids.dedup();
            self.annotated = Some(uids);
        }
        Ok(match &self.annotated {
            Some(uids) => uids.binary_search(&uid).is_ok(),
            None => true,
        })
    }

    fn scan(
        &mut self,
        path: &Path,
        prefix: &[u8],
        mut each: impl FnMut(Uid, Annotation),
    ) -> Result<(), SpoolError> {
        let Some(db) = &mut self.db else {
            return Ok(());
        };
        let owner = self.owner.as_ref();
        let failure = db.scan(prefix, |key, stored| match decode(key, stored, owner) {
            Ok(Some((uid, annotation))) => {
                each(uid, annotation);
                ControlFlow::Continue(())
            }
            Ok(None) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        })?;
        match failure {
            None => Ok(()),
            Some(error) => Err(error.at(path, 0)),
        }
    }
}

fn uid_of_key(key: &[u8]) -> Option<Uid> {
    Key::parse(key).ok()?.scope.parse().ok().map(Uid)
}

/// The annotation of a record; `None` for those that the daemons pass over as well: removed
/// ones, keys that cannot be read and, in a mailbox without owner, the owner's.
fn decode(
    key: &[u8],
    stored: &[u8],
    owner: Option<&UserId>,
) -> Result<Option<(Uid, Annotation)>, FormatError> {
    let has_user_field = key.iter().filter(|byte| **byte == 0).count() >= 2;
    let (Some(uid), Ok(key), true) = (uid_of_key(key), Key::parse(key), has_user_field) else {
        return Ok(None);
    };
    let stored = value::decode(stored)
        .map_err(|_| FormatError::Malformed("malformed value of a message annotation"))?;
    if stored.deleted || stored.value.is_empty() {
        return Ok(None);
    }
    Ok(Some((
        uid,
        Annotation {
            entry: key.entry.to_owned(),
            user: user_of_field(key.user, owner).to_owned(),
            modseq: stored.modseq,
            value: stored.value,
        },
    )))
}

/// A pending change of one annotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AnnotationChange {
    pub uid: Uid,
    /// An empty value removes the annotation.
    pub annotation: Annotation,
}

/// What must be changed so that the message has exactly the `wanted` annotations
/// (algorithm §6, step 10). Both lists are free of duplicates; values that stay are left alone.
pub(super) fn replacement(
    uid: Uid,
    present: &[Annotation],
    wanted: &[Annotation],
) -> Vec<AnnotationChange> {
    let same_key = |a: &Annotation, b: &Annotation| a.entry == b.entry && a.user == b.user;
    let removed = present
        .iter()
        .filter(|old| !wanted.iter().any(|new| same_key(old, new)))
        .map(|old| Annotation {
            value: Vec::new(),
            ..old.clone()
        });
    let set = wanted
        .iter()
        .filter(|new| match present.iter().find(|old| same_key(old, new)) {
            Some(old) => old.value != new.value,
            None => !new.value.is_empty(),
        });
    removed
        .chain(set.cloned())
        .map(|annotation| AnnotationChange { uid, annotation })
        .collect()
}

/// Makes the changes in one transaction.
pub(super) fn write(
    disk: &Disk,
    path: &Path,
    backend: Backend,
    owner: Option<&UserId>,
    changes: &[AnnotationChange],
) -> Result<(), SpoolError> {
    if changes.is_empty() {
        return Ok(());
    }
    let Some(mut db) = Db::open(disk, path, backend, Create::Yes)? else {
        return Err(SpoolError::corrupt(path, 0, "cannot be created"));
    };
    let mut transaction = db.begin(disk.lock_deadline())?;
    for AnnotationChange { uid, annotation } in changes {
        let key = Key {
            scope: &uid.to_string(),
            entry: &annotation.entry,
            user: user_field(&annotation.user, owner),
        };
        let key = key
            .to_bytes()
            .map_err(|error| SpoolError::corrupt(path, 0, error.to_string()))?;
        let stored = StoredValue {
            value: annotation.value.clone(),
            modseq: annotation.modseq,
            deleted: annotation.value.is_empty(),
        };
        let stored = value::encode(&stored)
            .map_err(|error| SpoolError::corrupt(path, 0, error.to_string()))?;
        transaction.put(&key, &stored)?;
    }
    Ok(transaction.commit()?)
}

/// Removes all annotations of messages, tombstones too.
pub(super) fn remove(
    disk: &Disk,
    path: &Path,
    backend: Backend,
    uids: &[Uid],
) -> Result<(), SpoolError> {
    let Some(mut db) = Db::open(disk, path, backend, Create::No)?.filter(|_| !uids.is_empty())
    else {
        return Ok(());
    };
    let mut transaction = db.begin(disk.lock_deadline())?;
    for uid in uids {
        let mut keys = Vec::new();
        let prefix = Key::scope_prefix(&uid.to_string());
        transaction.scan(&prefix, |key, _| -> ControlFlow<()> {
            keys.push(key.to_vec());
            ControlFlow::Continue(())
        })?;
        for key in keys {
            transaction.delete(&key)?;
        }
    }
    Ok(transaction.commit()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::ModSeq;

    fn annotation(entry: &str, user: &str, value: &str) -> Annotation {
        Annotation {
            entry: entry.to_owned(),
            user: user.to_owned(),
            modseq: ModSeq(7),
            value: value.as_bytes().to_vec(),
        }
    }

    fn apply(path: &Path, changes: &[AnnotationChange]) {
        let owner = UserId::parse("alice").unwrap();
        write(
            &Disk::default(),
            path,
            Backend::Twoskip,
            Some(&owner),
            changes,
        )
        .unwrap();
    }

    fn read(path: &Path, uid: u32) -> Vec<Annotation> {
        let owner = UserId::parse("alice").unwrap();
        let disk = Disk::default();
        MessageAnnotations::open(&disk, path, Backend::Twoskip, Some(&owner))
            .unwrap()
            .of(path, Uid(uid))
            .unwrap()
    }

    #[test]
    fn a_message_gets_exactly_the_wanted_annotations() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cyrus.annotations");
        assert_eq!(read(&path, 1), []);
        let first = [
            annotation("/comment", "", "shared"),
            annotation("/comment", "alice", "mine"),
            annotation("/other", "bob", "his"),
        ];
        apply(&path, &replacement(Uid(1), &[], &first));
        apply(&path, &replacement(Uid(10), &[], &first[..1]));
        assert_eq!(read(&path, 1), first);
        assert_eq!(read(&path, 10), first[..1]);
        let second = [
            annotation("/comment", "alice", "changed"),
            annotation("/comment", "", "shared"),
            annotation("/empty", "", ""),
        ];
        let changes = replacement(Uid(1), &first, &second);
        assert_eq!(changes.len(), 2);
        apply(&path, &changes);
        assert_eq!(read(&path, 1), [second[1].clone(), second[0].clone()]);
        remove(&Disk::default(), &path, Backend::Twoskip, &[Uid(1)]).unwrap();
        assert_eq!(read(&path, 1), []);
        assert_eq!(read(&path, 10), first[..1]);
    }

    #[test]
    fn many_lookups_end_in_one_scan() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cyrus.annotations");
        let wanted = [annotation("/comment", "", "x"), annotation("/z", "", "y")];
        let changes: Vec<_> = [3, 30, 200]
            .iter()
            .flat_map(|uid| replacement(Uid(*uid), &[], &wanted))
            .collect();
        apply(&path, &changes);
        let disk = Disk::default();
        let mut annotations =
            MessageAnnotations::open(&disk, &path, Backend::Twoskip, None).unwrap();
        let with: Vec<u32> = (1..=200)
            .filter(|uid| !annotations.of(&path, Uid(*uid)).unwrap().is_empty())
            .collect();
        assert_eq!(with, [3, 30, 200]);
        assert_eq!(annotations.annotated.unwrap().len(), 3);
    }
}
