//! Names: mailboxes, users, unique ids, partitions.
//!
//! A value of these types can be put into a path, a lock name or a log line without another
//! check. Names are in Cyrus's *internal* form: `.` between levels, `^` for a dot inside a
//! level (databases §7.1). How a name maps to an owner, a DB name or an external name depends
//! on configuration and is `mail::namespace`'s business.

use std::fmt;

/// A text that is not a usable name, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {text:?}: {reason}")]
pub struct NameError {
    /// The kind of name.
    pub what: &'static str,
    /// The offending text.
    pub text: String,
    /// Why it cannot be used.
    pub reason: &'static str,
}

fn error(what: &'static str, text: &str, reason: &'static str) -> NameError {
    NameError {
        what,
        text: text.to_owned(),
        reason,
    }
}

macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

text_type! {
    /// The internal name of a mailbox, `user.alice.Work` or `example.com!user.alice`.
    ///
    /// Such a name is safe to handle (no control characters, no `/`, no empty level), but not
    /// necessarily one that may be created: see [`MailboxName::is_creatable`].
    MailboxName
}

text_type! {
    /// A user id with real dots, `john.doe` or `alice@example.com`.
    UserId
}

text_type! {
    /// The permanent id of a mailbox: opaque, at least two characters, safe as a file name
    /// (mailbox-format §1.2).
    UniqueId
}

text_type! {
    /// The name of a partition: ASCII letters and digits in lower case (configuration §1.4).
    Partition
}

impl MailboxName {
    /// Longest name that is accepted, in octets (databases §7.2).
    pub const MAX_LEN: usize = 510;
    /// Longest name that is created, in octets (databases §7.2).
    pub const MAX_NEW_LEN: usize = 490;

    /// Takes a name that may exist already.
    ///
    /// # Errors
    /// If the name is empty, too long, has an empty level, or holds a control character or `/`.
    pub fn parse(text: &str) -> Result<MailboxName, NameError> {
        let fail = |reason| Err(error("mailbox name", text, reason));
        if text.is_empty() {
            return fail("is empty");
        }
        if text.len() > MailboxName::MAX_LEN {
            return fail("is longer than 510 octets");
        }
        if text.bytes().any(|byte| byte.is_ascii_control()) {
            return fail("holds a control character");
        }
        if text.contains('/') {
            return fail("holds a slash");
        }
        let (domain, local) = text
            .split_once('!')
            .map_or((None, text), |(d, l)| (Some(d), l));
        if domain.is_some_and(|domain| !is_safe_component(domain)) {
            return fail("has an illegal domain");
        }
        if local.split('.').any(str::is_empty) {
            return fail("has an empty level");
        }
        Ok(MailboxName(text.into()))
    }

    /// The INBOX of a user, given the two parts of a [`UserId`], whose rules make the result legal.
    pub(super) fn inbox(domain: Option<&str>, local_part: &str) -> MailboxName {
        let local_part = local_part.replace('.', "^");
        match domain {
            Some(domain) => MailboxName(format!("{domain}!user.{local_part}").into()),
            None => MailboxName(format!("user.{local_part}").into()),
        }
    }

    /// The domain before `!`, if there is one.
    pub fn domain(&self) -> Option<&str> {
        self.0.split_once('!').map(|(domain, _)| domain)
    }

    /// The name without its domain.
    pub fn local_part(&self) -> &str {
        self.0.split_once('!').map_or(&self.0, |(_, local)| local)
    }

    /// The levels of the name without its domain, in internal form.
    pub fn levels(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.local_part().split('.')
    }

    /// The name one level up, if there is one.
    pub fn parent(&self) -> Option<MailboxName> {
        let start = self.0.len() - self.local_part().len();
        let dot = self.local_part().rfind('.')?;
        Some(MailboxName(self.0[..start + dot].into()))
    }

    /// Whether `self` is `ancestor` itself or lies below it.
    pub fn is_within(&self, ancestor: &MailboxName) -> bool {
        self.0
            .strip_prefix(&*ancestor.0)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }

    /// Whether a mailbox of this name may be created (the rules of databases §7.2).
    ///
    /// # Errors
    /// The reason why not.
    pub fn is_creatable(&self, virtual_domains: bool) -> Result<(), NameError> {
        let fail = |reason| Err(error("mailbox name", &self.0, reason));
        let local = self.local_part();
        if self.0.len() > MailboxName::MAX_NEW_LEN {
            return fail("is longer than 490 octets");
        }
        if self.domain().is_some() && !virtual_domains {
            return fail("has a domain, but virtdomains is off");
        }
        if local.starts_with(['$', '~']) {
            return fail("begins with $ or ~");
        }
        if local == "user"
            || matches!(local, "user.anyone" | "user.anonymous")
            || local.starts_with("user.%")
            || matches!(self.levels().nth(1), Some("^" | "^^")) && local.starts_with("user.")
        {
            return fail("is reserved");
        }
        if !has_legal_characters(local) {
            return fail("holds a character that is not allowed in mailbox names");
        }
        Ok(())
    }
}

/// The characters of databases §7.2, with `&…-` sequences of modified UTF-7.
fn has_legal_characters(local: &str) -> bool {
    let mut rest = local.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'&' {
            let closed = rest
                .by_ref()
                .find(|byte| !byte.is_ascii_alphanumeric() && !matches!(byte, b'+' | b','));
            if closed != Some(b'-') {
                return false;
            }
        } else if !(byte.is_ascii_alphanumeric() || b" #$'()*+,-.:=?@[]^_~".contains(&byte)) {
            return false;
        }
    }
    true
}

