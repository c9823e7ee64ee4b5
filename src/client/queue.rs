//! Items that several connections share.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crate::client::jobs::Jobs;
use crate::client::worker::{Item, LOOK_FOR_WORK};
use crate::mail::UserId;

/// Users about whom the replica is asked at once, before it is their turn.
const ASK_AHEAD: usize = 16;

/// Users whose digests one connection compares before it looks for others again, at most.
const COMPARE: usize = 4096;

/// So many at least, unless all connections together have fewer: each share costs a round trip.
const WORTH_A_ROUND_TRIP: usize = 256;

/// Items that several connections share.
#[derive(Debug)]
pub struct Queue {
    stock: Mutex<Stock>,
    /// Connections that may share them.
    jobs: Jobs,
    /// How many there are, once it is known how far away the replica is.
    connections: OnceLock<u8>,
    failed: AtomicBool,
}

#[derive(Debug, Default)]
struct Stock {
    /// Users of whom it may turn out that nothing needs to be done.
    doubtful: VecDeque<UserId>,
    /// How many of them one connection takes at least.
    least_share: usize,
    /// Connections that are about to find that out.
    comparing: usize,
    /// What is to be replicated.
    items: VecDeque<Item>,
    /// That of which something was locked when it was its turn.
    locked: VecDeque<Item>,
}

impl Queue {
    /// A queue of these for so many connections.
    pub fn new(items: impl IntoIterator<Item = Item>, jobs: Jobs) -> Queue {
        let stock = Stock {
            items: items.into_iter().collect(),
            ..Stock::default()
        };
        Queue {
            stock: Mutex::new(stock),
            jobs,
            connections: OnceLock::new(),
            failed: AtomicBool::new(false),
        }
    }

    /// The same, but the users are to be compared by their digests before they are replicated.
    pub fn of_doubtful(items: impl IntoIterator<Item = Item>, jobs: Jobs) -> Queue {
        let mut stock = Stock::default();
        for item in items {
            match item {
                Item::User(user) => stock.doubtful.push_back(user),
                other => stock.items.push_back(other),
            }
        }
        let even_share = stock.doubtful.len().div_ceil(usize::from(jobs.near()));
        stock.least_share = even_share.min(WORTH_A_ROUND_TRIP);
        Queue {
            stock: Mutex::new(stock),
            ..Queue::new([], jobs)
        }
    }

    /// For how many connections it is.
    pub fn jobs(&self) -> Jobs {
        self.jobs
    }

    /// Tells how long the replica takes to answer, on which it depends how many connections there
    /// will be. Only the first time counts.
    pub fn answered_within(&self, answer_time: Duration) {
        self.connections
            .get_or_init(|| self.jobs.towards(answer_time));
    }

    /// Waits until it is known whether connection `number`, from 0, is wanted.
    pub async fn wants(&self, number: u8) -> bool {
        loop {
            if number < self.connections() {
                return true;
            }
            if self.connections.get().is_some() || self.is_exhausted() {
                return false;
            }
            tokio::time::sleep(LOOK_FOR_WORK).await;
        }
    }

    fn connections(&self) -> u8 {
        let known = self.connections.get().copied();
        known.unwrap_or_else(|| self.jobs.near())
    }

