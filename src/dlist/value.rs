//! Values in memory.

use super::{FieldError, FieldProblem, Fields, FileHeader, LiteralStyle, parse_number, write};
use crate::mail::Guid;

/// One value of the syntax.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `NIL`: no string.
    Nil,
    /// A string, however it was written; numbers, dates and GUIDs are strings too.
    Text(Vec<u8>),
    /// A system flag, with its backslash.
    Flag(Vec<u8>),
    /// `(…)`
    List(Vec<Value>),
    /// `%(…)`, pairs in order. Where a key occurs twice the first counts.
    KvList(Vec<(String, Value)>),
    /// A file literal. Its octets went elsewhere while they arrived.
    File(FileHeader),
}

impl Value {
    /// A string value.
    pub fn text(text: impl AsRef<[u8]>) -> Value {
        Value::Text(text.as_ref().to_vec())
    }

    /// A number in decimal.
    pub fn number(number: impl Into<u64>) -> Value {
        Value::Text(number.into().to_string().into_bytes())
    }

    /// Appends the value in the form that the original writes.
    pub fn write(&self, out: &mut Vec<u8>, style: LiteralStyle) {
        match self {
            Value::Nil => out.extend_from_slice(b"NIL"),
            Value::Text(text) => write::write_text(out, text, style),
            Value::Flag(flag) => write::write_flag(out, flag),
            Value::List(items) => {
                out.push(b'(');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(b' ');
                    }
                    item.write(out, style);
                }
                out.push(b')');
            }
            Value::KvList(pairs) => {
                out.extend_from_slice(b"%(");
                for (index, (key, value)) in pairs.iter().enumerate() {
                    if index > 0 {
                        out.push(b' ');
                    }
                    write::write_text(out, key.as_bytes(), style);
                    out.push(b' ');
                    value.write(out, style);
                }
                out.push(b')');
            }
            Value::File(file) => write::write_file_header(out, file),
        }
    }

    /// The value in the form that the original writes, as octets of their own.
    pub fn to_bytes(&self, style: LiteralStyle) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out, style);
        out
    }

    /// The pairs of a `%(…)`.
    ///
    /// # Errors
    /// If it is another value.
    pub fn fields(&self) -> Result<Fields<'_>, FieldError> {
        match self {
            Value::KvList(pairs) => Ok(Fields::new(pairs)),
            _ => Err(FieldError::unnamed(FieldProblem::NotPairs)),
        }
    }

    /// The string's octets; any octets are possible.
    ///
    /// # Errors
    /// If the value is `NIL`, a list or a file.
    pub fn as_bytes(&self) -> Result<&[u8], FieldProblem> {
        match self {
            Value::Text(text) | Value::Flag(text) => Ok(text),
            Value::Nil => Err(FieldProblem::Nil),
            Value::List(_) | Value::KvList(_) | Value::File(_) => Err(FieldProblem::NotText),
        }
    }

    /// The string as text: UTF-8 without NUL.
    ///
    /// # Errors
    /// If the value is no string or its octets are no text.
    pub fn as_text(&self) -> Result<&str, FieldProblem> {
        let text = std::str::from_utf8(self.as_bytes()?).map_err(|_| FieldProblem::NotText)?;
        if text.contains('\0') {
            return Err(FieldProblem::NotText);
        }
        Ok(text)
    }

    /// The string as an unsigned decimal number of 64 bits.
    ///
    /// # Errors
    /// If the value is no string of digits or too large.
    pub fn as_number(&self) -> Result<u64, FieldProblem> {
        parse_number(self.as_bytes()?).ok_or(FieldProblem::NotNumber)
    }

    /// The string as a GUID.
    ///
    /// # Errors
    /// If the value is no string of 40 hexadecimal digits.
    pub fn as_guid(&self) -> Result<Guid, FieldProblem> {
        self.as_text()?.parse().map_err(|_| FieldProblem::NotGuid)
    }

    /// The elements of a list. A string where a list is expected is an empty list
    /// (wire-protocol §8).
    ///
    /// # Errors
    /// If the value is `NIL`, a `%(…)` or a file.
    pub fn as_list(&self) -> Result<&[Value], FieldProblem> {
        match self {
            Value::List(items) => Ok(items),
            Value::Text(_) | Value::Flag(_) | Value::Nil => Ok(&[]),
            Value::KvList(_) | Value::File(_) => Err(FieldProblem::NotList),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dlist::parse_value;

    /// The values of databases §9.2 and §12.2 and mailbox-format §2.1.
    #[test]
    fn store_values_are_written_as_they_were_read() {
        for text in [
            "%(T e I 3ebx1jtiouppvysltsj6xo4v P default V 1733000000 C 1 F 4 M 1733000123 \
             A %(alice lrswipkxtecdan anyone lr))",
            "%(T e N user\x1falice\x1fNew P default V 1795330975 C 1 F 7 M 1795330975 \
             A %(alice lrswipkxtecdan) H (%(N user\x1falice\x1fOld M 1795330975 V 1795330975 \
             C 1 F 7 T ed)))",
            "%(T el N \"example.com\x1duser\x1falice\" P default V 1795333411 C 1 F 3 \
             M 1795333411 A %(alice@example.com lrswipkxtecdan bob@example.com lr) H ())",
            "%(S (2043 100000) M (17 5000) AS (40) NF (8) MODSEQ 31)",
            "%(T e N user.tv I q3fgr7etnueolpppp7y44dqn A %(tv lrswipkxtecdan) U (foo))",
            "%(J NIL N \"\" X \"NIL\" U (a NIL b))",
        ] {
            let value = parse_value(text.as_bytes()).unwrap();
            assert_eq!(
                String::from_utf8(value.to_bytes(LiteralStyle::Plain)).unwrap(),
                text
            );
        }
    }

    #[test]
    fn typed_access_names_the_key() {
        let value = parse_value(b"%(N user.a V 7 X NIL V 8 B abc L (1 2))").unwrap();
        let fields = value.fields().unwrap();
        assert_eq!(fields.text("N").unwrap(), "user.a");
        assert_eq!(fields.number("V").unwrap(), 7);
        assert_eq!(fields.optional_text("X").unwrap(), None);
        assert_eq!(fields.optional_number("Y").unwrap(), None);
        assert_eq!(fields.list("L").unwrap().len(), 2);
        assert_eq!(
            fields.number("W").unwrap_err(),
            FieldError::new("W", FieldProblem::Missing)
        );
        assert_eq!(
            fields.number("B").unwrap_err().to_string(),
            "key B: is not a number"
        );
        assert_eq!(fields.text("X").unwrap_err().problem, FieldProblem::Nil);
    }
}
