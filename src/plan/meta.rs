//! What differs in a user's data beside the mailboxes, and in the server's annotations
//! (algorithm §7).

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use crate::mail::{Annotation, Guid, UnixTime};

/// The local entries that are missing on the replica or differ there, in their order
/// (algorithm §7.1). Entries that only the replica has stay. For seen state, `key` is the
/// mailbox's unique id.
pub fn missing_or_different<'a, T, K>(
    local: &'a [T],
    remote: &[T],
    key: impl Fn(&T) -> &K,
) -> Vec<&'a T>
where
    T: PartialEq,
    K: Hash + Eq + ?Sized,
{
    let known: HashMap<&K, &T> = remote.iter().map(|entry| (key(entry), entry)).collect();
    local
        .iter()
        .filter(|entry| known.get(key(entry)).is_none_or(|theirs| *theirs != *entry))
        .collect()
}

/// Names to be added to the replica's list and to be removed from it, each in the order of the
/// list it comes from (algorithm §7.2): subscriptions.
#[derive(Debug, PartialEq, Eq)]
pub struct SetChange<'a, T> {
    /// On the master only.
    pub add: Vec<&'a T>,
    /// On the replica only.
    pub remove: Vec<&'a T>,
}

/// Compares two sets.
pub fn set_change<'a, T: Hash + Eq>(local: &'a [T], remote: &'a [T]) -> SetChange<'a, T> {
    let only_in = |these: &'a [T], those: &[T]| {
        let those: HashSet<&T> = those.iter().collect();
        these
            .iter()
            .filter(|name| !those.contains(name))
            .collect::<Vec<_>>()
    };
    SetChange {
        add: only_in(local, remote),
        remove: only_in(remote, local),
    }
}

/// A Sieve script, as the master has it or as a `SIEVE` line of the replica tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// Name without extension.
    pub name: String,
    /// Time of the last change.
    pub last_update: UnixTime,
    /// SHA-1 of the text; null if the replica does not tell.
    pub guid: Guid,
    /// Whether it is the active one.
    pub is_active: bool,
}

/// A command of algorithm §7.3. The order is safe at every step: a script is there before it is
/// made active, and no active script is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SieveChange<'a> {
    /// `SIEVE`: send the text of this local script.
    Upload(&'a Script),
    /// `ACTIVATE_SIEVE`
    Activate(&'a str),
    /// `UNACTIVATE_SIEVE`
    Deactivate,
    /// `UNSIEVE`
    Delete(&'a str),
}

/// Compares the Sieve scripts of a user. Unlike the original it transfers a deactivation
/// (algorithm §7.3).
pub fn sieve_changes<'a>(local: &'a [Script], remote: &'a [Script]) -> Vec<SieveChange<'a>> {
    let find = |scripts: &'a [Script], name: &str| -> Option<&'a Script> {
        scripts.iter().find(|script| script.name == name)
    };
    let is_current = |script: &Script| {
        find(remote, &script.name).is_some_and(|theirs| {
            if theirs.guid.is_null() {
                theirs.last_update >= script.last_update
            } else {
                theirs.guid == script.guid
            }
        })
    };
    let uploads = local
        .iter()
        .filter(|script| !is_current(script))
        .map(SieveChange::Upload);

    let active = |scripts: &'a [Script]| scripts.iter().find(|script| script.is_active);
    let activation = match (active(local), active(remote)) {
        (Some(ours), theirs) if theirs.is_none_or(|theirs| theirs.name != ours.name) => {
            Some(SieveChange::Activate(&ours.name))
        }
        (None, Some(_)) => Some(SieveChange::Deactivate),
        _ => None,
    };

    let deletions = remote
        .iter()
        .filter(|script| find(local, &script.name).is_none())
        .map(|script| SieveChange::Delete(&script.name));
    uploads.chain(activation).chain(deletions).collect()
}

/// A change of a server annotation (algorithm §7.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnnotationChange<'a> {
    /// `ANNOTATION` with this value.
    Set(&'a Annotation),
    /// `UNANNOTATION`
    Remove(&'a Annotation),
}

/// Walks both lists, each ascending by entry and user, and finds what must change on the
/// replica.
pub fn annotation_changes<'a>(
    local: &'a [Annotation],
    remote: &'a [Annotation],
) -> Vec<AnnotationChange<'a>> {
    fn key(annotation: &Annotation) -> (&str, &str) {
        (&annotation.entry, &annotation.user)
    }
    let mut changes = Vec::new();
    let (mut ours, mut theirs) = (local.iter().peekable(), remote.iter().peekable());
    loop {
        let order = match (ours.peek(), theirs.peek()) {
            (None, None) => return changes,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) => key(a).cmp(&key(b)),
        };
        let mine = ours.next_if(|_| order != Ordering::Greater);
        let other = theirs.next_if(|_| order != Ordering::Less);
        match (mine, other) {
            (Some(mine), Some(other)) if mine.value == other.value => {}
            (Some(mine), _) => changes.push(AnnotationChange::Set(mine)),
            (None, Some(other)) => changes.push(AnnotationChange::Remove(other)),
            (None, None) => return changes,
        }
    }
}

