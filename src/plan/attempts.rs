//! How often a mailbox is tried, and in which way, until it is up to date or given up
//! (algorithm §5.5).

/// One way to send a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// A delta to the replica's state as it was listed.
    Delta,
    /// List the replica's state again, then send a delta to that.
    FreshDelta,
    /// List the replica's state again, calculate the local CRCs anew, and send without the SINCE
    /// keys, so that only the resulting CRC decides.
    Repeat,
    /// Merge both sides (`FULLMAILBOX`), then [`Repeat`](Attempt::Repeat).
    FullUpdate,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The replica took it, or nothing had to be sent.
    Done,
    /// `IMAP_SYNC_CHECKSUM`: the replica has something that the update does not explain.
    Checksum,
    /// `IMAP_SYNC_CHANGED`: the replica is not in the state that the delta starts from.
    Changed,
    /// Nothing was sent, because a delta would leave expunges out.
    LostHistory,
    /// Anything else; trying again at once cannot help.
    Failed,
}

/// What to do after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The mailbox is up to date.
    Finished,
    /// Try in this way.
    Try(Attempt),
    /// Give up; the last outcome is the result.
    GiveUp,
}

/// The attempts at one mailbox. Never more than six, whatever the replica answers.
#[derive(Clone, Debug)]
pub struct Attempts {
    current: Attempt,
    fresh_deltas: u8,
    copy_back: bool,
}

impl Attempts {
    /// How often a replica that keeps changing under our hands is listed again.
    const MAX_FRESH_DELTAS: u8 = 3;

    /// Begins with a delta. Without `copy_back` (the option `-O`) the master is never changed.
    pub fn new(copy_back: bool) -> Attempts {
        Attempts {
            current: Attempt::Delta,
            fresh_deltas: 0,
            copy_back,
        }
    }

    /// The attempt to make.
    pub fn current(&self) -> Attempt {
        self.current
    }

    /// Whether the attempt sends all records, not just those above the replica's modseq: when
    /// forced, the replica gives in to every one of them, and nothing else can mend it.
    pub fn sends_everything(&self) -> bool {
        self.current == Attempt::Repeat && !self.copy_back
    }

    /// Takes the outcome of the current attempt and decides what comes next.
    pub fn after(&mut self, outcome: Outcome) -> Next {
        let is_delta = matches!(self.current, Attempt::Delta | Attempt::FreshDelta);
        let attempt = match outcome {
            Outcome::Done => return Next::Finished,
            Outcome::Changed if is_delta && self.fresh_deltas < Attempts::MAX_FRESH_DELTAS => {
                self.fresh_deltas += 1;
                Attempt::FreshDelta
            }
            Outcome::Checksum if is_delta => Attempt::Repeat,
            Outcome::LostHistory if is_delta && self.copy_back => Attempt::FullUpdate,
            Outcome::Checksum if self.current == Attempt::Repeat && self.copy_back => {
                Attempt::FullUpdate
            }
            _ => return Next::GiveUp,
        };
        self.current = attempt;
        Next::Try(attempt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(copy_back: bool, outcomes: &[Outcome]) -> Vec<Next> {
        let mut attempts = Attempts::new(copy_back);
        outcomes
            .iter()
            .map(|outcome| attempts.after(*outcome))
            .collect()
    }

    /// The sequence verified with the original (algorithm §5.5).
    #[test]
    fn checksum_failures_lead_to_a_full_update() {
        assert_eq!(
            run(true, &[Outcome::Checksum, Outcome::Checksum, Outcome::Done]),
            [
                Next::Try(Attempt::Repeat),
                Next::Try(Attempt::FullUpdate),
                Next::Finished
            ]
        );
        assert_eq!(
            run(true, &[Outcome::Checksum; 3]).last(),
            Some(&Next::GiveUp)
        );
    }

    #[test]
    fn without_copy_back_the_master_is_never_merged() {
        assert_eq!(
            run(false, &[Outcome::Checksum, Outcome::Checksum]),
            [Next::Try(Attempt::Repeat), Next::GiveUp]
        );
        assert_eq!(run(false, &[Outcome::LostHistory]), [Next::GiveUp]);
        for (copy_back, everything) in [(false, true), (true, false)] {
            let mut attempts = Attempts::new(copy_back);
            assert!(!attempts.sends_everything());
            attempts.after(Outcome::Checksum);
            assert_eq!(attempts.sends_everything(), everything);
        }
    }

    #[test]
    fn lost_history_needs_a_full_update_at_once() {
        assert_eq!(
            run(true, &[Outcome::LostHistory, Outcome::Done]),
            [Next::Try(Attempt::FullUpdate), Next::Finished]
        );
    }

    #[test]
    fn a_changed_replica_is_listed_again_a_bounded_number_of_times() {
        let fresh = Next::Try(Attempt::FreshDelta);
        assert_eq!(
            run(true, &[Outcome::Changed; 4]),
            [fresh, fresh, fresh, Next::GiveUp]
        );
        assert_eq!(
            run(true, &[Outcome::Changed, Outcome::Checksum]),
            [fresh, Next::Try(Attempt::Repeat)]
        );
    }

    #[test]
    fn every_sequence_of_answers_ends() {
        let all = [
            Outcome::Checksum,
            Outcome::Changed,
            Outcome::LostHistory,
            Outcome::Failed,
        ];
        let mut open = vec![Attempts::new(true)];
        for length in 1.. {
            open = open
                .iter()
                .flat_map(|attempts| all.map(|outcome| (attempts.clone(), outcome)))
                .filter_map(|(mut attempts, outcome)| match attempts.after(outcome) {
                    Next::Try(_) => Some(attempts),
                    Next::Finished | Next::GiveUp => None,
                })
                .collect();
            assert!(length <= 6, "still trying after {length} answers");
            if open.is_empty() {
                break;
            }
        }
    }
}
