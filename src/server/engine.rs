//! Carries out the requests of one session.

use std::collections::BTreeSet;
use std::sync::Arc;

use tracing::{debug, info, warn};

use super::failure::Failure;
use super::output::Output;
use super::{apply, get, reserve, restore};
use crate::mail::{Annotation, MailboxName};
use crate::protocol::command::{Answer, Apply, Get, Request, Restore};
use crate::protocol::greeting::{SIEVE_MAILBOX, UNMAILBOX_ID};
use crate::spool::SpoolError;
use crate::spool::annotations::AnnotationDb;
use crate::spool::disk::LockKind;
use crate::spool::mailbox::{CleanedUp, Mailbox};
use crate::spool::mailboxes::{MailboxEntry, MailboxList};
use crate::spool::staging::Staging;
use crate::spool::store::Store;

/// The state of one authenticated session, and what it may change.
#[derive(Debug)]
pub struct Engine {
    pub(super) store: Arc<Store>,
    pub(super) list: MailboxList,
    pub(super) staging: Staging,
    /// Force mode; it belongs to this session alone (commands §4.1).
    pub(super) force: bool,
    /// Whether Sieve scripts travel as messages.
    pub(super) sieve_mailbox: bool,
    /// Mailboxes with files or records of expunged messages that are to go.
    cleanup_due: BTreeSet<MailboxName>,
    /// The annotations of mailboxes, once they were needed.
    annotations: Option<AnnotationDb>,
}

impl Engine {
    /// An engine for a new session.
    ///
    /// # Errors
    /// If the mailbox list cannot be opened.
    pub fn new(store: Arc<Store>) -> Result<Engine, SpoolError> {
        Ok(Engine {
            list: store.mailbox_list()?,
            staging: store.staging(),
            store,
            force: false,
            sieve_mailbox: false,
            cleanup_due: BTreeSet::new(),
            annotations: None,
        })
    }

    /// Carries out one request; data lines go to `output`. When this returns, what the answer
    /// promises is on disk.
    ///
    /// # Errors
    /// Why the request was not carried out.
    pub fn handle(&mut self, request: Request, output: &mut Output<'_>) -> Result<(), Failure> {
        match request {
            Request::Get(request) => self.get(request, output),
            Request::Apply(request) => self.apply(request, output),
            // The files went to the staging area while they arrived.
            Request::Message(_) => Ok(()),
            Request::Restore(Restore::Mailbox(_, mailbox)) => restore::mailbox(self, &mailbox),
        }
    }

    /// RESTART: drops all reservations and removes their staged files.
    pub fn restart(&mut self) {
        self.staging.clear();
    }

    /// Notes a mailbox that is about to be closed for [`Engine::clean_up`], if it needs that.
    pub(super) fn note_cleanup(&mut self, mailbox: &Mailbox<'_>) {
        if mailbox.needs_cleanup() {
            self.cleanup_due.insert(mailbox.place().name.clone());
        }
    }

    /// Removes what `expunge_mode` no longer keeps of expunged messages in the mailboxes that
    /// the last request used. To be called after the answer: the client need not wait for it, and
    /// what fails is due again when the mailbox is next used.
    pub fn clean_up(&mut self) {
        while let Some(name) = self.cleanup_due.pop_first() {
            match self.clean_up_mailbox(&name) {
                Ok(done) => debug!(
                    sync_mailbox = %name,
                    "{name}: removed {} files, {} records of expunged messages", done.unlinked, done.removed
                ),
                Err(error) => warn!(sync_mailbox = %name, "{name}: cleanup failed: {error}"),
            }
        }
    }

    fn clean_up_mailbox(&mut self, name: &MailboxName) -> Result<CleanedUp, SpoolError> {
        let lock = self.store.locks.owner_of(name, LockKind::Exclusive)?;
        let entry = self.list.find(name)?;
        let place = match &entry {
            Some(entry) => self.store.place(entry)?,
            None => None,
        };
        let Some(place) = place else {
            return Ok(CleanedUp::default());
        };
        let locks = &self.store.locks;
        let exclusive = locks.mailbox(&lock, name, place.home(), LockKind::Exclusive)?;
        let done = self.store.mailboxes.clean_up(place, exclusive)?;
        Ok(done.unwrap_or_default())
    }

