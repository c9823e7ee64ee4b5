//! User mode and mailbox mode (algorithm §4 and §5.7).

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::client::activity::Sent;
use crate::client::error::{Failed, SyncError};
use crate::client::folders::Passing;
use crate::client::meta::{MetaUnderWay, RemoteMeta};
use crate::client::peer::Ticket;
use crate::client::report::Subject;
use crate::client::session::Session;
use crate::mail::{MailboxName, UniqueId, UserId};
use crate::plan::log::Failure;
use crate::protocol::command::{Answer, Get, MailboxItem, Quota};
use crate::protocol::reply::Refusal;
use crate::service::event;
use crate::service::journal::DONE;
use crate::spool::lock::SyncLock;

/// How often the replica is listed again because names changed.
const TRIES: usize = 3;

/// All that the replica has of a user.
#[derive(Debug, Default)]
struct RemoteUser {
    mailboxes: Vec<MailboxItem>,
    quotas: Vec<Quota>,
    meta: RemoteMeta,
}

/// A user to whom everything was sent, and not all of it was answered yet.
#[derive(Debug)]
pub struct UserUnderWay {
    user: UserId,
    start: Instant,
    /// What was sent for it.
    sent: Sent,
    _lock: SyncLock,
    passing: Passing,
    meta: MetaUnderWay,
    /// What went wrong here meanwhile.
    trouble: Result<(), SyncError>,
}

impl UserUnderWay {
    /// Who it is.
    pub fn user(&self) -> &UserId {
        &self.user
    }
}

impl Session {
    /// Replicates a user completely, and tells the result.
    ///
    /// # Errors
    /// If the user could not be replicated; mailboxes that failed do not keep the others back.
    pub async fn user(&mut self, user: &UserId) -> Result<(), SyncError> {
        match self.begin_user(user).await? {
            Some(under_way) => self.end_user(under_way).await,
            None => Ok(()),
        }
    }

    /// Sends what differs of a user; [`Session::end_user`] fetches the answers. Those to the
    /// users before may still be due. `None` if nothing was to do.
    ///
    /// # Errors
    /// If the user could not be replicated; that was told.
    pub async fn begin_user(&mut self, user: &UserId) -> Result<Option<UserUnderWay>, SyncError> {
        let (start, before) = (Instant::now(), self.peer.sent);
        match self.send_user(user, start).await {
            Ok(Some(under_way)) => Ok(Some(UserUnderWay {
                sent: self.peer.sent.since(before),
                ..under_way
            })),
            ended => {
                let result = ended.map(|_| ());
                self.tell_user(user, &result, start, self.peer.sent.since(before));
                result.map(|()| None)
            }
        }
    }

    /// Waits for the answers about a user, does what is left to do, and tells the result.
    ///
    /// # Errors
    /// As [`Session::user`].
    pub async fn end_user(&mut self, under_way: UserUnderWay) -> Result<(), SyncError> {
        let UserUnderWay {
            user,
            start,
            sent,
            _lock,
            passing,
            meta,
            trouble,
        } = under_way;
        let before = self.peer.sent;
        let result = match self.end_pass(passing).await {
            Ok(passed) => {
                let meta = self.end_meta(&user, meta).await;
                meta.and(trouble).and(summary(passed.failed))
            }
            Err(error) => Err(error),
        };
        let sent = sent.and(self.peer.sent.since(before));
        self.tell_user(&user, &result, start, sent);
        result
    }

