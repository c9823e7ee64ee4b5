//! Reading the records of an index.

use super::IndexHeader;
use super::open::{Mailbox, StoredRecord, record_offset};
use super::record::{IndexRecord, uid_of};
use super::version::FormatError;
use crate::mail::Uid;
use crate::spool::SpoolError;
use crate::spool::disk::DiskFile;

/// Records read at a time.
const PIECE: u32 = 512;

/// Records read at first where perhaps only one is wanted.
const FIRST_PIECE: u32 = 4;

/// Records at the end of an index that are read before anything is searched: what is wanted is new
/// most of the time.
const TAIL: u32 = 32;

/// How far UIDs may lie apart for the records between to be read sooner than searched.
const NEAR: u32 = 64;

/// The records of a mailbox, see [`Mailbox::records`].
#[derive(Debug)]
pub struct Records<'mailbox> {
    index: &'mailbox DiskFile,
    header: &'mailbox IndexHeader,
    next: u32,
    previous: Uid,
    piece: Vec<u8>,
    piece_start: u32,
    /// Records of the next piece.
    piece_length: u32,
    /// The first UID of the [`TAIL`], once it was read.
    tail_begins: Option<Uid>,
    failed: bool,
}

impl<'mailbox> Records<'mailbox> {
    /// The records from number `first` on.
    pub(super) fn new(mailbox: &'mailbox Mailbox<'_>, first: u32) -> Records<'mailbox> {
        Records {
            index: &mailbox.index,
            header: &mailbox.index_header,
            next: first,
            previous: Uid(0),
            piece: Vec::new(),
            piece_start: first,
            piece_length: PIECE,
            tail_begins: None,
            failed: false,
        }
    }

    /// Passes over records with UIDs below `uid`, unless there can be only few.
    fn approach(&mut self, uid: Uid) -> Result<(), SpoolError> {
        let size = self.header.version.record_size();
        let in_use = |found: &Uid| *found != Uid(0);
        let at_hand = self.piece.rchunks(size).map(uid_of).find(in_use);
        let last = at_hand.unwrap_or(self.previous);
        let is_near = uid.0 <= last.0.saturating_add(NEAR);
        let are_few = self.header.record_count - self.next <= PIECE;
        match uid.0.checked_sub(1).map(Uid) {
            Some(below) if !is_near && !self.go_to_tail(below)? && !are_few => self.bisect(below),
            _ => Ok(()),
        }
    }

    /// Goes on at the first record with a UID above `uid`, if it has not gone past it.
    pub(super) fn search_above(&mut self, uid: Uid) -> Result<(), SpoolError> {
        match self.go_to_tail(uid)? {
            true => Ok(()),
            false => self.bisect(uid),
        }
    }

    /// Goes on at the first record with a UID above `uid` if that is among the last records, or
    /// there is none.
    fn go_to_tail(&mut self, uid: Uid) -> Result<bool, SpoolError> {
        if self.tail_begins.is_some_and(|first| uid < first) {
            return Ok(false);
        }
        let count = self.header.record_count;
        let start = self.next.max(count.saturating_sub(TAIL));
        self.read_piece(start, count - start)?;
        let size = self.header.version.record_size();
        let uids = || self.piece.chunks(size).map(uid_of);
        let first = uids().find(|found| *found != Uid(0));
        self.tail_begins = first;
        if start > self.next && first.is_none_or(|first| uid < first) {
            self.piece.clear();
            self.piece_start = self.next;
            return Ok(false);
        }
        let above = uids().position(|found| found > uid);
        self.next = above.map_or(count, |place| start + u32::try_from(place).unwrap_or(TAIL));
        Ok(true)
    }

    fn bisect(&mut self, uid: Uid) -> Result<(), SpoolError> {
        let (mut low, mut high) = (self.next, self.header.record_count);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.first_in_use(middle, high)? {
                Some((number, found)) if found <= uid => low = number + 1,
                _ => high = middle,
            }
        }
        self.next = low;
        self.piece_start = low;
        self.piece.clear();
        self.piece_length = FIRST_PIECE;
        Ok(())
    }

    /// Reads these records, of which the first is the one to go on at or comes behind it.
    fn read_piece(&mut self, start: u32, count: u32) -> Result<(), SpoolError> {
        let size = self.header.version.record_size();
        self.piece.resize(count as usize * size, 0);
        self.index
            .read_exact_at(record_offset(self.header, start), &mut self.piece)?;
        self.piece_start = start;
        Ok(())
    }

    /// The first record that is in use, from one number to before another, and its UID.
    fn first_in_use(&self, from: u32, before: u32) -> Result<Option<(u32, Uid)>, SpoolError> {
        for number in from..before {
            let mut octets = [0; 4];
            self.index
                .read_exact_at(record_offset(self.header, number), &mut octets)?;
            let uid = uid_of(&octets);
            if uid != Uid(0) {
                return Ok(Some((number, uid)));
            }
        }
        Ok(None)
    }

    /// The next record that is in use; wiped slots have the UID 0.
    fn advance(&mut self) -> Result<Option<StoredRecord>, SpoolError> {
        let size = self.header.version.record_size();
        while self.next < self.header.record_count {
            let number = self.next;
            let offset = record_offset(self.header, number);
            let mut start = (number - self.piece_start) as usize * size;
            if start >= self.piece.len() {
                let count = self.piece_length.min(self.header.record_count - number);
                self.piece_length = (self.piece_length * 2).min(PIECE);
                self.piece.resize(count as usize * size, 0);
                self.index.read_exact_at(offset, &mut self.piece)?;
                self.piece_start = number;
                start = 0;
            }
            let bytes = self.piece.get(start..start + size).unwrap_or_default();
            let record = IndexRecord::decode(self.header.version, bytes)
                .map_err(|error| error.at(self.index.path(), offset))?;
            self.next = number + 1;
            if record.uid == Uid(0) {
                continue;
            }
            if record.uid <= self.previous {
                let error = FormatError::Order {
                    previous: self.previous.0,
                    found: record.uid.0,
                };
                return Err(error.at(self.index.path(), offset));
            }
            self.previous = record.uid;
            return Ok(Some(StoredRecord { number, record }));
        }
        Ok(None)
    }
}

