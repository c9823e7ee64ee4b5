//! Users who are passed over because both sides have the same digest of their state
//! (docs/protocol-extensions.md, X-DIGEST).

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::client::activity::Sent;
use crate::client::error::SyncError;
use crate::client::meta::states_in;
use crate::client::peer::PeerError;
use crate::client::session::Session;
use crate::exchange::UserState;
use crate::mail::UserId;
use crate::protocol::command::{Answer, Get, StateDigest};
use crate::spool::cyrusdb::Create;
use crate::spool::quota::QuotaRoot;
use crate::spool::store::home_of;

/// Users in one request. Ours are worked out while the replica works on the same ones.
const AT_ONCE: usize = 64;

impl Session {
    /// Takes those users out of the list about whom there is nothing to replicate, and tells
    /// their results.
    ///
    /// # Errors
    /// If the connection is lost or the program is to end; then more users stay than need to.
    pub async fn leave_out_unchanged(&mut self, users: &mut Vec<UserId>) -> Result<(), SyncError> {
        if !self.peer.tells_digests || !self.scripts_are_messages {
            return Ok(());
        }
        let mut requests = Vec::new();
        for some in users.chunks(AT_ONCE) {
            let ticket = self.peer.send_get(&Get::Digests(some.to_vec())).await?;
            requests.push((some.to_vec(), ticket));
        }
        users.clear();
        let mut result = Ok(());
        for (some, ticket) in requests {
            let start = Instant::now();
            let ours: Vec<Option<StateDigest>> =
                some.iter().map(|user| self.digest_of(user)).collect();
            let digests = match self.peer.answer(ticket).await {
                Ok(answers) => digests_of(answers),
                Err(error) => {
                    users.extend(some);
                    result = result.and(trouble(error));
                    continue;
                }
            };
            for (user, ours) in some.into_iter().zip(ours) {
                if ours.is_some() && ours.as_ref() == digests.get(&user) {
                    self.reporter().action(&format!("USER {user}"));
                    self.tell_user(&user, &Ok(()), start, Sent::default());
                } else {
                    users.push(user);
                }
            }
            if result.is_ok() {
                result = self.shared.go_on();
            }
        }
        result
    }

    /// The digest of our state of a user. If it cannot be told, or another process replicates the
    /// user, there is none: the ordinary way then tells what is the matter.
    fn digest_of(&mut self, user: &UserId) -> Option<StateDigest> {
        let ours = self
            .shared
            .lock(Some(user), Duration::ZERO)
            .and_then(|_locked| self.state_of(user));
        match ours {
            Ok(state) => state.map(UserState::digest),
            Err(error) => {
                tracing::debug!(sync_user = %user, "no digest of {user}: {error}");
                None
            }
        }
    }

    /// What the replica must tell of a user for nothing to be sent; `None` if something is sent
    /// in any case.
    fn state_of(&mut self, user: &UserId) -> Result<Option<UserState>, SyncError> {
        let partition = self.shared.settings.partition.clone();
        let Some((inbox, mailboxes)) = self.local.mailboxes_of(user, partition.as_ref())? else {
            return Ok(None);
        };
        let (store, home) = (&self.shared.store, home_of(user, Some(&inbox)));
        // As the replica does: the roots that the mailboxes themselves name.
        let named = mailboxes
            .iter()
            .filter_map(|item| item.quota_root.as_deref());
        let roots = named.filter_map(|root| QuotaRoot::parse(root).ok());
        Ok(Some(UserState {
            quotas: self.quota_roots(user, roots)?,
            seen: states_in(store.seen_at(home, Create::No)?)?,
            subscriptions: store.subscriptions_at(home, user)?,
            mailboxes,
        }))
    }
}

fn digests_of(answers: Vec<Answer>) -> HashMap<UserId, StateDigest> {
    let digests = answers.into_iter().filter_map(|answer| match answer {
        Answer::Digest(digest) => Some((digest.user, digest.digest)),
        _ => None,
    });
    digests.collect()
}

/// A replica that refuses to tell digests is asked in the ordinary way.
fn trouble(error: PeerError) -> Result<(), SyncError> {
    if error.leaves_connection_usable() {
        tracing::info!("no digests: {error}");
        Ok(())
    } else {
        Err(error.into())
    }
}