    pub(super) fn tell_user(
        &self,
        user: &UserId,
        result: &Result<(), SyncError>,
        start: Instant,
        sent: Sent,
    ) {
        if let Err(error) = result
            && (matches!(error, SyncError::Interrupted) || self.comes_again(error.failure()))
        {
            self.shared.activity.add(sent);
            return;
        }
        let error = result.as_ref().err();
        self.tell(Subject::User, user.as_str(), error, start);
        self.count(Some(user.clone()), sent, error);
        if result.is_ok() && sent != Sent::default() {
            tracing::debug!(
                target: DONE,
                message_id = event::REPLICATED,
                sync_user = %user,
                sync_verb = "USER",
                sync_result = "ok",
                sync_messages = sent.messages,
                sync_bytes = sent.octets,
                "user {user} replicated: {} changes, {} messages",
                sent.changes,
                sent.messages
            );
        }
        if let Err(error) = result
            && error.failure() != Failure::Locked
        {
            tracing::error!(
                message_id = event::FAILED,
                sync_user = %user,
                sync_result = "failed",
                "IOERROR: user replication failed: error=<{error}> userid=<{user}> channel=<{}> servername=<{}>",
                self.shared.settings.channel.as_str(),
                self.shared.settings.server
            );
        }
    }

    fn tell(&self, subject: Subject, name: &str, error: Option<&SyncError>, start: Instant) {
        let error = error.map(SyncError::to_string);
        self.reporter()
            .result(subject, name, error.as_deref(), start.elapsed());
    }

    async fn send_user(
        &mut self,
        user: &UserId,
        start: Instant,
    ) -> Result<Option<UserUnderWay>, SyncError> {
        let (lock, mut asked) = match self.asked_ahead(user) {
            Some(ahead) => (ahead.lock, Some(ahead.ticket)),
            None => (self.lock(Some(user))?, None),
        };
        self.reporter().action(&format!("USER {user}"));
        for _ in 0..TRIES {
            self.shared.go_on()?;
            let ticket = match asked.take() {
                Some(ticket) => ticket,
                None => self.peer.send_get(&Get::User(Some(user.clone()))).await?,
            };
            let remote = self.remote_user(ticket).await?;
            if !self.local.has_user(user)? {
                self.reporter()
                    .action(&format!("Does not exist locally {user}"));
                return Ok(None);
            }
            let partition = self.shared.settings.partition.clone();
            let with_scripts = self.scripts_are_messages;
            let locals = self
                .local
                .folders_of(user, with_scripts, partition.as_ref())?;
            let plan = self.plan_pass(&locals, remote.mailboxes)?;
            let mut meta = MetaUnderWay::default();
            self.set_quotas(user, &locals, &remote.quotas, &mut meta)
                .await?;
            if plan.rearranges() {
                // A replica that refuses a root must say so before something is deleted there.
                self.settle_quotas(&mut meta).await?;
            }
            let passing = self.begin_pass(&locals, plan).await?;
            if passing.again() {
                self.end_pass(passing).await?;
                self.settle_quotas(&mut meta).await?;
                continue;
            }
            let mut trouble = self
                .remove_quotas(user, &locals, &remote.quotas, &mut meta)
                .await;
            if trouble.is_ok() {
                trouble = self.begin_meta(user, &remote.meta, &mut meta).await;
            }
            if let Err(error) = &trouble
                && error.is_disconnection()
            {
                return trouble.map(|()| None);
            }
            return Ok(Some(UserUnderWay {
                user: user.clone(),
                start,
                sent: Sent::default(),
                _lock: lock,
                passing,
                meta,
                trouble,
            }));
        }
        tracing::error!("failed to sync user {user} after {TRIES} tries");
        Err(SyncError::NotSettled(user.to_string()))
    }

    async fn remote_user(&mut self, ticket: Ticket) -> Result<RemoteUser, SyncError> {
        let answers = match self.peer.answer(ticket).await {
            Err(error) if error.refusal() == Some(Refusal::MailboxNonexistent) => Vec::new(),
            answers => answers?,
        };
        let mut remote = RemoteUser::default();
        for answer in answers {
            match answer {
                Answer::Mailbox(mailbox) => remote.mailboxes.push(mailbox.item),
                Answer::Quota(quota) => remote.quotas.push(quota),
                other => remote.meta.take(other),
            }
        }
        self.memory.put(&remote.mailboxes);
        Ok(remote)
    }

