//! Whether a mailbox has to be sent, and which of its records (algorithm §5.4 and §5.8).

use std::fmt;

use crate::mail::{
    Acl, Annotation, MailboxOptions, MailboxType, ModSeq, SyncCrc, Uid, UidValidity, UnixTime,
};
use crate::plan::RecordFacts;

/// The fields by which the two sides of a mailbox are compared.
#[derive(Clone, Debug)]
pub struct MailboxState<'a> {
    /// Its type.
    pub mailbox_type: MailboxType,
    /// Highest UID ever assigned.
    pub last_uid: Uid,
    /// Highest modseq.
    pub highest_modseq: ModSeq,
    /// UIDVALIDITY.
    pub uid_validity: UidValidity,
    /// Highest UID that the owner has seen as recent.
    pub recent_uid: Uid,
    /// When that was.
    pub recent_time: UnixTime,
    /// Last POP3 login.
    pub pop3_last_login: UnixTime,
    /// POP3 shows only what arrived later.
    pub pop3_show_after: UnixTime,
    /// Options; only those that travel are compared.
    pub options: MailboxOptions,
    /// Modseq of the mailbox-list entry; zero if the peer does not tell.
    pub folder_modseq: ModSeq,
    /// The owner's reverse-ACL counter; zero if unknown.
    pub racl_modseq: ModSeq,
    /// The owner's conversations modseq; `None` without conversations.
    pub xconv_modseq: Option<ModSeq>,
    /// The ACL.
    pub acl: &'a Acl,
    /// Mailbox annotations, ascending by entry and user.
    pub annotations: &'a [Annotation],
    /// The stored CRCs.
    pub crc: SyncCrc,
}

/// The first field in which the two sides differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// The replica does not have the mailbox.
    New,
    /// MBOXTYPE
    Type,
    /// LAST_UID
    LastUid,
    /// HIGHESTMODSEQ
    HighestModSeq,
    /// UIDVALIDITY
    UidValidity,
    /// RECENTUID
    RecentUid,
    /// RECENTTIME
    RecentTime,
    /// POP3_LAST_LOGIN
    Pop3LastLogin,
    /// POP3_SHOW_AFTER
    Pop3ShowAfter,
    /// OPTIONS
    Options,
    /// FOLDERMODSEQ
    FolderModSeq,
    /// ACL
    Acl,
    /// RACLMODSEQ
    RaclModSeq,
    /// XCONVMODSEQ
    XconvModSeq,
    /// ANNOTATIONS
    Annotations,
    /// SYNC_CRC or SYNC_CRC_ANNOT. The local values may be stale: calculate them anew and
    /// compare once more before anything is sent.
    Crc,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Difference::New => "new mailbox",
            Difference::Type => "type",
            Difference::LastUid => "last uid",
            Difference::HighestModSeq => "highest modseq",
            Difference::UidValidity => "uidvalidity",
            Difference::RecentUid => "recent uid",
            Difference::RecentTime => "recent time",
            Difference::Pop3LastLogin => "last POP3 login",
            Difference::Pop3ShowAfter => "POP3 show after",
            Difference::Options => "options",
            Difference::FolderModSeq => "folder modseq",
            Difference::Acl => "ACL",
            Difference::RaclModSeq => "reverse ACL modseq",
            Difference::XconvModSeq => "conversations modseq",
            Difference::Annotations => "annotations",
            Difference::Crc => "CRC",
        })
    }
}

/// The skip test (algorithm §5.4 step 4): the first difference, or `None` if nothing needs to be
/// sent. `reverse_acls` tells whether the master maintains them.
pub fn difference(
    local: &MailboxState<'_>,
    remote: Option<&MailboxState<'_>>,
    reverse_acls: bool,
) -> Option<Difference> {
    let Some(remote) = remote else {
        return Some(Difference::New);
    };
    let unknown = ModSeq(0);
    let racl_differs = reverse_acls
        && local.racl_modseq != unknown
        && remote.racl_modseq != unknown
        && local.racl_modseq != remote.racl_modseq;
    let xconv_differs = local
        .xconv_modseq
        .is_some_and(|ours| ours != remote.xconv_modseq.unwrap_or_default());
    let options = |state: &MailboxState<'_>| state.options & MailboxOptions::REPLICATED;
    [
        (
            local.mailbox_type.on_wire() != remote.mailbox_type.on_wire(),
            Difference::Type,
        ),
        (local.last_uid != remote.last_uid, Difference::LastUid),
        (
            local.highest_modseq != remote.highest_modseq,
            Difference::HighestModSeq,
        ),
        (
            local.uid_validity != remote.uid_validity,
            Difference::UidValidity,
        ),
        (local.recent_uid != remote.recent_uid, Difference::RecentUid),
        (
            local.recent_time != remote.recent_time,
            Difference::RecentTime,
        ),
        (
            local.pop3_last_login != remote.pop3_last_login,
            Difference::Pop3LastLogin,
        ),
        (
            local.pop3_show_after != remote.pop3_show_after,
            Difference::Pop3ShowAfter,
        ),
        (options(local) != options(remote), Difference::Options),
        (
            remote.folder_modseq != unknown && local.folder_modseq != remote.folder_modseq,
            Difference::FolderModSeq,
        ),
        (local.acl != remote.acl, Difference::Acl),
        (racl_differs, Difference::RaclModSeq),
        (xconv_differs, Difference::XconvModSeq),
        (
            !have_same_values(local.annotations, remote.annotations),
            Difference::Annotations,
        ),
        (!local.crc.matches(remote.crc), Difference::Crc),
    ]
    .into_iter()
    .find_map(|(differs, what)| differs.then_some(what))
}

