//! Sieve scripts, shared with stock Cyrus: the table and the compiled scripts are taken away and made
//! anew by us, and its programs find and run the scripts.
//!
//! Without an installed Cyrus these tests do nothing and say so.

#![allow(clippy::expect_used, clippy::unwrap_used)]

#[path = "tools/lab.rs"]
mod lab;
#[path = "tools/store.rs"]
mod store;

use std::fs;
use std::path::Path;
use std::time::Duration;

use cyrus_sync::mail::{ModSeq, Uid, UnixTime};
use cyrus_sync::spool::layout::{UserFile, UserHome};
use cyrus_sync::spool::sieve::{self, ScriptRecord, ScriptTable};
use rusqlite::types::Value;

use store::{Store, name, user};

/// Rows of the table of scripts, all columns but the row's number, by id.
fn script_rows(path: &Path) -> Vec<String> {
    let connection = rusqlite::Connection::open(path).unwrap();
    let mut statement = connection
        .prepare(
            "SELECT id || ' ' || creationdate || ' ' || lastupdated || ' ' || mailbox || ' ' || \
             imap_uid || ' ' || modseq || ' ' || createdmodseq || ' ' || name || ' ' || \
             contentid || ' ' || isactive || ' ' || alive FROM sieve_scripts ORDER BY id",
        )
        .unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

/// Everything that can be asked about the tables and indexes of a database.
fn schema(path: &Path) -> Vec<String> {
    let connection = rusqlite::Connection::open(path).unwrap();
    let query = |sql: &str| -> Vec<String> {
        let mut statement = connection.prepare(sql).unwrap();
        let columns = statement.column_count();
        let rows = statement.query_map([], |row| {
            let values: Vec<String> = (0..columns)
                .map(|column| {
                    row.get::<_, Value>(column)
                        .map(|value| format!("{value:?}"))
                })
                .collect::<Result<_, _>>()?;
            Ok(values.join(" "))
        });
        rows.unwrap().map(Result::unwrap).collect()
    };
    let mut facts = query("PRAGMA user_version");
    let tables = "(SELECT name FROM sqlite_schema WHERE type = 'table')";
    for pragma in ["table_info", "index_list", "foreign_key_list"] {
        facts.extend(query(&format!(
            "SELECT t.name, p.* FROM {tables} t, pragma_{pragma}(t.name) p ORDER BY 1, 2, 3"
        )));
    }
    facts.extend(query(&format!(
        "SELECT l.name, i.* FROM {tables} t, pragma_index_list(t.name) l, \
         pragma_index_xinfo(l.name) i ORDER BY 1, 2"
    )));
    // A default of "" is one of '' to SQLite.
    facts
        .iter()
        .map(|fact| fact.replace("\\\"\\\"", "''"))
        .collect()
}

#[test]
fn scripts_are_found_and_run_through_our_table() {
    let Some(store) = Store::start(&[]) else {
        return;
    };
    store
        .lab
        .instance("user", &["--folders", "Sub Other", "anna"]);
    let anna = user("anna");
    let sieve = ["sieve", &store.lab.endpoint(2), "anna"];
    let filing = |mailbox: &str| format!("require \"fileinto\";\r\nfileinto \"{mailbox}\";\r\n");
    let scripts = store.talk(
        &sieve,
        &[
            &format!("PUT keep {}", "keep;\r\n"),
            &format!("PUT main {}", filing("Sub")),
            "SCRIPTS",
        ],
    );
    let theirs = store.user_file(&anna, UserFile::Dav);
    let rows = script_rows(&theirs);
    assert_eq!(rows.len(), 2);
    let before = schema(&theirs);

    // All that is derived from the messages is taken away and made anew.
    fs::remove_file(&theirs).unwrap();
    let inbox = store.inbox(&anna);
    let home = UserHome::of(&anna, Some((inbox.mailbox_type, &inbox.unique_id)));
    let directory = store.layout.sieve_directory(home);
    fs::remove_dir_all(&directory).unwrap();
    let folder = store
        .list()
        .find(&name("user.anna.#sieve"))
        .unwrap()
        .unwrap();
    assert_eq!(folder.mailbox_type.to_string(), "f");
    let files = store.lab.instance("path", &["user/anna/#sieve"]);
    let records: Vec<ScriptRecord> = rows_to_records(&rows);
    let mut table = ScriptTable::open(&store.disk, &theirs, Duration::from_secs(5)).unwrap();
    let changes = table
        .synchronize(&folder.unique_id, &records, |uid| {
            Ok(store
                .disk
                .read(&Path::new(&files).join(format!("{uid}.")))?)
        })
        .unwrap();
    sieve::follow(&store.disk, &directory, &changes).unwrap();
    assert_eq!(script_rows(&theirs), rows);
    for (ours, theirs) in schema(&theirs).iter().zip(&before) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(schema(&theirs).len(), before.len());
    store.lab.hand_over();

    // The daemons list and run the scripts, and go on changing them.
    assert_eq!(store.talk(&sieve, &["SCRIPTS"])[0], scripts[2]);
    let socket = store.places().config_directory.join("socket/lmtp");
    let lmtp = ["lmtp", socket.to_str().unwrap(), "anna"];
    let message = |number: u32| format!("Message-ID: <{number}@x>\r\nSubject: s\r\n\r\nx\r\n");
    store.talk(&lmtp, &[&message(1)]);
    assert!(directory.join("main.bc").exists());
    store.talk(&sieve, &[&format!("PUT main {}", filing("Other"))]);
    store.talk(&lmtp, &[&message(2)]);
    let status = store.imap(
        "anna",
        &["STATUS Sub (MESSAGES)", "STATUS Other (MESSAGES)"],
    );
    assert!(
        status.iter().all(|answer| answer.contains("MESSAGES 1")),
        "{status:?}"
    );
    let active = table.scripts().unwrap();
    let active: Vec<_> = active.iter().filter(|row| row.is_active).collect();
    assert_eq!(active.len(), 1);
    assert_eq!(active[0].name.as_str(), "main");
}

/// What the index says of the messages, as the rows that the original made tell it.
fn rows_to_records(rows: &[String]) -> Vec<ScriptRecord> {
    let mut records: Vec<ScriptRecord> = rows
        .iter()
        .map(|row| {
            let words: Vec<&str> = row.split(' ').collect();
            let number = |index: usize| words[index].parse::<u32>().unwrap();
            ScriptRecord {
                uid: Uid(number(4)),
                modseq: ModSeq(u64::from(number(5))),
                created_modseq: ModSeq(u64::from(number(6))),
                internal_date: UnixTime(number(2)),
                is_active: number(9) == 1,
                is_expunged: number(10) == 0,
            }
        })
        .collect();
    records.sort_by_key(|record| record.uid);
    records
}
