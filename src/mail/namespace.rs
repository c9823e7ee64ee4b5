//! How names relate to users, to the keys of databases, and to what people type.
//!
//! All forms of a mailbox name are described in databases §7. Everything here is pure and follows
//! the rules of Cyrus 3.6, also for odd input, because the daemons beside us must come to the same
//! owner and the same path.

use super::{MailboxName, NameError, UnixTime, UserId};

/// Separates the levels of a database name (databases §7.1).
pub const DB_LEVEL_SEPARATOR: u8 = 0x1f;
/// Ends the domain of a database name (databases §7.1).
pub const DB_DOMAIN_SEPARATOR: u8 = 0x1d;

/// The rules for names that a configuration sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    /// First level of the names of deleted mailboxes (`deletedprefix`).
    pub deleted_prefix: String,
    /// Whether names and user ids may have domains (`virtdomains` is not `off`).
    pub virtual_domains: bool,
    /// The domain that is never written into names (`defaultdomain`).
    pub default_domain: Option<String>,
    /// Whether people separate levels with `/` and may write dots (`unixhierarchysep`).
    pub unix_hierarchy_separator: bool,
}

impl Default for Namespace {
    /// The defaults of Cyrus 3.6.
    fn default() -> Namespace {
        Namespace {
            deleted_prefix: "DELETED".to_owned(),
            virtual_domains: false,
            default_domain: Some("internal".to_owned()),
            unix_hierarchy_separator: true,
        }
    }
}

/// A mailbox name taken apart; the texts are in internal form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameParts<'a> {
    /// The domain, unless it is the default one.
    pub domain: Option<&'a str>,
    /// For a deleted mailbox the last level, which is the time of deletion in hexadecimal.
    pub deletion: Option<&'a str>,
    /// The local part of the user who owns the mailbox, or owned it before it was deleted.
    pub user: Option<&'a str>,
    /// The levels below the user's INBOX, or all levels of a shared name.
    pub folders: Vec<&'a str>,
}

