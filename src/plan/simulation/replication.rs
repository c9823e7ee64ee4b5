//! Client and server, reduced to what the decisions say.

use std::collections::{BTreeSet, HashSet};
use std::convert::Infallible;

use super::store::{Mailbox, Record, Store};
use crate::mail::{
    Acl, Guid, MailboxName, MailboxOptions, MailboxType, ModSeq, Partition, SyncCrc, UniqueId,
};
use crate::plan::apply::{
    Answer, Destination, Limits, Occupant, ReplicaHeader, Since, Step, StepError, Steps,
    UpdateHeader, check_header, check_result, destination,
};
use crate::plan::attempts::{Attempt, Attempts, Next, Outcome};
use crate::plan::batches::BatchSearch;
use crate::plan::folders::{
    Fate, Finding, FolderPlan, LocalFolder, Rearrangement, RemoteFolder, compare,
};
use crate::plan::merge::{
    Counters, Merge, MergeContext, MergeStep, MergedCounters, Take, merge_counters,
};
use crate::plan::update::{Batch, Mark, Selection, difference, lost_history, take_over};

/// What the server does with an update whose result has the wrong CRC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Server {
    /// It takes everything back.
    Atomic,
    /// It leaves the changes, as the original does (algorithm §6 step 12).
    KeepsFailedUpdates,
}

/// One run of the client.
#[derive(Debug)]
pub(super) struct Replication {
    server: Server,
    force: bool,
    batch_size: u32,
    /// Commands sent that change something.
    pub changes_sent: usize,
    /// Whether a full update was needed.
    pub merged: bool,
    /// Mailboxes that were given up.
    pub failed: BTreeSet<MailboxName>,
}

struct Update {
    name: MailboxName,
    unique_id: UniqueId,
    partition: Partition,
    acl: Acl,
    header: UpdateHeader,
    crc: SyncCrc,
    records: Vec<Record>,
    staged: HashSet<Guid>,
}

impl Replication {
    pub fn new(server: Server) -> Replication {
        Replication {
            server,
            force: false,
            batch_size: 3,
            changes_sent: 0,
            merged: false,
            failed: BTreeSet::new(),
        }
    }

    pub fn forced(server: Server) -> Replication {
        Replication {
            force: true,
            ..Replication::new(server)
        }
    }

    /// User mode: everything of both sides.
    pub fn sync_user(&mut self, master: &mut Store, replica: &mut Store) {
        for _ in 0..2 {
            let names = master.mailboxes.keys().cloned().collect();
            let listed = replica.clone();
            let listing = listed.mailboxes.iter().collect::<Vec<_>>();
            if self.pass(master, replica, &names, &listing) {
                return;
            }
        }
        panic!("renames do not settle");
    }

    /// Mailbox mode: these names, and all that the mailboxes were called before.
    pub fn sync_names(
        &mut self,
        master: &mut Store,
        replica: &mut Store,
        names: &[MailboxName],
    ) -> Result<(), ()> {
        let mut names: BTreeSet<MailboxName> = names.iter().cloned().collect();
        for _ in 0..4 {
            for name in names.clone() {
                if let Some(mailbox) = master.mailboxes.get(&name) {
                    let former = master.former_names.get(&mailbox.unique_id);
                    names.extend(former.into_iter().flatten().cloned());
                }
            }
            let listed = replica.clone();
            let listing: Vec<_> = listed
                .mailboxes
                .iter()
                .filter(|(name, _)| names.contains(*name))
                .collect();
            let elsewhere: Vec<MailboxName> = listing
                .iter()
                .filter_map(|(_, theirs)| master.name_of(&theirs.unique_id))
                .filter(|name| !names.contains(name))
                .collect();
            if !elsewhere.is_empty() {
                names.extend(elsewhere);
                continue;
            }
            if self.pass(master, replica, &names, &listing) {
                return if self.failed.is_empty() {
                    Ok(())
                } else {
                    Err(())
                };
            }
        }
        panic!("renames do not settle");
    }

