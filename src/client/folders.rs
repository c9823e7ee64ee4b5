//! One pass over the mailboxes of both sides: renames, deletions, updates (algorithm §5.3, §5.4).

use crate::client::error::{Failed, SyncError};
use crate::client::mailbox::Pipeline;
use crate::client::session::Session;
use crate::client::upload::GUIDS_PER_RESERVE;
use crate::mail::{MailboxKind, MailboxName, Uid, UnixTime};
use crate::plan::folders::{
    Finding, FolderPlan, LocalFolder, Rearrangement, RemoteFolder, Rename, compare,
};
use crate::protocol::command::{self, Apply, MailboxIdentity, MailboxItem, Unmailbox};
use crate::protocol::reply::Refusal;

/// Mailboxes of a pass of which it is asked beforehand what the replica has of them.
const LOOKED_AHEAD: usize = 8;

/// What a pass came to.
#[derive(Debug, Default)]
pub struct Passed {
    /// Something was renamed: the replica must be listed again.
    pub again: bool,
    /// Mailboxes that could not be brought up to date.
    pub failed: Vec<Failed>,
    /// Names under which mailboxes of the replica live here, outside this pass.
    pub elsewhere: Vec<MailboxName>,
}

/// What a pass is going to do.
#[derive(Debug)]
pub struct PassPlan {
    plan: FolderPlan,
    remotes: Vec<RemoteFolder>,
    listing: Vec<MailboxItem>,
}

impl PassPlan {
    /// Whether mailboxes of the replica will be renamed or deleted.
    pub fn rearranges(&self) -> bool {
        !self.plan.rearrangements.is_empty() || !self.plan.deletions.is_empty()
    }
}

/// A pass whose updates were sent and not answered yet.
#[derive(Debug, Default)]
pub struct Passing {
    passed: Passed,
    pipeline: Pipeline,
    /// What the replica has, and may find messages in.
    names: Vec<MailboxName>,
    /// What is to be deleted there after the updates.
    deletions: Vec<Unmailbox>,
}

impl Passing {
    /// Whether the replica must be listed again, so that nothing else makes sense.
    pub fn again(&self) -> bool {
        self.passed.again
    }
}

impl Session {
    /// Compares the mailboxes of both sides and makes the replica's like the master's.
    ///
    /// # Errors
    /// If the connection is lost, or a rename or deletion fails on which others depend. What
    /// concerns only one mailbox is told in the result.
    pub async fn pass(
        &mut self,
        locals: &[LocalFolder],
        listing: Vec<MailboxItem>,
    ) -> Result<Passed, SyncError> {
        let plan = self.plan_pass(locals, listing)?;
        self.ask_for_messages(locals, &plan).await?;
        let passing = self.begin_pass(locals, plan).await?;
        self.end_pass(passing).await
    }

    /// Asks the replica which new messages of the first mailboxes it has elsewhere, all at once,
    /// so that not each of them waits for its answer. What cannot be read now is told when it is
    /// its turn.
    async fn ask_for_messages(
        &mut self,
        locals: &[LocalFolder],
        plan: &PassPlan,
    ) -> Result<(), SyncError> {
        if self.suspicion.is_careful() || self.shared.settings.dry_run || plan.rearranges() {
            return Ok(());
        }
        let look_in: Vec<_> = plan.listing.iter().map(|item| item.name.clone()).collect();
        for update in plan.plan.updates.iter().take(LOOKED_AHEAD) {
            let Some(folder) = locals.get(update.local) else {
                continue;
            };
            let Some(partition) = folder.partition.as_ref().filter(|_| {
                let is_another = |name: &MailboxName| *name != folder.name;
                look_in.iter().any(is_another)
            }) else {
                continue;
            };
            let remote = update.remote.and_then(|index| plan.listing.get(index));
            match self.local.new_messages(folder, remote, GUIDS_PER_RESERVE) {
                Ok(new) => {
                    let mut uploader = self.uploader();
                    uploader
                        .ask_ahead(&folder.name, partition, new, &look_in)
                        .await?;
                }
                Err(error) => tracing::debug!("{}: asked later: {error}", folder.name),
            }
        }
        Ok(())
    }

