//! Seen state: what a user has read in mailboxes of others and in shared ones (databases §11).
//! One database per reading user, named by [`UserFile::Seen`](super::layout::UserFile::Seen).

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::SpoolError;
use super::cyrusdb::{Backend, Create, Db};
use super::disk::Disk;
use crate::mail::{Uid, UniqueId, UnixTime};

/// The version of the format; readers of the original abort on any other.
const VERSION: &str = "1";

/// What a user has seen of one mailbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeenState {
    /// When the user last read the mailbox.
    pub last_read: UnixTime,
    /// The highest UID of which the user was told.
    pub last_uid: Uid,
    /// When the set last changed.
    pub last_change: UnixTime,
    /// The UIDs seen, an IMAP sequence set; may be empty.
    pub seen_uids: String,
}

/// A value or a UID set that is malformed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SeenError {
    /// The value is of another version.
    #[error("seen state of unknown version {0:?}")]
    Version(String),
    /// A field is missing or no number.
    #[error("malformed seen state {0:?}")]
    Malformed(String),
    /// The set is not one of UIDs.
    #[error("not a set of UIDs: {0:?}")]
    UidSet(String),
}

impl SeenState {
    /// The stored value.
    ///
    /// # Errors
    /// If `seen_uids` is no sequence set: readers would take it for none, and all would be unseen.
    pub fn encode(&self) -> Result<Vec<u8>, SeenError> {
        if !is_uid_set(&self.seen_uids) {
            return Err(SeenError::UidSet(self.seen_uids.clone()));
        }
        let value = format!(
            "{VERSION} {} {} {} {}",
            self.last_read, self.last_uid, self.last_change, self.seen_uids
        );
        Ok(value.into_bytes())
    }

    /// Reads a stored value. A malformed set counts as empty, as for the original.
    ///
    /// # Errors
    /// If the version is unknown or a number is missing.
    pub fn decode(value: &[u8]) -> Result<SeenState, SeenError> {
        let malformed = || SeenError::Malformed(String::from_utf8_lossy(value).into_owned());
        let text = std::str::from_utf8(value).map_err(|_| malformed())?;
        let mut words = text.split_ascii_whitespace();
        let version = words.next().ok_or_else(malformed)?;
        if version != VERSION {
            return Err(SeenError::Version(version.to_owned()));
        }
        let mut number = || words.next()?.parse::<u32>().ok();
        let (Some(last_read), Some(last_uid), Some(last_change)) = (number(), number(), number())
        else {
            return Err(malformed());
        };
        let seen_uids = words.next().unwrap_or_default();
        let well_formed = is_uid_set(seen_uids) && words.next().is_none();
        Ok(SeenState {
            last_read: UnixTime(last_read),
            last_uid: Uid(last_uid),
            last_change: UnixTime(last_change),
            seen_uids: String::from(if well_formed { seen_uids } else { "" }),
        })
    }
}

/// Whether the text is empty or an IMAP sequence set of numbers.
fn is_uid_set(text: &str) -> bool {
    let is_uid =
        |text: &str| text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u32>().is_ok();
    text.is_empty()
        || text.split(',').all(|range| match range.split_once(':') {
            Some((first, last)) => is_uid(first) && (is_uid(last) || last == "*"),
            None => is_uid(range),
        })
}

/// The seen state of one user.
#[derive(Debug)]
pub struct SeenDb {
    disk: Disk,
    path: PathBuf,
    db: Db,
}

