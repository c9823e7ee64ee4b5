//! The stored value of a quota root (databases §12.2).

use crate::dlist::{self, FieldError, FieldProblem, Fields, LiteralStyle, ParseError, Value};
use crate::mail::{MailboxName, ModSeq};

/// An amount of each resource: what is used, or by how much that changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    /// Octets of messages.
    pub storage: i64,
    /// Messages.
    pub messages: i64,
    /// Octets of annotation values.
    pub annotation_storage: i64,
    /// Mailboxes.
    pub mailboxes: i64,
}

impl Amounts {
    /// The amounts in the order of the file.
    fn to_array(self) -> [i64; 4] {
        [
            self.storage,
            self.messages,
            self.annotation_storage,
            self.mailboxes,
        ]
    }

    fn from_array([storage, messages, annotation_storage, mailboxes]: [i64; 4]) -> Amounts {
        Amounts {
            storage,
            messages,
            annotation_storage,
            mailboxes,
        }
    }

    /// The sum, resource by resource; saturates.
    #[must_use]
    pub fn plus(self, other: Amounts) -> Amounts {
        let mut sums = self.to_array();
        for (sum, more) in sums.iter_mut().zip(other.to_array()) {
            *sum = sum.saturating_add(more);
        }
        Amounts::from_array(sums)
    }

    /// The amounts with negative ones replaced by zero.
    fn at_least_zero(self) -> Amounts {
        Amounts::from_array(self.to_array().map(|amount| amount.max(0)))
    }
}

/// The limits of a root; `None` is unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Messages, in KiB.
    pub storage: Option<u64>,
    /// Number of messages.
    pub messages: Option<u64>,
    /// Annotation values, in KiB.
    pub annotation_storage: Option<u64>,
    /// Number of mailboxes.
    pub mailboxes: Option<u64>,
}

impl Limits {
    fn to_array(self) -> [Option<u64>; 4] {
        [
            self.storage,
            self.messages,
            self.annotation_storage,
            self.mailboxes,
        ]
    }

    fn from_array([storage, messages, annotation_storage, mailboxes]: [Option<u64>; 4]) -> Limits {
        Limits {
            storage,
            messages,
            annotation_storage,
            mailboxes,
        }
    }
}

/// How far a running `quota -f` has counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// The last mailbox counted.
    pub mailbox: String,
    /// What was counted up to it.
    pub used: Amounts,
}

/// One quota root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// What is used, never negative.
    pub used: Amounts,
    /// What may be used.
    pub limits: Limits,
    /// Present while `quota -f` runs, or after one was interrupted.
    pub scan: Option<Scan>,
    /// Modseq of the last change of the root in a user's tree.
    pub modseq: ModSeq,
}

/// A value that is no quota.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuotaValueError {
    /// The syntax is wrong.
    #[error(transparent)]
    Syntax(#[from] ParseError),
    /// A field is missing or wrong.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// The text form of old versions is wrong.
    #[error("malformed quota text {0:?}")]
    Text(String),
}

/// Resources in the order in which they are written.
const KEYS: [&str; 4] = ["S", "M", "AS", "NF"];

impl Quota {
    /// Adds a change of usage that happened in `mailbox`; nothing falls below zero. If a scan has
    /// counted that mailbox already, its numbers change too (databases §12.2).
    pub fn change_used(&mut self, delta: Amounts, mailbox: &MailboxName) {
        self.used = self.used.plus(delta).at_least_zero();
        if let Some(scan) = &mut self.scan
            && mailbox.as_str() <= scan.mailbox.as_str()
        {
            scan.used = scan.used.plus(delta);
        }
    }