    /// Compares the mailboxes of both sides.
    ///
    /// # Errors
    /// If the local mailbox list cannot be read.
    pub fn plan_pass(
        &mut self,
        locals: &[LocalFolder],
        listing: Vec<MailboxItem>,
    ) -> Result<PassPlan, SyncError> {
        let remotes: Vec<RemoteFolder> = listing.iter().map(remote_folder).collect();
        Ok(PassPlan {
            plan: self.compare(locals, &remotes)?,
            remotes,
            listing,
        })
    }

    /// Renames, and sends the updates; [`Session::end_pass`] fetches the answers.
    ///
    /// # Errors
    /// As [`Session::pass`].
    pub async fn begin_pass(
        &mut self,
        locals: &[LocalFolder],
        plan: PassPlan,
    ) -> Result<Passing, SyncError> {
        let PassPlan {
            plan,
            remotes,
            listing,
        } = plan;
        let mut passing = Passing::default();
        self.report(&plan, locals, &remotes, &mut passing.passed);
        for step in &plan.rearrangements {
            self.shared.go_on()?;
            match step {
                Rearrangement::Delete(remote) => {
                    if let Some(item) = listing.get(*remote) {
                        self.delete(deletion_of(item)).await?;
                    }
                }
                Rearrangement::Rename(rename) => self.rename(rename).await?,
            }
        }
        if plan.must_list_again() {
            passing.passed.again = !self.shared.settings.dry_run;
            return Ok(passing);
        }
        passing.names = listing.iter().map(|item| item.name.clone()).collect();
        let deletions = plan
            .deletions
            .iter()
            .filter_map(|index| listing.get(*index));
        passing.deletions = deletions.map(deletion_of).collect();
        let partitions = listing.iter().filter_map(|item| item.partition.clone());
        self.proven_partitions.extend(partitions);
        let mut listing: Vec<Option<MailboxItem>> = listing.into_iter().map(Some).collect();
        for update in &plan.updates {
            let Some(folder) = locals.get(update.local) else {
                continue;
            };
            let remote = update
                .remote
                .and_then(|index| listing.get_mut(index)?.take());
            let Passing {
                passed,
                pipeline,
                names,
                ..
            } = &mut passing;
            self.update(pipeline, folder, remote, names, &mut passed.failed)
                .await?;
        }
        self.uploader().drop_questions();
        Ok(passing)
    }

    /// Waits until the updates of a pass are answered, repeats those that the replica did not
    /// take, and deletes what is to be deleted.
    ///
    /// # Errors
    /// As [`Session::pass`].
    pub async fn end_pass(&mut self, passing: Passing) -> Result<Passed, SyncError> {
        let Passing {
            mut passed,
            mut pipeline,
            names,
            deletions,
        } = passing;
        self.settle(&mut pipeline, &names, &mut passed.failed)
            .await?;
        for deletion in deletions {
            self.shared.go_on()?;
            self.delete(deletion).await?;
        }
        Ok(passed)
    }

    fn compare(
        &mut self,
        locals: &[LocalFolder],
        remotes: &[RemoteFolder],
    ) -> Result<FolderPlan, SyncError> {
        let store = self.local.store().clone();
        let force = self.shared.settings.force;
        let local = &mut self.local;
        compare(
            locals,
            remotes,
            force,
            |remote| local.fate_of(remote),
            |folder| {
                let deleted = store
                    .namespace()
                    .deleted_name(&folder.name, UnixTime::now());
                deleted.ok()
            },
        )
    }

