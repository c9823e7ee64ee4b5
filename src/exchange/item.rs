//! The MAILBOX item of a mailbox in the store (commands §1).

use crate::mail::{Annotation, MailboxOptions, ModSeq, SyncCrc, Uid, UnixTime};
use crate::protocol::command::MailboxItem;
use crate::spool::mailbox::Mailbox;
use crate::spool::mailboxes::MailboxEntry;

/// The state of an open mailbox. `annotations` are those of the mailbox itself, all of them.
pub fn mailbox_item(
    entry: &MailboxEntry,
    mailbox: &Mailbox<'_>,
    annotations: Vec<Annotation>,
) -> MailboxItem {
    let header = mailbox.header();
    let index = mailbox.index_header();
    MailboxItem {
        jmap_id: None,
        unique_id: entry.unique_id.clone(),
        name: entry.name.clone(),
        mailbox_type: entry.mailbox_type.on_wire(),
        crc: index.sync_crc,
        last_uid: index.last_uid,
        highest_modseq: index.highest_modseq,
        recent_uid: index.recent_uid,
        recent_time: index.recent_time,
        last_append_date: index.last_append_date,
        pop3_last_login: index.pop3_last_login,
        pop3_show_after: index.pop3_show_after,
        conversations_modseq: ModSeq(0),
        compact_email_ids: None,
        racl_modseq: ModSeq(0),
        user_groups: None,
        index_version: None,
        uid_validity: index.uid_validity,
        partition: entry.partition.clone(),
        acl: header.acl.clone(),
        options: index.options & MailboxOptions::REPLICATED,
        quota_root: header
            .quota_root
            .as_ref()
            .map(|root| root.as_str().to_owned()),
        created_modseq: index.created_modseq,
        folder_modseq: entry.folder_modseq,
        deleted_modseq: None,
        annotations,
        user_flags: None,
        since: None,
    }
}

/// What is told of a name that only the mailbox list knows (commands §1.1).
pub fn intermediate_item(entry: &MailboxEntry) -> MailboxItem {
    MailboxItem {
        jmap_id: None,
        unique_id: entry.unique_id.clone(),
        name: entry.name.clone(),
        mailbox_type: entry.mailbox_type.on_wire(),
        crc: SyncCrc::UNKNOWN,
        last_uid: Uid(0),
        highest_modseq: ModSeq(0),
        recent_uid: Uid(0),
        recent_time: UnixTime(0),
        last_append_date: UnixTime(0),
        pop3_last_login: UnixTime(0),
        pop3_show_after: UnixTime(0),
        conversations_modseq: ModSeq(0),
        compact_email_ids: None,
        racl_modseq: ModSeq(0),
        user_groups: None,
        index_version: None,
        uid_validity: entry.uid_validity,
        partition: entry.partition.clone(),
        acl: entry.acl.clone().unwrap_or_default(),
        options: MailboxOptions::empty(),
        quota_root: None,
        created_modseq: entry.created_modseq,
        folder_modseq: entry.folder_modseq,
        deleted_modseq: None,
        annotations: Vec::new(),
        user_flags: None,
        since: None,
    }
}
