//! Names of quota roots.

use std::fmt;

use crate::mail::{MailboxName, NameError};

/// A quota root: the internal name of a mailbox, or `domain!` for a whole domain (databases §12.1).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QuotaRoot(Box<str>);

/// A text that cannot be a quota root.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a quota root: {0}")]
pub struct QuotaRootError(#[source] NameError);

impl QuotaRoot {
    /// Takes a root that may exist.
    ///
    /// # Errors
    /// If it is neither a mailbox name nor a domain followed by `!`.
    pub fn parse(text: &str) -> Result<QuotaRoot, QuotaRootError> {
        let as_mailbox = match text.strip_suffix('!') {
            // A domain is legal if a mailbox in it would be.
            Some(_) => MailboxName::parse(&format!("{text}x")),
            None => MailboxName::parse(text),
        };
        as_mailbox.map_err(QuotaRootError)?;
        Ok(QuotaRoot(text.into()))
    }

    /// The root that covers exactly one mailbox and those below it.
    pub fn of_mailbox(name: &MailboxName) -> QuotaRoot {
        QuotaRoot(name.as_str().into())
    }

    /// The root itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The mailbox at the top of the root; `None` for a whole domain.
    pub fn mailbox(&self) -> Option<MailboxName> {
        MailboxName::parse(&self.0).ok()
    }

    /// Whether limits may be set on it: names with wildcards are refused by the original, too.
    pub fn is_settable(&self) -> bool {
        !self.0.contains(['*', '%', '?'])
    }

    /// Whether the mailbox is in this root's tree.
    pub fn covers(&self, mailbox: &MailboxName) -> bool {
        mailbox
            .as_str()
            .strip_prefix(&*self.0)
            .is_some_and(|rest| self.0.ends_with('!') || rest.is_empty() || rest.starts_with('.'))
    }

    /// All roots that a mailbox could have, the closest first: itself, its ancestors, its domain.
    pub fn candidates(mailbox: &MailboxName) -> Vec<QuotaRoot> {
        let domain = mailbox
            .domain()
            .map(|domain| QuotaRoot(format!("{domain}!").into()));
        std::iter::successors(Some(mailbox.clone()), MailboxName::parent)
            .map(|name| QuotaRoot::of_mailbox(&name))
            .chain(domain)
            .collect()
    }
}

impl fmt::Display for QuotaRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for QuotaRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mailbox(name: &str) -> MailboxName {
        MailboxName::parse(name).unwrap()
    }

    #[test]
    fn roots_are_mailboxes_or_domains() {
        assert!(
            QuotaRoot::parse("user.john^doe")
                .unwrap()
                .mailbox()
                .is_some()
        );
        let domain = QuotaRoot::parse("example.com!").unwrap();
        assert_eq!(domain.mailbox(), None);
        assert!(domain.covers(&mailbox("example.com!user.x")));
        assert!(!domain.covers(&mailbox("example.org!user.x")));
        for bad in ["", "!", "user..x", "../x", "a/b!", "user.x\n"] {
            assert!(QuotaRoot::parse(bad).is_err(), "{bad:?}");
        }
        assert!(!QuotaRoot::parse("user.*").unwrap().is_settable());
    }

    #[test]
    fn a_root_covers_its_tree_only() {
        let root = QuotaRoot::parse("user.bob").unwrap();
        assert!(root.covers(&mailbox("user.bob")));
        assert!(root.covers(&mailbox("user.bob.x")));
        assert!(!root.covers(&mailbox("user.bobby")));
    }

    #[test]
    fn the_closest_candidate_comes_first() {
        let names: Vec<String> = QuotaRoot::candidates(&mailbox("example.com!user.a.b"))
            .iter()
            .map(QuotaRoot::to_string)
            .collect();
        assert_eq!(
            names,
            [
                "example.com!user.a.b",
                "example.com!user.a",
                "example.com!user",
                "example.com!"
            ]
        );
    }
}
