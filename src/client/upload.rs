//! Message files on their way to the replica: RESERVE and MESSAGE (commands §3).
//!
//! A record whose file is missing or damaged would kill the original's server, so a file is
//! checked before it is announced, and the update is not sent if one of its files cannot be.

use std::collections::{HashMap, HashSet};

use aws_lc_rs::digest;

use crate::client::error::SyncError;
use crate::client::local::Upload;
use crate::client::peer::{Peer, Ticket};
use crate::client::report::Reporter;
use crate::client::stop::Stop;
use crate::dlist::{FileHeader, write_file_header};
use crate::mail::{Guid, MailboxName, Partition};
use crate::protocol::command::{Answer, Apply, Reserve};
use crate::spool::SpoolError;
use crate::spool::disk::{Disk, DiskFile, if_exists};

/// What the replica has staged since the last RESTART.
#[derive(Debug, Default)]
pub struct Staged(HashMap<Partition, HashSet<Guid>>);

impl Staged {
    /// Forgets everything: RESTART was sent, or the connection is a new one.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Whether nothing is staged.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn contains(&self, partition: &Partition, guid: &Guid) -> bool {
        self.0
            .get(partition)
            .is_some_and(|guids| guids.contains(guid))
    }

    fn insert(&mut self, partition: &Partition, guid: Guid) {
        match self.0.get_mut(partition) {
            Some(guids) => {
                guids.insert(guid);
            }
            None => {
                self.0.insert(partition.clone(), HashSet::from([guid]));
            }
        }
    }
}

/// Files of one MESSAGE (wire-protocol §10).
const FILES_PER_MESSAGE: usize = 1024;
/// Octets after which a MESSAGE is completed, so that the replica answers now and then.
const OCTETS_PER_MESSAGE: u64 = 8 << 20;
/// GUIDs of one RESERVE (wire-protocol §10).
const GUIDS_PER_RESERVE: usize = 8193;
/// From how many octets on it is worth a round trip to ask whether the replica has them already.
const WORTH_ASKING: u64 = 128 << 10;
/// Files up to this size are read once; larger ones are read to be checked, and again to be sent.
const SMALL_FILE: u64 = 256 << 10;
/// Octets read at a time from a larger file.
const PIECE: usize = 64 << 10;

/// The way of files to one replica.
#[derive(Debug)]
pub struct Uploader<'a> {
    /// The session.
    pub peer: &'a mut Peer,
    /// What is there already.
    pub staged: &'a mut Staged,
    /// The door to the files.
    pub disk: &'a Disk,
    /// Who is told of the progress.
    pub reporter: &'a Reporter,
    /// Tells when the program is to end.
    pub stop: &'a Stop,
}

