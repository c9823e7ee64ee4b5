//! Bringing one mailbox of the replica up to date (algorithm §5.4 and §5.5).

use std::collections::VecDeque;
use std::io::{Read, Seek};

use crate::client::error::{Failed, SyncError};
use crate::client::local::{Preparation, Style, Update};
use crate::client::peer::{PeerError, Ticket};
use crate::client::session::Session;
use crate::mail::{MailboxName, ModSeq, SyncCrc, TypeFlags, Uid};
use crate::plan::attempts::{Attempt, Attempts, Next, Outcome};
use crate::plan::folders::LocalFolder;
use crate::protocol::command::{Answer, Apply, FolderItem, Get, MailboxArgument, MailboxItem};
use crate::protocol::reply::Refusal;
use crate::service::event;

/// An update that was sent and not answered yet.
#[derive(Debug)]
struct InFlight {
    folder: LocalFolder,
    /// What the replica has if it accepts.
    sent: MailboxItem,
    /// What it had before.
    remote: Option<MailboxItem>,
    is_partial: bool,
    /// The requests that belong to it: MESSAGE requests, and MAILBOX at the end.
    requests: Vec<Ticket>,
    /// Why MAILBOX was not sent in the end.
    broken: Option<SyncError>,
}

/// Updates under way to the replica, oldest first.
#[derive(Debug, Default)]
pub struct Pipeline {
    updates: VecDeque<InFlight>,
    /// Intermediates, which have no contents.
    intermediates: Vec<(MailboxName, Ticket)>,
}

/// Updates that may be under way at a time.
const WINDOW: usize = 32;

/// What became of an update that was sent.
enum Sent {
    /// Nothing needed to be sent.
    Nothing,
    /// It is under way.
    UnderWay(Box<InFlight>),
    /// A delta cannot describe what happened.
    LostHistory,
}

impl Session {
    /// Sends what differs in a mailbox; the answers come later, [`Session::settle`] fetches
    /// them. `look_in` are mailboxes of the replica that may hold some of the messages.
    ///
    /// # Errors
    /// If the connection is lost. What concerns only one mailbox goes to `failed`.
    pub async fn update(
        &mut self,
        pipeline: &mut Pipeline,
        folder: &LocalFolder,
        remote: Option<MailboxItem>,
        look_in: &[MailboxName],
        failed: &mut Vec<Failed>,
    ) -> Result<(), SyncError> {
        self.shared.go_on()?;
        if self.suspicion.leaves_out(&folder.name) {
            return Ok(());
        }
        let intermediate = TypeFlags::INTERMEDIATE;
        let sent = if folder.mailbox_type.flags.contains(intermediate) {
            let sent = self.send_intermediate(folder).await;
            sent.map(|ticket| {
                let named = ticket.map(|ticket| (folder.name.clone(), ticket));
                pipeline.intermediates.extend(named);
                Sent::Nothing
            })
        } else {
            let style = self.style_of(Attempt::Delta, false);
            self.send(folder, remote.as_ref(), style, look_in).await
        };
        match sent {
            Ok(Sent::Nothing) => {}
            Ok(Sent::UnderWay(in_flight)) => pipeline.updates.push_back(*in_flight),
            Ok(Sent::LostHistory) if self.shared.settings.dry_run => {
                let action = format!("FULLMAILBOX {}", folder.name);
                self.reporter().action(&action);
            }
            Ok(Sent::LostHistory) => {
                self.settle(pipeline, look_in, failed).await?;
                let first = Some(Outcome::LostHistory);
                let result = self
                    .try_until_settled(folder, remote, first, None, look_in)
                    .await;
                self.keep(&folder.name, result, failed)?;
            }
            Err(error) => self.keep(&folder.name, Err(error), failed)?,
        }
        let window = if self.suspicion.is_careful() {
            0
        } else {
            WINDOW
        };
        while pipeline.updates.len() > window {
            self.settle_oldest(pipeline, look_in, failed).await?;
        }
        Ok(())
    }