    /// The annotations of a mailbox itself.
    pub(super) fn annotations_of(
        &mut self,
        entries: &[&MailboxEntry],
    ) -> Result<Vec<Vec<Annotation>>, SpoolError> {
        let annotations = match self.annotations.take() {
            Some(annotations) => annotations,
            None => self.store.annotations()?,
        };
        let annotations = self.annotations.insert(annotations);
        self.store.annotations_of_mailboxes(annotations, entries)
    }

    /// The staging area, to which message files go while they arrive.
    pub fn staging(&mut self) -> &mut Staging {
        &mut self.staging
    }

    fn get(&mut self, request: Get, output: &mut Output<'_>) -> Result<(), Failure> {
        match request {
            Get::User(user) => user.map_or(Ok(()), |user| get::user(self, &user, output)),
            Get::Meta(user) => user.map_or(Ok(()), |user| get::meta(self, &user, output)),
            Get::Mailboxes(names) => get::mailboxes(self, &names, output),
            Get::UniqueIds(ids) => get::unique_ids(self, &ids, output),
            Get::FullMailbox(name) => get::full_mailbox(self, &name, output),
            Get::Quota(root) => root.map_or(Ok(()), |root| get::quota(self, &root, output)),
            Get::Annotation(mailbox) => get::annotations(self, mailbox.as_ref(), output),
            Get::Fetch(fetch) => get::fetch(self, &fetch, output),
            Get::FetchSieve(script) => get::fetch_sieve(self, &script, output),
            Get::Digests(users) => get::digests(self, &users, output),
        }
    }

    fn apply(&mut self, request: Apply, output: &mut Output<'_>) -> Result<(), Failure> {
        match request {
            Apply::Capabilities(names) => self.enable(names, output),
            Apply::Force => self.enable_force(),
            Apply::Reserve(request) => reserve::reserve(self, &request, output),
            Apply::Mailbox(_, argument) => apply::mailbox::apply(self, argument),
            Apply::Expunge(request) => apply::expunge::expunge(self, &request),
            Apply::Rename(_, request) => apply::rename::rename(self, &request),
            Apply::Unmailbox(_, request) => apply::remove::unmailbox(self, &request),
            Apply::Unuser(_, user) => {
                user.map_or(Ok(()), |user| apply::remove::unuser(self, &user))
            }
            Apply::Sub(subscription) => apply::meta::subscribe(self, &subscription),
            Apply::Unsub(subscription) => apply::meta::unsubscribe(self, &subscription),
            Apply::Seen(user, state) => apply::meta::seen(self, &user, &state),
            Apply::Quota(quota) => apply::quota::set(self, &quota),
            Apply::Unquota(root) => root.map_or(Ok(()), |root| apply::quota::remove(self, &root)),
            Apply::Annotation(key, value) => apply::meta::annotate(self, &key, &value),
            Apply::Unannotation(key) => apply::meta::annotate(self, &key, b""),
            Apply::Sieve(script) => apply::sieve::put(self, &script),
            Apply::Unsieve(script) => apply::sieve::delete(self, &script),
            Apply::ActivateSieve(script) => apply::sieve::activate(self, &script),
            Apply::UnactivateSieve(user) => apply::sieve::deactivate(self, &user),
        }
    }

    /// Enables the capabilities that we have and echoes them as they were spelled
    /// (wire-protocol §6).
    fn enable(&mut self, mut names: Vec<String>, output: &mut Output<'_>) -> Result<(), Failure> {
        let is = |name: &str, known: &str| name.eq_ignore_ascii_case(known);
        self.sieve_mailbox |= names.iter().any(|name| is(name, SIEVE_MAILBOX));
        // The other is understood always.
        names.retain(|name| is(name, SIEVE_MAILBOX) || is(name, UNMAILBOX_ID));
        Ok(output.answer(&Answer::Enabled(names))?)
    }

    fn enable_force(&mut self) -> Result<(), Failure> {
        if self.force {
            info!("SYNCNOTICE: force already enabled");
        } else {
            info!("SYNCNOTICE: enabling force mode");
        }
        self.force = true;
        Ok(())
    }

    /// The mailbox that the log and the errors of a request are about.
    pub(super) fn in_mailbox<T>(
        mailbox: &MailboxName,
        result: Result<T, SpoolError>,
    ) -> Result<T, Failure> {
        result.map_err(|error| Failure::Store(error.in_mailbox(mailbox)))
    }
}

#[cfg(test)]
mod tests;
