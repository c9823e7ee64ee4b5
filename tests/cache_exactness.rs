//! Are our cache records those of stock Cyrus, byte for byte?
//!
//! A stock server is filled by the corpus tools over IMAP and LMTP, and then gets odd messages laid
//! into its spool and taken up by its `reconstruct`. Every record that the server wrote is made again
//! from its message file and compared, item by item.
//!
//! One kind of message is excepted: for a Date header with 8-bit bytes 3.6.1 reads whatever stands
//! before its tables in memory, so the two times are not compared then.
//!
//! Without an installed Cyrus these tests do nothing and say so. `CACHE_EXACTNESS_COUNT` sets the
//! number of odd messages, `CACHE_EXACTNESS_SEED` gives others.

#![allow(clippy::expect_used)]

mod tools;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use cyrus_sync::mail::UnixTime;
use cyrus_sync::spool::message::{MessageParser, ParserOptions};
use jiff::tz::TimeZone;

use tools::cache_store::{StoredRecord, read_store};
use tools::lab::{Lab, run, tool};

const ITEMS: [&str; 10] = [
    "ENVELOPE",
    "BODYSTRUCTURE",
    "BODY",
    "SECTION",
    "HEADERS",
    "FROM",
    "TO",
    "CC",
    "BCC",
    "SUBJECT",
];

/// How a store's records compare.
#[derive(Debug, Default)]
struct Comparison {
    records: usize,
    /// Records whose times are not compared.
    excepted_dates: usize,
    /// Number of differences by what differs.
    differences: BTreeMap<&'static str, usize>,
    shown: usize,
}

impl Comparison {
    fn of_store(spool: &Path, zone: &TimeZone) -> Comparison {
        let mut comparison = Comparison::default();
        for record in read_store(spool) {
            comparison.add(&record, zone);
        }
        println!("{comparison:?}");
        comparison
    }

    fn add(&mut self, record: &StoredRecord, zone: &TimeZone) {
        let message = std::fs::read(&record.file).expect("read message");
        let mut parser = MessageParser::new(&ParserOptions::default());
        for piece in message.chunks(4093) {
            parser.feed(piece);
        }
        let parsed = parser.finish();
        let dates = parsed.dates(UnixTime(record.internal_date), zone);
        let excepted_date = date_has_eight_bits(&message);
        self.excepted_dates += usize::from(excepted_date);
        self.records += 1;

        let mut check = |what, ours: String, theirs: String| {
            if ours != theirs {
                *self.differences.entry(what).or_default() += 1;
                if self.shown < 40 {
                    self.shown += 1;
                    println!(
                        "{} {what}\n  ours:   {ours}\n  theirs: {theirs}",
                        record.file.display()
                    );
                }
            }
        };
        check("size", parsed.size.to_string(), record.size.to_string());
        check(
            "header_size",
            parsed.header_size.to_string(),
            record.header_size.to_string(),
        );
        check("guid", parsed.guid.to_string(), record.guid.clone());
        if !excepted_date {
            check(
                "sentdate",
                dates.sent_date.to_string(),
                record.sent_date.to_string(),
            );
            check(
                "gmtime",
                dates.gm_time.to_string(),
                record.gm_time.to_string(),
            );
        }
        check(
            "cache_version",
            parsed.cache_version.number().to_string(),
            record.cache_version.to_string(),
        );
        let ours = items(&parsed.cache);
        let theirs = items(&record.cache);
        for ((name, ours), theirs) in ITEMS.iter().zip(ours).zip(theirs) {
            if ours != theirs {
                let (ours, theirs) = excerpts(name, &ours, &theirs);
                check(name, ours, theirs);
            }
        }
        if parsed.cache_crc != record.cache_crc {
            *self.differences.entry("cache_crc").or_default() += 1;
        }
    }
}

/// The items of a cache record.
fn items(cache: &[u8]) -> Vec<Vec<u8>> {
    let mut items = Vec::new();
    let mut rest = cache;
    while let Some((word, after)) = rest.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*word) as usize;
        items.push(after[..length].to_vec());
        rest = &after[length.next_multiple_of(4)..];
    }
    items
}

/// Both values from a little before where they begin to differ.
fn excerpts(name: &str, ours: &[u8], theirs: &[u8]) -> (String, String) {
    let common = ours.iter().zip(theirs).take_while(|(a, b)| a == b).count();
    let show = |bytes: &[u8]| {
        let start = common.saturating_sub(30);
        let piece = &bytes[start.min(bytes.len())..bytes.len().min(common + 90)];
        let text = if name == "SECTION" {
            piece.iter().map(|byte| format!("{byte:02x}")).collect()
        } else {
            piece.escape_ascii().to_string()
        };
        format!("@{common} of {}: {text}", bytes.len())
    };
    (show(ours), show(theirs))
}