    /// Replicates these mailboxes, and tells the result of each.
    ///
    /// # Errors
    /// If one of them could not be replicated.
    pub async fn mailboxes(&mut self, names: &[MailboxName]) -> Result<(), SyncError> {
        let (start, before) = (Instant::now(), self.peer.sent);
        let result = self.sync_mailboxes(names).await;
        let sent = self.peer.sent.since(before);
        for name in names {
            let error = result.as_ref().err().and_then(|error| error.of(name));
            if error.is_some_and(|error| self.comes_again(error.failure())) {
                continue;
            }
            self.tell(Subject::Mailbox, name.as_str(), error, start);
            self.count(self.owner_of(name), Sent::default(), error);
        }
        self.shared.activity.add(sent);
        if result.is_ok() && sent != Sent::default() {
            let first = names.first();
            let owner = first.and_then(|name| self.owner_of(name));
            tracing::debug!(
                target: DONE,
                message_id = event::REPLICATED,
                sync_user = owner.map(tracing::field::display),
                sync_mailbox = first.filter(|_| names.len() == 1).map(tracing::field::display),
                sync_verb = "MAILBOX",
                sync_result = "ok",
                sync_messages = sent.messages,
                sync_bytes = sent.octets,
                "{} mailboxes replicated: {} changes, {} messages",
                names.len(),
                sent.changes,
                sent.messages
            );
        }
        result
    }

    /// Counts what was sent, and whose it was.
    pub(super) fn count(&self, owner: Option<UserId>, sent: Sent, error: Option<&SyncError>) {
        let activity = &self.shared.activity;
        activity.add(sent);
        match (error, owner) {
            (None, Some(owner)) => activity.replicated(owner),
            (None, None) => {}
            (Some(_), _) => activity.failed(),
        }
    }

    async fn sync_mailboxes(&mut self, names: &[MailboxName]) -> Result<(), SyncError> {
        let mut script_owners = BTreeSet::new();
        let mut names: BTreeSet<MailboxName> = names.iter().cloned().collect();
        let mut owners: BTreeSet<Option<UserId>> = BTreeSet::new();
        for name in names.clone() {
            let owner = self.owner_of(&name);
            if !self.scripts_are_messages && self.holds_scripts(&name)? {
                script_owners.extend(owner.clone());
                names.remove(&name);
            }
            owners.insert(owner);
        }
        // Everybody takes these locks in this order.
        let mut locks = Vec::new();
        for owner in &owners {
            locks.push(self.lock(owner.as_ref())?);
        }
        if !names.is_empty() {
            self.settle_names(names, owners, &mut locks).await?;
        }
        for user in script_owners {
            let remote = self.remote_meta(&user).await?;
            let mut sent = Vec::new();
            self.scripts(&user, &remote, &mut sent).await?;
            self.settle_changes(sent).await?;
        }
        Ok(())
    }

    async fn settle_names(
        &mut self,
        mut names: BTreeSet<MailboxName>,
        mut owners: BTreeSet<Option<UserId>>,
        locks: &mut Vec<SyncLock>,
    ) -> Result<(), SyncError> {
        for _ in 0..=TRIES {
            self.shared.go_on()?;
            let partition = self.shared.settings.partition.clone();
            let locals = self.local.folders_named(&names, partition.as_ref())?;
            for folder in &locals {
                names.extend(folder.former_names.iter().cloned());
            }
            let listing = self.listing(&names).await?;
            let passed = self.pass(&locals, listing).await?;
            let mut more = passed.elsewhere;
            if !passed.again {
                let moved = moved(&passed.failed, &locals);
                more.extend(self.names_of(moved).await?);
            }
            let known = names.len();
            for name in more {
                if self.join(&name, &mut owners, locks) {
                    names.insert(name);
                }
            }
            if !passed.again && names.len() == known {
                return summary(passed.failed);
            }
        }
        tracing::error!("failed to settle renames after {TRIES} tries!");
        let first = names.first().map(MailboxName::to_string);
        Err(SyncError::NotSettled(first.unwrap_or_default()))
    }

