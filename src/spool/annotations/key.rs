//! Keys of the annotation databases: `<scope> NUL <entry> NUL <user> NUL` (databases §13.1).

use crate::mail::UserId;

/// Stands instead of the user id of the mailbox's owner, so that a renamed user keeps the value.
pub const OWNER_TOKEN: &str = "[.OwNeR.]";

/// A key taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key<'a> {
    /// Unique id of the mailbox, the UID in decimal, or empty for the server.
    pub scope: &'a str,
    /// Entry without a `/shared` or `/private` prefix.
    pub entry: &'a str,
    /// Empty for the shared value, [`OWNER_TOKEN`] for the owner, else a user id.
    pub user: &'a str,
}

/// A key that is not three fields of text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed annotation key {0:?}")]
pub struct KeyError(pub String);

impl<'a> Key<'a> {
    /// Takes a stored key apart. A key without a user field, which some old versions wrote,
    /// counts as shared.
    ///
    /// # Errors
    /// If there is no entry, or a field is not UTF-8.
    pub fn parse(key: &'a [u8]) -> Result<Key<'a>, KeyError> {
        let fail = || KeyError(key.escape_ascii().to_string());
        let text = std::str::from_utf8(key).map_err(|_| fail())?;
        let mut fields = text.split('\0');
        let scope = fields.next().unwrap_or_default();
        let entry = fields.next().filter(|entry| !entry.is_empty());
        Ok(Key {
            scope,
            entry: entry.ok_or_else(fail)?,
            user: fields.next().unwrap_or_default(),
        })
    }

    /// The stored form. NULs inside a field would shift the others, so they are refused.
    ///
    /// # Errors
    /// If a field holds a NUL or the entry is empty.
    pub fn to_bytes(self) -> Result<Vec<u8>, KeyError> {
        let fields = [self.scope, self.entry, self.user];
        if self.entry.is_empty() || fields.iter().any(|field| field.contains('\0')) {
            return Err(KeyError(fields.join("\0")));
        }
        Ok(fields
            .iter()
            .flat_map(|field| field.bytes().chain([0]))
            .collect())
    }

    /// What all keys of one scope (mailbox, message or server) begin with.
    pub fn scope_prefix(scope: &str) -> Vec<u8> {
        scope.bytes().chain([0]).collect()
    }
}

/// The user field for `user` (empty: shared) in a mailbox of `owner`.
pub fn user_field<'a>(user: &'a str, owner: Option<&UserId>) -> &'a str {
    match owner {
        Some(owner) if owner.as_str() == user => OWNER_TOKEN,
        _ => user,
    }
}

/// The user whom a user field means in a mailbox of `owner`. In a mailbox without an owner the
/// token stands for nobody and is read as shared, as the original does.
pub fn user_of_field<'a>(field: &'a str, owner: Option<&'a UserId>) -> &'a str {
    match (field, owner) {
        (OWNER_TOKEN, Some(owner)) => owner.as_str(),
        (OWNER_TOKEN, None) => "",
        _ => field,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_round_trip() {
        let key = Key {
            scope: "54lxoc7sbxiyqaap5r8c1wsm",
            entry: "/specialuse",
            user: OWNER_TOKEN,
        };
        let octets = key.to_bytes().unwrap();
        assert_eq!(
            octets,
            b"54lxoc7sbxiyqaap5r8c1wsm\0/specialuse\0[.OwNeR.]\0"
        );
        assert_eq!(Key::parse(&octets).unwrap(), key);
        assert!(octets.starts_with(&Key::scope_prefix(key.scope)));
    }

    #[test]
    fn server_scope_is_empty() {
        let key = Key::parse(b"\0/comment\0\0").unwrap();
        assert_eq!((key.scope, key.entry, key.user), ("", "/comment", ""));
        assert_eq!(key.to_bytes().unwrap(), b"\0/comment\0\0");
    }

    #[test]
    fn malformed_keys_are_refused() {
        for key in [&b""[..], b"id", b"id\0", b"id\0\0u\0", b"id\0/\xff\0\0"] {
            assert!(Key::parse(key).is_err(), "{key:?}");
        }
        let smuggled = Key {
            scope: "1",
            entry: "/a\0b",
            user: "",
        };
        assert!(smuggled.to_bytes().is_err());
    }

    #[test]
    fn the_owner_has_a_token() {
        let owner = UserId::parse("alice").unwrap();
        assert_eq!(user_field("alice", Some(&owner)), OWNER_TOKEN);
        assert_eq!(user_field("bob", Some(&owner)), "bob");
        assert_eq!(user_field("", Some(&owner)), "");
        assert_eq!(user_field("alice", None), "alice");
        assert_eq!(user_of_field(OWNER_TOKEN, Some(&owner)), "alice");
        assert_eq!(user_of_field("bob", Some(&owner)), "bob");
    }
}
