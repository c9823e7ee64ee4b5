//! What a user has beside mailboxes, and the server's annotations (algorithm §7).

use std::collections::{BTreeSet, HashSet};
use std::time::Instant;

use crate::client::error::SyncError;
use crate::client::peer::Ticket;
use crate::client::report::Subject;
use crate::client::session::Session;
use crate::mail::{MailboxName, UniqueId, UserId};
use crate::plan::folders::LocalFolder;
use crate::plan::meta::{
    AnnotationChange, QuotaChange, annotation_changes, missing_or_different, quota_changes,
    set_change,
};
use crate::protocol::command::{
    AnnotationKey, Answer, Apply, Get, Quota, ScriptState, SeenState, Subscription,
};
use crate::protocol::reply::Refusal;
use crate::spool::cyrusdb::Create;
use crate::spool::quota::{Limits, QuotaRoot};
use crate::spool::seen::{self, SeenDb};

/// What the replica has of a user beside mailboxes.
#[derive(Debug, Default)]
pub struct RemoteMeta {
    seen: Vec<SeenState>,
    subscriptions: Vec<MailboxName>,
    scripts: Vec<ScriptState>,
}

impl RemoteMeta {
    /// The lines about Sieve scripts.
    pub fn scripts(&self) -> &[ScriptState] {
        &self.scripts
    }

    /// Takes a data line; others than those of GET META are ignored.
    pub fn take(&mut self, answer: Answer) {
        match answer {
            Answer::Seen(seen) => self.seen.push(seen),
            Answer::Lsub(names) => self.subscriptions.extend(names),
            Answer::Sieve(script) => self.scripts.push(script),
            _ => {}
        }
    }
}

/// Changes beside mailboxes that were sent and not answered yet.
#[derive(Debug, Default)]
pub struct MetaUnderWay {
    /// Limits, with their roots.
    quotas: Vec<(MailboxName, Ticket)>,
    changes: Vec<Ticket>,
    seen: Vec<Ticket>,
}

impl Session {
    /// Meta mode for one user: seen state, subscriptions, and scripts unless they travel as
    /// messages.
    ///
    /// # Errors
    /// If something of it could not be replicated.
    pub async fn meta(&mut self, user: &UserId) -> Result<(), SyncError> {
        let (start, before) = (Instant::now(), self.peer.sent);
        let result = self.sync_meta(user).await;
        self.count(
            Some(user.clone()),
            self.peer.sent.since(before),
            result.as_ref().err(),
        );
        let error = result.as_ref().err().map(SyncError::to_string);
        self.reporter().result(
            Subject::Meta,
            user.as_str(),
            error.as_deref(),
            start.elapsed(),
        );
        result
    }

    async fn sync_meta(&mut self, user: &UserId) -> Result<(), SyncError> {
        let _locked = self.lock(Some(user))?;
        self.reporter().action(&format!("META {user}"));
        let remote = self.remote_meta(user).await?;
        let mut under_way = MetaUnderWay::default();
        self.begin_meta(user, &remote, &mut under_way).await?;
        self.end_meta(user, under_way).await
    }

    /// Sends what differs beside mailboxes and quotas; [`Session::end_meta`] fetches the answers.
    ///
    /// # Errors
    /// If something cannot be read here, or the connection is lost.
    pub(super) async fn begin_meta(
        &mut self,
        user: &UserId,
        remote: &RemoteMeta,
        under_way: &mut MetaUnderWay,
    ) -> Result<(), SyncError> {
        self.subscriptions(user, remote, &mut under_way.changes)
            .await?;
        if !self.scripts_are_messages {
            self.scripts(user, remote, &mut under_way.changes).await?;
        }
        self.seen(user, remote, &mut under_way.seen).await
    }