    /// Takes one more owner into the pass, if that can be done without waiting: the order of the
    /// locks is broken here.
    fn join(
        &self,
        name: &MailboxName,
        owners: &mut BTreeSet<Option<UserId>>,
        locks: &mut Vec<SyncLock>,
    ) -> bool {
        let owner = self.owner_of(name);
        if owners.contains(&owner) {
            return true;
        }
        match self.shared.lock(owner.as_ref(), Duration::ZERO) {
            Ok(lock) => {
                locks.push(lock);
                owners.insert(owner);
                true
            }
            Err(error) => {
                tracing::info!("{name} is left for later: {error}");
                false
            }
        }
    }

    /// What the replica has under these names, from the cache as far as it knows them.
    async fn listing(
        &mut self,
        names: &BTreeSet<MailboxName>,
    ) -> Result<Vec<MailboxItem>, SyncError> {
        let mut listing = Vec::new();
        let mut unknown = Vec::new();
        let mut action = String::from("MAILBOXES");
        for name in names {
            match self.memory.get(name) {
                Some(item) => {
                    action.push_str(&format!(" ({name})"));
                    listing.push(item);
                }
                None => {
                    action.push_str(&format!(" {name}"));
                    unknown.push(name.clone());
                }
            }
        }
        self.reporter().action(&action);
        if unknown.is_empty() {
            return Ok(listing);
        }
        let answers = match self.peer.get(&Get::Mailboxes(unknown)).await {
            Err(error) if error.refusal() == Some(Refusal::MailboxNonexistent) => Vec::new(),
            answers => answers?,
        };
        let listed = answers.into_iter().filter_map(|answer| match answer {
            Answer::Mailbox(mailbox) => Some(mailbox.item),
            _ => None,
        });
        let listed: Vec<MailboxItem> = listed.collect();
        self.memory.put(&listed);
        listing.extend(listed);
        Ok(listing)
    }

    /// The names that mailboxes have on the replica.
    async fn names_of(&mut self, ids: Vec<UniqueId>) -> Result<Vec<MailboxName>, SyncError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let answers = self.peer.get(&Get::UniqueIds(ids)).await?;
        let names = answers.into_iter().filter_map(|answer| match answer {
            Answer::Mailbox(mailbox) => Some(mailbox.item.name),
            _ => None,
        });
        Ok(names.collect())
    }

    pub(super) fn owner_of(&self, name: &MailboxName) -> Option<UserId> {
        self.shared.store.namespace().owner_of(name)
    }
}

/// The mailboxes that the replica has under another name.
fn moved(failed: &[Failed], locals: &[crate::plan::folders::LocalFolder]) -> Vec<UniqueId> {
    failed
        .iter()
        .filter(|(_, error)| error.refusal() == Some(Refusal::MailboxMoved))
        .filter_map(|(name, _)| locals.iter().find(|folder| folder.name == *name))
        .map(|folder| folder.unique_id.clone())
        .collect()
}

/// Makes one error of those of several mailboxes; each is logged. A locked one is only late.
fn summary(failed: Vec<Failed>) -> Result<(), SyncError> {
    for (name, error) in &failed {
        if error.failure() == Failure::Locked {
            tracing::info!(sync_mailbox = %name, "{name} is left for later: {error}");
        } else {
            tracing::error!(
                message_id = event::FAILED,
                sync_mailbox = %name,
                sync_result = "failed",
                "do_folders(): update failed: {name} '{error}'"
            );
        }
    }
    if failed.is_empty() {
        Ok(())
    } else {
        Err(SyncError::Mailboxes { failed })
    }
}