impl Uploader<'_> {
    /// Sees to it that the replica has staged the files for `partition`. `requests` gets the
    /// MESSAGE requests sent, whose answers are due. `look_in` are mailboxes of the
    /// replica that may hold some of the messages.
    ///
    /// # Errors
    /// If a file is missing or damaged (the requests sent so far are complete), or the connection
    /// is lost.
    pub async fn upload(
        &mut self,
        mailbox: &MailboxName,
        partition: &Partition,
        uploads: &[Upload],
        look_in: &[MailboxName],
        requests: &mut Vec<Ticket>,
    ) -> Result<(), SyncError> {
        let octets: u64 = uploads.iter().map(|upload| u64::from(upload.size)).sum();
        // What is new in a mailbox is seldom in the same one already.
        let may_be_elsewhere = look_in.iter().any(|name| name != mailbox);
        if octets >= WORTH_ASKING && may_be_elsewhere {
            self.reserve(partition, uploads, look_in).await?;
        }
        if !uploads.is_empty() {
            self.peer.clear_the_way().await?;
        }
        let mut batch = Batch::default();
        let mut result = Ok(());
        for upload in uploads {
            if self.staged.contains(partition, &upload.guid) {
                continue;
            }
            if batch.is_full() {
                self.end(&mut batch).await?;
            }
            // What is staged and not used yet the replica forgets with the session.
            if self.stop.is_requested() {
                result = Err(SyncError::Interrupted);
                break;
            }
            result = self.send_file(mailbox, partition, upload, &mut batch).await;
            if result.is_err() {
                break;
            }
        }
        self.end(&mut batch).await?;
        requests.append(&mut batch.requests);
        result
    }

    async fn reserve(
        &mut self,
        partition: &Partition,
        uploads: &[Upload],
        look_in: &[MailboxName],
    ) -> Result<(), SyncError> {
        let mut wanted: Vec<Guid> = uploads
            .iter()
            .map(|upload| upload.guid)
            .filter(|guid| !self.staged.contains(partition, guid))
            .collect();
        wanted.sort_unstable();
        wanted.dedup();
        for guids in wanted.chunks(GUIDS_PER_RESERVE) {
            let reserve = Apply::Reserve(Reserve {
                partition: partition.clone(),
                mailboxes: look_in.to_vec(),
                guids: guids.to_vec(),
            });
            let answers = self.peer.apply(&reserve).await?;
            let missing: HashSet<Guid> = answers
                .into_iter()
                .filter_map(|answer| match answer {
                    Answer::Missing(missing) => Some(missing),
                    _ => None,
                })
                .flatten()
                .collect();
            for guid in guids.iter().filter(|guid| !missing.contains(guid)) {
                self.staged.insert(partition, *guid);
            }
        }
        Ok(())
    }

    async fn send_file(
        &mut self,
        mailbox: &MailboxName,
        partition: &Partition,
        upload: &Upload,
        batch: &mut Batch,
    ) -> Result<(), SyncError> {
        let damaged = |what: String| SyncError::FileDamaged {
            mailbox: mailbox.clone(),
            uid: upload.uid,
            path: upload.path.clone(),
            what,
        };
        let opened = if_exists(self.disk.open_read(&upload.path)).map_err(SpoolError::from)?;
        let Some(file) = opened else {
            return Err(SyncError::FileMissing {
                mailbox: mailbox.clone(),
                uid: upload.uid,
                path: upload.path.clone(),
            });
        };
        let length = file.len().map_err(SpoolError::from)?;
        if length != u64::from(upload.size) {
            return Err(damaged(format!(
                "it has {length} octets, not {}",
                upload.size
            )));
        }
        let checked = check(&file, length)?;
        if checked.guid != upload.guid {
            return Err(damaged(format!(
                "its SHA-1 is {}, not {}",
                checked.guid, upload.guid
            )));
        }
        self.begin(batch);
        write_file_header(
            self.peer.queue(),
            &FileHeader {
                partition: partition.as_str().to_owned(),
                guid: upload.guid,
                size: upload.size,
            },
        );
        match checked.content {
            Some(content) => {
                self.peer.queue().extend_from_slice(&content);
                self.peer.relieve().await?;
            }
            None => self.send_large(&file, length).await?,
        }
        batch.files += 1;
        batch.octets += length;
        self.staged.insert(partition, upload.guid);
        self.reporter.uploaded(length);
        self.peer.sent.messages += 1;
        self.peer.sent.octets += length;
        Ok(())
    }

    /// Sends a file that was found to be in order. If it has changed since, the octets sent are
    /// still as many as announced, and the replica will notice.
    async fn send_large(&mut self, file: &DiskFile, length: u64) -> Result<(), SyncError> {
        let mut offset = 0;
        while offset < length {
            let size = PIECE.min(usize::try_from(length - offset).unwrap_or(PIECE));
            let mut piece = vec![0; size];
            file.read_exact_at(offset, &mut piece)
                .map_err(SpoolError::from)?;
            self.peer.queue().extend_from_slice(&piece);
            self.peer.relieve().await?;
            offset += size as u64;
        }
        Ok(())
    }

    fn begin(&mut self, batch: &mut Batch) {
        if batch.files == 0 {
            batch.requests.push(self.peer.begin("MESSAGE"));
            self.peer.queue().extend_from_slice(b"APPLY MESSAGE (");
        } else {
            self.peer.queue().push(b' ');
        }
    }

    async fn end(&mut self, batch: &mut Batch) -> Result<(), SyncError> {
        if batch.files > 0 {
            self.peer.queue().extend_from_slice(b")\r\n");
            self.peer.finish().await?;
            batch.files = 0;
            batch.octets = 0;
        }
        Ok(())
    }
}

/// A MESSAGE being written.
#[derive(Debug, Default)]
struct Batch {
    files: usize,
    octets: u64,
    /// The requests so far.
    requests: Vec<Ticket>,
}

impl Batch {
    fn is_full(&self) -> bool {
        self.files >= FILES_PER_MESSAGE || self.octets >= OCTETS_PER_MESSAGE
    }
}

struct Checked {
    guid: Guid,
    /// The file, if it is small.
    content: Option<Vec<u8>>,
}

fn check(file: &DiskFile, length: u64) -> Result<Checked, SyncError> {
    let mut hash = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    let mut content = Vec::new();
    let mut offset = 0;
    while offset < length {
        let left = usize::try_from(length - offset).unwrap_or(PIECE);
        let mut piece = vec![0; PIECE.min(left)];
        file.read_exact_at(offset, &mut piece)
            .map_err(SpoolError::from)?;
        hash.update(&piece);
        offset += piece.len() as u64;
        if length <= SMALL_FILE {
            content.append(&mut piece);
        }
    }
    let mut octets = [0; Guid::LEN];
    for (octet, value) in octets.iter_mut().zip(hash.finish().as_ref()) {
        *octet = *value;
    }
    Ok(Checked {
        guid: Guid::from_bytes(octets),
        content: (length <= SMALL_FILE).then_some(content),
    })
}
