//! `cyrus.header`: what a mailbox is, apart from its messages (mailbox-format §2).

use super::record::UserFlags;
use super::version::FormatError;
use crate::dlist::{Fields, LiteralStyle, Value, parse_value};
use crate::mail::{Acl, AclEntry, FlagName, MailboxName, MailboxType, UniqueId, flag_crc};
use crate::spool::quota::QuotaRoot;

pub(super) const MAGIC: &[u8] = b"\xA1\x02\x8B\x0DCyrus mailbox header\n\
    \"The best thing about this system was that it had lots of goals.\"\n\
    \t--Jim Morris on Andrew\n";

/// The content of `cyrus.header`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailboxHeader {
    /// What the mailbox holds.
    pub mailbox_type: MailboxType,
    /// Its name; missing in files of the old form and after their first rewriting by 3.6.
    pub name: Option<MailboxName>,
    /// Its unique id; missing only in very old files.
    pub unique_id: Option<UniqueId>,
    /// The id that JMAP shows, of versions after 3.12; kept as it is.
    pub jmap_id: Option<String>,
    /// The quota root that its use counts against.
    pub quota_root: Option<QuotaRoot>,
    /// The ACL.
    pub acl: Acl,
    /// The names of the user flags.
    pub flags: FlagTable,
}

impl MailboxHeader {
    /// Reads a whole file, of the present or the old form.
    ///
    /// # Errors
    /// If the magic is missing, a line is incomplete, or a field is not what it should be.
    pub fn decode(bytes: &[u8]) -> Result<MailboxHeader, FormatError> {
        let content = bytes
            .strip_prefix(MAGIC)
            .ok_or(FormatError::Malformed("no cyrus.header magic"))?;
        let mut lines = content.split(|byte| *byte == b'\n');
        let first = lines.next().unwrap_or_default();
        if first.len() == content.len() {
            return Err(FormatError::Malformed("the first line does not end"));
        }
        if first.starts_with(b"%") {
            decode_present_form(first)
        } else {
            decode_old_form(first, lines)
        }
    }

    /// The whole file in the present form.
    ///
    /// # Errors
    /// If a text would need a literal, which no reader of this file takes.
    pub fn encode(&self) -> Result<Vec<u8>, FormatError> {
        let text = |key: &str, value: &str| (key.to_owned(), Value::text(value));
        let name = match &self.name {
            Some(name) => Value::text(name.as_str()),
            None => Value::Nil,
        };
        let mut pairs = vec![
            text("T", &self.mailbox_type.to_string()),
            ("N".to_owned(), name),
        ];
        match &self.unique_id {
            Some(id) => pairs.push(text("I", id.as_str())),
            None => pairs.push(("I".to_owned(), Value::Nil)),
        }
        if let Some(id) = &self.jmap_id {
            pairs.push(text("J", id));
        }
        if let Some(root) = &self.quota_root {
            pairs.push(text("Q", root.as_str()));
        }
        let acl = self.acl.entries().iter();
        let acl = acl.map(|entry| (entry.identifier.clone(), Value::text(&entry.rights)));
        pairs.push(("A".to_owned(), Value::KvList(acl.collect())));
        if let Some(flags) = self.flags.to_value() {
            pairs.push(("U".to_owned(), flags));
        }
        let mut bytes = MAGIC.to_vec();
        Value::KvList(pairs).write(&mut bytes, LiteralStyle::Plain);
        if bytes.iter().skip(MAGIC.len()).any(|byte| *byte == b'\n') {
            return Err(FormatError::Malformed(
                "a text that only a literal can hold cannot stand in cyrus.header",
            ));
        }
        bytes.push(b'\n');
        Ok(bytes)
    }
}

