//! Databases shared with the real thing: files that Cyrus's `cyr_dbtool` wrote are read and
//! changed by us, and the other way round.
//!
//! Without an installed Cyrus these tests do nothing and say so.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use cyrus_sync::mail::UnixTime;
use cyrus_sync::spool::cyrusdb::{Backend, Create, Db};
use cyrus_sync::spool::disk::{Disk, Recorder, Survival};

type Content = BTreeMap<Vec<u8>, Vec<u8>>;

const PLACES: [&str; 3] = [
    "/usr/lib/cyrus/bin",
    "/usr/sbin",
    "/usr/libexec/cyrus-imapd",
];

const TWOSKIP: Backend = Backend::Twoskip;
const SKIPLIST: Backend = Backend::Skiplist {
    recovered_since: UnixTime(0),
};
const FLAT: Backend = Backend::Flat;
const QUOTA: Backend = Backend::QuotaLegacy {
    full_hash: false,
    virtual_domains: false,
};

/// `cyr_dbtool` with a configuration of its own, and a directory for files.
struct Lab {
    program: PathBuf,
    dir: tempfile::TempDir,
}

impl Lab {
    fn new() -> Option<Lab> {
        let mut programs = PLACES
            .map(|place| Path::new(place).join("cyr_dbtool"))
            .into_iter();
        let Some(program) = programs.find(|program| program.exists()) else {
            println!("skipped: there is no cyr_dbtool in any of {PLACES:?}");
            return None;
        };
        let dir = tempfile::tempdir().unwrap();
        let user = nix::unistd::User::from_uid(nix::unistd::getuid())
            .unwrap()
            .unwrap();
        let conf = dir.path().join("conf");
        // No file is older than this stamp, so none is recovered for its age.
        std::fs::create_dir_all(conf.join("db")).unwrap();
        std::fs::write(conf.join("db/skipstamp"), [0, 0, 0, 1]).unwrap();
        let text = format!(
            "configdirectory: {}\ncyrus_user: {}\n",
            conf.display(),
            user.name
        );
        std::fs::write(dir.path().join("imapd.conf"), text).unwrap();
        Some(Lab { program, dir })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name).join("x.db")
    }

    fn tool(&self, path: &Path, backend: Backend, action: &str, input: &[u8]) -> Output {
        let mut child = Command::new(&self.program)
            .arg("-C")
            .arg(self.dir.path().join("imapd.conf"))
            .arg("-n")
            .arg(path)
            .args([name(backend), action])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        child.wait_with_output().unwrap()
    }

    /// Runs commands of the `batch` action.
    fn batch(&self, path: &Path, backend: Backend, commands: &[u8]) -> Vec<u8> {
        let output = self.tool(path, backend, "batch", commands);
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && complaint.is_empty(),
            "{complaint}"
        );
        output.stdout
    }

    fn change(&self, path: &Path, backend: Backend, changes: &[Change], end: &str) {
        if changes.is_empty() {
            return;
        }
        let mut commands = b"BEGIN\n".to_vec();
        for change in changes {
            match change {
                Change::Put(key, value) => {
                    commands.extend(b"SET ");
                    commands.extend(literal(key));
                    commands.push(b' ');
                    commands.extend(literal(value));
                }
                Change::Delete(key) => {
                    commands.extend(b"DELETE ");
                    commands.extend(literal(key));
                }
            }
            commands.push(b'\n');
        }
        commands.extend(end.as_bytes());
        commands.push(b'\n');
        self.batch(path, backend, &commands);
    }

    fn content(&self, path: &Path, backend: Backend) -> Content {
        let mut content = Content::new();
        let output = self.batch(path, backend, b"SHOW \"\"\n");
        let mut rest = output.as_slice();
        while !rest.is_empty() {
            let key = take_string(&mut rest);
            let value = take_string(&mut rest);
            // An empty file, which the tool leaves behind when it aborts, is no quota root.
            if backend != QUOTA || !value.is_empty() {
                content.insert(key, value);
            }
        }
        content
    }

    fn is_consistent(&self, path: &Path, backend: Backend) -> bool {
        self.tool(path, backend, "consistent", b"").stdout == b"Yes, consistent\n"
    }
}

fn name(backend: Backend) -> &'static str {
    match backend {
        Backend::Twoskip => "twoskip",
        Backend::Skiplist { .. } => "skiplist",
        Backend::Flat => "flat",
        Backend::QuotaLegacy { .. } => "quotalegacy",
    }
}

fn literal(text: &[u8]) -> Vec<u8> {
    [format!("{{{}+}}\r\n", text.len()).as_bytes(), text].concat()
}

