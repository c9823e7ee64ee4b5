//! The smaller databases of a store, shared with stock Cyrus: what one side writes the other reads.
//!
//! Without an installed Cyrus these tests do nothing and say so.

#![allow(clippy::expect_used, clippy::unwrap_used)]

#[path = "tools/lab.rs"]
mod lab;
#[path = "tools/store.rs"]
mod store;

use cyrus_sync::config::{ChannelName, LockSettings};
use cyrus_sync::mail::{Annotation, ModSeq, Namespace, Uid, UidValidity, UniqueId, UnixTime};
use cyrus_sync::spool::annotations::{AnnotationDb, Scope};
use cyrus_sync::spool::counters::{self, Counter, Family};
use cyrus_sync::spool::cyrusdb::{Backend, Create};
use cyrus_sync::spool::layout::UserFile;
use cyrus_sync::spool::lock::Locks;
use cyrus_sync::spool::quota::{Amounts, Limits, QuotaDb, QuotaRoot, SetLimits};
use cyrus_sync::spool::seen::{SeenDb, SeenState};
use cyrus_sync::spool::statuscache;
use cyrus_sync::spool::subscriptions::Subscriptions;
use cyrus_sync::spool::synclog::{self, LogItem, WorkFile};

use store::{Store, name, user};

const QUOTA: Backend = Backend::QuotaLegacy {
    full_hash: false,
    virtual_domains: false,
};

#[test]
fn subscriptions_and_seen_state_go_both_ways() {
    let Some(store) = Store::start(&["--option", "statuscache: on"]) else {
        return;
    };
    store
        .lab
        .instance("user", &["--folders", "Sub", "anna", "bert"]);
    store.imap("bert", &["SETACL INBOX anna lr"]);
    let anna = user("anna");
    let locks = Locks::new(
        store.disk.clone(),
        store.layout.clone(),
        LockSettings::default(),
    );
    let namespace = Namespace::default();
    let path = store.user_file(&anna, UserFile::Subscriptions);
    let mut ours = Subscriptions::open_for_change(
        &store.disk,
        &path,
        Backend::Flat,
        &namespace,
        &anna,
        &locks,
    )
    .unwrap();
    for mailbox in ["user.anna", "user.anna.Sub", "user.bert", "team.gone"] {
        ours.add(&name(mailbox)).unwrap();
    }
    store.lab.hand_over();
    let subscribed = store.imap("anna", &["LSUB \"\" *", "UNSUBSCRIBE Sub", "LSUB \"\" *"]);
    for mailbox in ["\" INBOX", "\" Sub", "\"Other Users/bert\""] {
        assert!(
            subscribed[0].contains(mailbox),
            "{mailbox}: {}",
            subscribed[0]
        );
    }
    assert!(!subscribed[2].contains("\" Sub"), "{}", subscribed[2]);
    store.apply("APPLY SUB %(USERID anna MBOXNAME user.annabel.^odd^)");
    let mut ours = Subscriptions::open(&store.disk, &path, Backend::Flat, &namespace, &anna)
        .unwrap()
        .unwrap();
    let mut list = ours.list().unwrap();
    list.sort();
    assert_eq!(
        list,
        ["team.gone", "user.anna", "user.annabel.^odd^", "user.bert"].map(name)
    );

    let mailbox = UniqueId::parse("54lxoc7sbxiyqaap5r8c1wsm").unwrap();
    store.apply(&format!(
        "APPLY SEEN %(USERID anna UNIQUEID {mailbox} LASTREAD 1795331326 LASTUID 4 \
         LASTCHANGE 1795331269 SEENUIDS 1:2,4)"
    ));
    let path = store.user_file(&anna, UserFile::Seen);
    let mut seen = SeenDb::open(&store.disk, &path, Backend::Twoskip, Create::No)
        .unwrap()
        .unwrap();
    let state = SeenState {
        last_read: UnixTime(1_795_331_326),
        last_uid: Uid(4),
        last_change: UnixTime(1_795_331_269),
        seen_uids: "1:2,4".to_owned(),
    };
    assert_eq!(seen.get(&mailbox).unwrap(), Some(state.clone()));
    let other = UniqueId::parse("bbbbbbbb").unwrap();
    seen.put(
        &other,
        &SeenState {
            seen_uids: String::new(),
            ..state
        },
    )
    .unwrap();
    store.lab.hand_over();
    let told = store.talk(&["csync", &store.lab.endpoint(1)], &["GET META anna"]);
    for expected in [
        "SEEN %(UNIQUEID 54lxoc7sbxiyqaap5r8c1wsm LASTREAD 1795331326 LASTUID 4 \
         LASTCHANGE 1795331269 SEENUIDS 1:2,4)",
        "SEEN %(UNIQUEID bbbbbbbb LASTREAD 1795331326 LASTUID 4 LASTCHANGE 1795331269 \
         SEENUIDS \"\")",
        "user.annabel.^odd^",
    ] {
        assert!(told[0].contains(expected), "{expected}: {}", told[0]);
    }

    // The cached STATUS that 3.6.1 trusts blindly.
    let status = "STATUS INBOX (MESSAGES)";
    assert!(store.imap("anna", &[status])[0].contains("MESSAGES 0"));
    let cache = store.places().status_cache_db.clone();
    let cached = |line: &String| line.starts_with("user.anna%");
    assert!(store.dump(&cache).iter().any(cached));
    statuscache::forget(&store.disk, &cache, Backend::Twoskip, &name("user.anna")).unwrap();
    assert!(!store.dump(&cache).iter().any(cached));
    assert!(store.imap("anna", &[status])[0].contains("MESSAGES 0"));
}

