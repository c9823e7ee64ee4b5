use std::convert::Infallible;

use super::*;
use crate::mail::Guid;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Record {
    uid: u32,
    modseq: u64,
    guid: u8,
    time: u32,
    flags: u8,
    expunged: bool,
}

impl RecordFacts for Record {
    fn uid(&self) -> Uid {
        Uid(self.uid)
    }
    fn modseq(&self) -> ModSeq {
        ModSeq(self.modseq)
    }
    fn guid(&self) -> Guid {
        Guid::from_bytes([self.guid; Guid::LEN])
    }
    fn is_expunged(&self) -> bool {
        self.expunged
    }
}

impl DatedRecord for Record {
    fn last_updated(&self) -> UnixTime {
        UnixTime(self.time)
    }
}

fn live(uid: u32, modseq: u64, guid: u8) -> Record {
    Record {
        uid,
        modseq,
        guid,
        time: 100,
        flags: 0,
        expunged: false,
    }
}

fn expunged(uid: u32, modseq: u64, guid: u8) -> Record {
    Record {
        expunged: true,
        ..live(uid, modseq, guid)
    }
}

const CONTEXT: MergeContext = MergeContext {
    local_last_uid: Uid(10),
    local_deleted_modseq: ModSeq(5),
    remote_last_uid: Uid(8),
    remote_highest_modseq: ModSeq(20),
};

fn merge(local: &[Record], remote: &[Record]) -> Vec<MergeStep<Record, Record>> {
    let ok = |record: &Record| Ok::<_, Infallible>(*record);
    Merge::new(
        local.iter().map(ok),
        remote.iter().map(ok),
        CONTEXT,
        |local, remote| local.flags == remote.flags,
    )
    .collect::<Result<_, _>>()
    .unwrap()
}

fn rewrite(local: Record, take: Take<Record>, reason: Reason) -> MergeStep<Record, Record> {
    MergeStep::Rewrite {
        local,
        take,
        reason,
    }
}

#[test]
fn equal_records_and_those_expunged_on_both_sides_stay() {
    let both = [live(1, 3, 1), expunged(2, 3, 2)];
    assert_eq!(merge(&both, &both), []);
    assert_eq!(merge(&[expunged(2, 3, 2)], &[expunged(2, 9, 99)]), []);
    assert_eq!(merge(&[expunged(2, 3, 2)], &[]), []);
    assert_eq!(merge(&[], &[expunged(2, 3, 2)]), []);
}

#[test]
fn the_later_change_wins() {
    let old = live(1, 3, 1);
    let changed = Record {
        flags: 1,
        modseq: 4,
        time: 101,
        ..old
    };
    assert_eq!(
        merge(&[old], &[changed]),
        [rewrite(
            old,
            Take::Contents(changed),
            Reason::MoreRecentOnReplica
        )]
    );
    assert_eq!(
        merge(&[changed], &[old]),
        [rewrite(changed, Take::Nothing, Reason::MoreRecentOnMaster)]
    );
    let earlier = Record {
        time: 99,
        ..changed
    };
    assert_eq!(
        merge(&[old], &[earlier]),
        [rewrite(old, Take::Nothing, Reason::MoreRecentOnMaster)]
    );
    let other_flags = Record { flags: 2, ..old };
    assert_eq!(
        merge(&[old], &[other_flags]),
        [rewrite(old, Take::Nothing, Reason::MoreRecentOnMaster)]
    );
}

#[test]
fn an_expunge_on_either_side_wins() {
    let (alive, gone) = (live(1, 9, 1), expunged(1, 3, 1));
    assert_eq!(
        merge(&[alive], &[gone]),
        [rewrite(alive, Take::Expunged, Reason::ExpungedOnReplica)]
    );
    assert_eq!(
        merge(&[gone], &[alive]),
        [rewrite(gone, Take::Nothing, Reason::ExpungedOnMaster)]
    );
}

