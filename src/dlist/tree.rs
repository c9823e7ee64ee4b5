//! From events to values.

use super::{Event, Limits, ParseError, ParseProblem, Parser, Value, Visitor};

/// Builds the value that a parser tells of, within the memory bound of [`Limits::tree`].
#[derive(Debug)]
pub struct TreeBuilder {
    stack: Vec<Open>,
    /// The key of the next value, at the top of a line or in the innermost `%(…)`.
    key: Option<String>,
    line: Line,
    budget: usize,
    limit: usize,
}

/// A line: its key and value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The key as it was written; empty for a bare value.
    pub key: String,
    /// The value.
    pub value: Value,
}

#[derive(Debug)]
enum Open {
    List(Vec<Value>),
    Pairs {
        key: String,
        pairs: Vec<(String, Value)>,
    },
}

impl TreeBuilder {
    /// A builder that uses at most `limits.tree` octets.
    pub fn new(limits: &Limits) -> TreeBuilder {
        TreeBuilder {
            stack: Vec::new(),
            key: None,
            line: Line {
                key: String::new(),
                value: Value::Nil,
            },
            budget: limits.tree,
            limit: limits.tree,
        }
    }

    /// What was built. Meaningful once the parser has told that the line is over.
    pub fn into_line(self) -> Line {
        self.line
    }

    fn spend(&mut self, octets: usize) -> Result<(), ParseProblem> {
        let cost = octets.saturating_add(size_of::<Value>());
        self.budget = self
            .budget
            .checked_sub(cost)
            .ok_or(ParseProblem::TooLarge {
                what: "command",
                limit: self.limit as u64,
            })?;
        Ok(())
    }

    fn key(&mut self, key: &[u8]) -> Result<(), ParseProblem> {
        self.spend(key.len())?;
        let key = String::from_utf8(key.to_vec()).map_err(|_| ParseProblem::BadKey)?;
        if self.stack.is_empty() {
            self.line.key = key;
        } else {
            self.key = Some(key);
        }
        Ok(())
    }

    fn value(&mut self, value: Value) {
        match self.stack.last_mut() {
            Some(Open::List(items)) => items.push(value),
            Some(Open::Pairs { pairs, .. }) => {
                pairs.push((self.key.take().unwrap_or_default(), value));
            }
            None => self.line.value = value,
        }
    }

    fn end(&mut self) {
        match self.stack.pop() {
            Some(Open::List(items)) => self.value(Value::List(items)),
            Some(Open::Pairs { key, pairs }) => {
                self.key = Some(key);
                self.value(Value::KvList(pairs));
            }
            None => {}
        }
    }
}

impl Visitor for TreeBuilder {
    fn event(&mut self, event: Event<'_>) -> Result<(), ParseProblem> {
        match event {
            Event::Key(key) => self.key(key)?,
            Event::Nil => {
                self.spend(0)?;
                self.value(Value::Nil);
            }
            Event::Text(text) => {
                self.spend(text.len())?;
                self.value(Value::Text(text.to_vec()));
            }
            Event::Flag(flag) => {
                self.spend(flag.len())?;
                self.value(Value::Flag(flag.to_vec()));
            }
            Event::ListStart => {
                self.spend(0)?;
                self.stack.push(Open::List(Vec::new()));
            }
            Event::KvListStart => {
                self.spend(0)?;
                let key = self.key.take().unwrap_or_default();
                self.stack.push(Open::Pairs {
                    key,
                    pairs: Vec::new(),
                });
            }
            Event::End => self.end(),
            Event::FileStart(file) => {
                self.spend(file.partition.len())?;
                self.value(Value::File(file.clone()));
            }
            Event::FileData(_) | Event::FileEnd => {}
        }
        Ok(())
    }
}

/// Refuses file literals: store files hold none.
struct StoreVisitor(TreeBuilder);

impl Visitor for StoreVisitor {
    fn event(&mut self, event: Event<'_>) -> Result<(), ParseProblem> {
        match event {
            Event::FileStart(_) => Err(ParseProblem::FileNotAllowed),
            event => self.0.event(event),
        }
    }
}

/// Parses a buffer that holds exactly one value, as store files do (databases §9.2). Nothing
/// may stand before or behind it, so a line end must have been cut off.
///
/// # Errors
/// If the buffer holds anything else.
pub fn parse_value(buffer: &[u8]) -> Result<Value, ParseError> {
    let limits = Limits {
        word: buffer.len(),
        quoted: buffer.len(),
        literal: buffer.len(),
        ..Limits::default()
    };
    let mut visitor = StoreVisitor(TreeBuilder::new(&limits));
    let mut parser = Parser::value(limits);
    let fed = parser.feed(buffer, &mut visitor);
    match buffer.get(fed.consumed) {
        Some(octet) if fed.result == Some(Ok(())) => Err(ParseError {
            problem: ParseProblem::Unexpected(*octet),
            offset: u64::try_from(fed.consumed).unwrap_or(u64::MAX),
        }),
        _ => {
            parser.finish(&mut visitor)?;
            Ok(visitor.0.into_line().value)
        }
    }
}

#[cfg(test)]
mod tests;