    /// UNMAILBOX: deletes what has a tombstone, and only if it is that mailbox.
    pub fn unmailbox(&mut self, master: &Store, replica: &mut Store, name: &MailboxName) {
        let Some(theirs) = replica.mailboxes.get(name) else {
            return;
        };
        let remotes = [remote_folder(name, theirs)];
        let plan = folder_plan(master, &[], &remotes, false);
        if !plan.deletions.is_empty() {
            self.changes_sent += 1;
            replica.delete(name);
        }
    }

    /// False if something was renamed and the replica must be listed again.
    fn pass(
        &mut self,
        master: &mut Store,
        replica: &mut Store,
        names: &BTreeSet<MailboxName>,
        listing: &[(&MailboxName, &Mailbox)],
    ) -> bool {
        let locals: Vec<LocalFolder> = names
            .iter()
            .filter_map(|name| Some(local_folder(master, name, master.mailboxes.get(name)?)))
            .collect();
        let remotes: Vec<RemoteFolder> = listing
            .iter()
            .map(|(name, mailbox)| remote_folder(name, mailbox))
            .collect();
        let plan = folder_plan(master, &locals, &remotes, self.force);
        for finding in &plan.findings {
            match finding {
                Finding::NameTaken { local, .. } | Finding::NoFreeName { local } => {
                    self.failed.insert(locals[*local].name.clone());
                }
                _ => {}
            }
        }
        for step in &plan.rearrangements {
            self.changes_sent += 1;
            match step {
                Rearrangement::Delete(remote) => replica.delete(&remotes[*remote].name),
                Rearrangement::Rename(rename) => {
                    if rename.old != rename.new {
                        assert!(!replica.mailboxes.contains_key(&rename.new), "{rename:?}");
                        replica.rename(&rename.old, &rename.new);
                    }
                    let renamed = replica.mailboxes.get_mut(&rename.new).unwrap();
                    renamed.partition = rename.partition.clone().unwrap();
                }
            }
        }
        if plan.must_list_again() {
            return false;
        }
        for update in &plan.updates {
            let listed = update.remote.map(|remote| listing[remote].1.clone());
            let name = &locals[update.local].name;
            if self.sync_mailbox(master, replica, name, listed).is_err() {
                self.failed.insert(name.clone());
            }
        }
        for remote in plan.deletions {
            self.changes_sent += 1;
            replica.delete(&remotes[remote].name);
        }
        true
    }

    fn sync_mailbox(
        &mut self,
        master: &mut Store,
        replica: &mut Store,
        name: &MailboxName,
        listed: Option<Mailbox>,
    ) -> Result<(), Outcome> {
        let mut attempts = Attempts::new(!self.force);
        let mut remote = listed;
        loop {
            let is_delta = match attempts.current() {
                Attempt::Delta => true,
                Attempt::FreshDelta => {
                    remote = replica.mailboxes.get(name).cloned();
                    true
                }
                Attempt::Repeat => {
                    remote = replica.mailboxes.get(name).cloned();
                    false
                }
                Attempt::FullUpdate => {
                    self.full_update(master, replica, name);
                    remote = replica.mailboxes.get(name).cloned();
                    false
                }
            };
            let everything = attempts.sends_everything();
            let remote = remote.as_ref();
            let outcome = self.send(master, replica, name, remote, is_delta, everything);
            match attempts.after(outcome) {
                Next::Finished => return Ok(()),
                Next::Try(_) => {}
                Next::GiveUp => return Err(outcome),
            }
        }
    }

