//! What is fuzzed: everything that reads octets from a peer or a file. Each function may refuse its
//! input and must not panic; where it can, it also checks that what it understood survives being
//! written and read again.
//!
//! The everyday test `tests/hostile_input.rs` and cargo-fuzz (`contrib/fuzz`) share this file.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cyrus_sync::auth::passwords;
use cyrus_sync::config::{Config, Environment};
use cyrus_sync::dlist::{Limits, LineSkipper, LiteralStyle, Parser, TreeBuilder, parse_value};
use cyrus_sync::mail::{MailboxName, Namespace, UserId};
use cyrus_sync::protocol::command::{
    Answer, Apply, LineDecoder, MailboxArgument, MailboxUpdate, MailboxWriter, NoFiles, RecordForm,
    Request, Verb,
};
use cyrus_sync::protocol::greeting::Capabilities;
use cyrus_sync::protocol::reply::Outcome;
use cyrus_sync::protocol::sasl::server::{ScramSecret, Step};
use cyrus_sync::protocol::sasl::{Mechanism, ScramHash, client, server, wire};
use cyrus_sync::spool::cyrusdb::{Backend, Create, Db};
use cyrus_sync::spool::disk::Disk;
use cyrus_sync::spool::mailbox::{IndexHeader, IndexRecord, MailboxHeader, cache};
use cyrus_sync::spool::mailboxes::MailboxList;
use cyrus_sync::spool::message::{MessageParser, ParserOptions};
use cyrus_sync::spool::sieve::Script;
use cyrus_sync::spool::synclog::{Parsed, parse_line};

/// One function that takes any octets. Its name is that of its corpus.
pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]),
}

pub const TARGETS: &[Target] = &[
    target("dlist", dlist),
    target("request", request),
    target("reply", reply),
    target("banner", banner),
    target("sasl_server", sasl_server),
    target("sasl_client", sasl_client),
    target("imapd_conf", imapd_conf),
    target("toml", toml),
    target("sync_log", sync_log),
    target("twoskip", twoskip),
    target("skiplist", skiplist),
    target("flat", flat),
    target("quotalegacy", quotalegacy),
    target("header", header),
    target("index", index),
    target("cache", cache_records),
    target("message", message),
    target("sieve", sieve),
    target("passwords", password_files),
];

const fn target(name: &'static str, run: fn(&[u8])) -> Target {
    Target { name, run }
}

/// Small bounds, so that reaching them takes no long input.
fn limits() -> Limits {
    Limits {
        line: 1 << 20,
        nesting: 8,
        list: 1000,
        word: 2000,
        quoted: 2000,
        literal: 5000,
        file: 5000,
        tree: 1 << 20,
    }
}

/// The first octet says in how large pieces the rest arrives.
fn pieces(input: &[u8]) -> std::slice::Chunks<'_, u8> {
    let (first, rest) = input.split_first().unwrap_or((&0, &[]));
    rest.chunks(usize::from(*first) + 1)
}

fn dlist(input: &[u8]) {
    if let Ok(value) = parse_value(input) {
        let mut written = Vec::new();
        value.write(&mut written, LiteralStyle::Plus);
        assert_eq!(parse_value(&written), Ok(value));
    }
    let limits = limits();
    let mut parser = Parser::line(limits.clone());
    let mut tree = TreeBuilder::new(&limits);
    for piece in pieces(input) {
        let fed = parser.feed(piece, &mut tree);
        assert!(fed.consumed <= piece.len());
        match fed.result {
            None => continue,
            Some(Ok(())) => drop(tree.into_line()),
            Some(Err(_)) => {}
        }
        break;
    }
    let mut skipper = LineSkipper::default();
    for piece in pieces(input) {
        if skipper.feed(piece).1 {
            break;
        }
    }
}

fn decoded(input: &[u8]) -> Option<cyrus_sync::protocol::command::DecodedLine> {
    let limits = limits();
    let mut sink = NoFiles;
    let mut decoder = LineDecoder::new(&limits, &mut sink);
    let mut parser = Parser::line(limits.clone());
    for piece in pieces(input) {
        match parser.feed(piece, &mut decoder).result {
            None => {}
            Some(Err(_)) => return None,
            Some(Ok(())) => return decoder.finish().ok(),
        }
    }
    None
}

fn request(input: &[u8]) {
    let Some(line) = decoded(input) else { return };
    for verb in [Verb::Get, Verb::Apply, Verb::Restore] {
        let Ok(request) = Request::decode(verb, line.clone()) else {
            continue;
        };
        let mut written = vec![255];
        match &request {
            Request::Get(get) => get.write(&mut written, LiteralStyle::Plus),
            Request::Apply(apply) => apply.write(&mut written, LiteralStyle::Plus),
            Request::Restore(restore) => restore.write(&mut written, LiteralStyle::Plus),
            Request::Message(_) => continue,
        }
        if let Request::Apply(Apply::Mailbox(_, MailboxArgument::Update(update))) = &request {
            same_in_either_form(update);
        }
        // The verb is in front of what a line decoder reads.
        let space = written.iter().position(|octet| *octet == b' ');
        written.drain(1..=space.unwrap_or_default());
        // What is as long as a limit may be longer when written in another way.
        if let Some(line) = decoded(&written) {
            let read = Request::decode(verb, line).expect("a request that was just written");
            assert_eq!(read.name(), request.name());
        }
    }
}