    /// Waits for the answers to what was sent. That the replica does not take a seen entry is no
    /// reason to stop.
    ///
    /// # Errors
    /// The first refusal, or that the connection is lost.
    pub(super) async fn end_meta(
        &mut self,
        user: &UserId,
        mut under_way: MetaUnderWay,
    ) -> Result<(), SyncError> {
        let quotas = self.settle_quotas(&mut under_way).await;
        if quotas.as_ref().is_err_and(SyncError::is_disconnection) {
            return quotas;
        }
        let changes = self.settle_changes(under_way.changes).await;
        if changes.as_ref().is_err_and(SyncError::is_disconnection) {
            return changes;
        }
        match self.settle_changes(under_way.seen).await {
            Err(error) if error.is_disconnection() => return Err(error),
            Err(error) => tracing::warn!("SEEN {user}: {error}"),
            Ok(()) => {}
        }
        quotas.and(changes)
    }

    pub(super) async fn remote_meta(&mut self, user: &UserId) -> Result<RemoteMeta, SyncError> {
        let answers = self.peer.get(&Get::Meta(Some(user.clone()))).await?;
        let mut remote = RemoteMeta::default();
        answers.into_iter().for_each(|answer| remote.take(answer));
        Ok(remote)
    }

    /// Sends the seen entries that differ.
    async fn seen(
        &mut self,
        user: &UserId,
        remote: &RemoteMeta,
        sent: &mut Vec<Ticket>,
    ) -> Result<(), SyncError> {
        let local = self.seen_states(user)?;
        for state in missing_or_different(&local, &remote.seen, |state| &state.unique_id) {
            let action = format!("SEEN {user} {}", state.unique_id);
            self.reporter().action(&action);
            self.send_change(&Apply::Seen(user.clone(), state.clone()), sent)
                .await?;
        }
        Ok(())
    }

    /// A `SEEN` line of the log.
    ///
    /// # Errors
    /// If it could not be replicated.
    pub async fn seen_of(&mut self, user: &UserId, mailbox: &UniqueId) -> Result<(), SyncError> {
        let _locked = self.lock(Some(user))?;
        let state = match self.seen_db(user)? {
            Some(mut db) => db.get(mailbox)?,
            None => None,
        };
        let Some(state) = state else {
            return Ok(());
        };
        self.reporter().action(&format!("SEEN {user} {mailbox}"));
        let state = on_wire(mailbox.clone(), state);
        self.change(&Apply::Seen(user.clone(), state)).await
    }

    async fn subscriptions(
        &mut self,
        user: &UserId,
        remote: &RemoteMeta,
        sent: &mut Vec<Ticket>,
    ) -> Result<(), SyncError> {
        let local = self.shared.store.subscriptions(self.local.list(), user)?;
        let change = set_change(&local, &remote.subscriptions);
        let added = change.add.into_iter().map(|name| (name, true));
        let removed = change.remove.into_iter().map(|name| (name, false));
        for (name, on) in added.chain(removed) {
            self.subscribe(user, name, on, sent).await?;
        }
        Ok(())
    }

    /// A `SUB` line of the log: sends what is the case now.
    ///
    /// # Errors
    /// If it could not be replicated.
    pub async fn subscription_of(
        &mut self,
        user: &UserId,
        mailbox: &MailboxName,
    ) -> Result<(), SyncError> {
        let _locked = self.lock(Some(user))?;
        let subscriptions = self.shared.store.subscriptions(self.local.list(), user)?;
        let is_subscribed = subscriptions.contains(mailbox);
        let mut sent = Vec::new();
        self.subscribe(user, mailbox, is_subscribed, &mut sent)
            .await?;
        self.settle_changes(sent).await
    }

    async fn subscribe(
        &mut self,
        user: &UserId,
        mailbox: &MailboxName,
        on: bool,
        sent: &mut Vec<Ticket>,
    ) -> Result<(), SyncError> {
        let subscription = Subscription {
            user: user.clone(),
            mailbox: mailbox.clone(),
        };
        let (verb, apply) = if on {
            ("SUB", Apply::Sub(subscription))
        } else {
            ("UNSUB", Apply::Unsub(subscription))
        };
        self.reporter().action(&format!("{verb} {user} {mailbox}"));
        self.send_change(&apply, sent).await
    }