fn decode_present_form(line: &[u8]) -> Result<MailboxHeader, FormatError> {
    let malformed = |_| FormatError::Malformed("not the key/value list that cyrus.header has");
    let value = parse_value(line).map_err(|_| malformed(()))?;
    let fields = value.fields().map_err(|_| malformed(()))?;
    let text = |key| fields.optional_text(key).map_err(|_| malformed(()));
    Ok(MailboxHeader {
        mailbox_type: MailboxType::parse(text("T")?.unwrap_or_default())
            .map_err(|_| FormatError::Malformed("unknown mailbox type"))?,
        name: text("N")?.map(parse_name).transpose()?,
        unique_id: text("I")?.map(parse_id).transpose()?,
        jmap_id: text("J")?.map(str::to_owned),
        quota_root: text("Q")?.map(parse_root).transpose()?,
        acl: decode_acl(fields)?,
        flags: match fields.get("U") {
            Some(Value::List(slots)) => FlagTable::from_value(slots)?,
            _ => FlagTable::default(),
        },
    })
}

fn decode_acl(fields: Fields<'_>) -> Result<Acl, FormatError> {
    let malformed = FormatError::Malformed("malformed ACL");
    let Some(Value::KvList(pairs)) = fields.get("A") else {
        return Ok(Acl::default());
    };
    let entries: Option<Vec<AclEntry>> = pairs
        .iter()
        .map(|(identifier, rights)| {
            Some(AclEntry {
                identifier: identifier.clone(),
                rights: rights.as_text().ok()?.to_owned(),
            })
        })
        .collect();
    entries.map(Acl::from_entries).ok_or(malformed)
}

/// Quota root TAB unique id; flags separated by spaces; ACL with tabs (mailbox-format §2.2).
fn decode_old_form<'a>(
    first: &'a [u8],
    mut lines: impl Iterator<Item = &'a [u8]>,
) -> Result<MailboxHeader, FormatError> {
    let utf8 = |line: &'a [u8]| {
        std::str::from_utf8(line).map_err(|_| FormatError::Malformed("text that is not UTF-8"))
    };
    let mut next = || lines.next().ok_or(FormatError::Malformed("too few lines"));
    let (root, id) = match utf8(first)?.split_once('\t') {
        Some((root, id)) => (root, id.split('\t').next()),
        None => (utf8(first)?, None),
    };
    let flags = FlagTable::from_names(utf8(next()?)?.split(' '))?;
    let acl = utf8(next()?)?;
    // The last line ends like the others.
    next()?;
    Ok(MailboxHeader {
        mailbox_type: MailboxType::default(),
        name: None,
        unique_id: id.map(parse_id).transpose()?,
        jmap_id: None,
        quota_root: Some(root)
            .filter(|root| !root.is_empty())
            .map(parse_root)
            .transpose()?,
        acl: Acl::parse(acl).map_err(|_| FormatError::Malformed("malformed ACL"))?,
        flags,
    })
}

fn parse_name(text: &str) -> Result<MailboxName, FormatError> {
    MailboxName::parse(text).map_err(|_| FormatError::Malformed("illegal mailbox name"))
}

fn parse_root(text: &str) -> Result<QuotaRoot, FormatError> {
    QuotaRoot::parse(text).map_err(|_| FormatError::Malformed("illegal quota root"))
}

fn parse_id(text: &str) -> Result<UniqueId, FormatError> {
    UniqueId::parse(text).map_err(|_| FormatError::Malformed("illegal unique id"))
}

/// The user flags of a mailbox by slot number, which is the bit number in the records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlagTable(Vec<Option<Box<str>>>);

/// A mailbox has no slot left for another user flag.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no room for the user flag {0}: all {max} are taken", max = UserFlags::SLOTS)]
pub struct FlagTableFull(pub FlagName);

impl FlagTable {
    /// The name in a slot.
    pub fn name(&self, slot: usize) -> Option<&str> {
        self.0.get(slot)?.as_deref()
    }

    /// Slots in use, with their names.
    pub fn names(&self) -> impl Iterator<Item = (usize, &str)> {
        self.0
            .iter()
            .enumerate()
            .filter_map(|(slot, name)| Some((slot, name.as_deref()?)))
    }

