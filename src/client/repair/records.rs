//! The replica's records on their way into a merge. They are kept in a file without name, in the
//! shorter form in which records travel: a mailbox may have more of them than there is memory for.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::{self, Read, Seek, SeekFrom, Write};

use tempfile::SpooledTempFile;

use crate::client::error::SyncError;
use crate::dlist::{FileHeader, Limits, LiteralStyle, ParseError, Parser};
use crate::mail::MailboxName;
use crate::protocol::command::{
    FileSink, FlagTable, LineDecoder, Record, RecordForm, write_record,
};

/// Octets that are kept in memory.
const IN_MEMORY: usize = 1 << 20;

/// Octets written or read at a time.
const PIECE: usize = 64 << 10;

/// What stands around the records, so that they are read as they are from the wire.
const BEGIN: &[u8] = b"MAILBOX %(X-RECORDS (";
const END: &[u8] = b"))\r\n";

/// Keeps the records of an answer while they arrive.
#[derive(Debug)]
pub(super) struct RecordKeeper {
    file: SpooledTempFile,
    pending: Vec<u8>,
    is_empty: bool,
}

impl RecordKeeper {
    pub(super) fn new() -> RecordKeeper {
        RecordKeeper {
            file: SpooledTempFile::new(IN_MEMORY),
            pending: BEGIN.to_vec(),
            is_empty: true,
        }
    }

    /// All records, which use these flags.
    ///
    /// # Errors
    /// If the last of them cannot be written.
    pub(super) fn finish(mut self, flags: FlagTable) -> io::Result<RemoteRecords> {
        self.pending.extend_from_slice(END);
        self.file.write_all(&self.pending)?;
        Ok(RemoteRecords {
            file: self.file,
            flags,
        })
    }
}

impl FileSink for RecordKeeper {
    type Error = io::Error;

    const TAKES_RECORDS: bool = true;

    fn begin(&mut self, _: &FileHeader) -> io::Result<()> {
        Ok(())
    }

    fn chunk(&mut self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn record(&mut self, record: Record, flags: &FlagTable) -> io::Result<()> {
        if !std::mem::take(&mut self.is_empty) {
            self.pending.push(b' ');
        }
        write_record(
            &mut self.pending,
            &record,
            flags,
            RecordForm::Compact,
            LiteralStyle::Plus,
        );
        if self.pending.len() >= PIECE {
            self.file.write_all(&self.pending)?;
            self.pending.clear();
        }
        Ok(())
    }
}

/// The records of the replica's mailbox.
#[derive(Debug)]
pub(super) struct RemoteRecords {
    file: SpooledTempFile,
    flags: FlagTable,
}

impl RemoteRecords {
    /// The names of the records' user flags.
    pub(super) fn flags(&self) -> &FlagTable {
        &self.flags
    }

    /// The records of `mailbox` from the first on.
    ///
    /// # Errors
    /// If they cannot be read.
    pub(super) fn iter<'file>(
        &'file mut self,
        mailbox: &'file MailboxName,
    ) -> Result<Reader<'file>, SyncError> {
        self.file
            .seek(SeekFrom::Start(0))
            .map_err(|error| unreadable(mailbox, error))?;
        let limits = Limits::default();
        Ok(Reader {
            file: &mut self.file,
            mailbox,
            decoder: LineDecoder::new(&limits, Arrived::default()),
            parser: Parser::line(limits),
            piece: vec![0; PIECE],
        })
    }
}

/// Reads the records again.
#[derive(Debug)]
pub(super) struct Reader<'file> {
    file: &'file mut SpooledTempFile,
    mailbox: &'file MailboxName,
    parser: Parser,
    decoder: LineDecoder<Arrived>,
    piece: Vec<u8>,
}

/// Records that were read and not taken yet.
#[derive(Debug, Default)]
struct Arrived(VecDeque<Record>);

impl FileSink for Arrived {
    type Error = Infallible;

    const TAKES_RECORDS: bool = true;

    fn begin(&mut self, _: &FileHeader) -> Result<(), Infallible> {
        Ok(())
    }

    fn chunk(&mut self, _: &[u8]) -> Result<(), Infallible> {
        Ok(())
    }

    fn end(&mut self) -> Result<(), Infallible> {
        Ok(())
    }

    fn record(&mut self, record: Record, _: &FlagTable) -> Result<(), Infallible> {
        self.0.push_back(record);
        Ok(())
    }
}