/// Whether two sorted lists hold the same entries, users and values; modseqs do not count.
pub fn have_same_values(a: &[Annotation], b: &[Annotation]) -> bool {
    fn identity(annotation: &Annotation) -> (&str, &str, &[u8]) {
        (&annotation.entry, &annotation.user, &annotation.value)
    }
    a.iter().map(identity).eq(b.iter().map(identity))
}

/// Counters of the replica that are ahead; the master takes them over before it sends
/// (algorithm §5.4 step 3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TakeOver {
    /// UIDVALIDITY of the replica.
    pub uid_validity: Option<UidValidity>,
    /// Folder modseq of the replica.
    pub folder_modseq: Option<ModSeq>,
    /// Reverse-ACL counter of the replica; the owner's counter is raised to it.
    pub racl_modseq: Option<ModSeq>,
}

/// Finds the counters to take over.
pub fn take_over(local: &MailboxState<'_>, remote: &MailboxState<'_>) -> TakeOver {
    TakeOver {
        uid_validity: Some(remote.uid_validity).filter(|theirs| *theirs > local.uid_validity),
        folder_modseq: Some(remote.folder_modseq).filter(|theirs| *theirs > local.folder_modseq),
        racl_modseq: Some(remote.racl_modseq).filter(|theirs| *theirs > local.racl_modseq),
    }
}

/// Whether a delta would leave expunges out: records changed after the replica's state have
/// been purged here (algorithm §5.4 step 2).
pub fn lost_history(local_deleted_modseq: ModSeq, remote_highest_modseq: ModSeq) -> bool {
    local_deleted_modseq > remote_highest_modseq
}

/// How far the replica has come; zero if it does not have the mailbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// Its LAST_UID.
    pub last_uid: Uid,
    /// Its HIGHESTMODSEQ.
    pub highest_modseq: ModSeq,
}

/// Which records an update carries.
#[derive(Clone, Copy, Debug)]
pub struct Selection {
    /// How far the replica has come.
    pub mark: Mark,
    /// The end of a partial update; `None` for a complete one.
    pub batch: Option<Batch>,
}

/// The end of a partial update: the replica gets the state as if nothing had happened after
/// `highest_modseq`, for the messages up to `last_uid`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// LAST_UID of the update.
    pub last_uid: Uid,
    /// HIGHESTMODSEQ of the update.
    pub highest_modseq: ModSeq,
}

impl Batch {
    /// How far the replica has come when it has the batch.
    pub fn mark(self) -> Mark {
        Mark {
            last_uid: self.last_uid,
            highest_modseq: self.highest_modseq,
        }
    }
}

impl Selection {
    /// The modseq with which the record is sent; `None` if it is not sent.
    pub fn modseq_to_send(&self, record: &impl RecordFacts) -> Option<ModSeq> {
        if record.modseq() <= self.mark.highest_modseq {
            return None;
        }
        let Some(batch) = self.batch else {
            return Some(record.modseq());
        };
        if record.uid() > batch.last_uid {
            None
        } else if record.modseq() <= batch.highest_modseq {
            Some(record.modseq())
        } else {
            (record.uid() > self.mark.last_uid).then_some(batch.highest_modseq)
        }
    }

