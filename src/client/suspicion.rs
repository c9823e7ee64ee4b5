//! Which mailbox may be the reason why connections break.

use std::collections::HashSet;

use crate::mail::MailboxName;

/// What was learnt from the connections that one item has cost. After the first loss each mailbox is
/// finished before the next begins, so that one that kills the replica's process is found out: if the
/// connection breaks during it, it waits until all others are done, and is tried once more then. Only
/// if that costs a connection, too, it is given up: lines break for other reasons as well.
#[derive(Debug, Default)]
pub(super) struct Suspicion {
    careful: bool,
    /// Mailboxes that wait until all others are done.
    suspects: HashSet<MailboxName>,
    /// Those that are tried once more.
    on_trial: HashSet<MailboxName>,
    /// Those that are given up.
    convicted: HashSet<MailboxName>,
    /// Connections lost since the replica took something.
    losses: u32,
    /// Connections lost in all.
    all_losses: u32,
}

/// How many connections in a row an item may cost without that the replica takes anything.
const LOST_CONNECTIONS: u32 = 4;
/// How many it may cost in all: what is taken again and again brings nobody forward.
const MOST_LOST_CONNECTIONS: u32 = 32;

impl Suspicion {
    /// Whether each mailbox is to be finished before the next begins.
    pub fn is_careful(&self) -> bool {
        self.careful
    }

    /// Whether the mailbox is left out now.
    pub fn leaves_out(&self, name: &MailboxName) -> bool {
        self.suspects.contains(name) || self.convicted.contains(name)
    }

    /// The connection broke during a mailbox.
    pub fn lost_during(&mut self, name: &MailboxName) {
        if !self.careful {
            return;
        }
        let list = match self.on_trial.remove(name) {
            true => &mut self.convicted,
            false => &mut self.suspects,
        };
        list.insert(name.clone());
    }

    /// The replica has taken something of a mailbox, which speaks for it and for the line.
    pub fn taken(&mut self, name: &MailboxName) {
        self.losses = 0;
        self.on_trial.remove(name);
    }

    /// A connection was lost; whether it is worth while to go on over another.
    pub fn goes_on_after_loss(&mut self) -> bool {
        self.careful = true;
        self.losses += 1;
        self.all_losses += 1;
        self.losses < LOST_CONNECTIONS && self.all_losses < MOST_LOST_CONNECTIONS
    }

    /// All else is done: whether there are mailboxes to be tried once more.
    pub fn gives_second_chance(&mut self) -> bool {
        self.on_trial = std::mem::take(&mut self.suspects);
        !self.on_trial.is_empty()
    }

    /// Whether a mailbox was given up.
    pub fn has_convicted(&self) -> bool {
        !self.convicted.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> MailboxName {
        MailboxName::parse(text).unwrap()
    }

    #[test]
    fn a_mailbox_that_breaks_each_connection_is_given_up_when_all_else_is_done() {
        let ill = name("user.a.ill");
        let mut suspicion = Suspicion::default();
        suspicion.lost_during(&ill);
        assert!(suspicion.goes_on_after_loss() && !suspicion.leaves_out(&ill));
        suspicion.lost_during(&ill);
        assert!(suspicion.goes_on_after_loss() && suspicion.leaves_out(&ill));
        assert!(suspicion.gives_second_chance() && !suspicion.leaves_out(&ill));
        suspicion.lost_during(&ill);
        assert!(suspicion.goes_on_after_loss() && suspicion.leaves_out(&ill));
        assert!(!suspicion.gives_second_chance() && suspicion.has_convicted());
    }

    #[test]
    fn a_mailbox_of_which_something_is_taken_is_none_that_kills() {
        let large = name("user.a.large");
        let mut suspicion = Suspicion::default();
        for _ in 0..3 * LOST_CONNECTIONS {
            suspicion.lost_during(&large);
            assert!(suspicion.goes_on_after_loss());
            suspicion.gives_second_chance();
            assert!(!suspicion.leaves_out(&large));
            suspicion.taken(&large);
        }
        assert!(!suspicion.has_convicted());
    }

    #[test]
    fn losses_come_to_an_end() {
        let mut suspicion = Suspicion::default();
        let more = (0..).take_while(|_| suspicion.goes_on_after_loss()).count();
        assert_eq!(more as u32, LOST_CONNECTIONS - 1);
        let mut suspicion = Suspicion::default();
        let more = (0..).take_while(|_| {
            suspicion.taken(&name("user.a"));
            suspicion.goes_on_after_loss()
        });
        assert_eq!(more.count() as u32, MOST_LOST_CONNECTIONS - 1);
    }
}
