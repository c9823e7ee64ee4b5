//! `cyrus.annotations`: the annotations of a mailbox's messages (mailbox-format §10.1).

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use super::version::FormatError;
use crate::mail::{Annotation, Uid, UserId};
use crate::spool::SpoolError;
use crate::spool::annotations::key::{Key, user_field, user_of_field};
use crate::spool::annotations::value::{self, StoredValue};
use crate::spool::cyrusdb::{Backend, Create, Db, Transaction};
use crate::spool::disk::Disk;

/// After so many single look-ups the UIDs that have annotations are collected in one scan.
const LOOKUPS_BEFORE_SCAN: u32 = 64;
/// Octets of a database that is scanned before the first look-up: one scan costs no more than that.
/// The daemons make an empty one for each mailbox.
const SMALL: u64 = 16 << 10;

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
        let db = Db::open(disk, path, backend, Create::No)?;
        let length = match &db {
            Some(_) => disk.status(path)?.map_or(0, |status| status.length()),
            None => 0,
        };
        Ok(MessageAnnotations {
            db,
            owner: owner.cloned(),
            lookups: match length <= SMALL {
                true => LOOKUPS_BEFORE_SCAN,
                false => 0,
            },
            annotated: None,
        })
    }

    /// The annotations of one message, sorted by entry and user, without those removed. The owner
    /// may have two of an entry, see [`normalized`].
    pub fn of(&mut self, path: &Path, uid: Uid) -> Result<Vec<Annotation>, SpoolError> {
        if !self.may_have(uid)? {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        self.scan(path, &Key::scope_prefix(&uid.to_string()), |_, one| {
            found.push(one);
        })?;
        found.sort_by_cached_key(order);
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

/// What becomes of the annotations of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AnnotationChange {
    pub uid: Uid,
    /// All that the message is to have.
    wanted: Vec<Annotation>,
}

/// The change after which the message has exactly the `wanted` annotations (algorithm §6, step
/// 10); `None` if it has them. Both lists are [`normalized`] or read from the database.
pub(super) fn replacement(
    uid: Uid,
    present: &[Annotation],
    wanted: &[Annotation],
) -> Option<AnnotationChange> {
    let same = |(a, b): (&Annotation, &Annotation)| is_same_key(a, b) && a.value == b.value;
    let has_them = present.len() == wanted.len() && present.iter().zip(wanted).all(same);
    (!has_them).then(|| AnnotationChange {
        uid,
        wanted: wanted.to_vec(),
    })
}

impl AnnotationChange {
    /// The annotations with their keys: the owner's under the token, and a second one of the
    /// owner's under the name.
    fn keyed(
        &self,
        path: &Path,
        owner: Option<&UserId>,
    ) -> Result<Vec<(Vec<u8>, &Annotation)>, SpoolError> {
        let scope = self.uid.to_string();
        let mut keyed = Vec::with_capacity(self.wanted.len());
        let mut previous = None;
        for annotation in &self.wanted {
            let is_second = previous.is_some_and(|previous| is_same_key(previous, annotation));
            let user = match is_second {
                true => &annotation.user,
                false => user_field(&annotation.user, owner),
            };
            let key = Key {
                scope: &scope,
                entry: &annotation.entry,
                user,
            };
            let key = key
                .to_bytes()
                .map_err(|error| SpoolError::corrupt(path, 0, error.to_string()))?;
            keyed.push((key, annotation));
            previous = Some(annotation);
        }
        Ok(keyed)
    }
}

/// By entry and user, the newest first.
fn order(one: &Annotation) -> impl Ord + use<> {
    (one.entry.clone(), one.user.clone(), Reverse(one.modseq))
}

fn is_same_key(a: &Annotation, b: &Annotation) -> bool {
    (&a.entry, &a.user) == (&b.entry, &b.user)
}

/// Sorted by entry and user; without empty values; of several for one key the newest, and of the
/// mailbox owner's the newest two: 3.6 leaves beside a new value what versions before it stored
/// under the owner's name, and counts both.
pub(super) fn normalized(
    mut annotations: Vec<Annotation>,
    owner: Option<&UserId>,
) -> Vec<Annotation> {
    annotations.retain(|one| !one.value.is_empty());
    annotations.reverse();
    annotations.sort_by_cached_key(order);
    let mut kept: Vec<Annotation> = Vec::with_capacity(annotations.len());
    for one in annotations {
        let values = match owner {
            Some(owner) if owner.as_str() == one.user => 2,
            _ => 1,
        };
        let before = kept.iter().rev().take_while(|kept| is_same_key(kept, &one));
        if before.count() < values {
            kept.push(one);
        }
    }
    kept
}

/// Makes the changes in one transaction. Values that stay are left alone.
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
    for change in changes {
        let mut present = stored_of(&mut transaction, path, change.uid)?;
        for (key, annotation) in change.keyed(path, owner)? {
            let old = present.remove(&key);
            if old.is_none_or(|old| old.value != annotation.value) {
                let stored = StoredValue {
                    value: annotation.value.clone(),
                    modseq: annotation.modseq,
                    deleted: false,
                };
                put(&mut transaction, path, &key, &stored)?;
            }
        }
        for (key, old) in present.iter().filter(|(_, old)| !old.value.is_empty()) {
            let removed = StoredValue {
                value: Vec::new(),
                modseq: old.modseq,
                deleted: true,
            };
            put(&mut transaction, path, key, &removed)?;
        }
    }
    Ok(transaction.commit()?)
}

