//! Which mailboxes of the replica are renamed, deleted, updated or left alone
//! (algorithm §5.3 and §5.4).
//!
//! Mailboxes are the same if their unique ids are the same; names and partitions follow.

use std::collections::HashMap;

use crate::mail::{
    MailboxName, MailboxType, ModSeq, Partition, TypeFlags, Uid, UidValidity, UniqueId,
};

/// A mailbox of the master, or a name that exists there only because children exist.
#[derive(Clone, Debug)]
pub struct LocalFolder {
    /// Its name.
    pub name: MailboxName,
    /// Its unique id.
    pub unique_id: UniqueId,
    /// Its type, without the layout flag.
    pub mailbox_type: MailboxType,
    /// The partition that it shall have on the replica; `None` for an intermediate.
    pub partition: Option<Partition>,
    /// UIDVALIDITY; travels with a rename.
    pub uid_validity: UidValidity,
    /// Modseq of its creation.
    pub created_modseq: ModSeq,
    /// Modseq of its mailbox-list entry.
    pub folder_modseq: ModSeq,
    /// Names it had before, newest first.
    pub former_names: Vec<MailboxName>,
}

/// A mailbox of the replica, as it was listed.
#[derive(Clone, Debug)]
pub struct RemoteFolder {
    /// Its name.
    pub name: MailboxName,
    /// Its unique id.
    pub unique_id: UniqueId,
    /// Its type.
    pub mailbox_type: MailboxType,
    /// Its partition; `None` for an intermediate.
    pub partition: Option<Partition>,
    /// Highest UID ever assigned; zero means that it never held a message.
    pub last_uid: Uid,
    /// Modseq of its creation.
    pub created_modseq: ModSeq,
    /// Modseq of its mailbox-list entry.
    pub folder_modseq: ModSeq,
}

fn is_intermediate(mailbox_type: MailboxType) -> bool {
    mailbox_type.flags.contains(TypeFlags::INTERMEDIATE)
}

/// What the master knows of a mailbox that only the replica listed, by its unique id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was deleted here. Nothing else allows a deletion on the replica.
    Tombstone,
    /// It lives here, under a name that is not among the local folders of this pass.
    Alive(MailboxName),
    /// The master never heard of it, or no longer remembers.
    Unknown,
}

/// What to do, in this order: [`rearrangements`](FolderPlan::rearrangements),
/// [`updates`](FolderPlan::updates), [`deletions`](FolderPlan::deletions).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FolderPlan {
    /// Renames, and deletions of mailboxes whose name is needed, in the order of execution.
    pub rearrangements: Vec<Rearrangement>,
    /// The mailboxes to compare and to update, in the order of the local list. Empty if
    /// something is renamed: the replica must be listed again first.
    pub updates: Vec<Update>,
    /// Remote folders to delete after the updates (indices; children first).
    pub deletions: Vec<usize>,
    /// What stands in the way or is left alone.
    pub findings: Vec<Finding>,
}

/// One step that makes names and partitions agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rearrangement {
    /// `UNMAILBOX` of the remote folder with this index.
    Delete(usize),
    /// `RENAME`.
    Rename(Rename),
}

/// A mailbox that gets another name, another partition, or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rename {
    /// Index of the local folder it belongs to.
    pub local: usize,
    /// Present name on the replica.
    pub old: MailboxName,
    /// Name afterwards.
    pub new: MailboxName,
    /// Partition afterwards.
    pub partition: Option<Partition>,
    /// The master's UIDVALIDITY.
    pub uid_validity: UidValidity,
}

/// A mailbox to bring up to date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Update {
    /// Index of the local folder.
    pub local: usize,
    /// Index of the remote folder with the same unique id.
    pub remote: Option<usize>,
}

/// Something that the plan could not settle. The mailbox concerned is left as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// A remote folder has no counterpart and no tombstone: it stays.
    NoTombstone {
        /// Index of the remote folder.
        remote: usize,
    },
    /// A remote folder lives on the master under a name outside this pass. A pass that includes
    /// this name will rename it.
    LivesElsewhere {
        /// Index of the remote folder.
        remote: usize,
        /// Its name on the master.
        name: MailboxName,
    },
    /// The wanted name belongs to another mailbox of the replica, which stays. Nothing is sent
    /// for this local folder.
    NameTaken {
        /// Index of the local folder.
        local: usize,
        /// Index of the remote folder that has the name.
        remote: usize,
    },
    /// The mailbox stands in a circle of renames and there is no free name to break it.
    NoFreeName {
        /// Index of the local folder.
        local: usize,
    },
}

impl FolderPlan {
    /// Whether the replica must be listed again before mailboxes are updated.
    pub fn must_list_again(&self) -> bool {
        self.rearrangements
            .iter()
            .any(|step| matches!(step, Rearrangement::Rename(_)))
    }
}