impl Iterator for Reader<'_> {
    type Item = Result<Record, SyncError>;

    fn next(&mut self) -> Option<Result<Record, SyncError>> {
        loop {
            if let Some(record) = self.decoder.sink().0.pop_front() {
                return Some(Ok(record));
            }
            let length = match self.file.read(&mut self.piece) {
                Ok(0) => return None,
                Ok(length) => length,
                Err(error) => return Some(Err(unreadable(self.mailbox, error))),
            };
            let octets = self.piece.get(..length).unwrap_or_default();
            let fed = self.parser.feed(octets, &mut self.decoder);
            if let Some(Err(error)) = fed.result {
                return Some(Err(damaged(self.mailbox, &error)));
            }
        }
    }
}

fn unreadable(mailbox: &MailboxName, source: io::Error) -> SyncError {
    SyncError::Io {
        what: format!("{mailbox}: cannot read the replica's records from their temporary file"),
        source,
    }
}

fn damaged(mailbox: &MailboxName, error: &ParseError) -> SyncError {
    SyncError::Merge {
        mailbox: mailbox.clone(),
        problem: format!("the replica's records in their temporary file: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::{Annotation, Guid, ModSeq, SystemFlags, Uid, UnixTime};
    use crate::protocol::command::{Answer, RecordList};

    const ITEM: &str = "UNIQUEID aa MBOXNAME user.a SYNC_CRC 0 LAST_UID 9 HIGHESTMODSEQ 9 \
        RECENTUID 0 RECENTTIME 0 LAST_APPENDDATE 0 POP3_LAST_LOGIN 0 UIDVALIDITY 1 \
        PARTITION default ACL \"\" OPTIONS P";

    /// Records of every kind, in more than one piece.
    fn list() -> RecordList {
        let mut flags = FlagTable::default();
        let records = (1..=2000_u32).map(|number| {
            let mut record = Record {
                uid: Uid(number * 3),
                modseq: ModSeq(u64::from(number) << 20),
                last_updated: UnixTime(number),
                system_flags: SystemFlags::FLAGGED,
                expunged: number % 5 == 0,
                size: number,
                guid: Guid::from_bytes([number as u8; Guid::LEN]),
                created_modseq: ModSeq(u64::from(number)),
                ..Record::default()
            };
            let name = format!("flag{}", number % 90);
            record
                .user_flags
                .insert(flags.number(&name).unwrap().unwrap());
            if number % 7 == 0 {
                record.annotations = Box::new([Annotation {
                    entry: "/comment".to_owned(),
                    user: "a".to_owned(),
                    modseq: ModSeq(1),
                    value: b") \r\n\"(".to_vec(),
                }]);
            }
            record
        });
        RecordList {
            records: records.collect(),
            flags,
        }
    }

    fn arrive(list: &RecordList) -> (Result<Answer, String>, RecordKeeper) {
        let mut line = format!("MAILBOX %({ITEM} RECORD (").into_bytes();
        for record in &list.records {
            write_record(
                &mut line,
                record,
                &list.flags,
                RecordForm::Pairs,
                LiteralStyle::Plain,
            );
            line.push(b' ');
        }
        line.extend_from_slice(END);
        let limits = Limits::default();
        let mut keeper = RecordKeeper::new();
        let mut decoder = LineDecoder::new(&limits, &mut keeper);
        let mut parser = Parser::line(limits.clone());
        for piece in line.chunks(997) {
            assert_ne!(parser.feed(piece, &mut decoder).consumed, 0);
        }
        let line = decoder.finish().unwrap();
        (
            Answer::decode(line).map_err(|error| error.to_string()),
            keeper,
        )
    }

    #[test]
    fn records_are_read_again_as_they_came() {
        let list = list();
        let (answer, keeper) = arrive(&list);
        let Ok(Answer::Mailbox(answer)) = answer else {
            panic!("{answer:?}");
        };
        let rest = answer.records.unwrap();
        assert!(rest.records.is_empty(), "records are still held");
        assert_eq!(rest.flags, list.flags);
        let mut kept = keeper.finish(rest.flags).unwrap();
        let name = MailboxName::parse("user.a").unwrap();
        for _ in 0..2 {
            let again: Vec<Record> = kept.iter(&name).unwrap().map(Result::unwrap).collect();
            assert_eq!(again, list.records);
        }
    }

    #[test]
    fn a_mailbox_without_records_has_none() {
        let (answer, keeper) = arrive(&RecordList::default());
        assert!(answer.is_ok());
        let mut kept = keeper.finish(FlagTable::default()).unwrap();
        let name = MailboxName::parse("user.a").unwrap();
        assert_eq!(kept.iter(&name).unwrap().count(), 0);
    }

    #[test]
    fn a_list_that_does_not_ascend_is_not_used() {
        let mut list = list();
        list.records.swap(1500, 1501);
        let (answer, _) = arrive(&list);
        let error = answer.unwrap_err();
        assert!(error.contains("not above UID 4506"), "{error}");
    }
}