    /// One attempt: partial updates as long as they are possible, then a complete one.
    fn send(
        &mut self,
        master: &mut Store,
        replica: &mut Store,
        name: &MailboxName,
        remote: Option<&Mailbox>,
        is_delta: bool,
        everything: bool,
    ) -> Outcome {
        let ours = master.mailboxes.get_mut(name).unwrap();
        if let Some(remote) = remote {
            if is_delta && lost_history(ours.deleted_modseq, remote.highest_modseq) {
                return Outcome::LostHistory;
            }
            let ahead = take_over(&ours.state(), &remote.state());
            ours.uid_validity = ahead.uid_validity.unwrap_or(ours.uid_validity);
            ours.folder_modseq = ahead.folder_modseq.unwrap_or(ours.folder_modseq);
        }
        let state = remote.map(Mailbox::state);
        if difference(&ours.state(), state.as_ref(), false).is_none() {
            return Outcome::Done;
        }
        let mut mark = remote.map(mark_of).unwrap_or_default();
        if everything {
            mark.highest_modseq = ModSeq(0);
        }
        let mut since = remote
            .filter(|remote| is_delta && remote.highest_modseq != ModSeq(0))
            .map(|remote| Since {
                modseq: remote.highest_modseq,
                crc: remote.crc(),
            });
        loop {
            let mut search = BatchSearch::new(self.batch_size, mark);
            for record in ours.records.values() {
                search.see(record, !record.expunged);
            }
            let batches = search.finish(mark_of(ours));
            let batch = batches.after(mark).filter(|_| is_delta);
            let batch = batch.map(|(batch, _)| batch);
            let update = update_of(name, ours, Selection { mark, batch }, since);
            self.changes_sent += 1;
            match (self.apply(replica, &update), batch) {
                (Ok(()), None) => return Outcome::Done,
                (Ok(()), Some(batch)) => {
                    mark = Mark {
                        last_uid: batch.last_uid,
                        highest_modseq: batch.highest_modseq,
                    };
                    since = Some(Since {
                        modseq: batch.highest_modseq,
                        crc: SyncCrc::UNKNOWN,
                    });
                }
                (Err(Answer::Checksum), _) => return Outcome::Checksum,
                (Err(Answer::Changed), _) => return Outcome::Changed,
                (Err(_), _) => return Outcome::Failed,
            }
        }
    }

    /// The server.
    fn apply(&self, replica: &mut Store, update: &Update) -> Result<(), Answer> {
        let mut trial = replica.clone();
        let verdict = self.apply_to(&mut trial, update);
        let keep = match verdict {
            Ok(()) => true,
            Err(Verdict::Refused(_)) => false,
            Err(Verdict::WrongResult(_)) => self.server == Server::KeepsFailedUpdates,
        };
        if keep {
            *replica = trial;
        }
        verdict.map_err(|verdict| match verdict {
            Verdict::Refused(answer) | Verdict::WrongResult(answer) => answer,
        })
    }

    fn apply_to(&self, replica: &mut Store, update: &Update) -> Result<(), Verdict> {
        let refused = |refusal: crate::plan::apply::Refusal| Verdict::Refused(refusal.answer());
        let occupant = replica
            .mailboxes
            .get(&update.name)
            .map(|mailbox| (mailbox.unique_id.clone(), mailbox.last_uid));
        let occupant = occupant.as_ref().map(|(unique_id, last_uid)| Occupant {
            unique_id,
            last_uid: *last_uid,
        });
        let holder = replica.name_of(&update.unique_id);
        let goes_to = destination(
            &update.name,
            &update.unique_id,
            occupant,
            holder.as_ref(),
            self.force,
        )
        .map_err(refused)?;
        if goes_to == Destination::Replace {
            replica.delete(&update.name);
        }
        if goes_to != Destination::Update {
            let mut created = Mailbox::new(update.unique_id.clone(), update.header.uid_validity);
            created.partition = update.partition.clone();
            replica.tombstones.remove(&update.unique_id);
            replica.mailboxes.insert(update.name.clone(), created);
        }
        let mailbox = replica.mailboxes.get_mut(&update.name).unwrap();
        let header = ReplicaHeader {
            mailbox_type: MailboxType::default(),
            last_uid: mailbox.last_uid,
            highest_modseq: mailbox.highest_modseq,
            uid_validity: mailbox.uid_validity,
            xconv_modseq: None,
            created_modseq: ModSeq(1),
            options: MailboxOptions::empty(),
            crc: mailbox.crc(),
        };
        let accepted = check_header(&update.header, &header, self.force).map_err(refused)?;
        let ok = |record: &Record| Ok::<_, Infallible>(record.clone());
        let records: Vec<Record> = mailbox.records.values().cloned().collect();
        let mut steps = Steps::new(
            records.iter().map(ok),
            update.records.iter().map(ok),
            Limits {
                update_last_uid: update.header.last_uid,
                replica_last_uid: mailbox.last_uid,
                force: self.force,
            },
        );
        for step in steps.by_ref() {
            let step = step.map_err(|error| match error {
                StepError::Refused(refusal) => refused(refusal),
                StepError::Unreadable(never) => match never {},
            })?;
            match step {
                Step::Change { update, .. } => mailbox.put(update),
                Step::Append(record) => {
                    assert!(
                        record.expunged || update.staged.contains(&record.guid),
                        "the original would have died: no file for {record:?}"
                    );
                    mailbox.put(record);
                }
                Step::BothExpunged(_) | Step::ExpungedAndAbsent(_) => {}
            }
        }
        mailbox.last_uid = steps.resulting_last_uid().unwrap();
        mailbox.highest_modseq = accepted.highest_modseq;
        mailbox.folder_modseq = accepted.folder_modseq;
        mailbox.uid_validity = accepted.uid_validity;
        mailbox.acl = update.acl.clone();
        let result = mailbox.crc();
        replica.raise_modseq(accepted.highest_modseq);
        check_result(update.crc, result).map_err(|refusal| Verdict::WrongResult(refusal.answer()))
    }