/// Whether a Date field of the message has bytes beyond ASCII.
fn date_has_eight_bits(message: &[u8]) -> bool {
    let mut in_date = false;
    for line in message.split(|byte| *byte == b'\n') {
        if !line.starts_with(b" ") && !line.starts_with(b"\t") {
            let name = line.get(..5).unwrap_or_default();
            in_date = name.eq_ignore_ascii_case(b"date:");
        }
        if in_date && !line.is_ascii() {
            return true;
        }
    }
    false
}

/// Starts of messages that go on without an end.
const ENDLESS: [(&str, &[u8], &[u8]); 4] = [
    ("lines", b"Subject: x\r\n\r\n", b"some text\r\n"),
    (
        "one line of a part",
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n",
        b"some text",
    ),
    (
        "one line of base64 in a nested message",
        b"Content-Type: message/rfc822\r\n\r\nContent-Transfer-Encoding: base64\r\n\r\n",
        b"QUJD",
    ),
    ("one header line", b"Subject: ", b"some text"),
];

#[test]
fn memory_does_not_grow_with_the_message() {
    const SIZE: usize = 200 << 20;
    const BOUND: u64 = 150 << 20;
    for (what, start, piece) in ENDLESS {
        let mut parser = MessageParser::new(&ParserOptions::default());
        parser.feed(start);
        let piece = piece.repeat(10_000);
        for _ in 0..SIZE / piece.len() {
            parser.feed(&piece);
        }
        let parsed = parser.finish();
        assert!(parsed.size > 190 << 20, "{what}");
        let peak = peak_memory();
        assert!(peak < BOUND, "{what}: {peak} bytes");
    }
}

/// The most memory that this process has had, in bytes.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("read status");
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().nth(1));
    let kibibytes: u64 = kibibytes.expect("VmHWM").parse().expect("a number");
    kibibytes * 1024
}

#[test]
fn records_of_a_stock_server() {
    let Some(lab) = Lab::start() else {
        return;
    };
    fill(&lab);
    let comparison = Comparison::of_store(&lab.root().join("spool"), &TimeZone::UTC);
    assert!(comparison.records >= 2000, "{comparison:?}");
    assert!(comparison.differences.is_empty(), "{comparison:?}");

    let sources = lab.scratch("sources");
    write_sources(&sources);
    for (user, zone, options) in [
        ("odd", "UTC", &[][..]),
        ("wild", "America/St_Johns", &["--wild"][..]),
    ] {
        let mailbox = lay_odd_messages(&lab, user, &sources, options);
        reconstruct(&lab, user, zone);
        let zone = TimeZone::get(zone).expect("time zone");
        let comparison = Comparison::of_store(Path::new(&mailbox), &zone);
        assert_eq!(comparison.records, odd_messages(), "{comparison:?}");
        assert!(comparison.differences.is_empty(), "{comparison:?}");
    }
}

/// Messages of every kind by IMAP, odd ones by whatever way lets them in.
fn fill(lab: &Lab) {
    let corpus = tool("lab/corpus.py");
    let imap = lab.imap();
    run(Command::new(&corpus)
        .args([
            "deliver",
            "--imap",
            &imap,
            "--users",
            "1",
            "--mailboxes",
            "5",
        ])
        .args(["--messages", "400", "--median", "3000"]));
    run(Command::new(&corpus)
        .args(["weird", "--imap", &imap, "--user", "weird", "--lmtp"])
        .arg(lab.root().join("conf/socket/lmtp"))
        .arg("--instance")
        .arg(lab.root()));
}

/// What the odd messages are made from.
fn write_sources(directory: &Path) {
    run(Command::new(tool("lab/corpus.py"))
        .args([
            "write",
            "--users",
            "1",
            "--mailboxes",
            "1",
            "--messages",
            "400",
        ])
        .args(["--median", "2000", "--out"])
        .arg(directory));
}

fn odd_messages() -> usize {
    let count = std::env::var("CACHE_EXACTNESS_COUNT").ok();
    count.map_or(1500, |count| count.parse().expect("a number"))
}

/// Puts message files into the directory of a new user's INBOX, and returns that.
fn lay_odd_messages(lab: &Lab, user: &str, sources: &Path, options: &[&str]) -> String {
    lab.instance("user", &[user]);
    let mailbox = lab.instance("path", &[&format!("user/{user}")]);
    let seed = std::env::var("CACHE_EXACTNESS_SEED").unwrap_or_else(|_| "1".to_owned());
    run(Command::new(tool("tools/odd-messages.py"))
        .arg(&mailbox)
        .args([
            "--count",
            &odd_messages().to_string(),
            "--seed",
            &seed,
            "--from",
        ])
        .arg(sources)
        .args(options));
    mailbox
}

/// Lets the server take up what lies in the INBOX of a user.
fn reconstruct(lab: &Lab, user: &str, zone: &str) {
    let status = Command::new(tool("lab/cyrus-instance"))
        .arg("tool")
        .arg(lab.root())
        .args(["reconstruct", &format!("user/{user}")])
        .env("TZ", zone)
        .stdout(std::process::Stdio::null())
        .status()
        .expect("run reconstruct");
    assert!(status.success());
}
