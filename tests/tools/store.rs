//! The store of a running instance, and the ways to talk to its programs.

#![allow(dead_code)] // Each test uses some of it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cyrus_sync::config::Places;
use cyrus_sync::mail::{MailboxName, Namespace, UserId};
use cyrus_sync::spool::cyrusdb::Backend;
use cyrus_sync::spool::disk::Disk;
use cyrus_sync::spool::layout::{Layout, UserFile, UserHome};
use cyrus_sync::spool::mailboxes::{MailboxEntry, MailboxList};

use super::lab::{Lab, tool};

/// A running instance and the ways into its store.
pub struct Store {
    pub lab: Lab,
    pub disk: Disk,
    pub layout: Layout,
}

impl Store {
    pub fn start(options: &[&str]) -> Option<Store> {
        let lab = Lab::start_with(options)?;
        let mut places = Places::below(lab.root().join("conf"));
        places.sieve_directory = lab.root().join("sieve");
        Some(Store {
            layout: Layout::new(places, Namespace::default()),
            disk: Disk::default(),
            lab,
        })
    }

    pub fn places(&self) -> &Places {
        self.layout.places()
    }

    pub fn list_at(&self, path: &Path) -> MailboxList {
        let admins = ["cyrus", "repl"].map(str::to_owned);
        MailboxList::open(
            &self.disk,
            path,
            Backend::Twoskip,
            &Namespace::default(),
            &admins,
        )
        .expect("open mailbox list")
    }

    pub fn list(&self) -> MailboxList {
        self.list_at(&self.places().mailboxes_db)
    }

    pub fn inbox(&self, user: &UserId) -> MailboxEntry {
        let name = self.layout.namespace().inbox_of(user);
        self.list().find(&name).unwrap().expect("INBOX")
    }

    pub fn user_file(&self, user: &UserId, file: UserFile) -> PathBuf {
        let inbox = self.inbox(user);
        let home = UserHome::of(user, Some((inbox.mailbox_type, &inbox.unique_id)));
        self.layout.user_file(home, file)
    }

    /// Says something to the instance's programs, in one session.
    pub fn talk(&self, whom: &[&str], lines: &[&str]) -> Vec<String> {
        let mut child = Command::new(tool("tools/talk.py"))
            .args(whom)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("run talk.py");
        let mut input = child.stdin.take().unwrap();
        for line in lines {
            let line = line.replace('%', "%25").replace('\r', "%0D");
            writeln!(input, "{}", line.replace('\n', "%0A")).unwrap();
        }
        drop(input);
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{whom:?} {lines:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let decode = |line: &str| line.replace("%0A", "\n").replace("%0D", "\r");
        text.lines()
            .map(|line| decode(line).replace("%25", "%"))
            .collect()
    }

    /// Says a line to the stock sync_server, which must like it.
    pub fn apply(&self, line: &str) {
        let answers = self.talk(&["csync", &self.lab.endpoint(1)], &[line]);
        assert_eq!(answers, ["OK success"], "{line}");
    }

    pub fn imap(&self, user: &str, lines: &[&str]) -> Vec<String> {
        self.talk(&["imap", &self.lab.endpoint(0), user], lines)
    }

    /// What the stock tool finds in a twoskip file, times masked.
    pub fn dump(&self, path: &Path) -> Vec<String> {
        self.lab.hand_over();
        let path = path.to_str().unwrap();
        let check = self
            .lab
            .instance("tool", &["cyr_dbtool", path, "twoskip", "consistent"]);
        assert!(check.contains("Yes"), "{path}: {check}");
        let content = self
            .lab
            .instance("tool", &["cyr_dbtool", path, "twoskip", "show"]);
        content.lines().map(|line| masked(line, " M ")).collect()
    }
}

/// The text with the number behind each mark replaced.
pub fn masked(text: &str, mark: &str) -> String {
    let mut pieces = text.split(mark);
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        out += mark;
        out += "*";
        out += piece.trim_start_matches(|c: char| c.is_ascii_digit());
    }
    out
}

pub fn name(text: &str) -> MailboxName {
    MailboxName::parse(text).unwrap()
}

pub fn user(text: &str) -> UserId {
    UserId::parse(text).unwrap()
}
