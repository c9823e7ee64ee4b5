//! The batches in which a large mailbox goes to the replica (algorithm §5.8).
//!
//! A batch holds the state as if nothing had happened after some modseq, for the messages up to
//! some UID. Where the next one ends depends on all records behind it; so that not each batch needs
//! a walk over all of them, the batches are planned together, in two walks.
//!
//! A plan stays good while the mailbox changes: whatever changes gets a modseq above all those of the
//! plan, so that no batch has to carry it, and the complete update at the end does.

use crate::mail::{ModSeq, Uid};
use crate::plan::RecordFacts;
use crate::plan::update::{Batch, Mark};

/// The first walk: where batches can end.
#[derive(Clone, Debug)]
pub struct BatchSearch {
    size: u32,
    mark: Mark,
    files: u32,
    /// For each batch its last message with a file, and the lowest modseq of its records.
    ends: Vec<(Uid, ModSeq)>,
    end: Uid,
    lowest_modseq: ModSeq,
}

impl BatchSearch {
    /// A search for batches of `size` messages beyond the mark; 0 = no batches.
    pub fn new(size: u32, mark: Mark) -> BatchSearch {
        BatchSearch {
            size,
            mark,
            files: 0,
            ends: Vec::new(),
            end: Uid(0),
            lowest_modseq: ModSeq(u64::MAX),
        }
    }

    /// Takes the next record, ascending by UID.
    pub fn see(&mut self, record: &impl RecordFacts, has_file: bool) {
        if record.uid() <= self.mark.last_uid {
            return;
        }
        if self.size > 0 && self.files == self.size {
            self.close();
        }
        self.lowest_modseq = self.lowest_modseq.min(record.modseq());
        if has_file {
            self.files += 1;
            self.end = record.uid();
        }
    }

    /// What comes next belongs to another batch.
    fn close(&mut self) {
        self.ends.push((self.end, self.lowest_modseq));
        self.files = 0;
        self.lowest_modseq = ModSeq(u64::MAX);
    }

    /// The batches that the records allow: each brings the replica to a higher modseq. What is
    /// behind the last one needs a complete update.
    pub fn finish(mut self, local: Mark) -> Batches {
        let mut behind = self.lowest_modseq;
        let mut batches = Vec::new();
        for (last_uid, lowest_modseq) in self.ends.drain(..).rev() {
            batches.push(Batch {
                last_uid,
                highest_modseq: ModSeq(behind.0.saturating_sub(1)),
            });
            behind = behind.min(lowest_modseq);
        }
        batches.reverse();
        let mut reached = self.mark.highest_modseq;
        batches.retain(|batch| {
            let advances =
                batch.highest_modseq > reached && batch.highest_modseq < local.highest_modseq;
            if advances {
                reached = batch.highest_modseq;
            }
            advances
        });
        Batches {
            start: self.mark,
            late: vec![Vec::new(); batches.len()],
            batches,
        }
    }
}

/// The batches to come, ascending in UIDs and modseqs.
#[derive(Clone, Debug)]
pub struct Batches {
    start: Mark,
    batches: Vec<Batch>,
    /// For each batch the messages before it whose records it carries: they belong to an earlier
    /// one, but changed later.
    late: Vec<Vec<Uid>>,
}

impl Batches {
    /// The second walk: takes the next record, all of them ascending by UID.
    pub fn see(&mut self, record: &impl RecordFacts) {
        let modseq = record.modseq();
        if modseq <= self.start.highest_modseq {
            return;
        }
        let by_uid = match record.uid() <= self.start.last_uid {
            true => None,
            false => Some(
                self.batches
                    .partition_point(|batch| batch.last_uid < record.uid()),
            ),
        };
        let by_modseq = self
            .batches
            .partition_point(|batch| batch.highest_modseq < modseq);
        if by_uid.is_none_or(|by_uid| by_uid < by_modseq)
            && let Some(late) = self.late.get_mut(by_modseq)
        {
            late.push(record.uid());
        }
    }