    /// The slot of a flag.
    pub fn slot(&self, name: &FlagName) -> Option<usize> {
        self.names()
            .find(|(_, known)| known.eq_ignore_ascii_case(name.as_str()))
            .map(|(slot, _)| slot)
    }

    /// The slot of a flag, which gets the first free one if it has none yet.
    ///
    /// # Errors
    /// If it has none and all are taken.
    pub fn slot_or_insert(&mut self, name: &FlagName) -> Result<usize, FlagTableFull> {
        if let Some(slot) = self.slot(name) {
            return Ok(slot);
        }
        let free = self.0.iter().position(Option::is_none);
        let slot = free.unwrap_or(self.0.len());
        if slot >= UserFlags::SLOTS {
            return Err(FlagTableFull(name.clone()));
        }
        self.0.resize(self.0.len().max(slot + 1), None);
        if let Some(place) = self.0.get_mut(slot) {
            *place = Some(name.as_str().into());
        }
        Ok(slot)
    }

    /// The names of the flags of a record; bits of free slots stand for nothing.
    pub fn names_of(&self, flags: UserFlags) -> impl Iterator<Item = &str> {
        self.names()
            .filter(move |(slot, _)| flags.contains(*slot))
            .map(|(_, name)| name)
    }

    /// The CRC of each flag's name by slot, 0 for free slots.
    pub(super) fn crcs(&self) -> [u32; UserFlags::SLOTS] {
        let mut crcs = [0; UserFlags::SLOTS];
        for (slot, name) in self.names() {
            if let Some(crc) = crcs.get_mut(slot) {
                *crc = flag_crc(name);
            }
        }
        crcs
    }

