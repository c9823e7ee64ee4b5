//! Appending to sync logs.

use std::path::Path;

use super::LogItem;
use crate::config::ChannelName;
use crate::spool::SpoolError;
use crate::spool::disk::{Disk, LockKind};

/// Before umask, as for the daemons' log files.
const MODE: u32 = 0o640;

/// Who makes a change, which decides who is told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A client of this store. Every channel is told.
    Local,
    /// Replication. Only a store that is itself a master of others (`sync_log_chain`) tells every
    /// channel; else those are told that must always be, search indexers for example.
    Replication {
        /// Option `sync_log_chain`.
        chain: bool,
    },
}

/// The channels of `configured` that learn of a change (databases §17.1). `enabled` is the option
/// `sync_log`, `unsuppressable` the option `sync_log_unsuppressable_channels`.
pub fn channels_to_tell<'a>(
    enabled: bool,
    configured: &'a [ChannelName],
    unsuppressable: &[ChannelName],
    origin: Origin,
) -> Vec<&'a ChannelName> {
    let tells_all = origin != Origin::Replication { chain: false };
    configured
        .iter()
        .filter(|channel| enabled && (tells_all || unsuppressable.contains(channel)))
        .collect()
}

/// Appends items to one channel's log, all in one write. When this returns they are on disk, the
/// file's name included; a reader finds all of them or, after a crash, a prefix.
///
/// # Errors
/// If the log cannot be opened, locked in time or written.
pub fn append(disk: &Disk, log: &Path, items: &[LogItem]) -> Result<(), SpoolError> {
    let mut lines = Vec::new();
    items.iter().for_each(|item| item.write(&mut lines));
    if lines.is_empty() {
        return Ok(());
    }
    let file = disk.open_locked(log, MODE, LockKind::Exclusive, disk.lock_deadline())?;
    let start = file.append(&lines)?;
    file.sync_all()?;
    if start == 0
        && let Some(directory) = log.parent()
    {
        disk.sync_dir(directory)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::{MailboxName, UserId};

    fn channel(name: &str) -> ChannelName {
        ChannelName::parse(name).unwrap()
    }

    #[test]
    fn who_is_told() {
        let configured = [channel("\"\""), channel("squatter"), channel("replica2")];
        let unsuppressable = [channel("squatter"), channel("elsewhere")];
        let told = |enabled, origin| -> Vec<&str> {
            channels_to_tell(enabled, &configured, &unsuppressable, origin)
                .into_iter()
                .map(ChannelName::as_str)
                .collect()
        };
        assert_eq!(told(true, Origin::Local), ["", "squatter", "replica2"]);
        let chained = Origin::Replication { chain: true };
        assert_eq!(told(true, chained), ["", "squatter", "replica2"]);
        let replica = Origin::Replication { chain: false };
        assert_eq!(told(true, replica), ["squatter"]);
        assert!(told(false, replica).is_empty() && told(false, Origin::Local).is_empty());
    }

    #[test]
    fn lines_are_appended() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("sync/channel/log");
        let disk = Disk::default();
        let mailbox = LogItem::Mailbox(MailboxName::parse("user.a b").unwrap());
        let user = LogItem::User(UserId::parse("a").unwrap());
        append(&disk, &log, &[]).unwrap();
        assert!(!log.exists());
        append(&disk, &log, &[mailbox.clone(), user]).unwrap();
        append(&disk, &log, &[mailbox]).unwrap();
        assert_eq!(
            std::fs::read_to_string(&log).unwrap(),
            "MAILBOX \"user.a b\"\nUSER a\nMAILBOX \"user.a b\"\n"
        );
    }

    #[test]
    fn writers_and_a_reader_lose_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let work_file = directory.path().join("log-run");
        let disk = Disk::default();
        let item = LogItem::User(UserId::parse("a").unwrap());
        let mut read = 0;
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..40 {
                        append(&disk, &log, std::slice::from_ref(&item)).unwrap();
                    }
                });
            }
            while read < 120 {
                if let Some(run) = super::super::WorkFile::take(&disk, &log, &work_file).unwrap() {
                    read += run.items().filter(|item| matches!(item, Ok(Ok(_)))).count();
                    run.remove().unwrap();
                }
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        });
        assert_eq!(read, 120);
    }
}