    /// Sends the limits of a user's roots where they differ; the answers are due.
    pub(super) async fn set_quotas(
        &mut self,
        user: &UserId,
        folders: &[LocalFolder],
        remote: &[Quota],
        under_way: &mut MetaUnderWay,
    ) -> Result<(), SyncError> {
        let Quotas { local, remote } = self.quotas(user, folders, remote)?;
        for change in quota_changes(&local, &remote) {
            if let QuotaChange::Set(root, limits) = change {
                let sent = self.send_quota(root, &limits.0).await?;
                under_way
                    .quotas
                    .extend(sent.map(|ticket| (root.clone(), ticket)));
            }
        }
        Ok(())
    }

    /// Waits until the replica has taken the limits sent.
    ///
    /// # Errors
    /// If it refuses a root, or the connection is lost.
    pub(super) async fn settle_quotas(
        &mut self,
        under_way: &mut MetaUnderWay,
    ) -> Result<(), SyncError> {
        let mut result = Ok(());
        for (root, ticket) in std::mem::take(&mut under_way.quotas) {
            match self.peer.answer(ticket).await {
                Ok(_) => {}
                Err(source) if source.leaves_connection_usable() => {
                    result = result.and(Err(SyncError::QuotaRefused {
                        root: root.to_string(),
                        source,
                    }));
                }
                Err(error) => return Err(error.into()),
            }
        }
        result
    }

    /// Removes the replica's roots that are not in use here; the answers are due.
    pub(super) async fn remove_quotas(
        &mut self,
        user: &UserId,
        folders: &[LocalFolder],
        remote: &[Quota],
        under_way: &mut MetaUnderWay,
    ) -> Result<(), SyncError> {
        let Quotas { local, remote } = self.quotas(user, folders, remote)?;
        for change in quota_changes(&local, &remote) {
            if let QuotaChange::Remove(root) = change {
                self.remove_quota(root, &mut under_way.changes).await?;
            }
        }
        Ok(())
    }

    /// A `QUOTA` line of the log.
    ///
    /// # Errors
    /// If it could not be replicated.
    pub async fn quota(&mut self, root: &QuotaRoot) -> Result<(), SyncError> {
        let Some(name) = root.mailbox() else {
            return Ok(());
        };
        let owner = self.owner_of(&name);
        let _locked = self.lock(owner.as_ref())?;
        let mut under_way = MetaUnderWay::default();
        match self.shared.store.quotas()?.get(root)? {
            Some(quota) => {
                let quota = quota_on_wire(&name, quota.limits, quota.modseq);
                let sent = self.send_quota(&name, &quota).await?;
                under_way.quotas.extend(sent.map(|ticket| (name, ticket)));
            }
            None => self.remove_quota(&name, &mut under_way.changes).await?,
        }
        self.settle_quotas(&mut under_way).await?;
        self.settle_changes(under_way.changes).await
    }

    async fn send_quota(
        &mut self,
        root: &MailboxName,
        quota: &Quota,
    ) -> Result<Option<Ticket>, SyncError> {
        self.reporter().action(&format!("QUOTA {root}"));
        let mut sent = Vec::new();
        self.send_change(&Apply::Quota(quota.clone()), &mut sent)
            .await?;
        Ok(sent.pop())
    }

    async fn remove_quota(
        &mut self,
        root: &MailboxName,
        sent: &mut Vec<Ticket>,
    ) -> Result<(), SyncError> {
        self.reporter().action(&format!("UNQUOTA {root}"));
        self.send_change(&Apply::Unquota(Some(root.clone())), sent)
            .await
    }

    /// Sends the annotations of the server that differ.
    ///
    /// # Errors
    /// If they could not be replicated.
    pub async fn server_annotations(&mut self) -> Result<(), SyncError> {
        let _locked = self.lock(None)?;
        self.reporter().action("ANNOTATION ");
        let answers = self.peer.get(&Get::Annotation(None)).await?;
        let mut remote: Vec<crate::mail::Annotation> = answers
            .into_iter()
            .filter_map(|answer| match answer {
                Answer::Annotation(key, value) => Some(crate::mail::Annotation {
                    entry: key.entry,
                    user: key.user,
                    modseq: crate::mail::ModSeq(0),
                    value,
                }),
                _ => None,
            })
            .collect();
        remote.sort();
        let local = self.local.server_annotations()?;
        let key = |annotation: &crate::mail::Annotation| AnnotationKey {
            mailbox: None,
            entry: annotation.entry.clone(),
            user: annotation.user.clone(),
        };
        for change in annotation_changes(&local, &remote) {
            let apply = match change {
                AnnotationChange::Set(annotation) => {
                    Apply::Annotation(key(annotation), annotation.value.clone())
                }
                AnnotationChange::Remove(annotation) => Apply::Unannotation(key(annotation)),
            };
            self.change(&apply).await?;
        }
        Ok(())
    }