    /// Waits until all updates are answered, and repeats those that the replica did not take.
    ///
    /// # Errors
    /// If the connection is lost. What concerns only one mailbox goes to `failed`.
    pub async fn settle(
        &mut self,
        pipeline: &mut Pipeline,
        look_in: &[MailboxName],
        failed: &mut Vec<Failed>,
    ) -> Result<(), SyncError> {
        for (name, ticket) in std::mem::take(&mut pipeline.intermediates) {
            let result = self.peer.answer(ticket).await;
            let result = result.map(|_| ()).map_err(SyncError::from);
            self.keep(&name, result, failed)?;
        }
        while !pipeline.updates.is_empty() {
            self.settle_oldest(pipeline, look_in, failed).await?;
        }
        Ok(())
    }

    async fn settle_oldest(
        &mut self,
        pipeline: &mut Pipeline,
        look_in: &[MailboxName],
        failed: &mut Vec<Failed>,
    ) -> Result<(), SyncError> {
        let Some(mut oldest) = pipeline.updates.pop_front() else {
            return Ok(());
        };
        let outcome = self.collect(&mut oldest).await;
        if matches!(outcome, Ok(Outcome::Done)) && !oldest.is_partial {
            return Ok(());
        }
        // More attempts need the connection for themselves.
        let mut unsettled = vec![(oldest, outcome)];
        for mut other in std::mem::take(&mut pipeline.updates) {
            let outcome = self.collect(&mut other).await;
            unsettled.push((other, outcome));
        }
        for (in_flight, outcome) in unsettled {
            let InFlight {
                folder,
                sent,
                remote,
                is_partial,
                ..
            } = in_flight;
            let (outcome, error) = match outcome {
                Err(error) if error.is_disconnection() => {
                    return self.keep(&folder.name, Err(error), failed);
                }
                Ok(Outcome::Done) if !is_partial => continue,
                Ok(outcome) => (outcome, None),
                Err(error) => (outcome_of(&error), Some(error)),
            };
            let result = if is_partial && outcome == Outcome::Done {
                self.try_until_settled(&folder, Some(sent), None, None, look_in)
                    .await
            } else {
                self.try_until_settled(&folder, remote, Some(outcome), error, look_in)
                    .await
            };
            self.keep(&folder.name, result, failed)?;
        }
        Ok(())
    }

    /// Passes on what ends the session, and remembers during which mailbox; the rest concerns only that one.
    fn keep(
        &mut self,
        name: &MailboxName,
        result: Result<(), SyncError>,
        failed: &mut Vec<Failed>,
    ) -> Result<(), SyncError> {
        match result {
            Ok(()) => Ok(()),
            Err(error) if error.is_disconnection() => {
                if !matches!(error, SyncError::Interrupted) {
                    self.suspicion.lost_during(name);
                }
                Err(error.in_mailbox(name))
            }
            Err(error) => {
                failed.push((name.clone(), error));
                Ok(())
            }
        }
    }

    /// Tries in all the ways that the rules provide. `outcome` is that of a first attempt that
    /// was made already, `error` what it said.
    async fn try_until_settled(
        &mut self,
        folder: &LocalFolder,
        mut remote: Option<MailboxItem>,
        outcome: Option<Outcome>,
        error: Option<SyncError>,
        look_in: &[MailboxName],
    ) -> Result<(), SyncError> {
        let mut attempts = Attempts::new(!self.shared.settings.force);
        let mut made = outcome.map(|outcome| (outcome, error));
        loop {
            let (outcome, error) = match made.take() {
                Some(made) => made,
                None => match self.attempt(folder, &mut remote, &attempts, look_in).await {
                    Ok(outcome) => (outcome, None),
                    Err(error) if error.is_disconnection() => return Err(error),
                    Err(error) => (outcome_of(&error), Some(error)),
                },
            };
            match attempts.after(outcome) {
                Next::Finished => return Ok(()),
                Next::Try(attempt) => note(&folder.name, attempt, outcome),
                Next::GiveUp => {
                    self.memory.forget(&folder.name);
                    return Err(error.unwrap_or(SyncError::LostHistory(folder.name.clone())));
                }
            }
        }
    }