/// Takes an atom, quoted string or literal and the octet after it.
fn take_string(rest: &mut &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    let mut octets = rest.iter();
    match rest.first() {
        Some(b'{') => {
            let end = rest.iter().position(|octet| *octet == b'\n').unwrap();
            let digits = rest[..end].iter().filter(|octet| octet.is_ascii_digit());
            let length = digits.fold(0, |n, digit| n * 10 + usize::from(digit - b'0'));
            text.extend(&rest[end + 1..end + 1 + length]);
            *rest = &rest[end + 2 + length..];
            return text;
        }
        Some(b'"') => {
            octets.next();
            loop {
                match octets.next().unwrap() {
                    b'"' => break,
                    b'\\' => text.push(*octets.next().unwrap()),
                    octet => text.push(*octet),
                }
            }
            octets.next();
        }
        _ => text.extend(octets.by_ref().take_while(|octet| !b" \n".contains(octet))),
    }
    *rest = octets.as_slice();
    text
}

#[derive(Clone, Debug)]
enum Change {
    Put(Vec<u8>, Vec<u8>),
    Delete(Vec<u8>),
}

/// A source of numbers that are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }

    fn change(&mut self, backend: Backend) -> Change {
        let quota = matches!(backend, Backend::QuotaLegacy { .. });
        let names: &[&str] = match quota {
            true => &[
                "user.alice",
                "user.bob",
                "user.bob.sub",
                "shared",
                "x.y.z",
                "user.9",
            ],
            false => &[
                "user.alice",
                "user.a",
                "user",
                "user.a.b",
                "user-a",
                "user a",
                "N\x1fuser\x1fö",
                "ÿ",
                "Iabc",
                "\t",
                "x\r\ny",
                "{",
                "\"q\"",
                "user.z",
                "zz",
                "A",
            ],
        };
        let key = names[self.below(names.len())].as_bytes().to_vec();
        if self.below(4) == 0 {
            return Change::Delete(key);
        }
        let length = [0, 1, 7, 30, 300, 5000][self.below(6)];
        let start = if quota { "%" } else { "\0\r\n\t\u{ff}\\" };
        let mut value = start.as_bytes().to_vec();
        value.resize(start.len() + length, b'a' + self.below(26) as u8);
        if !quota && self.below(8) == 0 {
            value.clear();
        }
        Change::Put(key, value)
    }

    /// Changes for one transaction. With quotalegacy it is one, because each root is changed by
    /// itself, and nothing that is not there is deleted, because the tool fails then.
    fn changes(&mut self, backend: Backend, content: &Content) -> Vec<Change> {
        let count = 1 + self.below(8);
        let mut changes: Vec<Change> = (0..count).map(|_| self.change(backend)).collect();
        if matches!(backend, Backend::QuotaLegacy { .. }) {
            changes.truncate(1);
            changes.retain(|change| match change {
                Change::Put(..) => true,
                Change::Delete(key) => content.contains_key(key),
            });
        }
        changes
    }
}

fn apply(content: &mut Content, changes: &[Change]) {
    for change in changes {
        match change {
            Change::Put(key, value) => drop(content.insert(key.clone(), value.clone())),
            Change::Delete(key) => drop(content.remove(key)),
        }
    }
}

fn open(disk: &Disk, path: &Path, backend: Backend) -> Db {
    Db::open(disk, path, backend, Create::Yes).unwrap().unwrap()
}

fn content(db: &mut Db) -> Content {
    let mut content = Content::new();
    let broken = db.scan(b"", |key, value| {
        content.insert(key.to_owned(), value.to_owned());
        ControlFlow::<()>::Continue(())
    });
    assert!(broken.unwrap().is_none());
    content
}

fn change(db: &mut Db, disk: &Disk, changes: &[Change], commit: bool) {
    let mut transaction = db.begin(disk.lock_deadline()).unwrap();
    for change in changes {
        match change {
            Change::Put(key, value) => transaction.put(key, value).unwrap(),
            Change::Delete(key) => drop(transaction.delete(key).unwrap()),
        }
    }
    if commit {
        transaction.commit().unwrap();
    }
}

