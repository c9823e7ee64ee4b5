//! What a request is about, for the log.

use std::fmt;

use crate::mail::{MailboxName, Namespace, UserId};
use crate::protocol::command::{Apply, MailboxArgument, Request, Restore};

/// What a request is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The sub-command.
    pub verb: &'static str,
    /// Whose things.
    pub user: Option<UserId>,
    /// Which mailbox.
    pub mailbox: Option<MailboxName>,
    /// Whether it changes mailboxes or what belongs to them.
    pub is_change: bool,
    /// Messages that came with it.
    pub messages: u64,
    /// Their octets.
    pub octets: u64,
}

impl Subject {
    /// The subject of `request`.
    pub fn of(request: &Request, namespace: &Namespace) -> Subject {
        let mut subject = Subject {
            verb: request.name(),
            user: None,
            mailbox: None,
            is_change: false,
            messages: 0,
            octets: 0,
        };
        match request {
            Request::Get(_) => {}
            Request::Message(files) => {
                subject.messages = files.len() as u64;
                subject.octets = files.iter().map(|file| u64::from(file.size)).sum();
            }
            Request::Restore(Restore::Mailbox(_, mailbox)) => {
                subject.is_change = true;
                subject.mailbox = Some(mailbox.name.clone());
            }
            Request::Apply(apply) => subject.apply(apply),
        }
        if subject.user.is_none() {
            let owner = |name| namespace.owner_of(name);
            subject.user = subject.mailbox.as_ref().and_then(owner);
        }
        subject
    }

    fn apply(&mut self, apply: &Apply) {
        self.is_change = !matches!(
            apply,
            Apply::Capabilities(_) | Apply::Force | Apply::Reserve(_)
        );
        self.mailbox = match apply {
            Apply::Mailbox(_, MailboxArgument::Folder(item)) => Some(&item.name),
            Apply::Mailbox(_, MailboxArgument::Update(update)) => Some(&update.item.name),
            Apply::Expunge(expunge) => Some(&expunge.mailbox),
            Apply::Rename(_, rename) => Some(&rename.old),
            Apply::Unmailbox(_, unmailbox) => Some(&unmailbox.name),
            Apply::Sub(subscription) | Apply::Unsub(subscription) => Some(&subscription.mailbox),
            Apply::Quota(quota) => Some(&quota.root),
            Apply::Unquota(root) => root.as_ref(),
            Apply::Annotation(key, _) | Apply::Unannotation(key) => key.mailbox.as_ref(),
            _ => None,
        }
        .cloned();
        self.user = match apply {
            Apply::Sub(subscription) | Apply::Unsub(subscription) => Some(&subscription.user),
            Apply::Seen(user, _) | Apply::UnactivateSieve(user) => Some(user),
            Apply::Sieve(script) => Some(&script.key.user),
            Apply::Unsieve(key) | Apply::ActivateSieve(key) => Some(&key.user),
            Apply::Unuser(_, user) => user.as_ref(),
            _ => None,
        }
        .cloned();
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.verb)?;
        match (&self.mailbox, &self.user) {
            (Some(mailbox), _) => write!(f, " {mailbox}"),
            (None, Some(user)) => write!(f, " {user}"),
            (None, None) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::command::{Scope, SeenState, Unmailbox};

    fn of(request: Request) -> Subject {
        Subject::of(&request, &Namespace::default())
    }

    #[test]
    fn mailboxes_tell_their_owners() {
        let name = MailboxName::parse("user.alice.work").unwrap();
        let subject = of(Request::Apply(Apply::Unmailbox(
            Scope::Everywhere,
            Unmailbox {
                name: name.clone(),
                identity: None,
            },
        )));
        assert_eq!(subject.to_string(), "UNMAILBOX user.alice.work");
        assert_eq!(subject.mailbox, Some(name));
        assert_eq!(subject.user, Some(UserId::parse("alice").unwrap()));
        assert!(subject.is_change);
    }

    #[test]
    fn some_requests_change_nothing_or_concern_a_user_only() {
        assert!(!of(Request::Apply(Apply::Force)).is_change);
        let user = UserId::parse("bob").unwrap();
        let state = SeenState {
            unique_id: crate::mail::UniqueId::parse("abc").unwrap(),
            last_read: Default::default(),
            last_uid: crate::mail::Uid(1),
            last_change: Default::default(),
            seen_uids: String::new(),
        };
        let subject = of(Request::Apply(Apply::Seen(user.clone(), state)));
        assert_eq!(subject.to_string(), "SEEN bob");
        assert_eq!(subject.user, Some(user));
    }
}
