//! The toss of coins that makes a skip list balanced.

use std::hash::{BuildHasher, RandomState};

/// Draws levels for new records: each is half as probable as the one below.
#[derive(Debug, Default)]
pub(super) struct Levels {
    random: RandomState,
    drawn: u64,
}

impl Levels {
    /// A level from 1 to `max`.
    pub fn draw(&mut self, max: usize) -> usize {
        self.drawn = self.drawn.wrapping_add(1);
        let coins = self.random.hash_one(self.drawn).trailing_ones() as usize;
        (1 + coins).min(max)
    }
}
