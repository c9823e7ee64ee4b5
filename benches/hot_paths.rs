//! What every message and record passes through, each by itself: `cargo bench`.
//!
//! `docs/performance.md` has the figures and what they mean for a whole synchronisation.

#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use cyrus_sync::dlist::{Limits, LiteralStyle, Parser};
use cyrus_sync::exchange::bare_item;
use cyrus_sync::mail::{
    Acl, CrcRecord, Guid, MailboxName, ModSeq, Partition, SyncCrc, SystemFlags, Uid, UidValidity,
    UniqueId, UnixTime,
};
use cyrus_sync::protocol::command::{
    Apply, FlagTable, LineDecoder, MailboxItem, MailboxWriter, NoFiles, Record, RecordForm,
    Request, Scope, UserFlags, Verb,
};
use cyrus_sync::spool::cyrusdb::{Backend, Create, Db};
use cyrus_sync::spool::disk::Disk;
use cyrus_sync::spool::mailbox::{IndexRecord, IndexVersion};
use cyrus_sync::spool::message::{MessageParser, ParserOptions};

const RECORDS: u32 = 1000;

fn guid(number: u32) -> Guid {
    let mut octets = [0x5a; Guid::LEN];
    octets[..4].copy_from_slice(&number.to_be_bytes());
    Guid::from_bytes(octets)
}

fn item() -> MailboxItem {
    MailboxItem {
        crc: SyncCrc {
            basic: 1_520_056_501,
            annotations: 4_075_992_669,
        },
        last_uid: Uid(RECORDS),
        highest_modseq: ModSeq(u64::from(RECORDS) + 1),
        last_append_date: UnixTime(1_795_331_196),
        uid_validity: UidValidity(1_795_331_196),
        partition: Some(Partition::parse("default").unwrap()),
        acl: Acl::parse("alice\tlrswipkxtecdan\t").unwrap(),
        created_modseq: ModSeq(1),
        folder_modseq: ModSeq(1),
        ..bare_item(
            UniqueId::parse("54lxoc7sbxiyqaap5r8c1wsm").unwrap(),
            MailboxName::parse("user.alice").unwrap(),
        )
    }
}

fn wire_record(uid: u32) -> Record {
    Record {
        uid: Uid(uid),
        modseq: ModSeq(u64::from(uid) + 1),
        last_updated: UnixTime(1_795_331_299),
        system_flags: SystemFlags::SEEN,
        expunged: false,
        user_flags: UserFlags::default(),
        internal_date: UnixTime(1_795_331_196),
        size: 12_345,
        guid: guid(uid),
        thread: Default::default(),
        save_date: UnixTime(1_795_331_196),
        created_modseq: ModSeq(u64::from(uid)),
        annotations: Box::default(),
    }
}

/// `APPLY MAILBOX` with many records, without the verb.
fn update(records: &[Record], form: RecordForm) -> Vec<u8> {
    let mut out = Vec::new();
    Apply::write_mailbox_prefix(&mut out, Scope::Everywhere);
    let flags = FlagTable::default();
    let mut writer = MailboxWriter::begin(&mut out, &item(), form, LiteralStyle::Plus);
    for record in records {
        writer.record(&mut out, record, &flags);
    }
    writer.end(&mut out);
    out.extend_from_slice(b"\r\n");
    out.split_off("APPLY ".len())
}

fn dlist(criterion: &mut Criterion) {
    let records: Vec<Record> = (1..=RECORDS).map(wire_record).collect();
    for (form, name) in [
        (RecordForm::Pairs, "dlist"),
        (RecordForm::Compact, "dlist, compact"),
    ] {
        let line = update(&records, form);
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Bytes(line.len() as u64));
        group.bench_function("write an update of 1,000 records", |bencher| {
            bencher.iter(|| update(black_box(&records), form));
        });
        group.bench_function("read an update of 1,000 records", |bencher| {
            let limits = Limits::default();
            bencher.iter(|| {
                let mut sink = NoFiles;
                let mut decoder = LineDecoder::new(&limits, &mut sink);
                let mut parser = Parser::line(limits.clone());
                parser
                    .feed(black_box(&line), &mut decoder)
                    .result
                    .unwrap()
                    .unwrap();
                Request::decode(Verb::Apply, decoder.finish().unwrap()).unwrap()
            });
        });
    }
}

