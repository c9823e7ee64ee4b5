//! Fields of a record that replication carries as annotations (commands §1.3), and that are
//! annotations in index versions without room for them.

use super::record::IndexRecord;
use super::version::IndexVersion;
use crate::mail::{Annotation, ModSeq};

/// The conversation id.
pub(super) const THRID: &str = "/vendor/cmu/cyrus-imapd/thrid";
/// When the message came into the mailbox.
const SAVEDATE: &str = "/vendor/cmu/cyrus-imapd/savedate";
/// The modseq of the message's creation.
const CREATEDMODSEQ: &str = "/vendor/cmu/cyrus-imapd/createdmodseq";

/// The fields that are not zero as annotations: those that have room in the record, and those
/// that this version of the index keeps as annotations.
pub(super) struct PseudoAnnotations {
    pub in_record: Vec<Annotation>,
    pub stored: Vec<Annotation>,
}

/// The values are in the form of the wire.
pub(super) fn pseudo_annotations(version: IndexVersion, record: &IndexRecord) -> PseudoAnnotations {
    let fields = [
        (
            THRID,
            record.conversation.0,
            record.conversation.to_wire(),
            version.has_conversation_ids(),
        ),
        (
            SAVEDATE,
            record.save_date.0.into(),
            record.save_date.to_string(),
            version.has_save_dates(),
        ),
        (
            CREATEDMODSEQ,
            record.created_modseq.0,
            record.created_modseq.to_string(),
            version.has_created_modseqs(),
        ),
    ];
    let mut pseudo = PseudoAnnotations {
        in_record: Vec::new(),
        stored: Vec::new(),
    };
    for (entry, number, value, has_room) in fields {
        let annotation = Annotation {
            entry: entry.to_owned(),
            user: String::new(),
            modseq: ModSeq(0),
            value: value.into_bytes(),
        };
        match (number, has_room) {
            (0, _) => {}
            (_, true) => pseudo.in_record.push(annotation),
            (_, false) => pseudo.stored.push(annotation),
        }
    }
    pseudo
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::{ConversationId, UnixTime};

    #[test]
    fn fields_are_annotations_where_the_record_has_no_room() {
        let record = IndexRecord {
            conversation: ConversationId(0x77c6_3aa1),
            save_date: UnixTime(1_795_331_195),
            created_modseq: ModSeq(2),
            ..IndexRecord::default()
        };
        let values = |annotations: Vec<Annotation>| -> Vec<String> {
            let texts = annotations.into_iter().map(|one| one.value);
            texts.map(|text| String::from_utf8(text).unwrap()).collect()
        };
        for (version, expected_in_record) in [(12, 0), (13, 1), (15, 2), (16, 3), (19, 3)] {
            let version = IndexVersion::from_number(version).unwrap();
            let pseudo = pseudo_annotations(version, &record);
            let mut all = values(pseudo.in_record);
            assert_eq!(all.len(), expected_in_record);
            all.extend(values(pseudo.stored));
            assert_eq!(all, ["0000000077c63aa1", "1795331195", "2"]);
        }
        let nothing = pseudo_annotations(IndexVersion::CREATED, &IndexRecord::default());
        assert!(nothing.in_record.is_empty() && nothing.stored.is_empty());
    }
}