    async fn attempt(
        &mut self,
        folder: &LocalFolder,
        remote: &mut Option<MailboxItem>,
        attempts: &Attempts,
        look_in: &[MailboxName],
    ) -> Result<Outcome, SyncError> {
        let attempt = attempts.current();
        if attempt == Attempt::FullUpdate {
            self.full_update(folder).await?;
        }
        if attempt != Attempt::Delta {
            *remote = self.list_one(folder).await?;
        }
        let style = self.style_of(attempt, attempts.sends_everything());
        loop {
            match self.send(folder, remote.as_ref(), style, look_in).await? {
                Sent::Nothing => return Ok(Outcome::Done),
                Sent::LostHistory => return Ok(Outcome::LostHistory),
                Sent::UnderWay(mut in_flight) => {
                    let outcome = self.collect(&mut in_flight).await?;
                    if outcome != Outcome::Done || !in_flight.is_partial {
                        return Ok(outcome);
                    }
                    *remote = Some(in_flight.sent);
                    // Both sides remember what is staged: not of a whole mailbox, which may be large.
                    self.forget_staged();
                }
            }
        }
    }

    fn style_of(&self, attempt: Attempt, everything: bool) -> Style {
        let is_delta = matches!(attempt, Attempt::Delta | Attempt::FreshDelta);
        Style {
            is_delta,
            recalculate: !is_delta,
            everything,
            batch_size: self.shared.settings.batch_size,
            form: self.peer.record_form,
            dry_run: self.shared.settings.dry_run,
        }
    }

    /// What the replica has of a mailbox now.
    async fn list_one(&mut self, folder: &LocalFolder) -> Result<Option<MailboxItem>, SyncError> {
        self.reporter()
            .action(&format!("MAILBOXES {}", folder.name));
        let answers = self
            .peer
            .get(&Get::Mailboxes(vec![folder.name.clone()]))
            .await?;
        let item = answers.into_iter().find_map(|answer| match answer {
            Answer::Mailbox(mailbox) => Some(mailbox.item),
            _ => None,
        });
        Ok(item.filter(|item| item.unique_id == folder.unique_id))
    }

    /// Sends an update with its files, and leaves its answers for later.
    async fn send(
        &mut self,
        folder: &LocalFolder,
        remote: Option<&MailboxItem>,
        style: Style,
        look_in: &[MailboxName],
    ) -> Result<Sent, SyncError> {
        let update = match self.local.prepare(folder, remote, style)? {
            Preparation::Vanished | Preparation::Unchanged => return Ok(Sent::Nothing),
            Preparation::LostHistory => return Ok(Sent::LostHistory),
            Preparation::Send(update) => *update,
        };
        tracing::debug!("{}: sending because of {}", folder.name, update.difference);
        self.reporter().action(&format!("MAILBOX {}", folder.name));
        if self.shared.settings.dry_run {
            return Ok(Sent::Nothing);
        }
        if remote.is_none() {
            self.prove_partition(&update).await?;
        }
        let mut requests = Vec::new();
        let mut broken = None;
        if let Some(partition) = &folder.partition {
            let uploads = &update.uploads;
            let uploaded = self
                .uploader()
                .upload(&folder.name, partition, uploads, look_in, &mut requests)
                .await;
            match uploaded {
                Err(error) if error.is_disconnection() => return Err(error),
                uploaded => broken = uploaded.err(),
            }
        }
        let Update {
            item,
            body,
            is_partial,
            ..
        } = update;
        if broken.is_none() {
            requests.push(self.send_mailbox(&folder.name, body).await?);
        }
        Ok(Sent::UnderWay(Box::new(InFlight {
            folder: folder.clone(),
            sent: MailboxItem {
                since: None,
                ..item
            },
            remote: remote.cloned(),
            is_partial,
            requests,
            broken,
        })))
    }

    async fn send_mailbox(
        &mut self,
        name: &MailboxName,
        mut body: tempfile::SpooledTempFile,
    ) -> Result<Ticket, SyncError> {
        let failed = |source| SyncError::Io {
            what: format!("{name}: cannot read the update from its temporary file"),
            source,
        };
        body.rewind().map_err(failed)?;
        let scope = self.shared.settings.scope;
        self.peer.clear_the_way().await?;
        let ticket = self.peer.begin("MAILBOX");
        self.peer.sent.changes += 1;
        Apply::write_mailbox_prefix(self.peer.queue(), scope);
        let mut piece = vec![0; 64 << 10];
        loop {
            let count = body.read(&mut piece).map_err(failed)?;
            let Some(octets) = piece.get(..count).filter(|octets| !octets.is_empty()) else {
                break;
            };
            self.peer.queue().extend_from_slice(octets);
            self.peer.relieve().await?;
        }
        self.peer.queue().extend_from_slice(b"\r\n");
        self.peer.finish().await?;
        Ok(ticket)
    }

