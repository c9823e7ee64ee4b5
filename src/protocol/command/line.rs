//! From the syntax of a line to its contents.

use super::error::DecodeError;
use super::record::{FlagTable, Record, RecordDecoder, RecordForm, RecordList};
use crate::dlist::{
    Event, FieldError, FieldProblem, FileHeader, Limits, Line, ParseProblem, TreeBuilder, Value,
    Visitor,
};

/// Takes the octets of message files while they arrive, and records if it wants them.
///
/// After an error nothing more is given for this line; its octets are consumed all the same. A
/// file that was begun is complete only with [`FileSink::end`]: if another begins, or the sink
/// is dropped, it must be discarded.
pub trait FileSink {
    /// Why a file or record cannot be taken.
    type Error;

    /// Whether records go to [`FileSink::record`] instead of into the line, whose list then has
    /// only flags: a mailbox may have more records than there is memory for.
    const TAKES_RECORDS: bool = false;

    /// A file begins.
    ///
    /// # Errors
    /// If the file cannot be taken.
    fn begin(&mut self, file: &FileHeader) -> Result<(), Self::Error>;

    /// The next octets of the file, at least one.
    ///
    /// # Errors
    /// If the octets cannot be stored.
    fn chunk(&mut self, octets: &[u8]) -> Result<(), Self::Error>;

    /// The announced number of octets has been given.
    ///
    /// # Errors
    /// If the file cannot be completed.
    fn end(&mut self) -> Result<(), Self::Error>;

    /// The next record of a list that may still turn out to be unusable, and the flags of the list
    /// so far.
    ///
    /// # Errors
    /// If the record cannot be kept.
    fn record(&mut self, _: Record, _: &FlagTable) -> Result<(), Self::Error> {
        Ok(())
    }
}

impl<S: FileSink> FileSink for &mut S {
    type Error = S::Error;

    const TAKES_RECORDS: bool = S::TAKES_RECORDS;

    fn begin(&mut self, file: &FileHeader) -> Result<(), S::Error> {
        (**self).begin(file)
    }

    fn chunk(&mut self, octets: &[u8]) -> Result<(), S::Error> {
        (**self).chunk(octets)
    }

    fn end(&mut self) -> Result<(), S::Error> {
        (**self).end()
    }

    fn record(&mut self, record: Record, flags: &FlagTable) -> Result<(), S::Error> {
        (**self).record(record, flags)
    }
}

/// Refuses no file and keeps none.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFiles;

impl FileSink for NoFiles {
    type Error = std::convert::Infallible;

    fn begin(&mut self, _: &FileHeader) -> Result<(), Self::Error> {
        Ok(())
    }

    fn chunk(&mut self, _: &[u8]) -> Result<(), Self::Error> {
        Ok(())
    }

    fn end(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }
}

/// A line: its name, and what it holds beside files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodedLine {
    /// The key of the line in upper case: the sub-command or kind of data line.
    pub name: String,
    /// The value, without the records of a MAILBOX item.
    pub value: Value,
    /// The records of a MAILBOX item, in whatever form they came.
    pub records: Option<Result<RecordList, DecodeError>>,
}

/// Collects a line from the events of the parser. Elements of RECORD and X-RECORDS become records as
/// soon as they close, files (and records, if it wants them) go to the sink as they come.
#[derive(Debug)]
pub struct LineDecoder<S: FileSink> {
    tree: TreeBuilder,
    depth: usize,
    holds_records: bool,
    holds_files: bool,
    records: Records,
    sink: S,
    sink_error: Option<S::Error>,
}

#[derive(Debug)]
enum Records {
    None,
    /// The key was read, its value was not.
    Key(RecordForm),
    Open(Box<RecordDecoder>),
    Done(Result<RecordList, DecodeError>),
}

impl<S: FileSink> LineDecoder<S> {
    /// A decoder of one line.
    pub fn new(limits: &Limits, sink: S) -> LineDecoder<S> {
        LineDecoder {
            tree: TreeBuilder::new(limits),
            depth: 0,
            holds_records: false,
            holds_files: false,
            records: Records::None,
            sink,
            sink_error: None,
        }
    }