/// Compares the mailboxes of both sides.
///
/// `fate` is asked about each remote folder without a counterpart. `free_name` proposes a name
/// for a mailbox in a circle of renames whose former names are all in use. `force` tells whether
/// the server is in force mode: it then replaces a mailbox that has a wanted name but another
/// unique id.
///
/// # Errors
/// Those of `fate`.
pub fn compare<E>(
    locals: &[LocalFolder],
    remotes: &[RemoteFolder],
    force: bool,
    fate: impl FnMut(&RemoteFolder) -> Result<Fate, E>,
    free_name: impl FnMut(&LocalFolder) -> Option<MailboxName>,
) -> Result<FolderPlan, E> {
    let mut comparison = Comparison::new(locals, remotes, force);
    comparison.match_by_id();
    comparison.judge_unmatched(fate)?;
    comparison.order_renames(free_name);
    comparison.choose_updates();
    Ok(comparison.finish())
}

/// What becomes of a remote folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// Not judged yet.
    Unmatched,
    /// It belongs to this local folder.
    Matched(usize),
    /// It will be deleted, or has been by an earlier rearrangement.
    Doomed { executed: bool },
    /// Nothing may be done to it.
    Stays,
}

struct Comparison<'a> {
    locals: &'a [LocalFolder],
    remotes: &'a [RemoteFolder],
    force: bool,
    roles: Vec<Role>,
    /// The remote folder of each local one.
    matches: Vec<Option<usize>>,
    /// Who has a name on the replica, kept up to date while renames are ordered.
    occupants: HashMap<MailboxName, usize>,
    plan: FolderPlan,
    blocked: Vec<bool>,
}

