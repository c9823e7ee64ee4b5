//! Message files on their way to the replica: RESERVE and MESSAGE (commands §3).
//!
//! A record whose file is missing or damaged would kill the original's server, so a file is
//! checked before it is announced, and the update is not sent if one of its files cannot be.

use std::collections::{HashMap, HashSet};

use aws_lc_rs::digest;

use crate::client::error::SyncError;
use crate::client::local::{NewMessages, Upload};
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
pub struct Staged {
    known: HashMap<Partition, HashSet<Guid>>,
    /// Whether there may be more: it was asked for, and the answer did not matter any more.
    may_be_more: bool,
}

impl Staged {
    /// Forgets everything: RESTART was sent, or the connection is a new one.
    pub fn clear(&mut self) {
        *self = Staged::default();
    }

    /// Whether nothing is staged.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty() && !self.may_be_more
    }

    fn contains(&self, partition: &Partition, guid: &Guid) -> bool {
        self.known
            .get(partition)
            .is_some_and(|guids| guids.contains(guid))
    }

    fn insert(&mut self, partition: &Partition, guid: Guid) {
        match self.known.get_mut(partition) {
            Some(guids) => {
                guids.insert(guid);
            }
            None => {
                self.known.insert(partition.clone(), HashSet::from([guid]));
            }
        }
    }
}

/// Files of one MESSAGE (wire-protocol §10).
const FILES_PER_MESSAGE: usize = 1024;
/// Octets after which a MESSAGE is completed, so that the replica answers now and then.
const OCTETS_PER_MESSAGE: u64 = 8 << 20;
/// GUIDs of one RESERVE. The answers to those under way, [`ASKED_AHEAD`] and one more, hold less
/// than 64 KiB and find room in the buffers of the connection, so that the replica is free to take
/// messages before they are read.
pub const GUIDS_PER_RESERVE: usize = 384;
/// Mailboxes about whose messages the replica is asked before it is their turn.
const ASKED_AHEAD: usize = 3;
/// From how many octets on it is worth asking whether the replica has them already.
const WORTH_ASKING: u64 = 128 << 10;
/// Files up to this size are read once; larger ones are read to be checked, and again to be sent.
const SMALL_FILE: u64 = 256 << 10;
/// Octets read at a time from a larger file.
const PIECE: u64 = 64 << 10;

/// The question which messages of a mailbox the replica has already, on its way there.
#[derive(Debug)]
struct Question {
    guids: Vec<Guid>,
    ticket: Ticket,
}

/// Questions that were asked before it is the turn of their mailboxes.
#[derive(Debug, Default)]
pub struct Questions(HashMap<MailboxName, Question>);