/// What is stored of a message, tombstones too.
fn stored_of(
    transaction: &mut Transaction<'_>,
    path: &Path,
    uid: Uid,
) -> Result<BTreeMap<Vec<u8>, StoredValue>, SpoolError> {
    let mut found = BTreeMap::new();
    let prefix = Key::scope_prefix(&uid.to_string());
    let failure = transaction.scan(&prefix, |key, stored| match value::decode(stored) {
        Ok(stored) => {
            found.insert(key.to_vec(), stored);
            ControlFlow::Continue(())
        }
        Err(error) => ControlFlow::Break(error),
    })?;
    match failure {
        None => Ok(found),
        Some(error) => Err(SpoolError::corrupt(path, 0, error.to_string())),
    }
}

fn put(
    transaction: &mut Transaction<'_>,
    path: &Path,
    key: &[u8],
    stored: &StoredValue,
) -> Result<(), SpoolError> {
    let octets =
        value::encode(stored).map_err(|error| SpoolError::corrupt(path, 0, error.to_string()))?;
    Ok(transaction.put(key, &octets)?)
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

    fn apply(path: &Path, present: &[Annotation], wanted: &[Annotation], uid: u32) {
        let owner = UserId::parse("alice").unwrap();
        let change = replacement(Uid(uid), present, wanted).unwrap();
        let (disk, backend) = (Disk::default(), Backend::Twoskip);
        write(&disk, path, backend, Some(&owner), &[change]).unwrap();
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
        apply(&path, &[], &first, 1);
        apply(&path, &[], &first[..1], 10);
        assert_eq!(read(&path, 1), first);
        assert_eq!(read(&path, 10), first[..1]);
        let second = [
            annotation("/comment", "alice", "changed"),
            annotation("/comment", "", "shared"),
            annotation("/empty", "", ""),
        ];
        let wanted = normalized(second.to_vec(), None);
        assert_eq!(wanted.len(), 2);
        apply(&path, &first, &wanted, 1);
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
        for uid in [3, 30, 200] {
            apply(&path, &[], &wanted, uid);
        }
        let disk = Disk::default();
        let mut annotations =
            MessageAnnotations::open(&disk, &path, Backend::Twoskip, None).unwrap();
        let with: Vec<u32> = (1..=200)
            .filter(|uid| !annotations.of(&path, Uid(*uid)).unwrap().is_empty())
            .collect();
        assert_eq!(with, [3, 30, 200]);
        assert_eq!(annotations.annotated.unwrap().len(), 3);
    }
    /// Before 3.6 the owner's annotations were stored under the owner's name; 3.6 stores a new
    /// value under the token and leaves the old one.
    #[test]
    fn the_owners_name_in_a_key_of_old() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cyrus.annotations");
        let put = |user: &str, annotation: &Annotation| {
            let (disk, scope) = (Disk::default(), "1");
            let entry = "/comment";
            let key = Key { scope, entry, user }.to_bytes().unwrap();
            let stored = StoredValue {
                value: annotation.value.clone(),
                modseq: annotation.modseq,
                deleted: false,
            };
            let db = Db::open(&disk, &path, Backend::Twoskip, Create::Yes).unwrap();
            let mut db = db.unwrap();
            let mut transaction = db.begin(disk.lock_deadline()).unwrap();
            let stored = value::encode(&stored).unwrap();
            transaction.put(&key, &stored).unwrap();
            transaction.commit().unwrap();
        };
        let at = |modseq, value: &str| Annotation {
            modseq: ModSeq(modseq),
            ..annotation("/comment", "alice", value)
        };
        let owner = UserId::parse("alice").unwrap();
        let wire = |values: &[Annotation]| normalized(values.to_vec(), Some(&owner));

        // A new value takes the place of the old one.
        put("alice", &at(3, "old"));
        assert_eq!(read(&path, 1), [at(3, "old")]);
        apply(&path, &read(&path, 1), &wire(&[at(9, "new")]), 1);
        assert_eq!(read(&path, 1), [at(9, "new")]);

        // A master has both, and counts both; so does the replica then.
        put("alice", &at(3, "old"));
        let both = [at(9, "new"), at(3, "old")];
        assert_eq!(read(&path, 1), both);
        for sent in [[at(3, "old"), at(9, "new")], both.clone()] {
            assert_eq!(replacement(Uid(1), &read(&path, 1), &wire(&sent)), None);
            let other = dir.path().join("other").join(sent[0].modseq.to_string());
            apply(&other, &[], &wire(&sent), 1);
            assert_eq!(read(&other, 1), both);
        }

        // With the annotation both go.
        apply(&path, &both, &[], 1);
        assert_eq!(read(&path, 1), []);
    }

    #[test]
    fn of_several_values_the_newest_counts() {
        let alice = UserId::parse("alice").unwrap();
        let values = [
            annotation("/comment", "bob", "first"),
            annotation("/comment", "bob", "last"),
            annotation("/comment", "alice", ""),
            annotation("/comment", "alice", "1"),
            annotation("/comment", "alice", "2"),
            annotation("/comment", "alice", "3"),
        ];
        let [_, last, _, _, second, third] = &values;
        let expected = [third.clone(), second.clone(), last.clone()];
        assert_eq!(normalized(values.to_vec(), Some(&alice)), expected);
        let expected = [third.clone(), last.clone()];
        assert_eq!(normalized(values.to_vec(), None), expected);
    }
}
