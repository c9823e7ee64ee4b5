//! A file read and written through a small cache of pages.
//!
//! What is read stays in a fixed number of slots, page `n` in slot `n mod SLOTS`. What is written
//! stays in memory until [`Pages::flush`].

use std::collections::BTreeMap;

use crate::spool::disk::{DiskError, DiskFile};

const PAGE: usize = 4096;
const SLOTS: usize = 512;
/// The most pages in a single write of a flush.
const LONGEST_RUN: usize = 64;

/// How much of a transaction is kept in memory before it is flushed.
pub(super) const UNWRITTEN_MAX: usize = 8 * 1024 * 1024;

type Page = Box<[u8]>;

/// The pages of one file that are in memory: at most 2 MiB of unchanged ones.
#[derive(Debug, Default)]
pub(super) struct Pages {
    clean: Vec<Option<(u64, Page)>>,
    changed: BTreeMap<u64, Page>,
}

impl Pages {
    /// Fills `buffer` from `offset`; beyond the end of the file there are zeros.
    pub fn read(
        &mut self,
        file: &DiskFile,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<(), DiskError> {
        for_each_page(offset, buffer.len(), |number, within, part| {
            let page = match self.changed.get(&number) {
                Some(page) => page,
                None => {
                    let slot = self.slot(number);
                    let page = match slot.take() {
                        Some((cached, page)) if cached == number => page,
                        Some((_, other)) => load(file, number, other)?,
                        None => load(file, number, empty_page())?,
                    };
                    &slot.insert((number, page)).1
                }
            };
            buffer[part].copy_from_slice(&page[within]);
            Ok(())
        })
    }

    /// Changes the pages that hold `data` at `offset`; the file stays as it is until the flush.
    pub fn write(&mut self, file: &DiskFile, offset: u64, data: &[u8]) -> Result<(), DiskError> {
        for_each_page(offset, data.len(), |number, within, part| {
            if !self.changed.contains_key(&number) {
                let page = match self.slot(number).take() {
                    Some((cached, page)) if cached == number => page,
                    _ => load(file, number, empty_page())?,
                };
                self.changed.insert(number, page);
            }
            if let Some(page) = self.changed.get_mut(&number) {
                page[within].copy_from_slice(&data[part]);
            }
            Ok(())
        })
    }

    /// Writes `data` at `offset` at once, to the file and to the pages in memory.
    pub fn write_through(
        &mut self,
        file: &DiskFile,
        offset: u64,
        data: &[u8],
    ) -> Result<(), DiskError> {
        file.write_at(offset, data)?;
        for_each_page(offset, data.len(), |number, within, part| {
            let in_memory = match self.changed.get_mut(&number) {
                Some(page) => Some(page),
                None => match self.slot(number) {
                    Some((cached, page)) if *cached == number => Some(page),
                    _ => None,
                },
            };
            if let Some(page) = in_memory {
                page[within].copy_from_slice(&data[part]);
            }
            Ok(())
        })
    }

    /// Writes the changed pages to the file, which ends at `end`; the last ones first, so that a
    /// file that was only partly written is longer than before.
    pub fn flush(&mut self, file: &DiskFile, end: u64) -> Result<(), DiskError> {
        let mut run: Vec<(u64, &Page)> = Vec::new();
        for (number, page) in self.changed.iter().rev() {
            let continues = run.last().is_none_or(|(after, _)| *after == number + 1);
            if !continues || run.len() >= LONGEST_RUN {
                write_run(file, &run, end)?;
                run.clear();
            }
            run.push((*number, page));
        }
        write_run(file, &run, end)?;
        for (number, page) in std::mem::take(&mut self.changed) {
            *self.slot(number) = Some((number, page));
        }
        Ok(())
    }

    /// How many octets of changed pages are in memory.
    pub fn unwritten(&self) -> usize {
        self.changed.len() * PAGE
    }

    /// Forgets everything, what was not flushed too.
    pub fn clear(&mut self) {
        self.clean.clear();
        self.changed.clear();
    }

    /// Whether nothing is in memory.
    pub fn is_empty(&self) -> bool {
        self.clean.is_empty() && self.changed.is_empty()
    }

    fn slot(&mut self, number: u64) -> &mut Option<(u64, Page)> {
        if self.clean.is_empty() {
            self.clean.resize(SLOTS, None);
        }
        &mut self.clean[(number % SLOTS as u64) as usize]
    }
}

fn empty_page() -> Page {
    vec![0; PAGE].into_boxed_slice()
}

/// Fills `page` from the file, with zeros beyond its end.
fn load(file: &DiskFile, number: u64, mut page: Page) -> Result<Page, DiskError> {
    let length = file.read_into(number * PAGE as u64, &mut page)?;
    page[length..].fill(0);
    Ok(page)
}

/// Writes neighbouring pages, given from the last to the first, in one go.
fn write_run(file: &DiskFile, run: &[(u64, &Page)], end: u64) -> Result<(), DiskError> {
    let Some((first, _)) = run.last() else {
        return Ok(());
    };
    let start = first * PAGE as u64;
    let mut octets = Vec::with_capacity(run.len() * PAGE);
    for (_, page) in run.iter().rev() {
        octets.extend_from_slice(page);
    }
    octets.truncate(usize::try_from(end.saturating_sub(start)).unwrap_or(usize::MAX));
    file.write_at(start, &octets)
}

/// Splits `length` octets at `offset` at the borders of pages: calls `each` with the number of
/// the page, the range in the page, and the range in the whole.
fn for_each_page(
    offset: u64,
    length: usize,
    mut each: impl FnMut(u64, std::ops::Range<usize>, std::ops::Range<usize>) -> Result<(), DiskError>,
) -> Result<(), DiskError> {
    let mut done = 0;
    while done < length {
        let position = offset + done as u64;
        let within = (position % PAGE as u64) as usize;
        let part = (PAGE - within).min(length - done);
        each(
            position / PAGE as u64,
            within..within + part,
            done..done + part,
        )?;
        done += part;
    }
    Ok(())
}