    /// The sink, before the line is over.
    pub fn sink(&mut self) -> &mut S {
        &mut self.sink
    }

    /// The line, once the parser has told that it is over.
    ///
    /// # Errors
    /// If the sink refused a file or record.
    pub fn finish(self) -> Result<DecodedLine, S::Error> {
        if let Some(error) = self.sink_error {
            return Err(error);
        }
        let Line { key, value } = self.tree.into_line();
        let records = match self.records {
            Records::None => None,
            Records::Key(_) => Some(Err(no_records(FieldProblem::Missing))),
            Records::Open(decoder) => Some(decoder.finish()),
            Records::Done(records) => Some(records),
        };
        Ok(DecodedLine {
            name: key.to_ascii_uppercase(),
            value,
            records,
        })
    }

    fn key(&mut self, key: &[u8]) {
        if self.depth == 0 {
            let is = |name: &str| key.eq_ignore_ascii_case(name.as_bytes());
            self.holds_records = is("MAILBOX") || is("LOCAL_MAILBOX");
            self.holds_files = is("MESSAGE");
        }
    }

    /// The value of the key RECORD or X-RECORDS begins.
    fn records_begin(&mut self, form: RecordForm, event: &Event<'_>) {
        self.records = match event {
            Event::ListStart => Records::Open(Box::new(RecordDecoder::new(form))),
            Event::KvListStart => Records::Open(Box::new(RecordDecoder::failed(no_records(
                FieldProblem::NotList,
            )))),
            Event::Nil => Records::Done(Err(no_records(FieldProblem::Nil))),
            // A string where a list is expected is an empty list (wire-protocol §8).
            Event::Text(_) | Event::Flag(_) => Records::Done(Ok(RecordList::default())),
            _ => Records::Done(Err(no_records(FieldProblem::NotList))),
        };
    }

    fn file(&mut self, event: &Event<'_>) {
        if !self.holds_files || self.sink_error.is_some() {
            return;
        }
        let taken = match event {
            Event::FileStart(file) => self.sink.begin(file),
            Event::FileData(octets) => self.sink.chunk(octets),
            Event::FileEnd => self.sink.end(),
            _ => Ok(()),
        };
        self.sink_error = taken.err();
    }
}

fn no_records(problem: FieldProblem) -> DecodeError {
    FieldError::new("RECORD", problem).into()
}

impl<S: FileSink> Visitor for LineDecoder<S> {
    fn event(&mut self, event: Event<'_>) -> Result<(), ParseProblem> {
        match &mut self.records {
            Records::Open(decoder) => {
                let is_over = decoder.event(&event);
                if S::TAKES_RECORDS
                    && self.sink_error.is_none()
                    && let Some((record, flags)) = decoder.take_record()
                {
                    self.sink_error = self.sink.record(record, flags).err();
                }
                if is_over
                    && let Records::Open(decoder) =
                        std::mem::replace(&mut self.records, Records::None)
                {
                    self.records = Records::Done(decoder.finish());
                }
                return Ok(());
            }
            Records::Key(form) => {
                let form = *form;
                self.records_begin(form, &event);
                return Ok(());
            }
            Records::None if self.holds_records && self.depth == 1 => {
                if let Event::Key(key) = event
                    && let Some(form) = RecordForm::of_list_key(key)
                {
                    self.records = Records::Key(form);
                    return Ok(());
                }
            }
            Records::None | Records::Done(_) => {}
        }
        match &event {
            Event::Key(key) => self.key(key),
            Event::ListStart | Event::KvListStart => self.depth += 1,
            Event::End => self.depth -= 1,
            Event::FileStart(_) | Event::FileData(_) | Event::FileEnd => self.file(&event),
            Event::Nil | Event::Text(_) | Event::Flag(_) => {}
        }
        self.tree.event(event)
    }
}