    /// The stored value, without the LF of the file.
    pub fn encode(&self) -> Vec<u8> {
        let mut pairs: Vec<(String, Value)> = Vec::new();
        let limits = self.limits.to_array();
        for ((key, used), limit) in KEYS.iter().zip(self.used.to_array()).zip(limits) {
            let amounts = std::iter::once(number(used))
                .chain(limit.map(Value::number))
                .collect();
            pairs.push(((*key).to_owned(), Value::List(amounts)));
        }
        if let Some(scan) = &self.scan {
            let mut fields = vec![("MBOX".to_owned(), Value::text(&scan.mailbox))];
            for (key, used) in KEYS.iter().zip(scan.used.to_array()) {
                fields.push(((*key).to_owned(), number(used)));
            }
            pairs.push(("SCAN".to_owned(), Value::KvList(fields)));
        }
        pairs.push(("MODSEQ".to_owned(), Value::number(self.modseq.0)));
        Value::KvList(pairs).to_bytes(LiteralStyle::Plain)
    }

    /// Reads a stored value, the old text forms included.
    ///
    /// # Errors
    /// If it is neither form.
    pub fn decode(value: &[u8]) -> Result<Quota, QuotaValueError> {
        if value.first() != Some(&b'%') {
            return decode_text(value);
        }
        let value = dlist::parse_value(value)?;
        let fields = value.fields()?;
        let mut used = [0; 4];
        let mut limits = [None; 4];
        for ((key, used), limit) in KEYS.iter().zip(&mut used).zip(&mut limits) {
            let Some(item) = fields.get(key) else {
                continue;
            };
            let of_key = |problem| FieldError::new(key, problem);
            let item = item.as_list().map_err(of_key)?;
            if let Some(value) = item.first() {
                *used = signed(value).map_err(of_key)?;
            }
            if let Some(value) = item.get(1) {
                *limit = u64::try_from(signed(value).map_err(of_key)?).ok();
            }
        }
        Ok(Quota {
            used: Amounts::from_array(used).at_least_zero(),
            limits: Limits::from_array(limits),
            scan: scan(fields)?,
            modseq: ModSeq(fields.optional_number("MODSEQ")?.unwrap_or_default()),
        })
    }
}

fn scan(fields: Fields<'_>) -> Result<Option<Scan>, FieldError> {
    if fields.get("SCAN").is_none() {
        return Ok(None);
    }
    let fields = fields.fields("SCAN")?;
    let mut used = [0; 4];
    for (key, used) in KEYS.iter().zip(&mut used) {
        if let Some(value) = fields.get(key) {
            *used = signed(value).map_err(|problem| FieldError::new(key, problem))?;
        }
    }
    Ok(Some(Scan {
        mailbox: fields.text("MBOX")?.to_owned(),
        used: Amounts::from_array(used),
    }))
}

/// Negative numbers, which only a scan can have, are written modulo 2^64.
fn number(amount: i64) -> Value {
    Value::number(amount.cast_unsigned())
}

fn signed(value: &Value) -> Result<i64, FieldProblem> {
    let text = value.as_text()?;
    let unsigned = || text.parse::<u64>().map(u64::cast_signed);
    text.parse()
        .or_else(|_| unsigned())
        .map_err(|_| FieldProblem::NotNumber)
}