impl<'a> Comparison<'a> {
    fn new(locals: &'a [LocalFolder], remotes: &'a [RemoteFolder], force: bool) -> Comparison<'a> {
        let occupants = remotes
            .iter()
            .enumerate()
            .map(|(index, remote)| (remote.name.clone(), index))
            .collect();
        Comparison {
            locals,
            remotes,
            force,
            roles: vec![Role::Unmatched; remotes.len()],
            matches: vec![None; locals.len()],
            occupants,
            plan: FolderPlan::default(),
            blocked: vec![false; locals.len()],
        }
    }

    fn match_by_id(&mut self) {
        let by_id: HashMap<&UniqueId, usize> = self
            .remotes
            .iter()
            .enumerate()
            .rev()
            .map(|(index, remote)| (&remote.unique_id, index))
            .collect();
        for (index, local) in self.locals.iter().enumerate() {
            let Some(&found) = by_id.get(&local.unique_id) else {
                continue;
            };
            let was_deleted = is_intermediate(local.mailbox_type)
                && !is_intermediate(self.remotes[found].mailbox_type);
            if was_deleted {
                self.roles[found] = Role::Doomed { executed: false };
            } else if self.roles[found] == Role::Unmatched {
                self.roles[found] = Role::Matched(index);
                self.matches[index] = Some(found);
            }
        }
    }

    fn judge_unmatched<E>(
        &mut self,
        mut fate: impl FnMut(&RemoteFolder) -> Result<Fate, E>,
    ) -> Result<(), E> {
        for (index, remote) in self.remotes.iter().enumerate() {
            if self.roles[index] != Role::Unmatched {
                continue;
            }
            let finding = match fate(remote)? {
                Fate::Tombstone => {
                    self.roles[index] = Role::Doomed { executed: false };
                    continue;
                }
                Fate::Alive(name) => Finding::LivesElsewhere {
                    remote: index,
                    name,
                },
                Fate::Unknown => Finding::NoTombstone { remote: index },
            };
            self.roles[index] = Role::Stays;
            self.plan.findings.push(finding);
        }
        Ok(())
    }

    fn order_renames(&mut self, mut free_name: impl FnMut(&LocalFolder) -> Option<MailboxName>) {
        let mut pending = self.wanted_renames();
        while !pending.is_empty() {
            let before = pending.len();
            pending.retain(|rename| !self.settle(rename));
            if pending.len() == before {
                self.break_circle(&mut pending, &mut free_name);
            }
        }
    }

    fn wanted_renames(&self) -> Vec<Rename> {
        let mut renames = Vec::new();
        for (index, local) in self.locals.iter().enumerate() {
            let Some(remote) = self.matches[index].map(|found| &self.remotes[found]) else {
                continue;
            };
            let moves = match (&local.partition, &remote.partition) {
                (Some(wanted), Some(present)) => wanted != present,
                _ => false,
            };
            if moves || local.name != remote.name {
                renames.push(Rename {
                    local: index,
                    old: remote.name.clone(),
                    new: local.name.clone(),
                    partition: local.partition.clone(),
                    uid_validity: local.uid_validity,
                });
            }
        }
        renames
    }

    /// Executes the rename if its new name is free, gives it up if the name will never be free;
    /// false if it has to wait.
    fn settle(&mut self, rename: &Rename) -> bool {
        let occupant = self
            .occupant(&rename.new)
            .filter(|_| rename.old != rename.new);
        match occupant.map(|occupant| (occupant, self.roles[occupant])) {
            None => self.execute(rename.clone()),
            Some((occupant, Role::Doomed { .. })) => {
                self.delete_now(occupant);
                self.execute(rename.clone());
            }
            Some((_, Role::Matched(owner))) if self.will_move(owner) => return false,
            Some((occupant, _)) => {
                self.blocked[rename.local] = true;
                self.plan.findings.push(Finding::NameTaken {
                    local: rename.local,
                    remote: occupant,
                });
            }
        }
        true
    }

    /// The remote folder that keeps others from taking the name: an intermediate does not.
    fn occupant(&self, name: &MailboxName) -> Option<usize> {
        self.occupants
            .get(name)
            .copied()
            .filter(|index| !is_intermediate(self.remotes[*index].mailbox_type))
    }

    /// Whether the replica's mailbox of this local folder still waits to be renamed.
    fn will_move(&self, local: usize) -> bool {
        !self.blocked[local]
            && self.matches[local]
                .is_some_and(|remote| self.occupants.get(&self.locals[local].name) != Some(&remote))
    }

    fn execute(&mut self, rename: Rename) {
        if let Some(remote) = self.occupants.remove(&rename.old) {
            self.occupants.insert(rename.new.clone(), remote);
        }
        self.plan.rearrangements.push(Rearrangement::Rename(rename));
    }

    fn delete_now(&mut self, remote: usize) {
        self.roles[remote] = Role::Doomed { executed: true };
        self.occupants.remove(&self.remotes[remote].name);
        self.plan.rearrangements.push(Rearrangement::Delete(remote));
    }

    /// All of `pending` wait for each other, so each stands in a circle (no name is wanted
    /// twice). Moves one of them out of the way, to a former name if one is free.
    fn break_circle(
        &mut self,
        pending: &mut Vec<Rename>,
        free_name: &mut impl FnMut(&LocalFolder) -> Option<MailboxName>,
    ) {
        let local = &self.locals[pending[0].local];
        let is_free = |name: &MailboxName| {
            !self.occupants.contains_key(name) && !pending.iter().any(|other| other.new == *name)
        };
        let detour = local
            .former_names
            .iter()
            .find(|name| is_free(name))
            .cloned()
            .or_else(|| free_name(local).filter(is_free));
        match detour {
            Some(name) => {
                let present = self.matches[pending[0].local]
                    .and_then(|remote| self.remotes[remote].partition.clone());
                let mut first_half = pending[0].clone();
                first_half.new = name.clone();
                first_half.partition = present.or(first_half.partition);
                self.execute(first_half);
                pending[0].old = name;
            }
            None => {
                let local = pending.remove(0).local;
                self.blocked[local] = true;
                self.plan.findings.push(Finding::NoFreeName { local });
            }
        }
    }

    fn choose_updates(&mut self) {
        if self.plan.must_list_again() {
            return;
        }
        for (index, local) in self.locals.iter().enumerate() {
            if self.blocked[index] {
                continue;
            }
            let remote = self.matches[index];
            if remote.is_some_and(|remote| is_same_intermediate(local, &self.remotes[remote])) {
                continue;
            }
            if remote.is_none() && !self.make_room(index) {
                continue;
            }
            self.plan.updates.push(Update {
                local: index,
                remote,
            });
        }
    }

    /// Sees to it that a mailbox can be created under its name; false if it cannot.
    fn make_room(&mut self, local: usize) -> bool {
        let Some(occupant) = self.occupant(&self.locals[local].name) else {
            return true;
        };
        // The server replaces a mailbox that is empty or when forced, but only by a real mailbox:
        // an intermediate would just hide the messages.
        let replaceable = !is_intermediate(self.locals[local].mailbox_type)
            && (self.force || self.remotes[occupant].last_uid == Uid(0));
        match self.roles[occupant] {
            Role::Doomed { .. } => self.delete_now(occupant),
            Role::Stays if replaceable => {}
            Role::Unmatched | Role::Stays | Role::Matched(_) => {
                self.plan.findings.push(Finding::NameTaken {
                    local,
                    remote: occupant,
                });
                return false;
            }
        }
        true
    }

    fn finish(mut self) -> FolderPlan {
        if self.plan.must_list_again() {
            return self.plan;
        }
        let doomed = |index: &usize| self.roles[*index] == Role::Doomed { executed: false };
        let mut deletions: Vec<usize> = (0..self.remotes.len()).filter(doomed).collect();
        deletions.sort_by(|a, b| self.remotes[*b].name.cmp(&self.remotes[*a].name));
        self.plan.deletions = deletions;
        self.plan
    }
}

/// Whether an intermediate is known to the replica exactly as it is here.
fn is_same_intermediate(local: &LocalFolder, remote: &RemoteFolder) -> bool {
    is_intermediate(local.mailbox_type)
        && local.mailbox_type.on_wire() == remote.mailbox_type.on_wire()
        && local.name == remote.name
        && local.created_modseq == remote.created_modseq
        && local.folder_modseq == remote.folder_modseq
}

#[cfg(test)]
mod tests;