fn index(criterion: &mut Criterion) {
    let version = IndexVersion::CREATED;
    let record = IndexRecord {
        uid: Uid(7),
        size: 12_345,
        modseq: ModSeq(9),
        guid: guid(7),
        ..IndexRecord::default()
    };
    let mut octets = Vec::new();
    record.encode(version, &mut octets);
    let mut group = criterion.benchmark_group("index record");
    group.throughput(Throughput::Elements(1));
    group.bench_function("decode", |bencher| {
        bencher.iter(|| IndexRecord::decode(version, black_box(&octets)).unwrap());
    });
    group.bench_function("encode", |bencher| {
        let mut out = Vec::with_capacity(octets.len());
        bencher.iter(|| {
            out.clear();
            black_box(&record).encode(version, &mut out);
        });
    });
    let guid = guid(7);
    let share = CrcRecord {
        uid: Uid(7),
        modseq: ModSeq(9),
        last_updated: UnixTime(1_795_331_299),
        flags_crc: 0x1234_5678,
        internal_date: UnixTime(1_795_331_196),
        guid: &guid,
    };
    group.bench_function("share of the sync CRC", |bencher| {
        bencher.iter(|| black_box(&share).crc());
    });
}

/// A message of about 12 KB with two text parts and an attachment.
fn message() -> Vec<u8> {
    let text = "Some words of a letter, as they stand in mail every day.\r\n";
    let base64 = "VGhpcyBpcyB3aGF0IGFuIGF0dGFjaG1lbnQgbG9va3MgbGlrZSBpbiBiYXNlIDY0Lg==\r\n";
    format!(
        "From: Ann Bee <ann@example.org>\r\nTo: bob@example.com\r\nSubject: =?utf-8?q?gr=C3=BC=C3=9Fe?=\r\n\
         Date: Mon, 02 Mar 2026 10:11:12 +0100\r\nMessage-ID: <m1@example.org>\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=b1\r\n\r\n--b1\r\n\
         Content-Type: multipart/alternative; boundary=b2\r\n\r\n--b2\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\r\n{}\r\n--b2\r\n\
         Content-Type: text/html; charset=utf-8\r\n\r\n{}\r\n--b2--\r\n--b1\r\n\
         Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n{}\r\n--b1--\r\n",
        text.repeat(50),
        text.repeat(70),
        base64.repeat(70)
    )
    .into_bytes()
}

fn messages(criterion: &mut Criterion) {
    let message = message();
    let mut group = criterion.benchmark_group("message");
    group.throughput(Throughput::Bytes(message.len() as u64));
    group.bench_function(
        "hash, parse and make the cache record of 12 KB",
        |bencher| {
            let options = ParserOptions::default();
            bencher.iter(|| {
                let mut parser = MessageParser::new(&options);
                parser.feed(black_box(&message));
                parser.finish()
            });
        },
    );
}

/// The candidates for SHA-1. What is used is in `spool::message`.
fn sha1(criterion: &mut Criterion) {
    let octets = vec![0x2e; 12_288];
    let mut group = criterion.benchmark_group("SHA-1 of 12 KiB");
    group.throughput(Throughput::Bytes(octets.len() as u64));
    group.bench_function("aws-lc-rs", |bencher| {
        use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
        bencher.iter(|| digest(&SHA1_FOR_LEGACY_USE_ONLY, black_box(&octets)));
    });
    group.bench_function("ring", |bencher| {
        use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
        bencher.iter(|| digest(&SHA1_FOR_LEGACY_USE_ONLY, black_box(&octets)));
    });
    group.bench_function("sha1", |bencher| {
        use sha1::Digest;
        bencher.iter(|| sha1::Sha1::digest(black_box(&octets)));
    });
}

fn twoskip(criterion: &mut Criterion) {
    const ENTRIES: u32 = 10_000;
    let deadline = || Instant::now() + Duration::from_secs(60);
    let key = |number: u32| format!("user.u{number:06}.Archive").into_bytes();
    let value = [b'v'; 200];
    let directory = tempfile::tempdir().unwrap();
    let disk = Disk::default();
    let path = directory.path().join("db");
    let mut db = Db::open(&disk, &path, Backend::Twoskip, Create::Yes)
        .unwrap()
        .unwrap();
    let mut filling = db.begin(deadline()).unwrap();
    for number in 0..ENTRIES {
        filling.put(&key(number), &value).unwrap();
    }
    filling.commit().unwrap();
    let mut group = criterion.benchmark_group("twoskip of 10,000 entries");
    group.throughput(Throughput::Elements(1));
    let mut number = 0;
    let mut next = move || {
        number = (number + 7919) % ENTRIES;
        number
    };
    group.bench_function("look up", |bencher| {
        bencher.iter(|| db.get(&key(next())).unwrap().unwrap());
    });
    // On a file system in memory this is the work alone; on a disk its two fsyncs are most of it.
    group.bench_function("store and commit", |bencher| {
        bencher.iter_batched(
            || key(ENTRIES / 2),
            |key| {
                let mut transaction = db.begin(deadline()).unwrap();
                transaction.put(&key, black_box(&value)).unwrap();
                transaction.commit().unwrap();
            },
            BatchSize::SmallInput,
        );
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(50).measurement_time(Duration::from_secs(3));
    targets = dlist, index, messages, sha1, twoskip
}
criterion_main!(benches);