    /// The batch for a replica that has come so far, and the messages up to the mark whose records
    /// it carries; `None` if the mark is no end of a batch, or that of the last.
    pub fn after(&self, mark: Mark) -> Option<(Batch, &[Uid])> {
        let next = match mark == self.start {
            true => 0,
            false => 1 + self.batches.iter().position(|batch| batch.mark() == mark)?,
        };
        Some((*self.batches.get(next)?, self.late.get(next)?))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::plan::update::Selection;
    use crate::plan::update::tests::{Record, mark};

    fn plan(records: &[Record], size: u32, remote: Mark, local: Mark) -> Batches {
        let mut search = BatchSearch::new(size, remote);
        for record in records {
            search.see(record, true);
        }
        let mut batches = search.finish(local);
        for record in records {
            batches.see(record);
        }
        batches
    }

    fn first(records: &[Record], size: u32, local: Mark) -> Option<Batch> {
        let batches = plan(records, size, Mark::default(), local);
        batches.after(Mark::default()).map(|(batch, _)| batch)
    }

    #[test]
    fn a_batch_ends_where_later_messages_have_later_modseqs() {
        let records = [
            Record(1, 2),
            Record(2, 9),
            Record(3, 4),
            Record(4, 5),
            Record(5, 6),
        ];
        let batch = first(&records, 3, mark(5, 9)).unwrap();
        assert_eq!(
            batch,
            Batch {
                last_uid: Uid(3),
                highest_modseq: ModSeq(4)
            }
        );
        let selection = Selection {
            mark: Mark::default(),
            batch: Some(batch),
        };
        let sent: Vec<_> = records
            .iter()
            .map(|record| selection.modseq_to_send(record).map(|m| m.0))
            .collect();
        assert_eq!(sent, [Some(2), Some(4), Some(4), None, None]);
        // The next update brings what was held back, with its own modseq.
        let rest = Selection {
            mark: mark(3, 4),
            batch: None,
        };
        let sent: Vec<_> = records
            .iter()
            .map(|record| rest.modseq_to_send(record).map(|m| m.0))
            .collect();
        assert_eq!(sent, [None, Some(9), None, Some(5), Some(6)]);
    }

    #[test]
    fn no_batch_where_it_would_not_advance() {
        let records = [Record(1, 5), Record(2, 4), Record(3, 1)];
        assert_eq!(first(&records, 2, mark(3, 5)), None);
        assert_eq!(first(&records, 3, mark(3, 5)), None);
        assert_eq!(first(&records, 0, mark(3, 5)), None);
    }

    #[test]
    fn what_changed_later_comes_with_the_batch_of_its_modseq() {
        let records = [
            Record(1, 1),
            Record(2, 9),
            Record(3, 3),
            Record(4, 4),
            Record(5, 5),
            Record(6, 6),
            Record(7, 10),
        ];
        let batches = plan(&records, 2, mark(2, 1), mark(7, 10));
        let (first, late) = batches.after(mark(2, 1)).unwrap();
        assert_eq!((first.mark(), late), (mark(4, 4), [].as_slice()));
        let (second, late) = batches.after(first.mark()).unwrap();
        assert_eq!((second.mark(), late), (mark(6, 9), [Uid(2)].as_slice()));
        assert!(batches.after(second.mark()).is_none());
        assert!(batches.after(mark(4, 5)).is_none());
    }

    /// What a replica has after each update: the modseq of each message.
    fn apply(
        replica: &mut BTreeMap<Uid, ModSeq>,
        records: impl Iterator<Item = Record>,
        selection: Selection,
    ) {
        for record in records {
            if let Some(modseq) = selection.modseq_to_send(&record) {
                replica.insert(record.uid(), modseq);
            }
        }
    }

    proptest! {
        /// The batches bring what a walk over everything for each of them would bring, and in the
        /// end every record, also of messages that change or come between two batches.
        #[test]
        fn batches_leave_nothing_out(
            modseqs in proptest::collection::vec(1_u64..60, 1..40),
            size in 1_u32..6,
            changes in proptest::collection::vec((0_usize..45, 1_usize..4), 0..4),
        ) {
            let mut records: Vec<Record> = (1..).zip(&modseqs).map(|(uid, modseq)| Record(uid, *modseq)).collect();
            let highest = |records: &[Record]| records.iter().map(|record| record.1).max().unwrap();
            let count = |records: &[Record]| u32::try_from(records.len()).unwrap();
            let local = mark(count(&records), highest(&records));
            let batches = plan(&records, size, Mark::default(), local);
            let mut changes = changes.into_iter();
            let mut replica = BTreeMap::new();
            let mut reached = Mark::default();
            while let Some((batch, late)) = batches.after(reached) {
                let selection = Selection { mark: reached, batch: Some(batch) };
                let mut by_walk = replica.clone();
                apply(&mut by_walk, records.iter().copied(), selection);
                let chosen = records.iter().copied().filter(|record| {
                    late.contains(&record.uid()) || record.uid() > reached.last_uid
                });
                apply(&mut replica, chosen, selection);
                prop_assert_eq!(&replica, &by_walk);
                reached = batch.mark();
                if let Some((place, new)) = changes.next() {
                    let next = highest(&records) + 1;
                    match records.get_mut(place) {
                        Some(record) => record.1 = next,
                        None => for _ in 0..new {
                            records.push(Record(count(&records) + 1, next));
                        },
                    }
                }
            }
            let rest = Selection { mark: reached, batch: None };
            apply(&mut replica, records.iter().copied(), rest);
            let expected: BTreeMap<Uid, ModSeq> = records.iter().map(|record| (record.uid(), record.modseq())).collect();
            prop_assert_eq!(replica, expected);
        }
    }
}
