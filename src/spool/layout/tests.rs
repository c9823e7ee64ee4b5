use super::*;
use proptest::prelude::*;
use std::path::Component;

const ID: &str = "t87vubeuaa180pxsbcbtg8f5";

fn places(hash_names: bool, full_hash: bool) -> Places {
    let mut places = Places::below("/conf");
    places.sieve_directory = "/sieve".into();
    places.hash_names = hash_names;
    places.full_hash = full_hash;
    let partition = PartitionPlaces {
        data: "/spool".into(),
        ..PartitionPlaces::default()
    };
    places.partitions.insert(default_partition(), partition);
    places
}

fn layout(hash_names: bool, full_hash: bool) -> Layout {
    let namespace = Namespace {
        virtual_domains: true,
        ..Namespace::default()
    };
    Layout::new(places(hash_names, full_hash), namespace)
}

fn default_partition() -> Partition {
    Partition::parse("default").unwrap()
}

fn name(text: &str) -> MailboxName {
    MailboxName::parse(text).unwrap()
}

fn directory(layout: &Layout, mailbox: &str) -> PathBuf {
    layout
        .mailbox(&default_partition(), MailboxHome::Name(&name(mailbox)))
        .unwrap()
        .data_directory()
        .to_owned()
}

#[track_caller]
fn same(path: PathBuf, text: &str) {
    assert_eq!(path.to_str(), Some(text));
}

/// The examples of databases §8.4.
#[test]
fn legacy_layout() {
    let layout = layout(true, false);
    for (mailbox, path) in [
        ("user.alice.Sub", "a/user/alice/Sub"),
        ("user.john^doe.A^B", "j/user/john^doe/A^B"),
        (
            "example.com!user.alice.Work",
            "domain/e/example.com/a/user/alice/Work",
        ),
        ("internal!user.alice", "a/user/alice"),
        (
            "DELETED.user.alice.tmp.6B029D23",
            "u/DELETED/user/alice/tmp/6B029D23",
        ),
        (
            "example.com!DELETED.user.alice.tmp2.6B029D24",
            "domain/e/example.com/u/DELETED/user/alice/tmp2/6B029D24",
        ),
        ("shared", "s/shared"),
        ("shared.x", "x/shared/x"),
        ("example.com!teams.y", "domain/e/example.com/y/teams/y"),
    ] {
        same(directory(&layout, mailbox), &format!("/spool/{path}"));
    }
    let file = |user: &str| {
        let user = UserId::parse(user).unwrap();
        let home = UserHome::UserId(&user);
        (
            layout.user_file(home, UserFile::Seen),
            layout.sieve_directory(home),
        )
    };
    for (user, seen, sieve) in [
        ("alice", "/conf/user/a/alice.seen", "/sieve/a/alice"),
        (
            "alice@internal",
            "/conf/user/a/alice.seen",
            "/sieve/a/alice",
        ),
        (
            "john.doe",
            "/conf/user/j/john.doe.seen",
            "/sieve/j/john.doe",
        ),
        (
            "alice@example.com",
            "/conf/domain/e/example.com/user/a/alice.seen",
            "/sieve/domain/e/example.com/a/alice",
        ),
    ] {
        assert_eq!(file(user), (seen.into(), sieve.into()));
    }
}

/// The checked values of mailbox-format §1.3.
#[test]
fn full_hash() {
    let layout = layout(true, true);
    for (text, letter) in [
        ("alice", "L"),
        ("shared", "T"),
        ("x", "F"),
        ("9num", "D"),
        ("bo.b", "S"),
        ("example.com", "O"),
        ("*U*alice", "U"),
        ("user", "C"),
        ("Shared.x", "W"),
    ] {
        assert_eq!(layout.hash(text), letter, "{text}");
    }
    same(
        directory(&layout, "example.com!user.x"),
        "/spool/domain/O/example.com/F/user/x",
    );
    same(directory(&layout, "shared.foo"), "/spool/U/shared/foo");
    same(
        directory(&layout, "DELETED.user.x.1"),
        "/spool/C/DELETED/user/x/1",
    );
}

#[test]
fn without_hash() {
    let layout = layout(false, false);
    same(
        directory(&layout, "user.alice.Sub"),
        "/spool/user/alice/Sub",
    );
    same(
        directory(&layout, "example.com!user.x"),
        "/spool/domain/example.com/user/x",
    );
}

#[test]
fn unique_id_layout() {
    let layout = layout(true, false);
    let id = UniqueId::parse(ID).unwrap();
    let paths = layout
        .mailbox(&default_partition(), MailboxHome::UniqueId(&id))
        .unwrap();
    let directory = format!("/spool/uuid/t/8/{ID}");
    same(paths.message(Uid(7)), &format!("{directory}/7."));
    same(paths.archived_message(Uid(7)), &format!("{directory}/7."));
    same(
        paths.file(MailboxFile::Index),
        &format!("{directory}/cyrus.index"),
    );
    same(
        paths.new_file(MailboxFile::Cache),
        &format!("{directory}/cyrus.cache.NEW"),
    );
    assert_eq!(paths.directories(), [Path::new(&directory)]);
    same(
        layout.user_file(UserHome::UniqueId(&id), UserFile::Subscriptions),
        &format!("/conf/user/uuid/t/8/{ID}/sub.db"),
    );
    same(
        layout.sieve_directory(UserHome::UniqueId(&id)),
        &format!("/sieve/uuid/t/8/{ID}"),
    );
}