/// The way of files to one replica.
#[derive(Debug)]
pub struct Uploader<'a> {
    /// The session.
    pub peer: &'a mut Peer,
    /// What is there already.
    pub staged: &'a mut Staged,
    /// What was asked.
    pub questions: &'a mut Questions,
    /// The door to the files.
    pub disk: Disk,
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
        let octets = uploads.iter().map(|upload| u64::from(upload.size)).sum();
        let asks = is_worth_asking(mailbox, octets, look_in);
        let mut question = self.questions.0.remove(mailbox);
        let mut chunks = uploads.chunks(GUIDS_PER_RESERVE).peekable();
        if let Some(first) = chunks.peek()
            && asks
            && question.is_none()
        {
            question = self.ask(partition, guids_of(first), look_in).await?;
        }
        if !uploads.is_empty() {
            self.peer.clear_the_way().await?;
        }
        if let Some(directory) = uploads.first().and_then(|upload| upload.path.parent())
            && let Ok(disk) = self.disk.holding(directory)
        {
            // Whoever moves the mailbox meanwhile moves its files with it.
            self.disk = disk;
        }
        let mut batch = Batch::default();
        let mut result = Ok(());
        while let Some(chunk) = chunks.next()
            && result.is_ok()
        {
            // What is asked now is answered while this chunk is sent.
            let next = match chunks.peek() {
                Some(next) if asks => {
                    self.end(&mut batch).await?;
                    self.ask(partition, guids_of(next), look_in).await?
                }
                _ => None,
            };
            if let Some(question) = std::mem::replace(&mut question, next) {
                self.end(&mut batch).await?;
                self.learn(partition, question).await?;
            }
            result = self.send_chunk(mailbox, partition, chunk, &mut batch).await;
        }
        self.end(&mut batch).await?;
        if let Some(question) = question {
            self.drop_question(&question);
        }
        requests.append(&mut batch.requests);
        result
    }

    /// Asks which of the messages of a mailbox the replica has, some time before they are sent,
    /// unless enough was asked already.
    ///
    /// # Errors
    /// If the connection is lost.
    pub async fn ask_ahead(
        &mut self,
        mailbox: &MailboxName,
        partition: &Partition,
        new: NewMessages,
        look_in: &[MailboxName],
    ) -> Result<(), SyncError> {
        if self.questions.0.len() < ASKED_AHEAD
            && is_worth_asking(mailbox, new.octets, look_in)
            && let Some(question) = self.ask(partition, new.guids, look_in).await?
            && let Some(former) = self.questions.0.insert(mailbox.clone(), question)
        {
            self.drop_question(&former);
        }
        Ok(())
    }

    /// Nobody needs the answers any more that are still due.
    pub fn drop_questions(&mut self) {
        for question in std::mem::take(&mut self.questions.0).into_values() {
            self.drop_question(&question);
        }
    }

    fn drop_question(&mut self, question: &Question) {
        self.peer.forget(&question.ticket);
        self.staged.may_be_more = true;
    }

    /// Asks for those that are not known to be there; `None` if all are.
    async fn ask(
        &mut self,
        partition: &Partition,
        mut guids: Vec<Guid>,
        look_in: &[MailboxName],
    ) -> Result<Option<Question>, SyncError> {
        guids.retain(|guid| !self.staged.contains(partition, guid));
        guids.sort_unstable();
        guids.dedup();
        if guids.is_empty() {
            return Ok(None);
        }
        let reserve = Apply::Reserve(Reserve {
            partition: partition.clone(),
            mailboxes: look_in.to_vec(),
            guids: guids.clone(),
        });
        let ticket = self.peer.send(&reserve).await?;
        Ok(Some(Question { guids, ticket }))
    }

    /// Waits for the answer to a question.
    async fn learn(&mut self, partition: &Partition, question: Question) -> Result<(), SyncError> {
        let answers = self.peer.answer(question.ticket).await?;
        let missing: HashSet<Guid> = answers
            .into_iter()
            .filter_map(|answer| match answer {
                Answer::Missing(missing) => Some(missing),
                _ => None,
            })
            .flatten()
            .collect();
        for guid in question.guids {
            if !missing.contains(&guid) {
                self.staged.insert(partition, guid);
            }
        }
        Ok(())
    }

    async fn send_chunk(
        &mut self,
        mailbox: &MailboxName,
        partition: &Partition,
        chunk: &[Upload],
        batch: &mut Batch,
    ) -> Result<(), SyncError> {
        for upload in chunk {
            if self.staged.contains(partition, &upload.guid) {
                continue;
            }
            if batch.is_full() {
                self.end(batch).await?;
            }
            // What is staged and not used yet the replica forgets with the session.
            if self.stop.is_requested() {
                return Err(SyncError::Interrupted);
            }
            self.send_file(mailbox, partition, upload, batch).await?;
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
            let size = usize::try_from(PIECE.min(length - offset)).unwrap_or_default();
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
            // It goes with the next request: what is there already need not wake up the replica.
            self.peer.queue().extend_from_slice(b")\r\n");
            self.peer.relieve().await?;
            batch.files = 0;
            batch.octets = 0;
        }
        Ok(())
    }
}

/// Whether another mailbox may have enough of these messages: what is new in a mailbox is seldom in
/// the same one already.
fn is_worth_asking(mailbox: &MailboxName, octets: u64, look_in: &[MailboxName]) -> bool {
    octets >= WORTH_ASKING && look_in.iter().any(|name| name != mailbox)
}

fn guids_of(uploads: &[Upload]) -> Vec<Guid> {
    uploads.iter().map(|upload| upload.guid).collect()
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
    let piece = if length <= SMALL_FILE {
        SMALL_FILE
    } else {
        PIECE
    };
    let mut content = Vec::new();
    let mut offset = 0;
    while offset < length {
        let size = usize::try_from(piece.min(length - offset)).unwrap_or_default();
        content.resize(size, 0);
        file.read_exact_at(offset, &mut content)
            .map_err(SpoolError::from)?;
        hash.update(&content);
        offset += size as u64;
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
