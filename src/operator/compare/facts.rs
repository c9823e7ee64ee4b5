//! What is compared, by name.

use std::collections::BTreeMap;

use crate::mail::{Annotation, MailboxOptions, SYSTEM_FLAG_NAMES};
use crate::spool::mailbox::{IndexRecord, Mailbox, MailboxHeader};
use crate::spool::mailboxes::MailboxEntry;
use crate::spool::quota::{Quota, QuotaRoot};

/// Values by their names.
pub type Facts = BTreeMap<String, String>;

fn facts<const N: usize>(list: [(&str, String); N]) -> Facts {
    list.into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// A mailbox as a whole.
pub fn mailbox(entry: &MailboxEntry, mailbox: &Mailbox<'_>, annotations: &[Annotation]) -> Facts {
    let MailboxHeader {
        acl, quota_root, ..
    } = mailbox.header();
    let index = mailbox.index_header();
    let root = quota_root.as_ref().map(QuotaRoot::as_str);
    let mut facts = facts([
        ("unique id", entry.unique_id.to_string()),
        ("type", entry.mailbox_type.on_wire().to_string()),
        ("folder modseq", entry.folder_modseq.to_string()),
        ("ACL", acl.to_string().trim_end().replace('\t', " ")),
        ("quota root", root.unwrap_or_default().to_owned()),
        ("UIDVALIDITY", index.uid_validity.to_string()),
        ("last UID", index.last_uid.to_string()),
        ("HIGHESTMODSEQ", index.highest_modseq.to_string()),
        ("modseq of creation", index.created_modseq.to_string()),
        ("recent UID", index.recent_uid.to_string()),
        ("recent time", index.recent_time.to_string()),
        ("last append", index.last_append_date.to_string()),
        ("last POP3 login", index.pop3_last_login.to_string()),
        ("POP3 shown after", index.pop3_show_after.to_string()),
        ("messages", index.exists.to_string()),
        ("octets", index.quota_mailbox_used.to_string()),
        (
            "options",
            (index.options & MailboxOptions::REPLICATED).to_wire(),
        ),
    ]);
    facts.extend(annotations.iter().map(annotation));
    facts
}

/// A message.
pub fn message(mailbox: &Mailbox<'_>, record: &IndexRecord, annotations: &[Annotation]) -> Facts {
    let system = SYSTEM_FLAG_NAMES.iter();
    let system = system.filter(|(flag, _)| record.system_flags.contains(*flag));
    let mut flags: Vec<String> = system.map(|(_, name)| (*name).to_owned()).collect();
    let keywords = mailbox.flag_names(record);
    flags.extend(keywords.map(str::to_ascii_lowercase));
    flags.sort();
    let mut facts = facts([
        ("GUID", record.guid.to_string()),
        ("size", record.size.to_string()),
        ("flags", flags.join(" ")),
        ("date", record.internal_date.to_string()),
        ("modseq", record.modseq.to_string()),
        ("last change", record.last_updated.to_string()),
        ("date of saving", record.save_date.to_string()),
        ("modseq of creation", record.created_modseq.to_string()),
        ("thread", record.conversation.to_wire()),
    ]);
    facts.extend(annotations.iter().map(annotation));
    facts
}

fn annotation(annotation: &Annotation) -> (String, String) {
    let Annotation {
        entry, user, value, ..
    } = annotation;
    let name = match user.as_str() {
        "" => format!("annotation {entry}"),
        user => format!("annotation {entry} of {user}"),
    };
    (name, value.escape_ascii().to_string())
}

/// What is used and allowed of all quota roots.
pub fn quotas(quotas: &[(QuotaRoot, Quota)]) -> Facts {
    let mut facts = Facts::new();
    for (root, Quota { used, limits, .. }) in quotas {
        let limit = |limit: Option<u64>| limit.map_or_else(|| "-".to_owned(), |l| l.to_string());
        for (resource, used, limit) in [
            ("STORAGE", used.storage, limit(limits.storage)),
            ("MESSAGE", used.messages, limit(limits.messages)),
            (
                "ANNOTATION-STORAGE",
                used.annotation_storage,
                limit(limits.annotation_storage),
            ),
            ("MAILBOX", used.mailboxes, limit(limits.mailboxes)),
        ] {
            let name = format!("{} {resource}", root.as_str());
            facts.insert(name, format!("{used} of {limit}"));
        }
    }
    facts
}