#[test]
fn homes_follow_the_type() {
    let id = UniqueId::parse(ID).unwrap();
    let user = UserId::parse("alice").unwrap();
    let inbox = name("user.alice");
    let kind = |text| MailboxType::parse(text).unwrap();
    assert_eq!(
        MailboxHome::of(kind("e"), &id, &inbox),
        MailboxHome::UniqueId(&id)
    );
    assert_eq!(
        MailboxHome::of(kind("el"), &id, &inbox),
        MailboxHome::Name(&inbox)
    );
    assert_eq!(
        UserHome::of(&user, Some((kind("ed"), &id))),
        UserHome::UniqueId(&id)
    );
    for without in [None, Some((kind("el"), &id))] {
        assert_eq!(UserHome::of(&user, without), UserHome::UserId(&user));
    }
}

#[test]
fn partitions_for_metadata_and_archive() {
    let mut places = places(false, false);
    places.metadata_files = MetadataFiles::HEADER | MetadataFiles::ANNOTATIONS;
    let partition = places.partitions.get_mut(&default_partition()).unwrap();
    partition.metadata = Some("/meta".into());
    partition.archive = Some("/archive".into());
    partition.metadata_by_file = vec![(MetadataFiles::INDEX, "/fast".into())];
    let layout = Layout::new(places, Namespace::default());
    let paths = layout
        .mailbox(&default_partition(), MailboxHome::Name(&name("shared")))
        .unwrap();
    for (file, path) in [
        (MailboxFile::Header, "/meta/shared/cyrus.header"),
        (MailboxFile::Index, "/fast/shared/cyrus.index"),
        (MailboxFile::Annotations, "/fast/shared/cyrus.annotations"),
        (MailboxFile::Cache, "/spool/shared/cyrus.cache"),
        (MailboxFile::ArchiveCache, "/archive/shared/cyrus.cache"),
    ] {
        same(paths.file(file), path);
    }
    same(paths.archived_message(Uid(1)), "/archive/shared/1.");
    let directories = [
        "/spool/shared",
        "/meta/shared",
        "/fast/shared",
        "/archive/shared",
    ];
    assert_eq!(paths.directories(), directories.map(Path::new));
    let other = Partition::parse("other").unwrap();
    assert_eq!(
        layout.staging_root(&other),
        Err(UnknownPartition(other.clone()))
    );
}

#[test]
fn files_of_the_server() {
    let layout = layout(true, false);
    for (root, path) in [
        ("user.alice", "/conf/quota/a/user.alice"),
        ("user.john^doe.Big", "/conf/quota/j/user.john^doe.Big"),
        ("shared", "/conf/quota/s/shared"),
        (
            "example.com!user.alice",
            "/conf/domain/e/example.com/quota/a/user.alice",
        ),
    ] {
        same(layout.quota_file(&name(root)), path);
    }
    let channel = |text| ChannelName::parse(text).unwrap();
    same(layout.sync_log(&channel("")), "/conf/sync/log");
    same(
        layout.sync_log_work_file(&channel("east")),
        "/conf/sync/east/log-run",
    );
    same(
        layout.shared_file(&name("example.com!teams"), UserFile::Counters),
        "/conf/domain/e/example.com/shared.counters",
    );
    let guid = Guid::NULL;
    same(
        layout
            .staged_message(&default_partition(), 42, &guid)
            .unwrap(),
        &format!("/spool/sync./42/{guid}"),
    );
}

#[test]
fn lock_files() {
    for (hash, name, path) in [
        (false, "*U*alice", "*U*alice"),
        (true, "*U*alice", "q/*U*alice"),
        (true, "*U*user.alice", "a/*U*user/alice"),
        (
            false,
            "*U*example.com!user.x",
            "domain/*U*example.com/user/x",
        ),
        (true, "*U*", "q/*U*"),
        (true, ID, "t/t87vubeuaa180pxsbcbtg8f5"),
        (true, "user.alice.Sub", "a/user/alice/Sub"),
        (false, "$QUOTACHANGE", "$QUOTACHANGE"),
        (
            true,
            "*S*replica^example^com*alice",
            "q/*S*replica^example^com*alice",
        ),
    ] {
        same(
            layout(hash, false).lock_file(name),
            &format!("/conf/lock/{path}.lock"),
        );
    }
}

proptest! {
    #[test]
    fn no_path_leaves_its_root(mailbox in "[ -~]{1,30}", user in "[ -~]{1,20}") {
        let layout = layout(true, false);
        let inside = |path: PathBuf, root: &str| {
            path.starts_with(root) && path.components().all(|part| part != Component::ParentDir)
        };
        if let Ok(mailbox) = MailboxName::parse(&mailbox) {
            prop_assert!(inside(directory(&layout, mailbox.as_str()), "/spool"));
            prop_assert!(inside(layout.quota_file(&mailbox), "/conf/"));
            prop_assert!(inside(layout.lock_file(mailbox.as_str()), "/conf/lock"));
        }
        if let Ok(user) = UserId::parse(&user) {
            let home = UserHome::UserId(&user);
            prop_assert!(inside(layout.user_file(home, UserFile::Dav), "/conf/"));
            prop_assert!(inside(layout.sieve_directory(home), "/sieve"));
        }
    }
}