    /// `UNUSER`: removes a user on the replica who does not exist here.
    ///
    /// # Errors
    /// If the replica refuses.
    pub async fn remove_user(&mut self, user: &UserId) -> Result<(), SyncError> {
        let _locked = self.lock(Some(user))?;
        if self.local.has_user(user)? {
            return Ok(());
        }
        self.reporter().action(&format!("UNUSER {user}"));
        let scope = self.shared.settings.scope;
        self.change(&Apply::Unuser(scope, Some(user.clone()))).await
    }

    /// `UNMAILBOX`: deletes a mailbox on the replica that was deleted here. The replica is asked
    /// first which mailbox has the name there: it may be another one by now.
    ///
    /// # Errors
    /// If the replica refuses.
    pub async fn unmailbox(&mut self, name: &MailboxName) -> Result<(), SyncError> {
        let owner = self.owner_of(name);
        let _locked = self.lock(owner.as_ref())?;
        match self.local.list().find(name)? {
            Some(entry) if entry.is_tombstone() => {}
            Some(_) => return Ok(()),
            None => {
                tracing::info!("SYNCNOTICE: attempt to UNMAILBOX without a tombstone {name}");
                return Ok(());
            }
        }
        let answers = match self.peer.get(&Get::Mailboxes(vec![name.clone()])).await {
            Err(error) if error.refusal() == Some(Refusal::MailboxNonexistent) => Vec::new(),
            answers => answers?,
        };
        let listed = answers.into_iter().filter_map(|answer| match answer {
            Answer::Mailbox(mailbox) => Some(mailbox.item),
            _ => None,
        });
        self.pass(&[], listed.collect()).await?;
        Ok(())
    }

    /// Sends something that changes the replica, unless nothing may be sent. Its answer is due.
    pub(super) async fn send_change(
        &mut self,
        apply: &Apply,
        sent: &mut Vec<Ticket>,
    ) -> Result<(), SyncError> {
        if !self.shared.settings.dry_run {
            sent.push(self.peer.send(apply).await?);
        }
        Ok(())
    }

    /// Waits for the answers to changes.
    ///
    /// # Errors
    /// The first refusal, or that the connection is lost.
    pub(super) async fn settle_changes(&mut self, sent: Vec<Ticket>) -> Result<(), SyncError> {
        let mut result = Ok(());
        for ticket in sent {
            match self.peer.answer(ticket).await {
                Ok(_) => {}
                Err(error) if error.leaves_connection_usable() => {
                    result = result.and(Err(SyncError::from(error)));
                }
                Err(error) => return Err(error.into()),
            }
        }
        result
    }

    /// Sends something that changes the replica, unless nothing may be sent.
    pub(super) async fn change(&mut self, apply: &Apply) -> Result<(), SyncError> {
        if !self.shared.settings.dry_run {
            self.peer.apply(apply).await?;
        }
        Ok(())
    }

