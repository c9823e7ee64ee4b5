//! The MAILBOX item of a mailbox in the store (commands §1).

use crate::mail::{
    Acl, Annotation, MailboxName, MailboxOptions, MailboxType, ModSeq, SyncCrc, Uid, UidValidity,
    UniqueId, UnixTime,
};
use crate::plan::update::MailboxState;
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
        mailbox_type: entry.mailbox_type.on_wire(),
        crc: index.sync_crc,
        last_uid: index.last_uid,
        highest_modseq: index.highest_modseq,
        recent_uid: index.recent_uid,
        recent_time: index.recent_time,
        last_append_date: index.last_append_date,
        pop3_last_login: index.pop3_last_login,
        pop3_show_after: index.pop3_show_after,
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
        annotations,
        ..bare_item(entry.unique_id.clone(), entry.name.clone())
    }
}

/// What is told of a name that only the mailbox list knows (commands §1.1).
pub fn intermediate_item(entry: &MailboxEntry) -> MailboxItem {
    MailboxItem {
        mailbox_type: entry.mailbox_type.on_wire(),
        uid_validity: entry.uid_validity,
        partition: entry.partition.clone(),
        acl: entry.acl.clone().unwrap_or_default(),
        created_modseq: entry.created_modseq,
        folder_modseq: entry.folder_modseq,
        ..bare_item(entry.unique_id.clone(), entry.name.clone())
    }
}

/// A mailbox of which nothing but its name is known: without messages, history or settings.
pub fn bare_item(unique_id: UniqueId, name: MailboxName) -> MailboxItem {
    MailboxItem {
        jmap_id: None,
        unique_id,
        name,
        mailbox_type: MailboxType::default(),
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
        uid_validity: UidValidity(0),
        partition: None,
        acl: Acl::default(),
        options: MailboxOptions::empty(),
        quota_root: None,
        created_modseq: ModSeq(0),
        folder_modseq: ModSeq(0),
        deleted_modseq: None,
        annotations: Vec::new(),
        user_flags: None,
        since: None,
    }
}

/// The fields of an item that both sides compare.
pub fn compared_state(item: &MailboxItem) -> MailboxState<'_> {
    MailboxState {
        mailbox_type: item.mailbox_type,
        last_uid: item.last_uid,
        highest_modseq: item.highest_modseq,
        uid_validity: item.uid_validity,
        recent_uid: item.recent_uid,
        recent_time: item.recent_time,
        pop3_last_login: item.pop3_last_login,
        pop3_show_after: item.pop3_show_after,
        options: item.options,
        folder_modseq: item.folder_modseq,
        racl_modseq: item.racl_modseq,
        // A store with conversations is refused when it is opened.
        xconv_modseq: None,
        acl: &item.acl,
        annotations: &item.annotations,
        crc: item.crc,
    }
}
