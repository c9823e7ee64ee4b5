//! Sieve scripts, where they do not travel as messages (algorithm §7.3).
//!
//! On this side they are the messages of the user's Sieve mailbox (databases §14): the subject is
//! the name, the body the text, the active one is flagged.

use crate::client::error::SyncError;
use crate::client::local;
use crate::client::meta::RemoteMeta;
use crate::client::peer::Ticket;
use crate::client::session::Session;
use crate::mail::{MailboxKind, MailboxName, SystemFlags, UserId};
use crate::plan::meta::{self, SieveChange, sieve_changes};
use crate::protocol::command::{Apply, Script, ScriptFile, ScriptKey, ScriptState};
use crate::spool::SpoolError;
use crate::spool::mailboxes::Deleted;
use crate::spool::sieve;

/// A script here.
struct LocalScript {
    facts: meta::Script,
    text: Vec<u8>,
}

impl Session {
    /// Makes the replica's scripts like those of the user here. The answers are due.
    ///
    /// # Errors
    /// If the scripts cannot be read, or the connection is lost.
    pub(super) async fn scripts(
        &mut self,
        user: &UserId,
        remote: &RemoteMeta,
        sent: &mut Vec<Ticket>,
    ) -> Result<(), SyncError> {
        let scripts = self.local_scripts(user)?;
        let local: Vec<meta::Script> = scripts.iter().map(|script| script.facts.clone()).collect();
        let remote = of_replica(remote.scripts());
        for change in sieve_changes(&local, &remote) {
            let apply = match change {
                SieveChange::Upload(script) => {
                    let file = format!("{}.script", script.name);
                    self.reporter().action(&format!("SIEVE {user} {file}"));
                    let text = scripts.iter().find(|other| other.facts == *script);
                    Apply::Sieve(Script {
                        key: key(user, &file)?,
                        last_update: Some(script.last_update),
                        content: text.map(|script| script.text.clone()).unwrap_or_default(),
                    })
                }
                SieveChange::Activate(name) => {
                    let file = format!("{name}.bc");
                    self.reporter()
                        .action(&format!("ACTIVATE_SIEVE {user} {file}"));
                    Apply::ActivateSieve(key(user, &file)?)
                }
                SieveChange::Deactivate => {
                    self.reporter().action(&format!("UNACTIVATE_SIEVE {user}"));
                    Apply::UnactivateSieve(user.clone())
                }
                SieveChange::Delete(name) => {
                    let file = format!("{name}.script");
                    self.reporter().action(&format!("UNSIEVE {user} {file}"));
                    Apply::Unsieve(key(user, &file)?)
                }
            };
            self.send_change(&apply, sent).await?;
        }
        Ok(())
    }

    fn local_scripts(&mut self, user: &UserId) -> Result<Vec<LocalScript>, SyncError> {
        let store = self.local.store().clone();
        let entries = self.local.list().of_user(user, Deleted::Skip)?;
        let mailbox = entries
            .iter()
            .find(|entry| entry.is_real() && entry.mailbox_type.kind == MailboxKind::Sieve);
        let Some(entry) = mailbox else {
            return Ok(Vec::new());
        };
        let scripts = local::read(&store, entry, |mailbox| {
            let mut scripts = Vec::new();
            for stored in mailbox.records() {
                let record = stored?.record;
                if !record.is_live() {
                    continue;
                }
                let path = mailbox.message_path(&record);
                let damaged = |what: String| SyncError::FileDamaged {
                    mailbox: entry.name.clone(),
                    uid: record.uid,
                    path: path.clone(),
                    what,
                };
                let message = store.disk.read(&path).map_err(SpoolError::from)?;
                let message = message.ok_or_else(|| damaged("it is missing".to_owned()))?;
                let script =
                    sieve::Script::parse(&message).map_err(|error| damaged(error.to_string()))?;
                scripts.push(LocalScript {
                    facts: meta::Script {
                        name: script.name.as_str().to_owned(),
                        last_update: record.internal_date,
                        guid: script.content_id,
                        is_active: record.system_flags.contains(SystemFlags::FLAGGED),
                    },
                    text: script.content,
                });
            }
            Ok(scripts)
        })?;
        Ok(scripts.unwrap_or_default())
    }

    /// Whether the mailbox holds Sieve scripts.
    ///
    /// # Errors
    /// If the mailbox list cannot be read.
    pub(super) fn holds_scripts(&mut self, name: &MailboxName) -> Result<bool, SyncError> {
        let entry = self.local.list().find(name)?;
        Ok(entry.is_some_and(|entry| entry.mailbox_type.kind == MailboxKind::Sieve))
    }
}

/// The replica's scripts; a `.bc` line only tells which one is active (commands §2.2).
fn of_replica(states: &[ScriptState]) -> Vec<meta::Script> {
    let is_active = |name: &str| {
        states
            .iter()
            .any(|state| state.active && state.file.bytecode_name() == Some(name))
    };
    states
        .iter()
        .filter_map(|state| {
            let name = state.file.script_name()?;
            Some(meta::Script {
                name: name.to_owned(),
                last_update: state.last_update,
                guid: state.guid,
                is_active: state.active || is_active(name),
            })
        })
        .collect()
}

fn key(user: &UserId, file: &str) -> Result<ScriptKey, SyncError> {
    let parsed = ScriptFile::parse(file).map_err(|problem| SyncError::ScriptName {
        user: user.clone(),
        name: file.to_owned(),
        problem: problem.to_string(),
    })?;
    Ok(ScriptKey {
        user: user.clone(),
        file: parsed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::{Guid, UnixTime};

    #[test]
    fn bytecode_tells_what_is_active() {
        let state = |file: &str, active| ScriptState {
            file: ScriptFile::parse(file).unwrap(),
            last_update: UnixTime(1),
            guid: Guid::NULL,
            active,
        };
        let scripts = of_replica(&[
            state("a.script", false),
            state("b.script", false),
            state("b.bc", true),
        ]);
        let active: Vec<(&str, bool)> = scripts
            .iter()
            .map(|script| (script.name.as_str(), script.is_active))
            .collect();
        assert_eq!(active, [("a", false), ("b", true)]);
    }
}
