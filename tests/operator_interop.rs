//! Does stock Cyrus serve what `syncctl` wrote, and does `syncctl` compare what it wrote?
//!
//! Without an installed Cyrus these tests do nothing and say so.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod tools;

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use cyrus_sync::auth::Authenticator;
use cyrus_sync::config::{Config, Environment};

use tools::lab::{Lab, run, tool};

/// What does not depend on when a mailbox or message came into a store.
const LASTING: &str = "mailboxes,attributes,acl,uids,uidnext,flags,internaldate,size,body,envelope,\
    bodystructure,guid,annotations,recent";

fn syncctl(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_syncctl"));
    command.args(arguments).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn config(lab: &Lab) -> String {
    lab.root().join("imapd.conf").display().to_string()
}

/// A Maildir that every user can read.
fn maildir(lab: &Lab) -> String {
    let directory = lab.scratch("maildirs");
    let mut make = Command::new(tool("lab/corpus.py"));
    make.args(["maildir", "--mailboxes", "3", "--messages", "40", "--out"]);
    run(make.arg(&directory));
    directory.join("u0001").display().to_string()
}

#[test]
fn stock_imapd_serves_what_was_imported() {
    let Some(appended) = Lab::start() else {
        return;
    };
    let imported = Lab::start().unwrap();
    let maildir = maildir(&appended);
    let mut append = Command::new(tool("lab/import.py"));
    append.args(["--imap", &appended.imap(), "--user", "u0001", &maildir]);
    run(&mut append);

    let config = config(&imported);
    let made = syncctl(&["init", "-C", &config, "--user", "u0001"]);
    assert!(made.status.success(), "{made:?}");
    let import = syncctl(&["import", "-C", &config, "--user", "u0001", &maildir]);
    assert!(import.status.success(), "{import:?}");
    assert!(
        text(&import).contains("user/u0001/Sent: 40 messages"),
        "{import:?}"
    );
    let mut compare = Command::new(tool("lab/compare.py"));
    compare.args([&appended.imap(), &imported.imap(), "--users", "u0001"]);
    run(compare.args(["--only", LASTING]));
    validate(&imported.root());

    // The daemons go on with it, and an import with what they leave.
    let mut mutate = Command::new(tool("lab/corpus.py"));
    run(mutate.args([
        "mutate",
        "--imap",
        &imported.imap(),
        "--only",
        "flags,copy,move,expunge",
    ]));
    let again = syncctl(&["import", "-C", &config, "--user", "u0001", &maildir]);
    assert!(again.status.success(), "{again:?}");
    validate(&imported.root());
}

fn validate(root: &Path) {
    run(Command::new(tool("lab/validate")).arg(root));
}

#[test]
fn replicated_stores_are_equal_until_one_changes() {
    let Some(master) = Lab::start() else {
        return;
    };
    let replica = Lab::start().unwrap();
    let mut fill = Command::new(tool("lab/corpus.py"));
    fill.args([
        "variety",
        "--imap",
        &master.imap(),
        "--sieve",
        &master.endpoint(2),
    ]);
    fill.arg("--lmtp")
        .arg(master.root().join("conf/socket/lmtp"));
    fill.args(["--users", "2", "--messages", "12"]);
    run(&mut fill);
    master.instance("sync", &["--to", &replica.endpoint(1), "-A"]);

    let [a, b] = [config(&master), config(&replica)];
    let equal = syncctl(&["compare", "--content", &a, &b]);
    assert_eq!(equal.status.code(), Some(0), "{}", text(&equal));
    assert!(text(&equal).starts_with("EQUAL: "), "{}", text(&equal));

    // One octet of one message is another; its size is not.
    let list = text(&syncctl(&["ls", "--json", "-C", &b, "user/u0001"]));
    let directory = list.split("\"directory\":\"").nth(1).unwrap();
    let message = Path::new(directory.split('"').next().unwrap()).join("1.");
    let octets = std::fs::read(&message).unwrap();
    let mut damaged = octets.clone();
    *damaged.last_mut().unwrap() ^= 1;
    std::fs::write(&message, &damaged).unwrap();
    assert_eq!(syncctl(&["compare", &a, &b]).status.code(), Some(0));
    let found = syncctl(&["compare", "--content", &a, &b]);
    assert_eq!(found.status.code(), Some(1));
    assert!(
        text(&found).contains("user/u0001 UID 1: content: A (none) B SHA-1 "),
        "{found:?}"
    );
    std::fs::write(&message, &octets).unwrap();

    let mut change = Command::new(tool("lab/corpus.py"));
    run(change.args([
        "mutate",
        "--imap",
        &replica.imap(),
        "--only",
        "flags,subscribe",
    ]));
    let different = syncctl(&["compare", "--json", &a, &b]);
    assert_eq!(different.status.code(), Some(1));
    let found = text(&different);
    for what in ["flags", "modseq", "HIGHESTMODSEQ"] {
        assert!(found.contains(&format!("\"what\":\"{what}\"")), "{found}");
    }
    assert!(found.contains("\"what\":\"subscription "), "{found}");
    assert!(found.contains("\"result\":\"different\""), "{found}");
}

#[test]
fn the_exit_status_tells_what_is_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().display();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(directory.path(), mode).unwrap();
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid())
        .unwrap()
        .unwrap();
    let owner = match user.uid.is_root() {
        true => "nobody\ncyrus_group: nogroup".to_owned(),
        false => user.name,
    };
    let config = directory.path().join("imapd.conf").display().to_string();
    let settings = format!(
        "configdirectory: {root}/conf\npartition-default: {root}/spool\nsievedir: {root}/sieve\n\
         servername: test\ncyrus_user: {owner}\n"
    );
    std::fs::write(&config, settings).unwrap();
    let mbox = directory.path().join("mbox").display().to_string();
    std::fs::write(&mbox, "From a Fri Jul 14 09:05:00 2023\nSubject: \0\n").unwrap();
    let status = |arguments: &[&str]| syncctl(arguments).status.code().unwrap();

    assert_eq!(status(&["nonsense"]), 64);
    assert_eq!(status(&["ls", "-C", &format!("{root}/none")]), 78);
    assert_eq!(status(&["ls", "-C", &config]), 66);
    assert_eq!(status(&["init", "-C", &config, "--user", "a"]), 0);
    assert_eq!(
        status(&["init", "-C", &config, "--mailbox", "user/b/Work"]),
        67
    );
    assert_eq!(status(&["init", "-C", &config, "--mailbox", "a//b"]), 64);
    assert_eq!(status(&["ls", "-C", &config, "b"]), 67);
    assert_eq!(status(&["ls", "-C", &config, "a"]), 0);
    assert_eq!(status(&["import", "-C", &config, "--user", "b", &mbox]), 67);
    assert_eq!(status(&["import", "-C", &config, "--user", "a", &mbox]), 65);
    assert_eq!(
        status(&["import", "-C", &config, "--user", "a", &config]),
        65
    );
    let missing = format!("{root}/none");
    assert_eq!(
        status(&["import", "-C", &config, "--user", "a", &missing]),
        66
    );
    assert_eq!(status(&["compare", &config, &config]), 0);
    assert_eq!(status(&["passwd", "-C", &config, "a"]), 78);
}