impl Iterator for Records<'_> {
    type Item = Result<StoredRecord, SpoolError>;

    fn next(&mut self) -> Option<Result<StoredRecord, SpoolError>> {
        if self.failed {
            return None;
        }
        let next = self.advance();
        self.failed = next.is_err();
        next.transpose()
    }
}

/// Some records of a mailbox, see [`Mailbox::records_of`].
#[derive(Debug)]
pub struct RecordsOf<'mailbox, I> {
    records: Records<'mailbox>,
    uids: I,
    /// Read, but above the UIDs so far.
    held: Option<StoredRecord>,
}

impl<'mailbox, I: Iterator<Item = Uid>> RecordsOf<'mailbox, I> {
    pub(super) fn new(mut records: Records<'mailbox>, uids: I) -> RecordsOf<'mailbox, I> {
        records.piece_length = FIRST_PIECE;
        RecordsOf {
            records,
            uids,
            held: None,
        }
    }

    fn find(&mut self, uid: Uid) -> Result<Option<StoredRecord>, SpoolError> {
        let mut next = self.held.take().filter(|held| held.record.uid >= uid);
        if next.is_none() {
            self.records.approach(uid)?;
            next = self.records.advance()?;
        }
        while let Some(found) = next {
            if found.record.uid == uid {
                return Ok(Some(found));
            }
            if found.record.uid > uid {
                self.held = Some(found);
                break;
            }
            next = self.records.advance()?;
        }
        Ok(None)
    }
}

impl<I: Iterator<Item = Uid>> Iterator for RecordsOf<'_, I> {
    type Item = Result<StoredRecord, SpoolError>;

    fn next(&mut self) -> Option<Result<StoredRecord, SpoolError>> {
        while !self.records.failed {
            let uid = self.uids.next()?;
            let found = self.find(uid);
            self.records.failed = found.is_err();
            if let Some(found) = found.transpose() {
                return Some(found);
            }
        }
        None
    }
}