    fn report(
        &self,
        plan: &FolderPlan,
        locals: &[LocalFolder],
        remotes: &[RemoteFolder],
        passed: &mut Passed,
    ) {
        for finding in &plan.findings {
            match finding {
                Finding::NoTombstone { remote } => match remotes.get(*remote) {
                    // The original's server makes one for every user, whatever the master has.
                    Some(remote)
                        if remote.mailbox_type.kind == MailboxKind::Sieve
                            && remote.last_uid == Uid(0) => {}
                    Some(remote) => {
                        tracing::warn!("no tombstone for deleted mailbox {}", remote.name);
                    }
                    None => {}
                },
                Finding::LivesElsewhere { name, .. } => passed.elsewhere.push(name.clone()),
                Finding::NameTaken { local, .. } => {
                    if let Some(folder) = locals.get(*local) {
                        let name = folder.name.clone();
                        passed
                            .failed
                            .push((name.clone(), SyncError::NameTaken { name }));
                    }
                }
                Finding::NoFreeName { local } => {
                    if let Some(folder) = locals.get(*local) {
                        let name = folder.name.clone();
                        passed
                            .failed
                            .push((name.clone(), SyncError::NoFreeName(name)));
                    }
                }
            }
        }
    }

    async fn rename(&mut self, rename: &Rename) -> Result<(), SyncError> {
        let partition = match &rename.partition {
            Some(partition) => partition.as_str(),
            None => "(null)",
        };
        self.reporter().action(&format!(
            "RENAME {} -> {} ({partition})",
            rename.old, rename.new
        ));
        if self.shared.settings.dry_run {
            return Ok(());
        }
        self.memory.forget(&rename.old);
        self.memory.forget(&rename.new);
        let apply = Apply::Rename(
            self.shared.settings.scope,
            command::Rename {
                old: rename.old.clone(),
                new: rename.new.clone(),
                partition: rename.partition.clone(),
                uid_validity: Some(rename.uid_validity),
            },
        );
        match self.peer.apply(&apply).await {
            Ok(_) => Ok(()),
            Err(error) => {
                tracing::error!(
                    "do_folders(): failed to rename: {} -> {} {error}",
                    rename.old,
                    rename.new
                );
                Err(SyncError::from(error).in_mailbox(&rename.old))
            }
        }
    }

    /// Deletes a mailbox on the replica; that it never existed there is as good, and so is that
    /// its name means another one by now, where the replica can tell.
    async fn delete(&mut self, mut deletion: Unmailbox) -> Result<(), SyncError> {
        let name = deletion.name.clone();
        self.reporter().action(&format!("UNMAILBOX {name}"));
        if self.shared.settings.dry_run {
            return Ok(());
        }
        self.memory.forget(&name);
        if !self.peer.has_unmailbox_id() {
            deletion.identity = None;
        }
        let by_id = deletion.identity.is_some();
        let apply = Apply::Unmailbox(self.shared.settings.scope, deletion);
        match self.peer.apply(&apply).await {
            Ok(_) => Ok(()),
            Err(error) if error.refusal() == Some(Refusal::MailboxNonexistent) => Ok(()),
            Err(error) if by_id && error.refusal() == Some(Refusal::MailboxMoved) => {
                tracing::info!("SYNCNOTICE: not deleted, since it is another mailbox now: {name}");
                Ok(())
            }
            Err(error) => Err(SyncError::from(error).in_mailbox(&name)),
        }
    }
}

/// The deletion of a listed mailbox.
fn deletion_of(item: &MailboxItem) -> Unmailbox {
    Unmailbox {
        name: item.name.clone(),
        identity: Some(MailboxIdentity {
            unique_id: item.unique_id.clone(),
            uid_validity: Some(item.uid_validity),
        }),
    }
}

/// A listed mailbox, as far as it matters for names.
pub(super) fn remote_folder(item: &MailboxItem) -> RemoteFolder {
    RemoteFolder {
        name: item.name.clone(),
        unique_id: item.unique_id.clone(),
        mailbox_type: item.mailbox_type,
        partition: item.partition.clone(),
        last_uid: item.last_uid,
        created_modseq: item.created_modseq,
        folder_modseq: item.folder_modseq,
    }
}