fn same_in_either_form(update: &MailboxUpdate) {
    let [pairs, compact] = [RecordForm::Pairs, RecordForm::Compact].map(|form| {
        let mut written = b"\xffMAILBOX ".to_vec();
        let mut writer = MailboxWriter::begin(&mut written, &update.item, form, LiteralStyle::Plus);
        for record in &update.list.records {
            writer.record(&mut written, record, &update.list.flags);
        }
        writer.end(&mut written);
        written.extend_from_slice(b"\r\n");
        decoded(&written).map(|line| line.records)
    });
    if let (Some(pairs), Some(compact)) = (pairs, compact) {
        assert_eq!(pairs, compact);
    }
}

fn reply(input: &[u8]) {
    Outcome::from_line(input);
    if let Some(line) = decoded(input)
        && let Ok(answer) = Answer::decode(line)
    {
        answer.write(&mut Vec::new(), LiteralStyle::Plain);
    }
}

fn banner(input: &[u8]) {
    let mut capabilities = Capabilities::default();
    let _ = input
        .split(|octet| *octet == b'\n')
        .any(|line| capabilities.read_line(line));
}

fn mechanism(number: u8) -> Mechanism {
    Mechanism::ALL[usize::from(number) % Mechanism::ALL.len()]
}

/// A first octet that chooses the mechanism, then a client's messages, one a line.
fn sasl_server(input: &[u8]) {
    let Some((number, rest)) = input.split_first() else {
        return;
    };
    wire::read_initial(rest);
    let mut exchange = server::Exchange::begin(mechanism(*number), Some("repl".to_owned()));
    let mut lines = rest.split(|octet| *octet == b'\n');
    let mut step = exchange.start(lines.next().filter(|line| !line.is_empty()));
    for line in lines {
        step = match step {
            Ok(Step::Challenge(_)) => match wire::read_response(line) {
                wire::Response::Message(message) => exchange.respond(&message),
                _ => exchange.respond(line),
            },
            Ok(Step::NeedSecret { hash, .. }) => exchange.secret(secret(hash)),
            _ => return,
        };
    }
}

/// Of the password "pencil", with few iterations.
fn secret(hash: ScramHash) -> Option<ScramSecret> {
    ScramSecret::from_text(match hash {
        ScramHash::Sha1 => {
            "SCRAM-SHA-1$4096:QSXCR+Q6sek8bf92$6dlGYMOdZcOPutkcNY8U2g7vK9Y=:D+CSWLOshSulAsxiupA+qs2/fTE="
        }
        ScramHash::Sha256 => return None,
    })
}

fn sasl_client(input: &[u8]) {
    let Some((number, rest)) = input.split_first() else {
        return;
    };
    let Ok((mut exchange, _)) = client::Exchange::begin(mechanism(*number), "repl", b"pencil")
    else {
        return;
    };
    for line in rest.split(|octet| *octet == b'\n') {
        let challenge = wire::read_challenge(line);
        let message = challenge.as_deref().map_or(line, |message| message);
        // Whoever says `i=1000000` keeps a client busy for a while; that is bounded elsewhere.
        if message
            .windows(7)
            .any(|window| window.starts_with(b"i=") && window[2..].iter().all(u8::is_ascii_digit))
        {
            return;
        }
        if exchange.respond(message).is_err() {
            return;
        }
    }
    let _ = exchange.succeeded();
}

fn config(name: &str, input: &[u8]) {
    let environment = Environment {
        ident: "csync".to_owned(),
        host_name: Some("host".to_owned()),
        ..Environment::default()
    };
    let read = |path: &Path| match path == Path::new(name) {
        true => Ok(input.to_vec()),
        false => Err(std::io::ErrorKind::NotFound.into()),
    };
    if let Err(error) = Config::read(Path::new(name), &environment, &read) {
        drop(error.to_string());
    }
}

fn imapd_conf(input: &[u8]) {
    config("/imapd.conf", input);
}

fn toml(input: &[u8]) {
    config("/config.toml", input);
}

fn sync_log(mut input: &[u8]) {
    while let Parsed::Line { item, length } = parse_line(input) {
        assert!(0 < length && length <= input.len());
        if let Ok(item) = item {
            let mut written = Vec::new();
            item.write(&mut written);
            assert!(matches!(
                parse_line(&written),
                Parsed::Line { item: Ok(_), .. }
            ));
        }
        input = input.get(length..).unwrap_or_default();
    }
}