    fn full_update(&mut self, master: &mut Store, replica: &mut Store, name: &MailboxName) {
        self.merged = true;
        let theirs = replica.mailboxes[name].clone();
        let ours = master.mailboxes[name].clone();
        let ok = |record: &Record| Ok::<_, Infallible>(record.clone());
        let steps: Vec<MergeStep<Record, Record>> = Merge::new(
            ours.records.values().map(ok),
            theirs.records.values().map(ok),
            MergeContext {
                local_last_uid: ours.last_uid,
                local_deleted_modseq: ours.deleted_modseq,
                remote_last_uid: theirs.last_uid,
                remote_highest_modseq: theirs.highest_modseq,
            },
            Record::same_contents,
        )
        .collect::<Result<_, _>>()
        .unwrap();
        let MergedCounters {
            base, must_advance, ..
        } = merge_counters(counters(&ours), counters(&theirs));
        master.raise_modseq(base.highest_modseq);
        let advanced = must_advance.then(|| master.next_modseq());
        let mailbox = master.mailboxes.get_mut(name).unwrap();
        mailbox.uid_validity = base.uid_validity;
        mailbox.folder_modseq = base.folder_modseq;
        mailbox.highest_modseq = advanced.unwrap_or(base.highest_modseq);

        let mut later = Vec::new();
        for step in steps {
            match step {
                MergeStep::Rewrite { local, take, .. } => {
                    master.change(name, local.uid, |record| match take {
                        Take::Nothing => {}
                        Take::Expunged => record.expunged = true,
                        Take::Contents(theirs) => {
                            record.flags = theirs.flags;
                            record.note = theirs.note;
                        }
                    });
                }
                MergeStep::Append { remote } => {
                    let (modseq, last_updated) = (master.next_modseq(), master.now());
                    let mailbox = master.mailboxes.get_mut(name).unwrap();
                    mailbox.highest_modseq = modseq;
                    mailbox.put(Record {
                        modseq,
                        last_updated,
                        ..remote
                    });
                }
                other => later.push(other),
            }
        }
        let mailbox = master.mailboxes.get_mut(name).unwrap();
        mailbox.last_uid = mailbox.last_uid.max(base.last_uid);
        let mut expunge_remotely = Vec::new();
        for step in later {
            match step {
                MergeStep::CopyBack { remote, .. } => {
                    copy(master, name, &remote);
                    expunge_remotely.push(remote.uid);
                }
                MergeStep::Renumber { local, .. } => {
                    copy(master, name, &local);
                    master.change(name, local.uid, |record| record.expunged = true);
                }
                MergeStep::ExpungeRemote { remote } => expunge_remotely.push(remote.uid),
                MergeStep::Rewrite { .. } | MergeStep::Append { .. } => {}
            }
        }
        let theirs = replica.mailboxes.get_mut(name).unwrap();
        self.changes_sent += usize::from(!expunge_remotely.is_empty());
        for uid in expunge_remotely {
            theirs.records.get_mut(&uid).unwrap().expunged = true;
        }
    }
}

