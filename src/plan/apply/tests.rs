use std::convert::Infallible;

use super::*;
use crate::mail::Guid;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Record {
    uid: u32,
    modseq: u64,
    guid: u8,
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

fn live(uid: u32, modseq: u64, guid: u8) -> Record {
    Record {
        uid,
        modseq,
        guid,
        expunged: false,
    }
}

fn expunged(uid: u32, modseq: u64, guid: u8) -> Record {
    Record {
        expunged: true,
        ..live(uid, modseq, guid)
    }
}

fn replica_header() -> ReplicaHeader {
    ReplicaHeader {
        mailbox_type: MailboxType::default(),
        last_uid: Uid(10),
        highest_modseq: ModSeq(20),
        uid_validity: UidValidity(5),
        xconv_modseq: None,
        created_modseq: ModSeq(1),
        options: MailboxOptions::NEEDS_REPACK | MailboxOptions::SHARED_SEEN,
        crc: SyncCrc {
            basic: 7,
            annotations: 8,
        },
    }
}

fn update_header() -> UpdateHeader {
    UpdateHeader {
        mailbox_type: MailboxType::default(),
        last_uid: Uid(10),
        highest_modseq: ModSeq(20),
        uid_validity: UidValidity(5),
        xconv_modseq: ModSeq(0),
        created_modseq: ModSeq(0),
        folder_modseq: ModSeq(0),
        options: MailboxOptions::POP3_NEW_UIDL,
        since: None,
    }
}

type Outcome = Result<Vec<Step<Record, Record>>, Refusal>;

fn run(replica: &[Record], update: &[Record], force: bool) -> Outcome {
    let limits = Limits {
        update_last_uid: Uid(12),
        replica_last_uid: Uid(10),
        force,
    };
    steps(replica, update, limits)
        .map(|step| {
            step.map_err(|error| match error {
                StepError::Refused(refusal) => refusal,
                StepError::Unreadable(never) => match never {},
            })
        })
        .collect()
}

fn steps(
    replica: &[Record],
    update: &[Record],
    limits: Limits,
) -> Steps<
    Record,
    Record,
    impl Iterator<Item = Result<Record, Infallible>>,
    impl Iterator<Item = Result<Record, Infallible>>,
> {
    Steps::new(
        replica.iter().copied().map(Ok),
        update.iter().copied().map(Ok),
        limits,
    )
}

#[test]
fn where_an_update_goes() {
    let [name, other] = ["user.a", "user.b"].map(|text| MailboxName::parse(text).unwrap());
    let [id, stranger] = ["idone", "idtwo"].map(|text| UniqueId::parse(text).unwrap());
    let occupied_by = |unique_id, last_uid| {
        Some(Occupant {
            unique_id,
            last_uid: Uid(last_uid),
        })
    };
    let decide = |occupant, holder, force| destination(&name, &id, occupant, holder, force);
    assert_eq!(decide(None, None, false), Ok(Destination::Create));
    assert_eq!(decide(None, Some(&name), false), Ok(Destination::Create));
    assert_eq!(
        decide(occupied_by(&id, 9), Some(&name), false),
        Ok(Destination::Update)
    );
    assert_eq!(
        decide(occupied_by(&stranger, 0), None, false),
        Ok(Destination::Replace)
    );
    assert_eq!(
        decide(occupied_by(&stranger, 9), None, true),
        Ok(Destination::Replace)
    );
    assert_eq!(
        decide(occupied_by(&stranger, 9), None, false)
            .unwrap_err()
            .answer(),
        Answer::Moved
    );
    // Not even force may leave two mailboxes with one id.
    for (occupant, force) in [(None, true), (occupied_by(&stranger, 0), true)] {
        assert_eq!(
            decide(occupant, Some(&other), force),
            Err(Refusal::UniqueIdInUse {
                holder: other.clone()
            })
        );
    }
}

#[test]
fn an_accepted_header_keeps_local_options_and_takes_the_rest() {
    let accepted = check_header(&update_header(), &replica_header(), false).unwrap();
    assert_eq!(
        accepted,
        AcceptedHeader {
            highest_modseq: ModSeq(20),
            folder_modseq: ModSeq(20),
            created_modseq: ModSeq(1),
            uid_validity: UidValidity(5),
            options: MailboxOptions::NEEDS_REPACK | MailboxOptions::POP3_NEW_UIDL,
            waived: vec![],
        }
    );
}

#[test]
fn a_delta_against_another_state_is_refused_even_in_force_mode() {
    for (modseq, basic, annotations, fits) in [
        (20, 7, 8, true),
        (20, 0, 8, true),
        (19, 7, 8, false),
        (20, 6, 8, false),
        (20, 7, 9, false),
    ] {
        let update = UpdateHeader {
            since: Some(Since {
                modseq: ModSeq(modseq),
                crc: SyncCrc { basic, annotations },
            }),
            ..update_header()
        };
        let answer = check_header(&update, &replica_header(), true)
            .map(|_| ())
            .map_err(|refusal| refusal.answer());
        let expected = if fits { Ok(()) } else { Err(Answer::Changed) };
        assert_eq!(answer, expected, "{update:?}");
    }
}

#[test]
fn counters_never_go_back_unless_forced() {
    let cases: [(UpdateHeader, &str); 4] = [
        (
            UpdateHeader {
                highest_modseq: ModSeq(19),
                ..update_header()
            },
            "higher modseq on replica: 19 < 20",
        ),
        (
            UpdateHeader {
                uid_validity: UidValidity(4),
                ..update_header()
            },
            "higher uidvalidity on replica: 4 < 5",
        ),
        (
            UpdateHeader {
                last_uid: Uid(9),
                ..update_header()
            },
            "higher last_uid on replica: 9 < 10",
        ),
        (
            UpdateHeader {
                xconv_modseq: ModSeq(2),
                ..update_header()
            },
            "higher xconvmodseq on replica: 2 < 3",
        ),
    ];
    let replica = ReplicaHeader {
        xconv_modseq: Some(ModSeq(3)),
        ..replica_header()
    };
    let name = MailboxName::parse("user.a").unwrap();
    for (update, text) in cases {
        let refusal = check_header(&update, &replica, false).unwrap_err();
        assert_eq!(refusal.log_line(&name), text.replace(':', " user.a -"),);
        assert_eq!(refusal.to_string(), text);
        assert_eq!(refusal.answer(), Answer::Checksum);
        assert!(refusal.is_waived_by_force());
        let waived = check_header(&update, &replica, true).unwrap().waived;
        assert_eq!(waived, [refusal]);
    }
    assert!(check_header(&update_header(), &replica, false).is_ok());
}

#[test]
fn another_type_is_refused_but_the_layout_flag_does_not_count() {
    let header = |text| ReplicaHeader {
        mailbox_type: MailboxType::parse(text).unwrap(),
        ..replica_header()
    };
    assert!(check_header(&update_header(), &header("el"), false).is_ok());
    let refusal = check_header(&update_header(), &header("f"), true).unwrap_err();
    assert_eq!(refusal.answer(), Answer::UnknownError);
}

#[test]
fn records_are_changed_appended_or_passed_over() {
    let replica = [
        live(1, 3, 1),
        live(2, 4, 2),
        expunged(3, 5, 3),
        live(10, 6, 4),
    ];
    let update = [
        live(2, 9, 2),
        expunged(3, 4, 99),
        expunged(4, 8, 5),
        expunged(10, 8, 4),
        live(11, 9, 1),
        expunged(12, 9, 6),
    ];
    assert_eq!(
        run(&replica, &update, false).unwrap(),
        [
            Step::Change {
                replica: replica[1],
                update: update[0],
                waived: None
            },
            Step::BothExpunged(update[1]),
            Step::ExpungedAndAbsent(update[2]),
            Step::Change {
                replica: replica[3],
                update: update[3],
                waived: None
            },
            Step::Append(update[4]),
            Step::Append(update[5]),
        ]
    );
}

#[test]
fn conflicting_records_are_refused() {
    let replica = [live(1, 3, 1), expunged(2, 4, 2)];
    let refused = |update: Record, force| run(&replica, &[update], force).unwrap_err();
    for force in [false, true] {
        assert!(matches!(
            refused(live(1, 9, 2), force),
            Refusal::GuidMismatch { uid: Uid(1), .. }
        ));
        assert!(matches!(
            refused(live(2, 9, 2), force),
            Refusal::ExpungedOnReplica { uid: Uid(2) }
        ));
        assert!(matches!(
            refused(live(5, 9, 5), force),
            Refusal::MissingOnReplica { uid: Uid(5), .. }
        ));
    }
    let objection = refused(live(1, 2, 1), false);
    assert!(matches!(objection, Refusal::HigherRecordModSeq { .. }));
    assert_eq!(
        run(&replica, &[live(1, 2, 1)], true).unwrap(),
        [Step::Change {
            replica: replica[0],
            update: live(1, 2, 1),
            waived: Some(objection)
        }]
    );
}

#[test]
fn records_out_of_order_are_refused() {
    for update in [
        vec![live(0, 1, 1)],
        vec![live(12, 1, 1), live(11, 1, 2)],
        vec![live(11, 1, 1), live(11, 1, 1)],
    ] {
        let refusal = run(&[], &update, true).unwrap_err();
        assert_eq!(refusal.answer(), Answer::ProtocolError, "{update:?}");
    }
    assert_eq!(
        run(&[], &[live(13, 1, 1)], false),
        Err(Refusal::AboveLastUid {
            uid: Uid(13),
            last_uid: Uid(12)
        })
    );
    for replica in [vec![live(0, 1, 1)], vec![live(2, 1, 1), live(2, 1, 1)]] {
        let refusal = run(&replica, &[live(3, 1, 1)], false).unwrap_err();
        assert!(matches!(refusal, Refusal::ReplicaNotAscending(_)));
    }
}

#[test]
fn nothing_follows_a_refusal() {
    let limits = Limits {
        update_last_uid: Uid(12),
        replica_last_uid: Uid(10),
        force: false,
    };
    let update = [live(5, 1, 1), live(11, 1, 1)];
    let mut walk = steps(&[], &update, limits);
    assert!(walk.next().unwrap().is_err());
    assert!(walk.next().is_none());
}

#[test]
fn a_forced_last_uid_never_falls_below_a_record() {
    for (replica_uid, update_uid, given, force, expected) in [
        (9, 1, 4, true, 9),
        (3, 11, 4, true, 11),
        (3, 1, 4, true, 4),
        (3, 4, 4, false, 4),
    ] {
        let replica = [live(1, 1, 1), live(replica_uid, 1, 1)];
        let update = [live(update_uid, 2, 1)];
        let limits = Limits {
            update_last_uid: Uid(given),
            replica_last_uid: Uid(3),
            force,
        };
        let mut walk = steps(&replica, &update, limits);
        assert!(walk.by_ref().all(|step| step.is_ok()));
        let last_uid = walk.resulting_last_uid().unwrap();
        assert_eq!(last_uid, Uid(expected));
    }
}

#[test]
fn resulting_crcs() {
    let crc = |basic, annotations| SyncCrc { basic, annotations };
    assert!(check_result(crc(1, 2), crc(1, 2)).is_ok());
    assert!(check_result(SyncCrc::UNKNOWN, crc(1, 2)).is_ok());
    let refusal = check_result(crc(1, 2), crc(1, 3)).unwrap_err();
    assert_eq!(refusal.answer(), Answer::Checksum);
}
