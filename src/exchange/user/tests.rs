//! A digest counts exactly what the comparison of both sides counts.

use std::convert::Infallible;

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::exchange::{bare_item, compared_state};
use crate::mail::{Annotation, MailboxOptions, MailboxType, Partition, SyncCrc, Uid, UniqueId};
use crate::plan::folders::{Fate, LocalFolder, RemoteFolder, compare};
use crate::plan::meta::{missing_or_different, quota_changes, set_change};
use crate::plan::update::difference;

fn item(name: &str, unique_id: &str) -> MailboxItem {
    MailboxItem {
        crc: SyncCrc {
            basic: 7,
            annotations: 8,
        },
        last_uid: Uid(3),
        highest_modseq: ModSeq(9),
        recent_uid: Uid(2),
        recent_time: UnixTime(100),
        last_append_date: UnixTime(90),
        uid_validity: UidValidity(50),
        partition: Some(Partition::parse("default").unwrap()),
        acl: Acl::parse("alice\tlrswipkxtecdan\t").unwrap(),
        quota_root: Some("user.alice".to_owned()),
        created_modseq: ModSeq(1),
        folder_modseq: ModSeq(4),
        annotations: vec![Annotation {
            entry: "/comment".to_owned(),
            user: String::new(),
            modseq: ModSeq(5),
            value: b"mine".to_vec(),
        }],
        ..bare_item(
            UniqueId::parse(unique_id).unwrap(),
            MailboxName::parse(name).unwrap(),
        )
    }
}

fn intermediate(name: &str, unique_id: &str) -> MailboxItem {
    MailboxItem {
        mailbox_type: MailboxType::parse("ei").unwrap(),
        partition: None,
        annotations: Vec::new(),
        quota_root: None,
        ..item(name, unique_id)
    }
}

fn quota(root: &str, storage: u32) -> Quota {
    Quota {
        root: MailboxName::parse(root).unwrap(),
        storage: Some(storage),
        messages: None,
        annotation_storage: None,
        folders: None,
        modseq: Some(ModSeq(3)),
    }
}

fn seen(unique_id: &str, uids: &str) -> SeenState {
    SeenState {
        unique_id: UniqueId::parse(unique_id).unwrap(),
        last_read: UnixTime(1),
        last_uid: Uid(1),
        last_change: UnixTime(1),
        seen_uids: uids.to_owned(),
    }
}

fn state() -> UserState {
    let name = |name: &str| MailboxName::parse(name).unwrap();
    UserState {
        mailboxes: vec![
            item("user.alice", "id-inbox"),
            item("user.alice.a.b", "id-b"),
            intermediate("user.alice.a", "id-a"),
            item("DELETED.user.alice.old.65BEEF00", "id-old"),
        ],
        quotas: vec![
            quota("user.alice", 1000),
            quota("user.alice.a.b", 10),
            quota("user.alice.z", 1),
        ],
        seen: vec![seen("id-shared", "1:3"), seen("id-other", "")],
        subscriptions: vec![name("user.alice"), name("shared.news")],
    }
}

