use super::*;
use crate::mail::Namespace;

struct Names(Namespace);

impl Ownership for Names {
    fn owner_of(&self, name: &MailboxName) -> Option<UserId> {
        self.0.owner_of(name)
    }

    fn owner_of_root(&self, root: &QuotaRoot) -> Option<UserId> {
        self.0.owner_of(&MailboxName::parse(root.as_str()).ok()?)
    }
}

fn names() -> Names {
    Names(Namespace::default())
}

fn mailbox(text: &str) -> MailboxName {
    MailboxName::parse(text).unwrap()
}

fn user(text: &str) -> UserId {
    UserId::parse(text).unwrap()
}

fn id(text: &str) -> UniqueId {
    UniqueId::parse(text).unwrap()
}

fn merged(items: Vec<LogItem>) -> Vec<Vec<Task>> {
    merge(items, &names())
        .iter()
        .map(|cohort| cohort.tasks().collect())
        .collect()
}

#[test]
fn equal_entries_collapse_and_owners_form_cohorts() {
    let tasks = merged(vec![
        LogItem::Mailbox(mailbox("user.alice")),
        LogItem::Append(mailbox("user.alice")),
        LogItem::Mailbox(mailbox("user.bob")),
        LogItem::Mailbox(mailbox("DELETED.user.alice.x.6B0294F8")),
        LogItem::Mailbox(mailbox("shared.a")),
        LogItem::Mailbox(mailbox("user.alice")),
        LogItem::Annotation(None),
    ]);
    assert_eq!(
        tasks,
        [
            vec![Task::Mailboxes(vec![
                mailbox("user.alice"),
                mailbox("DELETED.user.alice.x.6B0294F8")
            ])],
            vec![Task::Mailboxes(vec![mailbox("user.bob")])],
            vec![
                Task::Mailboxes(vec![mailbox("shared.a")]),
                Task::Annotation(None)
            ],
        ]
    );
}

#[test]
fn a_rename_or_copy_ties_its_owners_together() {
    let tasks = merged(vec![
        LogItem::Mailbox(mailbox("user.alice")),
        LogItem::Mailbox(mailbox("user.bob")),
        LogItem::Mailbox(mailbox("user.carol")),
        LogItem::Rename(mailbox("user.bob.x"), mailbox("user.alice.x")),
        LogItem::DoubleMailbox(mailbox("user.carol"), mailbox("user.carol.y")),
    ]);
    assert_eq!(
        tasks,
        [
            vec![Task::Mailboxes(
                ["user.bob", "user.alice", "user.bob.x", "user.alice.x"]
                    .map(mailbox)
                    .to_vec()
            )],
            vec![Task::Mailboxes(
                ["user.carol", "user.carol.y"].map(mailbox).to_vec()
            )],
        ]
    );
}

#[test]
fn larger_entries_cover_smaller_ones() {
    let seen = |name: &str| LogItem::Seen(user(name), id("id1"));
    let subscription = |name: &str| LogItem::Subscription(user(name), mailbox("shared"));
    let everything = |name: &str| vec![seen(name), subscription(name), LogItem::Meta(user(name))];
    let with = |last: Option<LogItem>| {
        let mut items = everything("a");
        items.extend(last);
        merged(items).concat()
    };
    assert_eq!(with(None), [Task::Meta(user("a"))]);
    assert_eq!(
        with(Some(LogItem::User(user("a")))),
        [Task::User(user("a"))]
    );
    assert_eq!(
        merged(vec![
            seen("a"),
            LogItem::User(user("a")),
            LogItem::Unuser(user("a"))
        ])
        .concat(),
        [Task::Unuser(user("a"))]
    );
    assert_eq!(
        merged(vec![seen("a"), LogItem::Meta(user("b"))]).concat(),
        [Task::Seen(user("a"), id("id1")), Task::Meta(user("b"))]
    );
}

#[test]
fn tasks_of_a_cohort_come_in_their_order() {
    let root = QuotaRoot::parse("user.a").unwrap();
    let tasks = merged(vec![
        LogItem::User(user("a")),
        LogItem::Unmailbox(mailbox("user.a.x")),
        LogItem::Annotation(Some(mailbox("user.a"))),
        LogItem::Quota(root.clone()),
        LogItem::Mailbox(mailbox("user.a")),
    ]);
    assert_eq!(
        tasks.concat(),
        [
            Task::Mailboxes(vec![mailbox("user.a")]),
            Task::Quota(root),
            Task::Annotation(Some(mailbox("user.a"))),
            Task::Unmailbox(mailbox("user.a.x")),
            Task::User(user("a")),
        ]
    );
    let restarts: Vec<bool> = tasks
        .concat()
        .iter()
        .map(Task::is_followed_by_restart)
        .collect();
    assert_eq!(restarts, [true, false, false, false, true]);
}