enum Verdict {
    Refused(Answer),
    WrongResult(Answer),
}

/// Appends the message of a record under a new UID.
fn copy(store: &mut Store, name: &MailboxName, record: &Record) {
    let uid = store.append(name, record.guid, record.flags);
    let mailbox = store.mailboxes.get_mut(name).unwrap();
    mailbox.records.get_mut(&uid).unwrap().note = record.note;
}

fn mark_of(mailbox: &Mailbox) -> Mark {
    Mark {
        last_uid: mailbox.last_uid,
        highest_modseq: mailbox.highest_modseq,
    }
}

fn counters(mailbox: &Mailbox) -> Counters {
    Counters {
        uid_validity: mailbox.uid_validity,
        last_uid: mailbox.last_uid,
        highest_modseq: mailbox.highest_modseq,
        folder_modseq: mailbox.folder_modseq,
        xconv_modseq: ModSeq(0),
    }
}

fn update_of(
    name: &MailboxName,
    mailbox: &Mailbox,
    selection: Selection,
    since: Option<Since>,
) -> Update {
    let mut staged = HashSet::new();
    let mut records = Vec::new();
    for record in mailbox.records.values() {
        if let Some(modseq) = selection.modseq_to_send(record) {
            if selection.needs_file(record) && !record.expunged {
                staged.insert(record.guid);
            }
            records.push(Record {
                modseq,
                ..record.clone()
            });
        }
    }
    let end = selection.batch.unwrap_or(Batch {
        last_uid: mailbox.last_uid,
        highest_modseq: mailbox.highest_modseq,
    });
    Update {
        name: name.clone(),
        unique_id: mailbox.unique_id.clone(),
        partition: mailbox.partition.clone(),
        acl: mailbox.acl.clone(),
        header: UpdateHeader {
            mailbox_type: MailboxType::default(),
            last_uid: end.last_uid,
            highest_modseq: end.highest_modseq,
            uid_validity: mailbox.uid_validity,
            xconv_modseq: ModSeq(0),
            created_modseq: ModSeq(1),
            folder_modseq: mailbox.folder_modseq,
            options: MailboxOptions::empty(),
            since,
        },
        crc: if selection.batch.is_some() {
            SyncCrc::UNKNOWN
        } else {
            mailbox.crc()
        },
        records,
        staged,
    }
}

fn local_folder(master: &Store, name: &MailboxName, mailbox: &Mailbox) -> LocalFolder {
    LocalFolder {
        name: name.clone(),
        unique_id: mailbox.unique_id.clone(),
        mailbox_type: MailboxType::default(),
        partition: Some(mailbox.partition.clone()),
        uid_validity: mailbox.uid_validity,
        created_modseq: ModSeq(1),
        folder_modseq: mailbox.folder_modseq,
        former_names: master
            .former_names
            .get(&mailbox.unique_id)
            .cloned()
            .unwrap_or_default(),
    }
}

fn remote_folder(name: &MailboxName, mailbox: &Mailbox) -> RemoteFolder {
    RemoteFolder {
        name: name.clone(),
        unique_id: mailbox.unique_id.clone(),
        mailbox_type: MailboxType::default(),
        partition: Some(mailbox.partition.clone()),
        last_uid: mailbox.last_uid,
        created_modseq: ModSeq(1),
        folder_modseq: mailbox.folder_modseq,
    }
}

fn folder_plan(
    master: &Store,
    locals: &[LocalFolder],
    remotes: &[RemoteFolder],
    force: bool,
) -> FolderPlan {
    let fate = |remote: &RemoteFolder| {
        Ok::<_, Infallible>(match master.name_of(&remote.unique_id) {
            Some(name) => Fate::Alive(name),
            None if master.tombstones.contains(&remote.unique_id) => Fate::Tombstone,
            None => Fate::Unknown,
        })
    };
    let free_name = |local: &LocalFolder| {
        MailboxName::parse(&format!("DELETED.{}.{}", local.name, local.unique_id)).ok()
    };
    match compare(locals, remotes, force, fate, free_name) {
        Ok(plan) => plan,
        Err(never) => match never {},
    }
}
