//! Users who are passed over because both sides have the same digest of their state
//! (docs/protocol-extensions.md, X-DIGEST).

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::client::activity::Sent;
use crate::client::error::SyncError;
use crate::client::peer::PeerError;
use crate::client::session::Session;
use crate::exchange::UserState;
use crate::mail::UserId;
use crate::protocol::command::{Answer, Get, StateDigest};

/// Users in one request. While the replica works on one request, ours are compared with the
/// answer to the last.
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
            let digests = match self.peer.answer(ticket).await {
                Ok(answers) => digests_of(answers),
                Err(error) => {
                    users.extend(some);
                    result = result.and(trouble(error));
                    continue;
                }
            };
            for user in some {
                let start = Instant::now();
                let theirs = digests.get(&user);
                if theirs.is_some_and(|theirs| self.has_digest(&user, theirs)) {
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

    /// Whether our state of a user has this digest. If it cannot be told, or another process
    /// replicates the user, it has not: the ordinary way then tells what is the matter.
    fn has_digest(&mut self, user: &UserId, digest: &StateDigest) -> bool {
        let ours = self
            .shared
            .lock(Some(user), Duration::ZERO)
            .and_then(|_locked| self.state_of(user));
        match ours {
            Ok(Some(state)) => state.digest() == *digest,
            Ok(None) => false,
            Err(error) => {
                tracing::debug!(sync_user = %user, "no digest of {user}: {error}");
                false
            }
        }
    }

    /// What the replica must tell of a user for nothing to be sent; `None` if something is sent
    /// in any case.
    fn state_of(&mut self, user: &UserId) -> Result<Option<UserState>, SyncError> {
        let partition = self.shared.settings.partition.clone();
        let Some(mailboxes) = self.local.mailboxes_of(user, partition.as_ref())? else {
            return Ok(None);
        };
        let names = mailboxes.iter().map(|item| &item.name);
        Ok(Some(UserState {
            quotas: self.quotas_in_use(user, names)?,
            seen: self.seen_states(user)?,
            subscriptions: self.shared.store.subscriptions(self.local.list(), user)?,
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