impl Namespace {
    /// Takes a name apart.
    pub fn parts<'a>(&self, name: &'a MailboxName) -> NameParts<'a> {
        let mut folders: Vec<&str> = name.levels().collect();
        let mut parts = NameParts {
            domain: name
                .domain()
                .filter(|domain| Some(*domain) != self.default_domain.as_deref()),
            deletion: None,
            user: None,
            folders: Vec::new(),
        };
        if folders.len() > 2 && folders.first() == Some(&self.deleted_prefix.as_str()) {
            parts.deletion = folders.pop();
            folders.remove(0);
        }
        if folders.len() > 1 && folders.first() == Some(&"user") {
            folders.remove(0);
            parts.user = Some(folders.remove(0));
        }
        parts.folders = folders;
        parts
    }

    /// The user in whose tree the mailbox lies, for a deleted mailbox the former owner; `None` for
    /// a shared mailbox.
    pub fn owner_of(&self, name: &MailboxName) -> Option<UserId> {
        let parts = self.parts(name);
        let local_part = internal_to_plain(parts.user?);
        let user = match parts.domain {
            Some(domain) => format!("{local_part}@{domain}"),
            None => local_part,
        };
        UserId::parse(&user).ok()
    }

    /// The name of a user's INBOX.
    pub fn inbox_of(&self, user: &UserId) -> MailboxName {
        let domain = user
            .domain()
            .filter(|domain| Some(*domain) != self.default_domain.as_deref());
        MailboxName::inbox(domain, user.local_part())
    }

    /// The form of a user id that [`Namespace::owner_of`] yields: without the default domain.
    pub fn canonical_user(&self, user: &UserId) -> UserId {
        self.owner_of(&self.inbox_of(user))
            .unwrap_or_else(|| user.clone())
    }

    /// Whether this is the INBOX of a user.
    pub fn is_inbox(&self, name: &MailboxName) -> bool {
        let parts = self.parts(name);
        parts.deletion.is_none() && parts.user.is_some() && parts.folders.is_empty()
    }

    /// Whether the name is that of a deleted mailbox.
    pub fn is_deleted(&self, name: &MailboxName) -> bool {
        self.parts(name).deletion.is_some()
    }

    /// When the mailbox was deleted, if it was and its name tells.
    pub fn deletion_time(&self, name: &MailboxName) -> Option<UnixTime> {
        let digits = self.parts(name).deletion?;
        u32::from_str_radix(digits, 16).ok().map(UnixTime)
    }

    /// The name that a mailbox gets when it is deleted at `time`.
    ///
    /// # Errors
    /// If the new name would be too long.
    pub fn deleted_name(
        &self,
        name: &MailboxName,
        time: UnixTime,
    ) -> Result<MailboxName, NameError> {
        MailboxName::parse(&format!("{}.{:X}", self.deleted_root(name), time.0))
    }

    /// The name below which the deleted copies of `name` and of what was below it are found.
    ///
    /// # Errors
    /// If that name would be too long.
    pub fn deleted_tree(&self, name: &MailboxName) -> Result<MailboxName, NameError> {
        MailboxName::parse(&self.deleted_root(name))
    }

    fn deleted_root(&self, name: &MailboxName) -> String {
        let prefix = &self.deleted_prefix;
        match name.domain() {
            Some(domain) => format!("{domain}!{prefix}.{}", name.local_part()),
            None => format!("{prefix}.{name}"),
        }
    }

    /// The form of the name in the keys and values of `mailboxes.db` and of subscriptions.
    pub fn db_name(&self, name: &MailboxName) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(name.as_str().len());
        let domain = name
            .domain()
            .filter(|domain| Some(*domain) != self.default_domain.as_deref());
        if let Some(domain) = domain {
            bytes.extend_from_slice(domain.as_bytes());
            bytes.push(DB_DOMAIN_SEPARATOR);
        }
        bytes.extend(name.local_part().bytes().map(|byte| match byte {
            b'.' => DB_LEVEL_SEPARATOR,
            b'^' => b'.',
            other => other,
        }));
        bytes
    }

    /// The mailbox name that a database name stands for.
    ///
    /// # Errors
    /// If it is no legal name.
    pub fn from_db_name(&self, bytes: &[u8]) -> Result<MailboxName, NameError> {
        let domain_end = bytes.iter().position(|byte| *byte == DB_DOMAIN_SEPARATOR);
        let (domain, local) = match domain_end {
            Some(end) => (bytes.get(..end), bytes.get(end + 1..).unwrap_or_default()),
            None => (None, bytes),
        };
        let mut internal = Vec::with_capacity(bytes.len());
        if let Some(domain) = domain {
            internal.extend_from_slice(domain);
            internal.push(b'!');
        }
        internal.extend(local.iter().map(|byte| match *byte {
            DB_LEVEL_SEPARATOR => b'.',
            b'.' => b'^',
            other => other,
        }));
        match std::str::from_utf8(&internal) {
            Ok(text) => MailboxName::parse(text),
            Err(_) => Err(NameError {
                what: "mailbox name",
                text: String::from_utf8_lossy(&internal).into_owned(),
                reason: "is not UTF-8",
            }),
        }
    }

    /// The separator of levels in names that administrators type.
    pub fn separator(&self) -> char {
        if self.unix_hierarchy_separator {
            '/'
        } else {
            '.'
        }
    }

    /// Reads a name as administrators type it: `user/john.doe/Sub@example.com` (databases §7.3).
    ///
    /// # Errors
    /// If it is no legal name, or begins with `INBOX`, which means nothing without a user.
    pub fn from_admin(&self, text: &str) -> Result<MailboxName, NameError> {
        let fail = |reason| {
            Err(NameError {
                what: "mailbox name",
                text: text.to_owned(),
                reason,
            })
        };
        let (local, domain) = match text.rsplit_once('@') {
            Some((local, domain)) if self.virtual_domains => (local, Some(domain)),
            _ => (text, None),
        };
        if local.contains('!') || domain.is_some_and(|domain| domain.contains('!')) {
            return fail("holds an exclamation mark");
        }
        let internal = if self.unix_hierarchy_separator {
            if local.contains('^') {
                return fail("holds ^, which unixhierarchysep forbids");
            }
            local.replace('.', "^").replace('/', ".")
        } else {
            local.to_owned()
        };
        let is_inbox = |level: &str| level.eq_ignore_ascii_case("INBOX");
        if internal.split('.').next().is_some_and(is_inbox) {
            return fail("begins with INBOX; write the name from user on");
        }
        match domain.filter(|domain| Some(*domain) != self.default_domain.as_deref()) {
            Some(domain) => MailboxName::parse(&format!("{domain}!{internal}")),
            None => MailboxName::parse(&internal),
        }
    }

    /// The name as administrators type it (databases §7.3).
    pub fn to_admin(&self, name: &MailboxName) -> String {
        let mut text = if self.unix_hierarchy_separator {
            name.local_part().replace('.', "/").replace('^', ".")
        } else {
            name.local_part().to_owned()
        };
        if let Some(domain) = self.parts(name).domain.filter(|_| self.virtual_domains) {
            text.push('@');
            text.push_str(domain);
        }
        text
    }
}

