//! Access control lists.

use std::fmt;

/// A mailbox's ACL: identifiers with their rights, in stored order.
///
/// On the wire and in memory of the original this is the text `id HT rights HT id HT rights HT`
/// (commands §1); ACLs are compared octet by octet, so order and spelling are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acl(Vec<AclEntry>);

/// One identifier of an ACL and its rights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AclEntry {
    /// A user id, `anyone`, `group:…`, or one of these after `-` (negative rights).
    pub identifier: String,
    /// The letters as they are stored.
    pub rights: String,
}

/// A text that is no ACL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed ACL {0:?}")]
pub struct AclError(pub String);

impl Acl {
    /// Reads the text form with tabs; the empty text is the empty ACL.
    ///
    /// # Errors
    /// If an identifier is empty or has no rights field, or a control character occurs.
    pub fn parse(text: &str) -> Result<Acl, AclError> {
        let fail = || AclError(text.to_owned());
        let mut entries = Vec::new();
        let mut fields = text.split('\t');
        while let Some(identifier) = fields.next().filter(|field| !field.is_empty()) {
            let rights = fields.next().ok_or_else(fail)?;
            if [identifier, rights]
                .iter()
                .any(|field| field.bytes().any(|b| b.is_ascii_control()))
            {
                return Err(fail());
            }
            entries.push(AclEntry {
                identifier: identifier.to_owned(),
                rights: rights.to_owned(),
            });
        }
        match fields.next() {
            None => Ok(Acl(entries)),
            Some(_) => Err(fail()),
        }
    }

    /// An ACL of the given entries.
    pub fn from_entries(entries: Vec<AclEntry>) -> Acl {
        Acl(entries)
    }

    /// The entries in stored order.
    pub fn entries(&self) -> &[AclEntry] {
        &self.0
    }

    /// Whether nobody is named.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Acl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|entry| write!(f, "{}\t{}\t", entry.identifier, entry.rights))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trip() {
        for text in [
            "",
            "alice\tlrswipkxtecdan\t",
            "alice\tlrs\t-anyone\tlr\tgroup:x y\t\t",
        ] {
            assert_eq!(Acl::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn malformed_text_is_refused() {
        for text in ["alice", "alice\tlrs\t\tx\t", "alice\tl\nr\t"] {
            assert!(Acl::parse(text).is_err(), "{text:?}");
        }
    }
}