impl SeenDb {
    /// Opens the database; `None` if there is none and none is to be made.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(
        disk: &Disk,
        path: &Path,
        backend: Backend,
        create: Create,
    ) -> Result<Option<SeenDb>, SpoolError> {
        let db = Db::open(disk, path, backend, create)?;
        Ok(db.map(|db| SeenDb {
            disk: disk.clone(),
            path: path.to_owned(),
            db,
        }))
    }

    /// What was seen of one mailbox; `None` if the user never looked.
    ///
    /// # Errors
    /// If the database cannot be read or the record is damaged.
    pub fn get(&mut self, mailbox: &UniqueId) -> Result<Option<SeenState>, SpoolError> {
        let value = self.db.get(mailbox.as_str().as_bytes())?;
        value
            .map(|value| SeenState::decode(&value))
            .transpose()
            .map_err(|error| bad_record(&self.path, mailbox.as_str(), &error))
    }

    /// Everything the user has seen, in the order of the database. Keys that are no unique ids
    /// are passed over: they stem from versions that used names.
    ///
    /// # Errors
    /// If the database cannot be read or a record is damaged.
    pub fn all(&mut self) -> Result<Vec<(UniqueId, SeenState)>, SpoolError> {
        let mut states = Vec::new();
        let path = &self.path;
        let failed = self.db.scan(b"", |key, value| {
            let id = std::str::from_utf8(key).ok();
            let Some(id) = id.and_then(|id| UniqueId::parse(id).ok()) else {
                return ControlFlow::Continue(());
            };
            match SeenState::decode(value) {
                Ok(state) => states.push((id, state)),
                Err(error) => return ControlFlow::Break(bad_record(path, id.as_str(), &error)),
            }
            ControlFlow::Continue(())
        })?;
        failed.map_or(Ok(states), Err)
    }

    /// Sets what was seen of a mailbox, whatever stood there before and whether or not the mailbox
    /// exists. On disk when this returns.
    ///
    /// # Errors
    /// If the UID set is malformed or the database cannot be changed.
    pub fn put(&mut self, mailbox: &UniqueId, state: &SeenState) -> Result<(), SpoolError> {
        let key = mailbox.as_str().as_bytes();
        let value = state
            .encode()
            .map_err(|error| bad_record(&self.path, mailbox.as_str(), &error))?;
        let mut transaction = self.db.begin(self.disk.lock_deadline())?;
        transaction.put(key, &value)?;
        transaction.commit()?;
        Ok(())
    }
}

fn bad_record(path: &Path, key: &str, error: &SeenError) -> SpoolError {
    SpoolError::corrupt(path, 0, format!("mailbox {key}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn state(set: &str) -> SeenState {
        SeenState {
            last_read: UnixTime(1_795_331_326),
            last_uid: Uid(4),
            last_change: UnixTime(1_795_331_269),
            seen_uids: set.to_owned(),
        }
    }

    #[test]
    fn values_of_the_original() {
        for (set, value) in [
            ("1:2", "1 1795331326 4 1795331269 1:2"),
            ("1:5,9", "1 1795331326 4 1795331269 1:5,9"),
            ("", "1 1795331326 4 1795331269 "),
        ] {
            assert_eq!(state(set).encode().unwrap(), value.as_bytes());
            assert_eq!(SeenState::decode(value.as_bytes()).unwrap(), state(set));
        }
    }

    #[test]
    fn malformed_values() {
        let version = SeenState::decode(b"2 1 1 1 ").unwrap_err();
        assert_eq!(version, SeenError::Version("2".into()));
        for value in [
            &b""[..],
            b"1",
            b"1 2 3",
            b"1 2 3 x 1:4",
            b"1 -2 3 4 ",
            b"1 \xff",
        ] {
            assert!(
                matches!(SeenState::decode(value), Err(SeenError::Malformed(_))),
                "{}",
                value.escape_ascii()
            );
        }
        for set in ["1:", ",1", "1,", "x", "1:2:3", "+1", "4294967296"] {
            let value = format!("1 1 1 1 {set}");
            assert_eq!(SeenState::decode(value.as_bytes()).unwrap().seen_uids, "");
            assert!(state(set).encode().is_err(), "{set}");
        }
    }

    #[test]
    fn states_are_kept_by_mailbox() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("user/uuid/a/b/ab/seen.db");
        let disk = Disk::default();
        let open = |create| SeenDb::open(&disk, &path, Backend::Twoskip, create).unwrap();
        assert!(open(Create::No).is_none());
        let mut db = open(Create::Yes).unwrap();
        let [a, b] = ["id1", "id2"].map(|id| UniqueId::parse(id).unwrap());
        db.put(&b, &state("1")).unwrap();
        db.put(&a, &state("")).unwrap();
        db.put(&b, &state("1:3")).unwrap();
        assert_eq!(
            db.all().unwrap(),
            [(a.clone(), state("")), (b, state("1:3"))]
        );
        assert_eq!(db.get(&a).unwrap(), Some(state("")));
        assert_eq!(db.get(&UniqueId::parse("zz").unwrap()).unwrap(), None);
        let error = db.put(&a, &state("1:x")).unwrap_err();
        assert!(error.to_string().contains("seen.db"), "{error}");
        assert_eq!(db.get(&a).unwrap(), Some(state("")));
    }

    proptest! {
        #[test]
        fn round_trip(times: (u32, u32, u32), set in "([0-9]{1,9}(:([0-9]{1,9}|\\*))?(,[0-9]{1,9}){0,3})?") {
            let state = SeenState {
                last_read: UnixTime(times.0),
                last_uid: Uid(times.1),
                last_change: UnixTime(times.2),
                seen_uids: set,
            };
            prop_assert_eq!(SeenState::decode(&state.encode().unwrap()).unwrap(), state);
        }
    }
}