/// We and the tool take turns on the same file; each sees what the other did.
fn take_turns(backend: Backend) {
    let Some(lab) = Lab::new() else { return };
    let path = lab.path(name(backend));
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let disk = Disk::default();
    let mut numbers = Numbers(7);
    let mut expected = Content::new();
    let mut db = open(&disk, &path, backend);
    for round in 0..60 {
        let changes = numbers.changes(backend, &expected);
        let commit = numbers.below(5) > 0;
        match numbers.below(2) {
            0 => change(&mut db, &disk, &changes, commit),
            _ => lab.change(
                &path,
                backend,
                &changes,
                if commit { "COMMIT" } else { "ABORT" },
            ),
        }
        if commit {
            apply(&mut expected, &changes);
        }
        match numbers.below(12) {
            0 => db.repack().unwrap(),
            1 => drop(lab.tool(&path, backend, "repack", b"")),
            2 => db = open(&disk, &path, backend),
            // Dies in the middle of a transaction.
            3 if !matches!(backend, Backend::QuotaLegacy { .. }) => {
                let output = lab.tool(&path, backend, "damage", b"");
                assert!(!output.status.success());
                // Readers of the real skiplist do not look whether what they see is committed.
                if backend == SKIPLIST {
                    db.check().unwrap();
                }
            }
            _ => {}
        }
        match numbers.below(2) {
            0 => assert_eq!(content(&mut db), expected, "round {round}"),
            _ => assert_eq!(lab.content(&path, backend), expected, "round {round}"),
        }
        for key in expected.keys() {
            assert_eq!(
                db.get(key).unwrap().as_ref(),
                expected.get(key),
                "round {round}"
            );
        }
        if !matches!(backend, Backend::Flat | Backend::QuotaLegacy { .. }) {
            assert!(lab.is_consistent(&path, backend), "round {round}");
        }
        db.check().unwrap();
    }
}

#[test]
fn twoskip_in_turns() {
    take_turns(TWOSKIP);
}

#[test]
fn skiplist_in_turns() {
    take_turns(SKIPLIST);
}

#[test]
fn flat_in_turns() {
    take_turns(FLAT);
}

#[test]
fn quotalegacy_in_turns() {
    take_turns(QUOTA);
}

/// What a power cut leaves of our work is recovered by the tool too.
#[test]
fn twoskip_after_power_cuts() {
    let Some(lab) = Lab::new() else { return };
    let path = lab.path("recorded");
    let directory = path.parent().unwrap();
    std::fs::create_dir_all(directory).unwrap();
    let recorder = Recorder::new(directory).unwrap();
    let disk = Disk::default().recorded_by(&recorder);
    let mut numbers = Numbers(11);
    let mut db = open(&disk, &path, TWOSKIP);
    let mut states = vec![(recorder.len(), Content::new())];
    for _ in 0..12 {
        let mut state = states.last().unwrap().1.clone();
        let changes = numbers.changes(TWOSKIP, &state);
        change(&mut db, &disk, &changes, true);
        apply(&mut state, &changes);
        states.push((recorder.len(), state));
    }
    for cut in (states[0].0..=recorder.len()).step_by(2) {
        let survivals = [
            Survival::OnlySynced,
            Survival::Everything,
            Survival::Sectors(cut as u64),
        ];
        for (n, survival) in survivals.into_iter().enumerate() {
            let left = lab.path(&format!("left-{cut}-{n}"));
            recorder
                .after_cut(cut, survival, left.parent().unwrap())
                .unwrap();
            let found = lab.content(&left, TWOSKIP);
            let next = states.partition_point(|(length, _)| *length <= cut);
            let possible = &states[next - 1..states.len().min(next + 1)];
            assert!(
                possible.iter().any(|(_, state)| *state == found),
                "cut {cut}, {survival:?}"
            );
            assert!(lab.is_consistent(&left, TWOSKIP), "cut {cut}, {survival:?}");
        }
    }
}

/// Our sessions and processes of the tool change one file at the same time; nothing is lost.
#[test]
fn twoskip_side_by_side() {
    let Some(lab) = Lab::new() else { return };
    let path = lab.path("shared");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let disk = Disk::default();
    open(&disk, &path, TWOSKIP);
    let put = |who: &str, n: usize| {
        let value = format!("{n:0200}");
        [
            Change::Put(format!("{who}.{n}").into(), value.into()),
            Change::Put(who.into(), n.to_string().into()),
        ]
    };
    std::thread::scope(|scope| {
        for who in ["we", "us"] {
            let (disk, path) = (&disk, &path);
            scope.spawn(move || {
                let mut db = open(disk, path, TWOSKIP);
                for n in 0..40 {
                    change(&mut db, disk, &put(who, n), true);
                    let seen = content(&mut db);
                    let mine = (0..=n).all(|n| seen.contains_key(format!("{who}.{n}").as_bytes()));
                    assert!(mine, "{who} lost something before {n}");
                }
            });
        }
        for who in ["they", "them"] {
            let (lab, path) = (&lab, &path);
            scope.spawn(move || {
                for n in 0..40 {
                    lab.change(path, TWOSKIP, &put(who, n), "COMMIT");
                }
            });
        }
    });
    let found = lab.content(&path, TWOSKIP);
    assert_eq!(found.len(), 4 * 41);
    assert_eq!(content(&mut open(&disk, &path, TWOSKIP)), found);
    assert!(lab.is_consistent(&path, TWOSKIP));
}