/// What becomes of a quota root (algorithm §7.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotaChange<'a, R, L> {
    /// `QUOTA` with these limits.
    Set(&'a R, &'a L),
    /// `UNQUOTA`
    Remove(&'a R),
}

/// Compares quota roots: `local` holds the roots in use on the master, with `None` for one that
/// has vanished meanwhile.
pub fn quota_changes<'a, R: Hash + Eq, L: PartialEq>(
    local: &'a [(R, Option<L>)],
    remote: &'a [(R, L)],
) -> Vec<QuotaChange<'a, R, L>> {
    let theirs: HashMap<&R, &L> = remote.iter().map(|(root, limits)| (root, limits)).collect();
    let used: HashSet<&R> = local.iter().map(|(root, _)| root).collect();
    let changed = local
        .iter()
        .filter_map(|(root, limits)| match (limits, theirs.get(root)) {
            (Some(limits), Some(theirs)) if limits == *theirs => None,
            (Some(limits), _) => Some(QuotaChange::Set(root, limits)),
            (None, Some(_)) => Some(QuotaChange::Remove(root)),
            (None, None) => None,
        });
    let unused = remote
        .iter()
        .filter(|(root, _)| !used.contains(root))
        .map(|(root, _)| QuotaChange::Remove(root));
    changed.chain(unused).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::ModSeq;

    #[test]
    fn only_what_differs_is_sent_and_foreign_entries_stay() {
        let local = [("a", 1), ("b", 2), ("c", 3)];
        let remote = [("b", 2), ("c", 4), ("d", 5)];
        assert_eq!(
            missing_or_different(&local, &remote, |entry| entry.0),
            [&local[0], &local[2]]
        );
    }

    #[test]
    fn sets_are_made_equal() {
        let change = set_change(&["a", "b"], &["b", "c"]);
        assert_eq!(change.add, [&"a"]);
        assert_eq!(change.remove, [&"c"]);
    }

    fn script(name: &str, guid: u8, is_active: bool) -> Script {
        Script {
            name: name.into(),
            last_update: UnixTime(10),
            guid: Guid::from_bytes([guid; Guid::LEN]),
            is_active,
        }
    }

    #[test]
    fn scripts_are_there_before_they_are_active_and_inactive_before_they_go() {
        let local = [script("new", 1, true), script("same", 2, false)];
        let remote = [script("old", 3, true), script("same", 2, false)];
        assert_eq!(
            sieve_changes(&local, &remote),
            [
                SieveChange::Upload(&local[0]),
                SieveChange::Activate("new"),
                SieveChange::Delete("old")
            ]
        );
        assert_eq!(sieve_changes(&local, &local), []);
    }

    #[test]
    fn a_deactivation_is_transferred() {
        let local = [script("a", 1, false)];
        let remote = [script("a", 1, true)];
        assert_eq!(sieve_changes(&local, &remote), [SieveChange::Deactivate]);
    }

    #[test]
    fn without_a_guid_the_date_decides() {
        let local = [script("a", 1, false)];
        let mut remote = [script("a", 0, false)];
        assert_eq!(sieve_changes(&local, &remote), []);
        remote[0].last_update = UnixTime(9);
        assert_eq!(
            sieve_changes(&local, &remote),
            [SieveChange::Upload(&local[0])]
        );
    }

    fn annotation(entry: &str, user: &str, value: &str) -> Annotation {
        Annotation {
            entry: entry.into(),
            user: user.into(),
            modseq: ModSeq(0),
            value: value.into(),
        }
    }

    #[test]
    fn annotations_are_set_and_removed() {
        let local = [
            annotation("/a", "", "1"),
            annotation("/b", "", "1"),
            annotation("/c", "u", "1"),
        ];
        let remote = [
            annotation("/b", "", "2"),
            annotation("/b", "u", "1"),
            annotation("/c", "u", "1"),
            annotation("/d", "", "1"),
        ];
        assert_eq!(
            annotation_changes(&local, &remote),
            [
                AnnotationChange::Set(&local[0]),
                AnnotationChange::Set(&local[1]),
                AnnotationChange::Remove(&remote[1]),
                AnnotationChange::Remove(&remote[3]),
            ]
        );
        assert_eq!(annotation_changes(&local, &local), []);
    }

    #[test]
    fn quota_roots() {
        let local = [
            ("new", Some(1)),
            ("same", Some(2)),
            ("other", Some(3)),
            ("vanished", None),
            ("never", None),
        ];
        let remote = [("same", 2), ("other", 4), ("vanished", 5), ("unused", 6)];
        assert_eq!(
            quota_changes(&local, &remote),
            [
                QuotaChange::Set(&"new", &1),
                QuotaChange::Set(&"other", &3),
                QuotaChange::Remove(&"vanished"),
                QuotaChange::Remove(&"unused"),
            ]
        );
    }
}
