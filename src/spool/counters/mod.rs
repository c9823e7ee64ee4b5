//! The counters of a user: which modseq and UIDVALIDITY were given out last (mailbox-format §8.2).
//! Only in use with `conversations: on`.

mod file;

pub use file::{Counter, Counters, CountersError, Family};

use std::path::Path;

use crate::spool::SpoolError;
use crate::spool::disk::{Disk, FILE_MODE, LockKind};

/// Reads a user's counters; a missing file holds zeros. Takes no lock: the file is only ever
/// replaced as a whole.
///
/// # Errors
/// If the file cannot be read or is damaged.
pub fn read(disk: &Disk, path: &Path) -> Result<Counters, SpoolError> {
    let octets = disk.read(path)?.unwrap_or_default();
    Counters::decode(&octets).map_err(|error| SpoolError::corrupt(path, 0, error.to_string()))
}

/// Changes a user's counters under the lock of their file, which is created if there is none.
/// What `change` made of them is on disk when this returns; if it changed nothing, nothing is
/// written.
///
/// # Errors
/// If the file cannot be locked in time, is damaged or cannot be replaced. After an error while
/// writing, either the old or the new counters are in force.
pub fn update<T>(
    disk: &Disk,
    path: &Path,
    change: impl FnOnce(&mut Counters) -> T,
) -> Result<T, SpoolError> {
    let _locked = disk.open_locked(path, FILE_MODE, LockKind::Exclusive, disk.lock_deadline())?;
    let before = read(disk, path)?;
    let mut counters = before.clone();
    let result = change(&mut counters);
    if counters != before {
        counters.generation = before.generation.wrapping_add(1);
        let replacement = disk.replace(path, FILE_MODE)?;
        replacement.file().write_at(0, &counters.encode())?;
        replacement.commit()?;
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::ModSeq;
    use crate::spool::disk::{Recorder, Survival};

    const MAIL: Counter = Counter::Messages(Family::Mail);

    #[test]
    fn updates_are_counted_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("user/uuid/a/b/ab/counters.db");
        let disk = Disk::default();
        assert_eq!(read(&disk, &path).unwrap(), Counters::default());
        let next = update(&disk, &path, |counters| counters.next(&[MAIL], ModSeq(7))).unwrap();
        assert_eq!(next, ModSeq(8));
        update(&disk, &path, |counters| counters.raise(&[MAIL], ModSeq(5))).unwrap();
        let counters = read(&disk, &path).unwrap();
        assert_eq!(counters.generation, 1);
        assert_eq!(counters.get(MAIL), ModSeq(8));
    }

    #[test]
    fn a_damaged_file_is_not_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("counters.db");
        std::fs::write(&path, [7; 296]).unwrap();
        let disk = Disk::default();
        let error = update(&disk, &path, |counters| counters.raise(&[], ModSeq(5))).unwrap_err();
        assert!(error.to_string().contains("counters.db"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), [7; 296]);
    }

    #[test]
    fn concurrent_updates_give_out_each_number_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("counters.db");
        let disk = Disk::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..25 {
                        update(&disk, &path, |counters| counters.next(&[MAIL], ModSeq(0))).unwrap();
                    }
                });
            }
        });
        assert_eq!(read(&disk, &path).unwrap().highest(), ModSeq(100));
    }

    #[test]
    fn a_power_cut_leaves_old_or_new() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("counters.db");
        update(&Disk::default(), &path, |counters| {
            counters.raise(&[MAIL], ModSeq(1))
        })
        .unwrap();
        let recorder = Recorder::new(directory.path()).unwrap();
        let disk = Disk::default().recorded_by(&recorder);
        update(&disk, &path, |counters| counters.raise(&[MAIL], ModSeq(2))).unwrap();
        for cut in 0..=recorder.len() {
            for survival in [
                Survival::OnlySynced,
                Survival::Everything,
                Survival::Sectors(9),
            ] {
                let after = tempfile::tempdir().unwrap();
                recorder.after_cut(cut, survival, after.path()).unwrap();
                let counters = read(&Disk::default(), &after.path().join("counters.db")).unwrap();
                let modseq = counters.get(MAIL).0;
                assert!(matches!(modseq, 1 | 2), "{cut}: {modseq}");
                assert!(cut < recorder.len() || modseq == 2, "lost after the return");
            }
        }
    }
}