    /// A partition that the replica does not know would kill the original's server as soon as a
    /// message came for it. So the first mailbox in a partition where the replica was not seen to
    /// have one is created empty.
    async fn prove_partition(&mut self, update: &Update) -> Result<(), SyncError> {
        let Some(partition) = update.item.partition.clone() else {
            return Ok(());
        };
        if update.uploads.is_empty() || self.proven_partitions.contains(&partition) {
            return Ok(());
        }
        let empty = MailboxItem {
            crc: SyncCrc::UNKNOWN,
            last_uid: Uid(0),
            highest_modseq: ModSeq(1),
            since: None,
            ..update.item.clone()
        };
        let creation = Apply::Mailbox(
            self.shared.settings.scope,
            MailboxArgument::Update(Box::new(crate::protocol::command::MailboxUpdate {
                item: empty,
                list: Default::default(),
            })),
        );
        match self.peer.apply(&creation).await {
            Ok(_) => {
                self.proven_partitions.insert(partition);
                Ok(())
            }
            Err(
                source @ PeerError::Refused {
                    refusal: Refusal::Unknown,
                    ..
                },
            ) => Err(SyncError::PartitionRefused {
                partition,
                mailbox: update.item.name.clone(),
                source,
            }),
            Err(error) => Err(error.into()),
        }
    }

    async fn send_intermediate(
        &mut self,
        folder: &LocalFolder,
    ) -> Result<Option<Ticket>, SyncError> {
        if self.shared.settings.dry_run {
            return Ok(None);
        }
        let item = FolderItem {
            unique_id: folder.unique_id.clone(),
            name: folder.name.clone(),
            mailbox_type: folder.mailbox_type,
            highest_modseq: folder.folder_modseq,
            created_modseq: folder.created_modseq,
            folder_modseq: folder.folder_modseq,
        };
        let apply = Apply::Mailbox(self.shared.settings.scope, MailboxArgument::Folder(item));
        Ok(Some(self.peer.send(&apply).await?))
    }

    /// Reads the answers to an update.
    async fn collect(&mut self, in_flight: &mut InFlight) -> Result<Outcome, SyncError> {
        let mut first_error = None;
        for ticket in std::mem::take(&mut in_flight.requests) {
            match self.peer.answer(ticket).await {
                Ok(_) => {}
                Err(error) if error.leaves_connection_usable() => {
                    first_error = first_error.or(Some(SyncError::from(error)));
                }
                Err(error) => return Err(error.into()),
            }
        }
        let Some(error) = in_flight.broken.take().or(first_error) else {
            self.suspicion.taken(&in_flight.folder.name);
            self.memory.put([&in_flight.sent]);
            if let Some(partition) = &in_flight.sent.partition {
                self.proven_partitions.insert(partition.clone());
            }
            return Ok(Outcome::Done);
        };
        self.memory.forget(&in_flight.folder.name);
        Err(error)
    }
}

/// What a failure means for further attempts.
fn outcome_of(error: &SyncError) -> Outcome {
    match error.refusal() {
        Some(Refusal::SyncChecksum) => Outcome::Checksum,
        Some(Refusal::SyncChanged) => Outcome::Changed,
        _ => Outcome::Failed,
    }
}

fn note(name: &MailboxName, attempt: Attempt, outcome: Outcome) {
    match (attempt, outcome) {
        (Attempt::Repeat, _) => tracing::info!(
            message_id = event::REPAIRED,
            sync_mailbox = %name,
            "SYNC_NOTICE: CRC failure on sync {name}, recalculating counts and trying again"
        ),
        (Attempt::FullUpdate, Outcome::LostHistory) => {
            tracing::info!("inefficient replication {name}");
        }
        (Attempt::FullUpdate, _) => {
            tracing::info!(
                message_id = event::REPAIRED,
                sync_mailbox = %name,
                "CRC failure on sync for {name}, trying full update"
            );
        }
        (Attempt::FreshDelta, _) => {
            tracing::info!("{name}: the replica has changed since it was listed, trying again");
        }
        (Attempt::Delta, _) => {}
    }
}