#[test]
fn merging_twice_is_merging_once() {
    let items = vec![
        LogItem::Rename(mailbox("user.a.x"), mailbox("user.b.x")),
        LogItem::Append(mailbox("user.a")),
        LogItem::Seen(user("a"), id("id1")),
        LogItem::Meta(user("b")),
        LogItem::Mailbox(mailbox("shared")),
    ];
    let once = merge(items.clone(), &names());
    let twice = merge(items.iter().cloned().chain(items.clone()), &names());
    assert_eq!(once, twice);
}

#[test]
fn failed_tasks_are_promoted_or_set_aside() {
    let mailboxes = |list: &[&str]| Task::Mailboxes(list.iter().copied().map(mailbox).collect());
    let root = |text: &str| Task::Quota(QuotaRoot::parse(text).unwrap());
    let to_user = |name| Reaction::Promote(vec![Task::User(user(name))]);
    let cases = [
        (mailboxes(&["user.a", "user.a.x"]), to_user("a")),
        (
            mailboxes(&["shared", "user.a"]),
            Reaction::Promote(vec![mailboxes(&["shared"]), Task::User(user("a"))]),
        ),
        (mailboxes(&["shared"]), Reaction::SetAside),
        (root("user.a"), to_user("a")),
        (root("shared"), Reaction::SetAside),
        (Task::Annotation(Some(mailbox("user.a"))), to_user("a")),
        (Task::Annotation(None), Reaction::Ignore),
        (
            Task::Seen(user("a"), id("id1")),
            Reaction::Promote(vec![Task::Meta(user("a"))]),
        ),
        (
            Task::Subscription(user("a"), mailbox("shared")),
            Reaction::Promote(vec![Task::Meta(user("a"))]),
        ),
        (Task::Meta(user("a")), to_user("a")),
        (Task::Unmailbox(mailbox("user.a.x")), Reaction::SetAside),
        (Task::User(user("a")), Reaction::SetAside),
        (Task::Unuser(user("a")), Reaction::SetAside),
    ];
    for (task, expected) in cases {
        assert_eq!(reaction(&task, Failure::Other, &names()), expected);
        assert_eq!(reaction(&task, Failure::Locked, &names()), Reaction::Defer);
        assert_eq!(
            reaction(&task, Failure::Disconnected, &names()),
            Reaction::Stop
        );
    }
    assert_eq!(
        reaction(&Task::Meta(user("a")), Failure::InvalidUser, &names()),
        Reaction::SetAside
    );
}

/// Promotions never lead back to where they came from.
#[test]
fn promotions_end() {
    let mut open = vec![
        Task::Mailboxes(vec![mailbox("shared"), mailbox("user.a")]),
        Task::Seen(user("a"), id("id1")),
    ];
    for _ in 0..4 {
        open = open
            .iter()
            .flat_map(|task| match reaction(task, Failure::Other, &names()) {
                Reaction::Promote(tasks) => tasks,
                _ => vec![],
            })
            .collect();
    }
    assert_eq!(open, []);
}

#[test]
fn the_quarantine_doubles_its_delay_and_forgets_after_success() {
    let seconds = Duration::from_secs;
    let mut quarantine = Quarantine::new(seconds(10), seconds(60));
    let delays: Vec<u64> = (0..40)
        .map(|_| quarantine.failed(&"a", seconds(100)).as_secs())
        .collect();
    assert_eq!(delays[..5], [10, 20, 40, 60, 60]);
    assert_eq!(delays[39], 60);
    assert!(quarantine.holds(&"a", seconds(159)));
    assert!(!quarantine.holds(&"a", seconds(160)));
    assert!(!quarantine.holds(&"b", seconds(0)));
    assert_eq!(quarantine.due(&"a"), Some(seconds(160)));
    assert_eq!(quarantine.subjects().collect::<Vec<_>>(), [(&"a", 40)]);
    quarantine.succeeded(&"a");
    assert_eq!(quarantine.due(&"a"), None);
    assert_eq!(quarantine.failed(&"a", seconds(0)).as_secs(), 10);
}