    /// What a user has seen of mailboxes that are not the user's own.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(super) fn seen_states(&mut self, user: &UserId) -> Result<Vec<SeenState>, SyncError> {
        states_in(self.seen_db(user)?)
    }

    fn seen_db(&mut self, user: &UserId) -> Result<Option<SeenDb>, SyncError> {
        let store = &self.shared.store;
        Ok(store.seen(self.local.list(), user, Create::No)?)
    }

    /// The roots in a user's tree that matter on both sides: here those that mailboxes use or the
    /// replica has, since a replica only lists roots that are in use there.
    fn quotas(
        &self,
        user: &UserId,
        folders: &[LocalFolder],
        remote: &[Quota],
    ) -> Result<Quotas, SyncError> {
        let names = || folders.iter().map(|folder| &folder.name);
        let named = remote.iter().map(|quota| &quota.root);
        let candidates = names()
            .flat_map(QuotaRoot::candidates)
            .chain(named.clone().map(QuotaRoot::of_mailbox));
        let roots = self.quota_roots(user, candidates)?;
        let used: HashSet<&MailboxName> = names()
            .filter_map(|name| root_of(name, &roots))
            .chain(named)
            .collect();
        let local = roots
            .iter()
            .filter(|quota| used.contains(&quota.root))
            .map(|quota| (quota.root.clone(), Some(Comparable(quota.clone()))))
            .collect();
        let remote = remote
            .iter()
            .map(|quota| (quota.root.clone(), Comparable(quota.clone())))
            .collect();
        Ok(Quotas { local, remote })
    }

    /// Those of the roots that exist and are in a user's tree.
    ///
    /// # Errors
    /// If they cannot be read.
    pub(super) fn quota_roots(
        &self,
        user: &UserId,
        candidates: impl Iterator<Item = QuotaRoot>,
    ) -> Result<Vec<Quota>, SyncError> {
        let inbox = self.shared.store.namespace().inbox_of(user);
        let is_inside =
            |root: &QuotaRoot| root.mailbox().is_some_and(|name| name.is_within(&inbox));
        let candidates: BTreeSet<QuotaRoot> = candidates.filter(is_inside).collect();
        if candidates.is_empty() {
            return Ok(Vec::new());
        }
        let roots = self.shared.store.quotas()?.existing(&candidates)?;
        let on_wire = |(root, quota): (QuotaRoot, crate::spool::quota::Quota)| {
            Some(quota_on_wire(&root.mailbox()?, quota.limits, quota.modseq))
        };
        Ok(roots.into_iter().filter_map(on_wire).collect())
    }
}

/// All states in a user's database.
///
/// # Errors
/// If it cannot be read.
pub(super) fn states_in(db: Option<SeenDb>) -> Result<Vec<SeenState>, SyncError> {
    let states = match db {
        Some(mut db) => db.all()?,
        None => Vec::new(),
    };
    let states = states.into_iter();
    Ok(states.map(|(id, state)| on_wire(id, state)).collect())
}

/// The root that counts a mailbox.
fn root_of<'r>(mailbox: &MailboxName, roots: &'r [Quota]) -> Option<&'r MailboxName> {
    let names = roots.iter().map(|quota| &quota.root);
    names
        .filter(|root| mailbox.is_within(root))
        .max_by_key(|root| root.as_str().len())
}

/// Quota roots of both sides.
struct Quotas {
    local: Vec<(MailboxName, Option<Comparable>)>,
    remote: Vec<(MailboxName, Comparable)>,
}

/// A quota root as far as its limits matter.
#[derive(Debug, Clone)]
struct Comparable(Quota);

impl PartialEq for Comparable {
    fn eq(&self, other: &Comparable) -> bool {
        let limits = |quota: &Quota| {
            (
                quota.storage,
                quota.messages,
                quota.annotation_storage,
                quota.folders,
            )
        };
        limits(&self.0) == limits(&other.0)
    }
}

fn on_wire(unique_id: UniqueId, state: seen::SeenState) -> SeenState {
    SeenState {
        unique_id,
        last_read: state.last_read,
        last_uid: state.last_uid,
        last_change: state.last_change,
        seen_uids: state.seen_uids,
    }
}

/// Limits that the wire cannot express are sent as the highest that it can.
fn quota_on_wire(root: &MailboxName, limits: Limits, modseq: crate::mail::ModSeq) -> Quota {
    let limit =
        |limit: Option<u64>| limit.map(|limit| u32::try_from(limit).unwrap_or(u32::MAX - 1));
    Quota {
        root: root.clone(),
        storage: limit(limits.storage),
        messages: limit(limits.messages),
        annotation_storage: limit(limits.annotation_storage),
        folders: limit(limits.mailboxes),
        modseq: Some(modseq),
    }
}