#[test]
fn quotas_and_annotations_go_both_ways() {
    let Some(store) = Store::start(&[]) else {
        return;
    };
    store
        .lab
        .instance("user", &["--folders", "Sub", "anna", "john.doe"]);
    let conf = store.places().config_directory.clone();
    let namespace = Namespace::default();
    let mut quotas =
        QuotaDb::open(&store.disk, &conf.join("quotas.db"), QUOTA, &namespace).unwrap();
    let anna = QuotaRoot::parse("user.anna").unwrap();
    let limits = Limits {
        storage: Some(2000),
        messages: Some(50),
        ..Limits::default()
    };
    store.apply("APPLY QUOTA %(ROOT user.anna LIMIT 1000 STORAGE 1000 MESSAGE 50 MODSEQ 3)");
    let theirs = quotas.get(&anna).unwrap().unwrap();
    assert_eq!(
        (theirs.limits.storage, theirs.used.mailboxes),
        (Some(1000), 2)
    );
    let set = quotas
        .set_limits(&anna, limits, Some(ModSeq(9)), &mut Ok)
        .unwrap();
    assert_eq!(set, SetLimits::Changed);
    let delta = Amounts {
        storage: 4096,
        messages: 3,
        ..Amounts::default()
    };
    assert!(
        quotas
            .change_used(&anna, &name("user.anna"), delta, &mut Ok)
            .unwrap()
    );
    let locks = Locks::new(
        store.disk.clone(),
        store.layout.clone(),
        LockSettings::default(),
    );
    let john = QuotaRoot::parse("user.john^doe").unwrap();
    quotas
        .create(
            &locks.quota_change().unwrap(),
            &john,
            limits,
            Some(ModSeq(4)),
            &mut Ok,
        )
        .unwrap();
    store.lab.hand_over();
    let told = store.imap("anna", &["GETQUOTAROOT INBOX"]);
    assert!(
        told[0].contains("(STORAGE 4 2000 MESSAGE 3 50)"),
        "{}",
        told[0]
    );
    let told = store.talk(
        &["csync", &store.lab.endpoint(1)],
        &["GET QUOTA user.john^doe"],
    );
    let expected = "QUOTA %(ROOT user.john^doe LIMIT 2000 STORAGE 2000 MESSAGE 50 MODSEQ 4)";
    assert!(told[0].contains(expected), "{}", told[0]);
    let found = quotas.list("user.").unwrap();
    let roots: Vec<&QuotaRoot> = found.iter().map(|(root, _)| root).collect();
    assert_eq!(roots, [&anna, &john]);
    store.lab.instance("tool", &["quota", "-f"]);
    let fixed = quotas.get(&anna).unwrap().unwrap();
    assert_eq!((fixed.used.storage, fixed.limits), (0, limits));
    assert!(
        quotas
            .delete(&locks.quota_change().unwrap(), &john)
            .unwrap()
    );
    let told = store.talk(
        &["csync", &store.lab.endpoint(1)],
        &["GET QUOTA user.john^doe"],
    );
    assert_eq!(told, ["OK success"]);

    let path = store.places().annotations_db.clone();
    let mut annotations = AnnotationDb::open(&store.disk, &path, Backend::Twoskip).unwrap();
    let inbox = store.inbox(&user("anna"));
    let owner = user("anna");
    let scope = Scope::Mailbox {
        id: &inbox.unique_id,
        owner: Some(&owner),
    };
    store.imap(
        "anna",
        &["SETMETADATA INBOX (/private/comment \"mine\" /shared/comment \"ours 100%\")"],
    );
    let annotation = |user: &str, value: &str| Annotation {
        entry: "/comment".to_owned(),
        user: user.to_owned(),
        modseq: ModSeq(0),
        value: value.as_bytes().to_vec(),
    };
    let both = [annotation("", "ours 100%"), annotation("anna", "mine")];
    assert_eq!(annotations.all(scope).unwrap(), both);
    let replaced = [
        annotation("", "changed \"by\" us"),
        annotation("anna", "still mine"),
    ];
    assert_eq!(
        annotations.replace(scope, &replaced).unwrap().size_delta,
        12
    );
    annotations
        .set(Scope::Server, &annotation("", "server\r\nwide"))
        .unwrap();
    store.lab.hand_over();
    let told = store.imap(
        "anna",
        &[
            "GETMETADATA INBOX (/private/comment /shared/comment)",
            "GETMETADATA \"\" (/shared/comment)",
        ],
    );
    assert!(
        told[0].contains("\"/private/comment\" \"still mine\""),
        "{}",
        told[0]
    );
    assert!(told[0].contains("changed \"by\" us"), "{}", told[0]);
    assert!(told[1].contains("server\r\nwide"), "{}", told[1]);
}