    /// Whether the replica needs the record's file, if there is one and it was not staged yet.
    pub fn needs_file(&self, record: &impl RecordFacts) -> bool {
        record.uid() > self.mark.last_uid && self.modseq_to_send(record).is_some()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::mail::Guid;

    fn annotation(value: &str, modseq: u64) -> Annotation {
        Annotation {
            entry: "/comment".into(),
            user: String::new(),
            modseq: ModSeq(modseq),
            value: value.into(),
        }
    }

    #[test]
    fn every_compared_field_is_noticed() {
        let acl = Acl::parse("alice\tlrs\t").unwrap();
        let other_acl = Acl::default();
        let notes = [annotation("x", 0)];
        let same_notes = [annotation("x", 9)];
        let other_notes = [annotation("y", 0)];
        let state = MailboxState {
            mailbox_type: MailboxType::default(),
            last_uid: Uid(1),
            highest_modseq: ModSeq(2),
            uid_validity: UidValidity(3),
            recent_uid: Uid(4),
            recent_time: UnixTime(5),
            pop3_last_login: UnixTime(6),
            pop3_show_after: UnixTime(7),
            options: MailboxOptions::POP3_NEW_UIDL,
            folder_modseq: ModSeq(8),
            racl_modseq: ModSeq(9),
            xconv_modseq: Some(ModSeq(10)),
            acl: &acl,
            annotations: &notes,
            crc: SyncCrc {
                basic: 11,
                annotations: 12,
            },
        };
        let check = |change: &dyn Fn(&mut MailboxState<'_>), expected| {
            let mut remote = state.clone();
            change(&mut remote);
            assert_eq!(difference(&state, Some(&remote), true), expected);
        };
        check(&|_| {}, None);
        check(
            &|m| m.mailbox_type = MailboxType::parse("f").unwrap(),
            Some(Difference::Type),
        );
        check(&|m| m.last_uid.0 += 1, Some(Difference::LastUid));
        check(
            &|m| m.highest_modseq.0 += 1,
            Some(Difference::HighestModSeq),
        );
        check(&|m| m.uid_validity.0 += 1, Some(Difference::UidValidity));
        check(&|m| m.recent_uid.0 += 1, Some(Difference::RecentUid));
        check(&|m| m.recent_time.0 += 1, Some(Difference::RecentTime));
        check(
            &|m| m.pop3_last_login.0 += 1,
            Some(Difference::Pop3LastLogin),
        );
        check(
            &|m| m.pop3_show_after.0 += 1,
            Some(Difference::Pop3ShowAfter),
        );
        check(
            &|m| m.options |= MailboxOptions::SHARED_SEEN,
            Some(Difference::Options),
        );
        check(&|m| m.options |= MailboxOptions::NEEDS_REPACK, None);
        check(&|m| m.folder_modseq.0 += 1, Some(Difference::FolderModSeq));
        check(&|m| m.folder_modseq.0 = 0, None);
        check(&|m| m.racl_modseq.0 += 1, Some(Difference::RaclModSeq));
        check(&|m| m.racl_modseq.0 = 0, None);
        check(&|m| m.xconv_modseq = None, Some(Difference::XconvModSeq));
        check(&|m| m.crc.basic += 1, Some(Difference::Crc));
        check(&|m| m.crc = SyncCrc::UNKNOWN, None);

        let with = |acl, annotations| MailboxState {
            acl,
            annotations,
            ..state.clone()
        };
        assert_eq!(
            difference(&state, Some(&with(&other_acl, &notes)), true),
            Some(Difference::Acl)
        );
        assert_eq!(
            difference(&state, Some(&with(&acl, &other_notes)), true),
            Some(Difference::Annotations)
        );
        assert_eq!(
            difference(&state, Some(&with(&acl, &same_notes)), true),
            None
        );
        let racl = MailboxState {
            racl_modseq: ModSeq(99),
            ..state.clone()
        };
        assert_eq!(difference(&state, Some(&racl), false), None);
        assert_eq!(difference(&state, None, true), Some(Difference::New));
        assert_eq!(
            take_over(&state, &racl),
            TakeOver {
                racl_modseq: Some(ModSeq(99)),
                ..TakeOver::default()
            }
        );
    }

    /// A UID and a modseq.
    #[derive(Clone, Copy, Debug)]
    pub(in crate::plan) struct Record(pub u32, pub u64);

    impl RecordFacts for Record {
        fn uid(&self) -> Uid {
            Uid(self.0)
        }
        fn modseq(&self) -> ModSeq {
            ModSeq(self.1)
        }
        fn guid(&self) -> Guid {
            Guid::NULL
        }
        fn is_expunged(&self) -> bool {
            false
        }
    }

    pub(in crate::plan) fn mark(last_uid: u32, highest_modseq: u64) -> Mark {
        Mark {
            last_uid: Uid(last_uid),
            highest_modseq: ModSeq(highest_modseq),
        }
    }

    #[test]
    fn a_complete_update_takes_what_changed_since() {
        let selection = Selection {
            mark: mark(2, 5),
            batch: None,
        };
        assert_eq!(selection.modseq_to_send(&Record(1, 5)), None);
        assert_eq!(selection.modseq_to_send(&Record(1, 6)), Some(ModSeq(6)));
        assert!(!selection.needs_file(&Record(1, 6)));
        assert!(selection.needs_file(&Record(3, 7)));
    }
}