    /// One connection's share of the users who are to be compared; `None` if there are no more.
    pub fn share(&self) -> Option<Share<'_>> {
        let mut stock = self.lock();
        let even_share = stock
            .doubtful
            .len()
            .div_ceil(usize::from(self.connections()));
        let count = even_share.clamp(stock.least_share, COMPARE);
        let count = count.min(stock.doubtful.len());
        let users: Vec<UserId> = stock.doubtful.drain(..count).collect();
        if users.is_empty() {
            return None;
        }
        stock.comparing += 1;
        Some(Share { queue: self, users })
    }

    /// The next few items for one connection: fewer towards the end, so that all end together.
    pub fn some(&self) -> Vec<Item> {
        let mut stock = self.lock();
        let share = stock.items.len() / (2 * usize::from(self.connections()));
        let count = share.clamp(1, ASK_AHEAD).min(stock.items.len());
        stock.items.drain(..count).collect()
    }

    /// Whether everything was taken, and nothing can come any more.
    pub fn is_exhausted(&self) -> bool {
        let stock = self.lock();
        stock.items.is_empty() && stock.doubtful.is_empty() && stock.comparing == 0
    }

    /// Waits until no item is left that nobody works on.
    pub async fn nothing_left(&self) {
        while !self.is_exhausted() {
            tokio::time::sleep(LOOK_FOR_WORK).await;
        }
    }

    /// Puts an item at the very end.
    pub fn put_off(&self, item: Item) {
        self.lock().locked.push_back(item);
    }

    /// The next item that was put off.
    pub fn put_off_item(&self) -> Option<Item> {
        self.lock().locked.pop_front()
    }

    /// Whether something failed.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Something failed.
    pub fn fail(&self) {
        self.failed.store(true, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Stock> {
        self.stock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Users whom one connection compares. Those who are left when it is dropped are replicated.
#[derive(Debug)]
pub struct Share<'q> {
    queue: &'q Queue,
    /// The users.
    pub users: Vec<UserId>,
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        let mut stock = self.queue.lock();
        stock.comparing -= 1;
        stock.items.extend(self.users.drain(..).map(Item::User));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users(count: u32) -> impl Iterator<Item = Item> {
        (0..count).map(|number| Item::User(UserId::parse(&format!("u{number}")).unwrap()))
    }

    #[test]
    fn what_was_not_found_equal_is_replicated() {
        let queue = Queue::of_doubtful(users(100), Jobs::exactly(2));
        assert!(queue.some().is_empty());
        let mut share = queue.share().unwrap();
        assert_eq!(share.users.len(), 50);
        share.users.truncate(3);
        drop(share);
        assert_eq!(queue.some().len(), 1);
        let mut compared = 50;
        while let Some(mut share) = queue.share() {
            compared += share.users.len();
            share.users.clear();
            assert!(!queue.is_exhausted());
        }
        assert_eq!(compared, 100);
        assert_eq!(queue.some().len(), 1);
        assert_eq!(queue.some().len(), 1);
        assert!(queue.is_exhausted());
    }

    #[test]
    fn shares_are_large_enough_to_be_worth_a_round_trip() {
        for (all, jobs, expected) in [
            (1000, 4, vec![250, 250, 250, 250]),
            (3, 4, vec![1, 1, 1]),
            (2000, 4, vec![500, 375, 282, 256, 256, 256, 75]),
            (9000, 1, vec![4096, 4096, 808]),
        ] {
            let queue = Queue::of_doubtful(users(all), Jobs::exactly(jobs));
            let mut shares = Vec::new();
            while let Some(share) = queue.share() {
                shares.push(share.users.len());
            }
            assert_eq!(shares, expected);
        }
    }

    #[test]
    fn what_is_being_compared_may_come_back() {
        let queue = Queue::of_doubtful(users(1), Jobs::exactly(1));
        let share = queue.share();
        assert!(queue.share().is_none());
        assert!(!queue.is_exhausted());
        drop(share);
        assert_eq!(queue.some().len(), 1);
        assert!(queue.is_exhausted());
    }

    #[tokio::test]
    async fn far_replicas_get_more_connections() {
        for (answer_time, connections) in [(0, 4), (20, 6), (1000, 8)] {
            let queue = Queue::new(users(100), Jobs::suiting(2));
            assert!(queue.wants(3).await, "before anything is known");
            queue.answered_within(Duration::from_millis(answer_time));
            queue.answered_within(Duration::ZERO);
            let mut wanted = 0;
            for number in 0..queue.jobs().most() {
                wanted += usize::from(queue.wants(number).await);
            }
            assert_eq!(wanted, connections);
        }
        // Who waits to know it is not needed any more when the work is done.
        assert!(!Queue::new([], Jobs::suiting(2)).wants(4).await);
    }

    #[test]
    fn shares_get_smaller_towards_the_end() {
        let queue = Queue::new(users(64), Jobs::exactly(2));
        let mut sizes = Vec::new();
        loop {
            let some = queue.some().len();
            if some == 0 {
                break;
            }
            sizes.push(some);
        }
        assert_eq!(sizes.iter().sum::<usize>(), 64);
        assert_eq!((sizes[0], sizes[sizes.len() - 1]), (16, 1));
    }
}
