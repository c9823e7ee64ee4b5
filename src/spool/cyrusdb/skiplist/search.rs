//! Reading along the skip list.
//!
//! Keys must grow along every path, which also keeps damaged pointers from leading in circles.

use super::format::{DUMMY_OFFSET, MAX_LEVEL, Node, sorting_form};
use super::{DUMMY, DbError, Skiplist};
use crate::spool::cyrusdb::Stretch;

/// Where a key stands or would stand.
#[derive(Debug)]
pub(super) struct Place {
    /// The record with exactly this key.
    pub found: Option<Node>,
    /// For each level the last record with a smaller key.
    pub back: [u32; MAX_LEVEL],
    /// For each level the successor of that record.
    pub forward: [u32; MAX_LEVEL],
}

impl Place {
    /// The only place of an empty database.
    pub(super) const START: Place = Place {
        found: None,
        back: [DUMMY_OFFSET; MAX_LEVEL],
        forward: [0; MAX_LEVEL],
    };
}

impl Skiplist {
    pub(super) fn search(&mut self, key: &[u8]) -> Result<Place, DbError> {
        let wanted = sorting_form(key);
        let mut place = Place::START;
        let mut here = self.node(DUMMY_OFFSET)?;
        let mut here_key = Vec::new();
        let mut beyond = None;
        for level in (0..self.header.current_level as usize).rev() {
            loop {
                let next = here.pointers.get(level).copied().unwrap_or(0);
                place.back[level] = here.offset;
                place.forward[level] = next;
                if next == 0 || beyond == Some(next) {
                    break;
                }
                let (node, next_key) = self.successor(next)?;
                if node.level() <= level {
                    return Err(self.corrupt(u64::from(next), "a record is linked above its level"));
                }
                if next_key >= wanted {
                    beyond = Some(next);
                    if next_key == wanted {
                        place.found = Some(node);
                    }
                    break;
                }
                if next_key <= here_key {
                    return Err(self.out_of_order(&node));
                }
                here = node;
                here_key = next_key;
            }
        }
        Ok(place)
    }

    /// The record at `offset`, with its key in the form that sorts.
    fn successor(&mut self, offset: u32) -> Result<(Node, Vec<u8>), DbError> {
        let node = self.node(offset)?;
        if node.kind == DUMMY {
            return Err(self.corrupt(u64::from(offset), "a pointer leads to what is no record"));
        }
        let mut key = Vec::new();
        self.read_key(&node, &mut key)?;
        Ok((node, sorting_form(&key)))
    }

    pub(super) fn read_stretch(
        &mut self,
        prefix: &[u8],
        after: Option<&[u8]>,
    ) -> Result<Stretch, DbError> {
        let place = self.search(after.unwrap_or(prefix))?;
        let mut next = match (place.found, after) {
            (Some(node), Some(_)) => node.pointers.first().copied().unwrap_or(0),
            _ => place.forward[0],
        };
        let mut last = sorting_form(after.unwrap_or_default());
        let mut stretch = Stretch::default();
        while next != 0 && !stretch.is_full() {
            let (node, sorted) = self.successor(next)?;
            let (key, value) = self.read_pair(&node)?;
            if !key.starts_with(prefix) {
                break;
            }
            if sorted <= last {
                return Err(self.out_of_order(&node));
            }
            last = sorted;
            stretch.push((key, value));
            next = node.pointers.first().copied().unwrap_or(0);
        }
        Ok(stretch)
    }

    /// Walks everything and checks order and linkage on all levels.
    pub(super) fn check_all(&mut self) -> Result<(), DbError> {
        let mut expected = self.node(DUMMY_OFFSET)?.pointers;
        let mut last = Vec::new();
        while let Some(next) = expected.first().copied().filter(|next| *next != 0) {
            let (node, key) = self.successor(next)?;
            if key <= last {
                return Err(self.out_of_order(&node));
            }
            last = key;
            for (level, pointer) in node.pointers.iter().enumerate() {
                match expected.get_mut(level) {
                    Some(expected) if *expected == next => *expected = *pointer,
                    _ => {
                        let what = format!("the pointer of level {level} leads past this record");
                        return Err(self.corrupt(u64::from(next), what));
                    }
                }
            }
        }
        match expected.iter().position(|next| *next != 0) {
            None => Ok(()),
            Some(level) => {
                let what = format!("level {level} goes on where level 0 ends");
                Err(self.corrupt(u64::from(expected[level]), what))
            }
        }
    }

    fn out_of_order(&self, node: &Node) -> DbError {
        self.corrupt(u64::from(node.offset), "keys are out of order")
    }
}