#[test]
fn a_split_brain_renumbers_both_messages_in_the_order_of_their_guids() {
    let (low, high) = (live(1, 3, 1), live(1, 4, 2));
    let reason = Reason::GuidMismatch;
    assert_eq!(
        merge(&[low], &[high]),
        [
            MergeStep::Renumber { local: low, reason },
            MergeStep::CopyBack {
                remote: high,
                reason
            }
        ]
    );
    assert_eq!(
        merge(&[high], &[low]),
        [
            MergeStep::CopyBack {
                remote: low,
                reason
            },
            MergeStep::Renumber {
                local: high,
                reason
            }
        ]
    );
    assert_eq!(
        merge(&[expunged(1, 3, 2)], &[low]),
        [MergeStep::CopyBack {
            remote: low,
            reason
        }]
    );
    assert_eq!(
        merge(&[low], &[expunged(1, 3, 2)]),
        [MergeStep::Renumber { local: low, reason }]
    );
}

#[test]
fn records_of_the_master_alone() {
    let reason = Reason::OnlyOnMaster;
    let in_between = live(1, 30, 1);
    let seen = live(8, 30, 2);
    let too_low = live(9, 20, 3);
    let sent_anyway = live(10, 21, 4);
    let anchor = live(2, 3, 9);
    assert_eq!(
        merge(&[in_between, anchor, seen, too_low, sent_anyway], &[anchor]),
        [
            MergeStep::Renumber {
                local: in_between,
                reason
            },
            MergeStep::Renumber {
                local: seen,
                reason
            },
            rewrite(too_low, Take::Nothing, Reason::ModSeqTooLow)
        ]
    );
}

#[test]
fn records_of_the_replica_alone() {
    let purged_here = live(3, 4, 1);
    let foreign = live(4, 5, 2);
    let above = live(11, 1, 3);
    let local = live(7, 3, 9);
    assert_eq!(
        merge(&[local], &[purged_here, foreign, local, above]),
        [
            MergeStep::ExpungeRemote {
                remote: purged_here
            },
            MergeStep::CopyBack {
                remote: foreign,
                reason: Reason::OnlyOnReplica
            },
            MergeStep::Append { remote: above }
        ]
    );
}

#[test]
fn lists_out_of_order_end_the_walk() {
    let ok = |record: Record| Ok::<_, Infallible>(record);
    let good = [live(1, 1, 1)].map(ok);
    let bad = [live(2, 1, 1), live(2, 1, 1)].map(ok);
    let mut walk = Merge::new(bad, good, CONTEXT, |_, _| true);
    assert!(matches!(
        walk.find_map(Result::err),
        Some(MergeError::Master(_))
    ));
    assert!(walk.next().is_none());
    let mut walk = Merge::new(good, bad, CONTEXT, |_, _| true);
    assert!(matches!(
        walk.find_map(Result::err),
        Some(MergeError::Replica(_))
    ));
}

#[test]
fn counters_never_go_back() {
    let low = Counters {
        uid_validity: UidValidity(1),
        last_uid: Uid(9),
        highest_modseq: ModSeq(3),
        folder_modseq: ModSeq(8),
        xconv_modseq: ModSeq(0),
    };
    let high = Counters {
        uid_validity: UidValidity(2),
        last_uid: Uid(5),
        highest_modseq: ModSeq(4),
        folder_modseq: ModSeq(7),
        xconv_modseq: ModSeq(1),
    };
    let base = Counters {
        uid_validity: UidValidity(2),
        last_uid: Uid(9),
        highest_modseq: ModSeq(4),
        folder_modseq: ModSeq(8),
        xconv_modseq: ModSeq(1),
    };
    for (local, remote, replica_was_higher) in [(low, high, true), (high, low, false)] {
        assert_eq!(
            merge_counters(local, remote),
            MergedCounters {
                base,
                take_annotations: replica_was_higher,
                must_advance: replica_was_higher
            }
        );
    }
}
