//! Every reader of octets from elsewhere is given broken ones; none may panic.
//!
//! This is the everyday sample of what `contrib/fuzz` does for longer and with more cunning:
//! mutations of the corpus, the same with every run. `HOSTILE_INPUT_SECONDS` is the time for each
//! target (default 1), `HOSTILE_INPUT_SEED` gives other mutations. Inputs that once were too much for
//! a reader stay in `fuzz/corpus` and are tried first.

#![allow(clippy::expect_used, clippy::unwrap_used)]

#[path = "../fuzz/targets.rs"]
mod targets;

use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use targets::{TARGETS, Target};

/// A small generator of the same numbers each time (xorshift64*).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}

/// Texts that mean something to one reader or another.
const WORDS: &[&[u8]] = &[
    b"%(",
    b"(",
    b")",
    b"{5+}\r\n",
    b"%{default ",
    b"\"",
    b"\\",
    b"\r\n",
    b"\n",
    b"\0",
    b"NIL",
    b"4294967296",
    b"-1",
    b"99999999999999999999",
    b"=?utf-8?b?",
    b"?=",
    b"boundary=",
    b"--b",
    b"\xff\xff\xff\xff",
    b"\0\0\0\0",
    b"\x80",
    b"=",
    b",",
    b":",
    b"@include:",
    b"[",
    b"]",
    b"MAILBOX",
    b"RECORD",
    b"UID",
    b"\t",
    b" ",
];

/// Changes an input in one to four places.
fn mutate(input: &mut Vec<u8>, other: &[u8], numbers: &mut Numbers) {
    for _ in 0..=numbers.below(4) {
        let at = numbers.below(input.len() + 1);
        match numbers.below(7) {
            0 if at < input.len() => input[at] ^= 1 << numbers.below(8),
            1 if at < input.len() => input[at] = numbers.next() as u8,
            2 => input.truncate(at),
            3 => {
                let word = WORDS[numbers.below(WORDS.len())];
                input.splice(at..at, word.iter().copied());
            }
            4 => {
                let end = (at + numbers.below(40)).min(input.len());
                input.drain(at..end);
            }
            5 => {
                let from = numbers.below(other.len());
                let to = (from + numbers.below(100)).min(other.len());
                input.splice(at..at, other[from..to].iter().copied());
            }
            _ => {
                let end = (at + numbers.below(16)).min(input.len());
                let piece = input[at..end].to_vec();
                input.splice(at..at, piece);
            }
        }
    }
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(name);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect()
}

fn try_input(target: &Target, input: &[u8]) {
    if catch_unwind(|| (target.run)(input)).is_err() {
        let path = std::env::temp_dir().join(format!("hostile-input-{}", target.name));
        std::fs::write(&path, input).unwrap();
        panic!(
            "{} panicked; the input is in {}",
            target.name,
            path.display()
        );
    }
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn no_input_makes_a_reader_panic() {
    let time = Duration::from_secs(number("HOSTILE_INPUT_SECONDS", 1));
    let seed = number("HOSTILE_INPUT_SEED", 1);
    let threads = TARGETS.iter().map(|target| {
        std::thread::spawn(move || {
            let corpus = corpus(target.name);
            assert!(!corpus.is_empty(), "{} has no corpus", target.name);
            corpus.iter().for_each(|input| try_input(target, input));
            let mut numbers = Numbers(seed | 1 << 40);
            let start = Instant::now();
            let mut count = 0u64;
            while start.elapsed() < time {
                let mut input = corpus[numbers.below(corpus.len())].clone();
                mutate(
                    &mut input,
                    &corpus[numbers.below(corpus.len())],
                    &mut numbers,
                );
                try_input(target, &input);
                count += 1;
            }
            println!("{}: {count} inputs", target.name);
            count
        })
    });
    // Two at a time, so that each has time to try something.
    let mut running: Vec<std::thread::JoinHandle<u64>> = Vec::new();
    for thread in threads {
        running.push(thread);
        if running.len() >= 2 {
            assert!(running.remove(0).join().unwrap() > 0);
        }
    }
    for thread in running {
        assert!(thread.join().unwrap() > 0);
    }
}