/// A level as people write it, with real dots.
pub fn internal_to_plain(level: &str) -> String {
    level.replace('^', ".")
}

/// A text in which dots are written `^`, as internal names and lock names need it.
pub fn plain_to_internal(text: &str) -> String {
    text.replace('.', "^")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> MailboxName {
        MailboxName::parse(text).unwrap()
    }

    fn user(text: &str) -> UserId {
        UserId::parse(text).unwrap()
    }

    fn with_domains() -> Namespace {
        Namespace {
            virtual_domains: true,
            ..Namespace::default()
        }
    }

    #[test]
    fn owners() {
        let namespace = Namespace::default();
        let owner = |text| namespace.owner_of(&name(text)).map(|user| user.to_string());
        for (mailbox, expected) in [
            ("user.alice", "alice"),
            ("user.alice.Work.2024", "alice"),
            ("user.john^doe.Sub^x", "john.doe"),
            ("example.com!user.alice.Work", "alice@example.com"),
            ("internal!user.alice", "alice"),
            ("DELETED.user.alice.Work.68A1B2C3", "alice"),
            ("DELETED.user.alice.68A1B2C3", "alice"),
            (
                "example.com!DELETED.user.alice.tmp2.6B029D24",
                "alice@example.com",
            ),
        ] {
            assert_eq!(owner(mailbox).as_deref(), Some(expected), "{mailbox}");
        }
        for shared in [
            "user",
            "shared",
            "shared.user.alice",
            "DELETED.user.68A1B2C3",
            "DELETED.user",
        ] {
            assert_eq!(owner(shared), None, "{shared}");
        }
    }

    #[test]
    fn inboxes() {
        let namespace = Namespace::default();
        for (id, inbox) in [
            ("alice", "user.alice"),
            ("john.doe", "user.john^doe"),
            ("alice@example.com", "example.com!user.alice"),
            ("alice@internal", "user.alice"),
        ] {
            assert_eq!(namespace.inbox_of(&user(id)).as_str(), inbox);
            assert!(namespace.is_inbox(&name(inbox)));
        }
        assert_eq!(
            namespace.canonical_user(&user("alice@internal")),
            user("alice")
        );
        assert!(!namespace.is_inbox(&name("user.alice.Work")));
        assert!(!namespace.is_inbox(&name("DELETED.user.alice.68A1B2C3")));
    }

    #[test]
    fn deleted_names() {
        let namespace = Namespace::default();
        let time = UnixTime(0x68A1_B2C3);
        for (old, new) in [
            ("user.alice.Work", "DELETED.user.alice.Work.68A1B2C3"),
            ("shared", "DELETED.shared.68A1B2C3"),
            (
                "example.com!user.alice",
                "example.com!DELETED.user.alice.68A1B2C3",
            ),
        ] {
            let deleted = namespace.deleted_name(&name(old), time).unwrap();
            assert_eq!(deleted.as_str(), new);
            assert!(namespace.is_deleted(&deleted));
            assert_eq!(namespace.deletion_time(&deleted), Some(time));
            assert!(deleted.is_within(&namespace.deleted_tree(&name(old)).unwrap()));
        }
        assert!(!namespace.is_deleted(&name("DELETED.user")));
        assert!(!namespace.is_deleted(&name("user.DELETED.user.alice")));
        let long = name(&format!("user.{}", "x".repeat(500)));
        assert!(namespace.deleted_name(&long, time).is_err());
    }

    #[test]
    fn database_names() {
        let namespace = Namespace::default();
        for (internal, db) in [
            ("user.john^doe.Sub^x", "user\x1fjohn.doe\x1fSub.x"),
            (
                "example.com!user.alice.Sub",
                "example.com\x1duser\x1falice\x1fSub",
            ),
            (
                "DELETED.user.alice.Work.68A1B2C3",
                "DELETED\x1fuser\x1falice\x1fWork\x1f68A1B2C3",
            ),
            ("shared", "shared"),
        ] {
            assert_eq!(namespace.db_name(&name(internal)), db.as_bytes());
            assert_eq!(
                namespace.from_db_name(db.as_bytes()).unwrap(),
                name(internal)
            );
        }
        assert_eq!(namespace.db_name(&name("internal!user.a")), b"user\x1fa");
        for bad in [
            &b""[..],
            b"user\x1f\x1fa",
            b"\x1duser",
            b"user\x1f\xff",
            b"a\x1db\x1dc",
            b"a/b",
        ] {
            assert!(namespace.from_db_name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn administrators_names() {
        let unix = with_domains();
        let dots = Namespace {
            unix_hierarchy_separator: false,
            ..with_domains()
        };
        for (internal, slashed, dotted) in [
            (
                "user.john^doe.Sub^x",
                "user/john.doe/Sub.x",
                "user.john^doe.Sub^x",
            ),
            (
                "example.com!user.a.b",
                "user/a/b@example.com",
                "user.a.b@example.com",
            ),
            ("shared.x", "shared/x", "shared.x"),
            (
                "DELETED.user.a.68A1B2C3",
                "DELETED/user/a/68A1B2C3",
                "DELETED.user.a.68A1B2C3",
            ),
        ] {
            assert_eq!(unix.to_admin(&name(internal)), slashed);
            assert_eq!(dots.to_admin(&name(internal)), dotted);
            assert_eq!(unix.from_admin(slashed).unwrap(), name(internal));
            assert_eq!(dots.from_admin(dotted).unwrap(), name(internal));
        }
        assert_eq!(unix.from_admin("user/a@internal").unwrap(), name("user.a"));
        for bad in [
            "", "user//a", "user/a^b", "INBOX", "inbox/x", "x!user/a", "user/a@",
        ] {
            assert!(unix.from_admin(bad).is_err(), "{bad}");
        }
        assert!(dots.from_admin("user.a/b").is_err());
        let without_domains = Namespace::default()
            .from_admin("user/a@example.com")
            .unwrap();
        assert_eq!(without_domains, name("user.a@example^com"));
    }

    proptest! {
        #[test]
        fn any_user_has_an_inbox(text in "[ -~]{1,40}(@[a-z.]{1,9})?") {
            if let Ok(user) = UserId::parse(&text) {
                let namespace = Namespace::default();
                let inbox = namespace.inbox_of(&user);
                prop_assert!(MailboxName::parse(inbox.as_str()).is_ok());
            }
        }

        #[test]
        fn database_names_return(text in "([a-z]{1,3}!)?[a-z^&-]{1,5}(\\.[a-z^ ]{1,5}){0,4}") {
            let namespace = Namespace::default();
            let name = MailboxName::parse(&text).unwrap();
            prop_assert_eq!(namespace.from_db_name(&namespace.db_name(&name)).unwrap(), name);
        }
    }
}