#[test]
fn counters_and_sync_logs_go_both_ways() {
    let Some(store) = Store::start(&["--option", "conversations: yes"]) else {
        return;
    };
    store
        .lab
        .instance("user", &["--folders", "a\u{20}b", "anna"]);
    let channel = ChannelName::parse("").unwrap();
    let log = store.layout.sync_log(&channel);
    let work_file = store.layout.sync_log_work_file(&channel);
    let odd = name("user.anna.x (y)\\{z}");
    synclog::append(&store.disk, &log, &[LogItem::Mailbox(odd.clone())]).unwrap();
    store.lab.hand_over();
    store.imap(
        "anna",
        &["CREATE \"p (q)\"", "RENAME \"p (q)\" r", "SUBSCRIBE r"],
    );
    let run = WorkFile::take(&store.disk, &log, &work_file)
        .unwrap()
        .unwrap();
    let items: Vec<LogItem> = run.items().map(|item| item.unwrap().unwrap()).collect();
    for expected in [
        LogItem::Mailbox(odd),
        LogItem::Mailbox(name("user.anna.p (q)")),
        LogItem::Rename(name("user.anna.p (q)"), name("user.anna.r")),
        LogItem::Subscription(user("anna"), name("user.anna.r")),
    ] {
        assert!(items.contains(&expected), "{expected}: {items:?}");
    }

    let path = store.user_file(&user("anna"), UserFile::Counters);
    let mail = Counter::Messages(Family::Mail);
    let before = counters::read(&store.disk, &path).unwrap();
    assert!(before.highest() > ModSeq(1) && before.get(mail) > ModSeq(1));
    assert!(before.uid_validity > UidValidity(1_000_000_000));
    counters::update(&store.disk, &path, |counters| {
        counters.raise(&[mail], ModSeq(1000))
    })
    .unwrap();
    store.lab.hand_over();
    store.imap("anna", &["CREATE after"]);
    let after = counters::read(&store.disk, &path).unwrap();
    assert!(after.highest() > ModSeq(1000), "{after:?}");
    assert!(after.uid_validity > before.uid_validity);
    assert!(after.generation > before.generation + 1);
}