/// A file that is read and changed again and again, on memory where that is possible.
fn scratch(name: &str, input: &[u8]) -> PathBuf {
    thread_local! {
        static DIRECTORY: tempfile::TempDir = {
            let memory = Path::new("/dev/shm");
            let made = match memory.is_dir() {
                true => tempfile::tempdir_in(memory),
                false => tempfile::tempdir(),
            };
            made.expect("temporary directory")
        };
    }
    let path = DIRECTORY.with(|directory| directory.path().join(name));
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).expect("make directory");
    }
    std::fs::write(&path, input).expect("write file");
    path
}

fn disk() -> Disk {
    Disk::new(0o077, Duration::from_secs(5))
}

/// Reads a database, and if it is sound, changes it.
fn database(backend: Backend, path: &Path, key: &[u8]) {
    let Ok(Some(mut db)) = Db::open(&disk(), path, backend, Create::No) else {
        return;
    };
    let mut pairs = 0u32;
    let scanned = db.scan(b"", |_, _| {
        pairs += 1;
        match pairs {
            10_000 => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    });
    let _ = db.get(key);
    if db.check().is_err() || scanned.is_err() {
        return;
    }
    let deadline = Instant::now() + Duration::from_secs(5);
    let Ok(mut change) = db.begin(deadline) else {
        return;
    };
    let changed = change
        .put(key, b"%(S (1 2) M (3) AS (4) NF (5))")
        .and_then(|()| change.commit());
    if changed.is_ok() {
        let read = db.get(key).expect("a database that was just written");
        assert_eq!(
            read.as_deref(),
            Some(&b"%(S (1 2) M (3) AS (4) NF (5))"[..])
        );
    }
}

fn twoskip(input: &[u8]) {
    let path = scratch("twoskip", input);
    let namespace = Namespace::default();
    let list = MailboxList::open(&disk(), &path, Backend::Twoskip, &namespace, &[]);
    if let Ok(mut list) = list {
        let _ = list.for_each(|entry| {
            drop(entry);
            ControlFlow::<()>::Continue(())
        });
        if let Ok(name) = MailboxName::parse("user.anna") {
            let _ = list.find(&name);
        }
    }
    database(Backend::Twoskip, &path, b"Nuser.anna");
}

fn skiplist(input: &[u8]) {
    let stamp = cyrus_sync::mail::UnixTime(u32::MAX);
    let path = scratch("skiplist", input);
    database(
        Backend::Skiplist {
            recovered_since: stamp,
        },
        &path,
        b"Nuser.anna",
    );
}

fn flat(input: &[u8]) {
    database(Backend::Flat, &scratch("flat", input), b"user.anna");
}

fn quotalegacy(input: &[u8]) {
    let path = scratch("quota/a/user.anna", input);
    let base = path.ancestors().nth(2).unwrap_or(&path).join("quotas.db");
    let backend = Backend::QuotaLegacy {
        full_hash: false,
        virtual_domains: false,
    };
    database(backend, &base, b"user.anna");
}

fn header(input: &[u8]) {
    if let Ok(header) = MailboxHeader::decode(input)
        && let Ok(written) = header.encode()
    {
        let read = MailboxHeader::decode(&written).expect("a header that was just written");
        assert_eq!(read, header);
    }
}

fn index(input: &[u8]) {
    let Ok(header) = IndexHeader::decode(input) else {
        return;
    };
    let written = header.encode();
    assert_eq!(
        IndexHeader::decode(&written).expect("a header that was just written"),
        header
    );
    let size = header.version.record_size();
    for octets in input.get(written.len()..).unwrap_or_default().chunks(size) {
        let Ok(record) = IndexRecord::decode(header.version, octets) else {
            continue;
        };
        let mut written = Vec::new();
        record.encode(header.version, &mut written);
        let read = IndexRecord::decode(header.version, &written).expect("a record just written");
        assert_eq!(read, record);
    }
}

fn cache_records(input: &[u8]) {
    let mut rest = input.get(4..).unwrap_or_default();
    while let cache::Extent::Whole(length) = cache::extent(rest) {
        let record = rest.get(..length).expect("a whole record");
        let _ = cache::check(record, 0);
        rest = rest.get(length..).unwrap_or_default();
    }
}

fn message(input: &[u8]) {
    let mut parser = MessageParser::new(&ParserOptions::default());
    for piece in pieces(input) {
        parser.feed(piece);
    }
    let parsed = parser.finish();
    let mut whole = MessageParser::new(&ParserOptions::default());
    whole.feed(input.get(1..).unwrap_or_default());
    assert_eq!(whole.finish().guid, parsed.guid);
}

fn sieve(input: &[u8]) {
    let _ = Script::parse(input);
}

fn password_files(input: &[u8]) {
    use std::os::unix::fs::PermissionsExt;
    let path = scratch("passwords", input);
    let mode = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(&path, mode).expect("set mode");
    if let Ok(user) = UserId::parse("repl") {
        let _ = passwords::find(&path, &user);
    }
}