/// `<used> <limit>`, then any of `M`, `AS`, `NF` with the same, separated by white space. A third
/// number, left by an interrupted `quota -f`, is passed over.
fn decode_text(value: &[u8]) -> Result<Quota, QuotaValueError> {
    let fail = || QuotaValueError::Text(String::from_utf8_lossy(value).into_owned());
    let text = std::str::from_utf8(value).map_err(|_| fail())?;
    let mut words = text.split_ascii_whitespace().peekable();
    let mut used = [0; 4];
    let mut limits = [None; 4];
    let mut resource = 0;
    loop {
        let mut number = || words.next()?.parse::<i64>().ok();
        let (Some(amount), Some(limit)) = (number(), number()) else {
            return Err(fail());
        };
        used[resource] = amount;
        limits[resource] = u64::try_from(limit).ok();
        words.next_if(|word| word.parse::<i64>().is_ok());
        let Some(key) = words.next() else {
            return Ok(Quota {
                used: Amounts::from_array(used).at_least_zero(),
                limits: Limits::from_array(limits),
                ..Quota::default()
            });
        };
        let known = KEYS
            .iter()
            .position(|known| known.eq_ignore_ascii_case(key));
        resource = known.ok_or_else(fail)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn used(storage: i64, messages: i64, annotation_storage: i64, mailboxes: i64) -> Amounts {
        Amounts {
            storage,
            messages,
            annotation_storage,
            mailboxes,
        }
    }

    /// The values of databases §12.2.
    #[test]
    fn values_of_the_original() {
        let quota = Quota {
            used: used(2043, 17, 40, 8),
            limits: Limits {
                storage: Some(100_000),
                messages: Some(5000),
                ..Limits::default()
            },
            scan: None,
            modseq: ModSeq(31),
        };
        let value = b"%(S (2043 100000) M (17 5000) AS (40) NF (8) MODSEQ 31)";
        assert_eq!(quota.encode(), value);
        assert_eq!(Quota::decode(value).unwrap(), quota);

        let value = b"%(S (0 2000) M (0) AS (0) NF (6) MODSEQ 0)";
        assert_eq!(Quota::decode(value).unwrap().encode(), value);
        let value =
            b"%(S (9) M (0) AS (0) NF (6) SCAN %(MBOX user.a.b S 4 M 1 AS 0 NF 2) MODSEQ 7)";
        let quota = Quota::decode(value).unwrap();
        assert_eq!(quota.scan.as_ref().unwrap().used, used(4, 1, 0, 2));
        assert_eq!(quota.encode(), value);
    }

    #[test]
    fn old_text_forms() {
        for (text, amounts, storage) in [
            ("2043 100000", used(2043, 0, 0, 0), Some(100_000)),
            ("2043\n-1", used(2043, 0, 0, 0), None),
            ("7 10 99 M 3 -1 as 5 6 7 NF 1 2", used(7, 3, 5, 1), Some(10)),
        ] {
            let quota = Quota::decode(text.as_bytes()).unwrap();
            assert_eq!(quota.used, amounts, "{text}");
            assert_eq!(quota.limits.storage, storage, "{text}");
        }
        for bad in ["", "7", "7 x", "7 8 9 9", "7 8 Q 1 2", "7 8 M 1", "7 8 M"] {
            assert!(Quota::decode(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn usage_changes_by_deltas() {
        let mut quota = Quota::decode(
            b"%(S (9) M (1) AS (0) NF (6) SCAN %(MBOX user.a.b S 4 M 1 AS 0 NF 2) MODSEQ 7)",
        )
        .unwrap();
        let mailbox = |name| MailboxName::parse(name).unwrap();
        quota.change_used(used(5, -3, 0, 0), &mailbox("user.a.b"));
        assert_eq!(quota.used, used(14, 0, 0, 6));
        assert_eq!(quota.scan.as_ref().unwrap().used, used(9, -2, 0, 2));
        quota.change_used(used(5, 0, 0, 0), &mailbox("user.a.c"));
        assert_eq!(quota.used.storage, 19);
        assert_eq!(quota.scan.as_ref().unwrap().used.storage, 9);
        assert_eq!(Quota::decode(&quota.encode()).unwrap(), quota);
    }

    #[test]
    fn damaged_values_are_refused() {
        for bad in [
            &b"%(S 5"[..],
            b"%(S (x))",
            b"%(S (1 2) SCAN 5)",
            b"%(S (1) SCAN %(S 4) MODSEQ 1)",
            b"%(S (1) MODSEQ x)",
            b"\xff 1",
        ] {
            assert!(Quota::decode(bad).is_err(), "{}", bad.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn round_trip(amounts: [u32; 4], scanned: Option<[i64; 4]>, limits: [Option<u32>; 4], modseq: u64) {
            let quota = Quota {
                used: Amounts::from_array(amounts.map(i64::from)),
                limits: Limits::from_array(limits.map(|limit| limit.map(u64::from))),
                scan: scanned.map(|scanned| Scan {
                    mailbox: "user.a b".to_owned(),
                    used: Amounts::from_array(scanned),
                }),
                modseq: ModSeq(modseq),
            };
            prop_assert_eq!(Quota::decode(&quota.encode()).unwrap(), quota);
        }

        #[test]
        fn any_octets_are_safe(octets in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = Quota::decode(&octets);
        }
    }
}