fn is_safe_component(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with('.')
        && text
            .bytes()
            .all(|byte| !byte.is_ascii_control() && byte != b'/')
}

impl UserId {
    /// Longest user id, in octets: its INBOX must fit into [`MailboxName::MAX_LEN`].
    pub const MAX_LEN: usize = MailboxName::MAX_LEN - "user.".len();

    /// Takes a user id: a local part, and perhaps a domain behind the last `@`.
    ///
    /// # Errors
    /// If it is too long, holds a control character, `/` or `!`, if its local part is empty, `.`
    /// or `..` (it becomes the name of a directory), or if its domain is empty or begins with a dot.
    pub fn parse(text: &str) -> Result<UserId, NameError> {
        let fail = |reason| Err(error("user id", text, reason));
        if text.len() > UserId::MAX_LEN {
            return fail("is longer than 505 octets");
        }
        let illegal = |byte: u8| byte.is_ascii_control() || matches!(byte, b'/' | b'!');
        if text.bytes().any(illegal) {
            return fail("holds a control character, a slash or an exclamation mark");
        }
        let user = UserId(text.into());
        if matches!(user.local_part(), "" | "." | "..") {
            return fail("has an illegal local part");
        }
        if user
            .domain()
            .is_some_and(|domain| !is_safe_component(domain))
        {
            return fail("has an illegal domain");
        }
        Ok(user)
    }

    /// The part before the last `@`.
    pub fn local_part(&self) -> &str {
        self.0.rsplit_once('@').map_or(&self.0, |(local, _)| local)
    }

    /// The part after the last `@`, if there is one.
    pub fn domain(&self) -> Option<&str> {
        self.0.rsplit_once('@').map(|(_, domain)| domain)
    }
}

impl UniqueId {
    /// Takes a unique id.
    ///
    /// # Errors
    /// If it is shorter than two characters, longer than 128, or not made of ASCII letters,
    /// digits, `-` and `_` (all generations of Cyrus stay within that).
    pub fn parse(text: &str) -> Result<UniqueId, NameError> {
        let legal = (2..=128).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        if legal {
            Ok(UniqueId(text.into()))
        } else {
            Err(error(
                "unique id",
                text,
                "is not 2 to 128 letters, digits, - and _",
            ))
        }
    }
}

impl UniqueId {
    /// An id of one character for each random octet, as 3.6 makes them of 24 (databases §9.6).
    pub fn from_random(random: &[u8; 24]) -> UniqueId {
        let digit = |octet: &u8| char::from_digit(u32::from(*octet) % 36, 36).unwrap_or('0');
        UniqueId(random.iter().map(digit).collect())
    }
}

impl Partition {
    /// Takes a partition name; upper case is folded.
    ///
    /// # Errors
    /// If it is empty, longer than 64 octets or holds anything but ASCII letters and digits.
    pub fn parse(text: &str) -> Result<Partition, NameError> {
        let legal =
            (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric());
        if legal {
            Ok(Partition(text.to_ascii_lowercase().into()))
        } else {
            Err(error(
                "partition",
                text,
                "is not 1 to 64 letters and digits",
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mailbox_names_are_safe_in_paths() {
        for text in [
            "",
            ".",
            "a..b",
            "user.a/b",
            "user.a\0b",
            "a\r\n",
            "..!x",
            "!x",
            "user.x.",
        ] {
            assert!(MailboxName::parse(text).is_err(), "{text:?}");
        }
        assert!(MailboxName::parse("example.com!user.alice.a b").is_ok());
    }

    #[test]
    fn ancestors() {
        let name = MailboxName::parse("example.com!user.alice").unwrap();
        assert_eq!(name.parent().unwrap().as_str(), "example.com!user");
        assert_eq!(name.parent().unwrap().parent(), None);
        let bob = MailboxName::parse("user.bob").unwrap();
        assert!(MailboxName::parse("user.bob.x").unwrap().is_within(&bob));
        assert!(!MailboxName::parse("user.bobby").unwrap().is_within(&bob));
    }

    #[test]
    fn creation_rules() {
        let creatable = |text| {
            MailboxName::parse(text)
                .unwrap()
                .is_creatable(false)
                .is_ok()
        };
        for text in [
            "user.a.st*ar",
            "user.a.x]y",
            "user.a.a b",
            "user.a.&ZeVnLIqe-",
            "user.a.&-",
        ] {
            assert!(creatable(text), "{text}");
        }
        for text in [
            "user",
            "user.anyone",
            "$x",
            "user.a.100%",
            "user.a.&Ze",
            "user.^^",
            "user.^.x",
            "user.a.ä",
            "d!x",
        ] {
            assert!(!creatable(text), "{text}");
        }
    }

    #[test]
    fn ids_and_partitions() {
        assert!(UniqueId::parse("54lxoc7sbxiyqaap5r8c1wsm").is_ok());
        assert!(UniqueId::parse("../../etc").is_err());
        assert_eq!(Partition::parse("Fast2").unwrap().as_str(), "fast2");
        assert!(Partition::parse("a-b").is_err());
        assert!(UserId::parse("alice@example.com").is_ok());
        for text in [
            "", ".", "..", "a/b", "a!b", "@b", "a@", "a@.b", "..@b", "a\nb",
        ] {
            assert!(UserId::parse(text).is_err(), "{text:?}");
        }
        let odd = UserId::parse("a@b@example.com").unwrap();
        assert_eq!(
            (odd.local_part(), odd.domain()),
            ("a@b", Some("example.com"))
        );
    }
}