/// Everything of a state that can change alone.
type Change = (&'static str, fn(&mut UserState));

/// What must be replicated.
const SENT: &[Change] = &[
    ("flags or an append", |s| s.mailboxes[0].crc.basic += 1),
    ("annotation of a message", |s| {
        s.mailboxes[1].crc.annotations += 1
    }),
    ("last uid", |s| s.mailboxes[0].last_uid.0 += 1),
    ("highest modseq", |s| s.mailboxes[3].highest_modseq.0 += 1),
    ("seen by the owner", |s| s.mailboxes[0].recent_uid.0 += 1),
    ("when that was", |s| s.mailboxes[0].recent_time.0 += 1),
    ("POP3 login", |s| s.mailboxes[0].pop3_last_login.0 += 1),
    ("POP3 from when on", |s| {
        s.mailboxes[0].pop3_show_after.0 += 1
    }),
    ("uidvalidity", |s| s.mailboxes[1].uid_validity.0 += 1),
    ("folder modseq", |s| s.mailboxes[1].folder_modseq.0 += 1),
    ("ACL", |s| {
        s.mailboxes[0].acl = Acl::parse("alice\tlrs\t").unwrap()
    }),
    ("options", |s| {
        s.mailboxes[0].options = MailboxOptions::REPLICATED
    }),
    ("mailbox type", |s| {
        s.mailboxes[1].mailbox_type = MailboxType::parse("c").unwrap()
    }),
    ("partition", |s| {
        s.mailboxes[1].partition = Some(Partition::parse("fast").unwrap())
    }),
    ("mailbox annotation", |s| {
        s.mailboxes[0].annotations[0].value.push(b'!')
    }),
    ("annotation's owner", |s| {
        s.mailboxes[0].annotations[0].user.push('x')
    }),
    ("annotation gone", |s| s.mailboxes[1].annotations.clear()),
    ("rename", |s| {
        s.mailboxes[1].name = MailboxName::parse("user.alice.z").unwrap()
    }),
    ("mailbox made anew", |s| {
        s.mailboxes[1].unique_id = UniqueId::parse("id-new").unwrap()
    }),
    ("new mailbox", |s| {
        s.mailboxes.push(item("user.alice.new", "id-n"))
    }),
    ("intermediate's modseq", |s| {
        s.mailboxes[2].folder_modseq.0 += 1
    }),
    ("intermediate made anew", |s| {
        s.mailboxes[2].created_modseq.0 += 1
    }),
    ("quota limit", |s| s.quotas[0].storage = Some(1)),
    ("other quota limit", |s| s.quotas[1].messages = Some(1)),
    ("quota root gone", |s| {
        s.quotas
            .retain(|quota| quota.root.as_str() != "user.alice.z")
    }),
    ("new quota root", |s| {
        s.quotas.push(quota("user.alice.a", 1))
    }),
    ("seen", |s| s.seen[0].seen_uids = "1:4".to_owned()),
    ("last read", |s| s.seen[1].last_read.0 += 1),
    ("newly seen", |s| s.seen.push(seen("id-third", "1"))),
    ("subscription", |s| {
        s.subscriptions
            .push(MailboxName::parse("user.alice.a").unwrap())
    }),
    ("unsubscription", |s| drop(s.subscriptions.pop())),
];

/// What nobody compares.
const NOT_SENT: &[Change] = &[
    ("last append date", |s| {
        s.mailboxes[0].last_append_date.0 += 1
    }),
    ("quota root of the header", |s| {
        s.mailboxes[0].quota_root = None
    }),
    ("creation modseq", |s| s.mailboxes[0].created_modseq.0 += 1),
    ("modseq of an annotation", |s| {
        s.mailboxes[0].annotations[0].modseq.0 += 1
    }),
    ("modseq of a quota", |s| s.quotas[0].modseq = None),
    ("uidvalidity of an intermediate", |s| {
        s.mailboxes[2].uid_validity.0 += 1
    }),
    ("ACL of an intermediate", |s| {
        s.mailboxes[2].acl = Acl::default()
    }),
    ("order of mailboxes", |s| s.mailboxes.reverse()),
    ("order of the rest", |s| {
        s.quotas.reverse();
        s.seen.reverse();
        s.subscriptions.reverse();
    }),
];

fn local_folder(item: &MailboxItem) -> LocalFolder {
    LocalFolder {
        name: item.name.clone(),
        unique_id: item.unique_id.clone(),
        mailbox_type: item.mailbox_type,
        partition: item.partition.clone(),
        uid_validity: item.uid_validity,
        created_modseq: item.created_modseq,
        folder_modseq: item.folder_modseq,
        former_names: Vec::new(),
    }
}

fn remote_folder(item: &MailboxItem) -> RemoteFolder {
    RemoteFolder {
        name: item.name.clone(),
        unique_id: item.unique_id.clone(),
        mailbox_type: item.mailbox_type,
        partition: item.partition.clone(),
        last_uid: item.last_uid,
        created_modseq: item.created_modseq,
        folder_modseq: item.folder_modseq,
    }
}

/// Whether the ordinary comparison would send anything.
fn sends_something(local: &UserState, remote: &UserState) -> bool {
    sends_mailboxes(local, remote)
        || sends_quotas(local, remote)
        || !missing_or_different(&local.seen, &remote.seen, |state| &state.unique_id).is_empty()
        || {
            let change = set_change(&local.subscriptions, &remote.subscriptions);
            !change.add.is_empty() || !change.remove.is_empty()
        }
}

fn sends_mailboxes(local: &UserState, remote: &UserState) -> bool {
    let locals: Vec<LocalFolder> = local.mailboxes.iter().map(local_folder).collect();
    let remotes: Vec<RemoteFolder> = remote.mailboxes.iter().map(remote_folder).collect();
    let fate = |_: &RemoteFolder| Ok::<_, Infallible>(Fate::Tombstone);
    let plan = compare(&locals, &remotes, false, fate, |_| None).unwrap();
    let updates = plan.updates.iter().any(|update| {
        let ours = &local.mailboxes[update.local];
        let theirs = update
            .remote
            .map(|index| compared_state(&remote.mailboxes[index]));
        ours.mailbox_type.flags.contains(TypeFlags::INTERMEDIATE)
            || difference(&compared_state(ours), theirs.as_ref(), false).is_some()
    });
    updates || !plan.rearrangements.is_empty() || !plan.deletions.is_empty()
}

fn sends_quotas(local: &UserState, remote: &UserState) -> bool {
    let limits = |quota: &Quota| {
        let Quota {
            storage,
            messages,
            annotation_storage,
            folders,
            ..
        } = *quota;
        (
            quota.root.clone(),
            (storage, messages, annotation_storage, folders),
        )
    };
    let theirs: Vec<_> = remote.quotas.iter().map(limits).collect();
    let ours: Vec<_> = local.quotas.iter().map(limits).collect();
    let ours: Vec<_> = ours
        .into_iter()
        .map(|(root, limits)| (root, Some(limits)))
        .collect();
    !quota_changes(&ours, &theirs).is_empty()
}

fn changed(changes: impl IntoIterator<Item = Change>) -> UserState {
    let mut state = state();
    for (_, change) in changes {
        change(&mut state);
    }
    state
}

#[test]
fn every_change_that_is_sent_changes_the_digest() {
    let before = state();
    assert!(!sends_something(&before, &before));
    for change in SENT {
        let after = changed([*change]);
        assert!(sends_something(&after, &before), "{}", change.0);
        assert_ne!(after.digest(), before.clone().digest(), "{}", change.0);
    }
}

#[test]
fn what_is_not_compared_does_not_count() {
    let before = state();
    for change in NOT_SENT {
        let after = changed([*change]);
        assert!(!sends_something(&after, &before), "{}", change.0);
        assert_ne!(after, before, "{}", change.0);
        assert_eq!(after.digest(), before.clone().digest(), "{}", change.0);
    }
}

proptest! {
    /// Two sides that went different ways: if their digests agree, nothing would be sent.
    #[test]
    fn equal_digests_have_nothing_to_send(
        ours in proptest::collection::vec(any::<Index>(), 0..4),
        theirs in proptest::collection::vec(any::<Index>(), 0..4),
    ) {
        let all = [SENT, NOT_SENT].concat();
        let pick = |indices: &[Index]| {
            let mut places: Vec<usize> = indices.iter().map(|index| index.index(all.len())).collect();
            // What changes the order comes last.
            places.sort_unstable();
            changed(places.into_iter().map(|place| all[place]))
        };
        let (ours, theirs) = (pick(&ours), pick(&theirs));
        if ours.clone().digest() == theirs.clone().digest() {
            prop_assert!(!sends_something(&ours, &theirs));
            prop_assert!(!sends_something(&theirs, &ours));
        }
    }
}