    fn from_names<'a>(names: impl Iterator<Item = &'a str>) -> Result<FlagTable, FormatError> {
        let named = |name: &'a str| (!name.is_empty()).then(|| name.into());
        FlagTable(names.map(named).collect()).trimmed()
    }

    fn from_value(slots: &[Value]) -> Result<FlagTable, FormatError> {
        let name = |value: &Value| match value {
            Value::Nil => Ok(None),
            value => match value.as_text() {
                Ok(name) => Ok(Some(name.into())),
                Err(_) => Err(FormatError::Malformed("a user flag is no text")),
            },
        };
        let slots: Result<Vec<_>, FormatError> = slots.iter().map(name).collect();
        FlagTable(slots?).trimmed()
    }

    fn to_value(&self) -> Option<Value> {
        let slot = |name: &Option<Box<str>>| match name {
            Some(name) => Value::text(name.as_bytes()),
            None => Value::Nil,
        };
        let used = self.0.iter().rposition(Option::is_some)? + 1;
        Some(Value::List(self.0.iter().take(used).map(slot).collect()))
    }

    fn trimmed(mut self) -> Result<FlagTable, FormatError> {
        self.0.truncate(
            self.0
                .iter()
                .rposition(Option::is_some)
                .map_or(0, |n| n + 1),
        );
        if self.0.len() > UserFlags::SLOTS {
            return Err(FormatError::Malformed("more than 128 user flags"));
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::mailbox::test_vectors::HEADER_LINE;

    fn file(content: &str) -> Vec<u8> {
        [MAGIC, content.as_bytes()].concat()
    }

    fn flag(name: &str) -> FlagName {
        FlagName::parse(name).unwrap()
    }

    #[test]
    fn vector_of_a_real_mailbox() {
        assert_eq!(MAGIC.len(), 115);
        let bytes = file(HEADER_LINE);
        assert_eq!(bytes.len(), 190);
        assert_eq!(crc32fast::hash(&bytes), 0x2CCF_DE95);
        let header = MailboxHeader::decode(&bytes).unwrap();
        assert_eq!(header.name.as_ref().unwrap().as_str(), "user.tv");
        assert_eq!(header.acl.to_string(), "tv\tlrswipkxtecdan\t");
        assert_eq!(header.flags.slot(&flag("FOO")), Some(0));
        assert_eq!(header.encode().unwrap(), bytes);
    }

    #[test]
    fn all_fields_are_written_as_they_were_read() {
        for line in [
            "%(T e N user.a I abcdefgh Q user.a A %(a lrs \"group:x y\" \"\") U (a NIL c))\n",
            "%(T f N user.a.#sieve I abcdefgh A %())\n",
            "%(T e N NIL I abcdefgh A %(a lrs))\n",
            "%(T el N \"user.a b\" I ab J P123 A %(a lrs) U (NIL NIL $x))\n",
        ] {
            let bytes = file(line);
            let header = MailboxHeader::decode(&bytes).unwrap();
            let again = header.encode().unwrap();
            assert_eq!(String::from_utf8_lossy(&again[115..]), line);
        }
    }

    #[test]
    fn the_old_form_is_read_and_becomes_the_present_one() {
        let bytes = file("user.a\tabcdefgh\na  c\na\tlrswip\tanyone\tlr\t\n");
        let header = MailboxHeader::decode(&bytes).unwrap();
        let again = header.encode().unwrap();
        assert_eq!(
            String::from_utf8_lossy(&again[115..]),
            "%(T e N NIL I abcdefgh Q user.a A %(a lrswip anyone lr) U (a NIL c))\n"
        );
        let ancient = MailboxHeader::decode(&file("\n\na\tlrs\t\n")).unwrap();
        assert_eq!((ancient.unique_id, ancient.quota_root), (None, None));
    }

    #[test]
    fn damage_is_noticed() {
        for content in [
            "",
            "%(T e N user.a I abcdefgh A %(a lrs))",
            "%(T e N user.a\n",
            "%(T e N ../x/y I abcdefgh A %(a lrs))\n",
            "%(T e N user.a I ../x A %(a lrs))\n",
            "\t\n\n",
            "root\tabcdefgh\nflag\n",
            "root\tabcdefgh\nflag\na\tlrs\t",
        ] {
            assert!(
                MailboxHeader::decode(&file(content)).is_err(),
                "{content:?}"
            );
        }
        assert!(MailboxHeader::decode(HEADER_LINE.as_bytes()).is_err());
    }

    #[test]
    fn freed_slots_are_used_first() {
        let line = "%(T e N user.a I abcdefgh A %() U (a NIL c))\n";
        let mut flags = MailboxHeader::decode(&file(line)).unwrap().flags;
        assert_eq!(flags.slot_or_insert(&flag("C")), Ok(2));
        assert_eq!(flags.slot_or_insert(&flag("b")), Ok(1));
        for number in 3..128 {
            assert_eq!(
                flags.slot_or_insert(&flag(&format!("f{number}"))),
                Ok(number)
            );
        }
        let refused = flags.slot_or_insert(&flag("late"));
        assert_eq!(refused, Err(FlagTableFull(flag("late"))));
        assert_eq!(flags.name(128), None);
    }

    #[test]
    fn bits_of_free_slots_stand_for_nothing() {
        let line = "%(T e N user.a I abcdefgh A %() U (a NIL c))\n";
        let flags = MailboxHeader::decode(&file(line)).unwrap().flags;
        let mut set = UserFlags::default();
        [0, 1, 2, 99].iter().for_each(|slot| set.insert(*slot));
        assert_eq!(flags.names_of(set).collect::<Vec<_>>(), ["a", "c"]);
        assert_eq!(flags.crcs()[2], flag_crc("c"));
    }

    proptest::proptest! {
        /// Whatever a file holds, it is an error or a header that can be written again.
        #[test]
        fn any_content_is_safe(content in "(%\\(T e N [a-z.]{1,9} I [a-z]{1,3} )?[ -~\t\n]{0,90}") {
            if let Ok(header) = MailboxHeader::decode(&file(&content))
                && let Ok(bytes) = header.encode()
            {
                proptest::prop_assert_eq!(MailboxHeader::decode(&bytes).unwrap(), header);
            }
        }
    }
}