#[test]
fn passwords_are_set_and_removed() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().display();
    let owner = nix::unistd::User::from_uid(nix::unistd::geteuid());
    let owner = owner.unwrap().unwrap().name;
    let config = directory.path().join("imapd.conf").display().to_string();
    let settings = format!(
        "configdirectory: {root}\npartition-default: {root}\nservername: test\nadmins: repl\n\
         cyrus_user: {owner}\ncyrus_sync_password_file: {root}/passwords\n"
    );
    std::fs::write(&config, settings).unwrap();
    let passwd = |arguments: &[&str], input: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_syncctl"));
        command.args(["passwd", "-C", &config]).args(arguments);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let given = child.stdin.take().unwrap().write_all(input.as_bytes());
        // What is refused at once ends without reading.
        if let Err(error) = given {
            assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
        }
        child.wait().unwrap().code().unwrap()
    };
    let environment = Environment::of_process("sync_server");
    let fits = |password: &str| {
        let loaded = Config::load(Path::new(&config), &environment).unwrap();
        let checked = Authenticator::new(&loaded).check_plain("repl", "", password.as_bytes());
        checked.is_ok_and(|identity| identity.is_admin)
    };

    assert_eq!(passwd(&["repl"], "one\n"), 0);
    assert!(fits("one") && !fits("two"));
    assert_eq!(passwd(&["repl"], "two\r\nthree\n"), 0);
    assert!(fits("two") && !fits("one"));
    let file = directory.path().join("passwords");
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(!std::fs::read_to_string(&file).unwrap().contains("two"));
    assert_eq!(passwd(&["repl"], "\n"), 70);
    assert_eq!(passwd(&["repl"], &"x".repeat(2000)), 65);
    assert_eq!(passwd(&["group:a"], "one\n"), 64);
    assert!(fits("two"));
    assert_eq!(passwd(&["--delete", "repl"], ""), 0);
    assert!(!fits("two"));
    assert_eq!(passwd(&["--delete", "repl"], ""), 67);
}
