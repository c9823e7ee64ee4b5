//! Over how many connections the work is shared.

use std::time::Duration;

/// How many connections: few towards a replica nearby, where each keeps a processor busy, more
/// towards one far away, where each waits for answers most of the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Jobs {
    near: u8,
    most: u8,
}

/// Connections towards a replica nearby, at most: servers limit how many they serve.
const MOST_NEAR: usize = 4;

/// An answer that takes so much longer is worth one more connection.
const STEP: Duration = Duration::from_millis(10);

impl Jobs {
    /// As many as were asked for, wherever the replica is.
    pub fn exactly(jobs: u8) -> Jobs {
        let jobs = jobs.max(1);
        Jobs {
            near: jobs,
            most: jobs,
        }
    }

    /// What suits a machine with so many processors: two for each, at most four, towards a replica
    /// nearby, and up to twice as many towards one far away.
    pub fn suiting(processors: usize) -> Jobs {
        let near = u8::try_from(processors.saturating_mul(2).clamp(1, MOST_NEAR)).unwrap_or(1);
        Jobs {
            near,
            most: near.saturating_mul(2),
        }
    }

    /// No more than there are items of work.
    pub fn limited_to(self, items: usize) -> Jobs {
        let items = u8::try_from(items).unwrap_or(u8::MAX).max(1);
        Jobs {
            near: self.near.min(items),
            most: self.most.min(items),
        }
    }

    /// Connections that are wanted wherever the replica is; at least one.
    pub fn near(self) -> u8 {
        self.near
    }

    /// Connections at most.
    pub fn most(self) -> u8 {
        self.most
    }

    /// Connections to a replica whose answer to a small request took so long.
    pub fn towards(self, answer_time: Duration) -> u8 {
        let steps = answer_time.as_millis() / STEP.as_millis();
        let more = u8::try_from(steps).unwrap_or(u8::MAX);
        self.near.saturating_add(more).min(self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_further_the_more() {
        let towards = |processors, milliseconds| {
            Jobs::suiting(processors).towards(Duration::from_millis(milliseconds))
        };
        assert_eq!(
            [0, 1, 2, 64].map(|processors| towards(processors, 0)),
            [1, 2, 4, 4]
        );
        assert_eq!(
            [9, 10, 25, 40, 100].map(|time| towards(2, time)),
            [4, 5, 6, 8, 8]
        );
        assert_eq!([9, 10, 100].map(|time| towards(1, time)), [2, 3, 4]);
        let years = Duration::from_secs(u64::MAX);
        assert_eq!(Jobs::suiting(usize::MAX).towards(years), 8);
    }

    #[test]
    fn what_was_asked_for_does_not_depend_on_the_distance() {
        for jobs in [1, 7, 255] {
            assert_eq!(Jobs::exactly(jobs).towards(Duration::ZERO), jobs);
            assert_eq!(Jobs::exactly(jobs).towards(Duration::from_secs(9)), jobs);
        }
        assert_eq!(Jobs::exactly(0).near(), 1);
    }

    #[test]
    fn no_more_connections_than_items() {
        let far = Duration::from_secs(1);
        let limited = |items| Jobs::suiting(2).limited_to(items);
        assert_eq!((limited(3).near(), limited(3).towards(far)), (3, 3));
        assert_eq!((limited(6).near(), limited(6).towards(far)), (4, 6));
        assert_eq!(limited(0).towards(far), 1);
        assert_eq!(limited(1000), Jobs::suiting(2));
    }
}
