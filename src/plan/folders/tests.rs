use std::convert::Infallible;

use super::*;

fn name(text: &str) -> MailboxName {
    MailboxName::parse(text).unwrap()
}

fn local(text: &str, id: &str) -> LocalFolder {
    LocalFolder {
        name: name(text),
        unique_id: UniqueId::parse(id).unwrap(),
        mailbox_type: MailboxType::default(),
        partition: Some(Partition::parse("default").unwrap()),
        uid_validity: UidValidity(1),
        created_modseq: ModSeq(1),
        folder_modseq: ModSeq(1),
        former_names: Vec::new(),
    }
}

fn remote(text: &str, id: &str) -> RemoteFolder {
    RemoteFolder {
        name: name(text),
        unique_id: UniqueId::parse(id).unwrap(),
        mailbox_type: MailboxType::default(),
        partition: Some(Partition::parse("default").unwrap()),
        last_uid: Uid(7),
        created_modseq: ModSeq(1),
        folder_modseq: ModSeq(1),
    }
}

fn intermediate() -> MailboxType {
    MailboxType::parse("ei").unwrap()
}

fn decide(locals: &[LocalFolder], remotes: &[RemoteFolder], force: bool, fate: Fate) -> FolderPlan {
    let never_fails = |_: &RemoteFolder| Ok::<_, Infallible>(fate.clone());
    let free_name = |local: &LocalFolder| Some(name(&format!("DELETED.{}.0", local.name)));
    match compare(locals, remotes, force, never_fails, free_name) {
        Ok(plan) => plan,
    }
}

/// The rearrangements as text.
fn steps(plan: &FolderPlan, remotes: &[RemoteFolder]) -> Vec<String> {
    plan.rearrangements
        .iter()
        .map(|step| match step {
            Rearrangement::Delete(index) => format!("delete {}", remotes[*index].name),
            Rearrangement::Rename(rename) => format!("{} -> {}", rename.old, rename.new),
        })
        .collect()
}

#[test]
fn equal_names_are_just_updated() {
    let locals = [local("a", "id1"), local("b", "id2")];
    let plan = decide(&locals, &[remote("b", "id2")], false, Fate::Unknown);
    let expected = [
        Update {
            local: 0,
            remote: None,
        },
        Update {
            local: 1,
            remote: Some(0),
        },
    ];
    assert_eq!(plan.updates, expected);
    assert_eq!(plan.rearrangements, []);
    assert_eq!(plan.findings, []);
}

#[test]
fn a_chain_of_renames_is_executed_from_its_free_end() {
    let locals = [local("b", "id1"), local("c", "id2"), local("d", "id3")];
    let remotes = [remote("a", "id1"), remote("b", "id2"), remote("c", "id3")];
    let plan = decide(&locals, &remotes, false, Fate::Unknown);
    assert_eq!(steps(&plan, &remotes), ["c -> d", "b -> c", "a -> b"]);
    assert!(plan.must_list_again());
    assert_eq!(plan.updates, []);
}

#[test]
fn a_swap_goes_through_a_former_name_or_else_a_proposed_one() {
    let mut locals = [local("b", "id1"), local("a", "id2")];
    let remotes = [remote("a", "id1"), remote("b", "id2")];
    let plan = decide(&locals, &remotes, false, Fate::Unknown);
    assert_eq!(
        steps(&plan, &remotes),
        ["a -> DELETED.b.0", "b -> a", "DELETED.b.0 -> b"]
    );
    locals[0].former_names = vec![name("a"), name("tmp")];
    let plan = decide(&locals, &remotes, false, Fate::Unknown);
    assert_eq!(steps(&plan, &remotes), ["a -> tmp", "b -> a", "tmp -> b"]);
}

#[test]
fn two_circles_and_a_chain_at_once() {
    let pairs = [
        ("a", "b"),
        ("b", "c"),
        ("c", "a"),
        ("x", "y"),
        ("y", "x"),
        ("p", "q"),
        ("q", "r"),
    ];
    let remotes: Vec<_> = pairs
        .iter()
        .map(|(old, _)| remote(old, &format!("id{old}")))
        .collect();
    let locals: Vec<_> = pairs
        .iter()
        .map(|(old, new)| local(new, &format!("id{old}")))
        .collect();
    let plan = decide(&locals, &remotes, false, Fate::Unknown);
    let mut names: HashMap<MailboxName, UniqueId> = remotes
        .iter()
        .map(|remote| (remote.name.clone(), remote.unique_id.clone()))
        .collect();
    for step in &plan.rearrangements {
        let Rearrangement::Rename(rename) = step else {
            panic!("nothing is deleted: {step:?}")
        };
        let moved = names.remove(&rename.old).expect("the old name exists");
        let displaced = names.insert(rename.new.clone(), moved);
        assert_eq!(displaced, None, "the new name was free");
    }
    let expected = locals
        .iter()
        .map(|local| (local.name.clone(), local.unique_id.clone()))
        .collect();
    assert_eq!(names, expected);
    assert_eq!(plan.rearrangements.len(), pairs.len() + 2);
}

#[test]
fn a_circle_without_a_free_name_is_given_up_and_named() {
    let locals = [local("b", "id1"), local("a", "id2"), local("z", "id3")];
    let remotes = [remote("a", "id1"), remote("b", "id2"), remote("z", "id3")];
    let never_fails = |_: &RemoteFolder| Ok::<_, Infallible>(Fate::Unknown);
    let Ok(plan) = compare(&locals, &remotes, false, never_fails, |_| None);
    assert_eq!(plan.rearrangements, []);
    assert_eq!(
        plan.findings,
        [
            Finding::NoFreeName { local: 0 },
            Finding::NameTaken {
                local: 1,
                remote: 0
            }
        ]
    );
    assert_eq!(
        plan.updates,
        [Update {
            local: 2,
            remote: Some(2)
        }]
    );
}

#[test]
fn another_partition_is_a_rename_onto_itself() {
    let locals = [local("a", "id1")];
    let mut remotes = [remote("a", "id1")];
    remotes[0].partition = Some(Partition::parse("other").unwrap());
    let plan = decide(&locals, &remotes, false, Fate::Unknown);
    assert_eq!(steps(&plan, &remotes), ["a -> a"]);
    remotes[0].partition = None;
    let plan = decide(&locals, &remotes, false, Fate::Unknown);
    assert!(!plan.must_list_again());
}

#[test]
fn only_a_tombstone_deletes_and_children_go_first() {
    let remotes = [remote("a", "id1"), remote("a.b", "id2")];
    let plan = decide(&[], &remotes, false, Fate::Tombstone);
    assert_eq!(plan.deletions, [1, 0]);
    let plan = decide(&[], &remotes, false, Fate::Unknown);
    assert!(plan.deletions.is_empty());
    assert_eq!(
        plan.findings,
        [
            Finding::NoTombstone { remote: 0 },
            Finding::NoTombstone { remote: 1 }
        ]
    );
}

#[test]
fn a_mailbox_created_again_replaces_its_deleted_predecessor() {
    let locals = [local("a", "new")];
    let remotes = [remote("a", "old")];
    let plan = decide(&locals, &remotes, false, Fate::Tombstone);
    assert_eq!(steps(&plan, &remotes), ["delete a"]);
    let created = [Update {
        local: 0,
        remote: None,
    }];
    assert_eq!(plan.updates, created);
    assert!(plan.deletions.is_empty());
}

#[test]
fn a_name_held_by_a_foreign_mailbox_blocks_only_its_own() {
    let locals = [local("a", "new"), local("b", "id2")];
    let mut remotes = [remote("a", "old"), remote("b", "id2")];
    let plan = decide(&locals, &remotes, false, Fate::Unknown);
    assert_eq!(plan.updates.len(), 1);
    assert!(plan.findings.contains(&Finding::NameTaken {
        local: 0,
        remote: 0
    }));
    assert_eq!(
        decide(&locals, &remotes, true, Fate::Unknown).updates.len(),
        2
    );
    remotes[0].last_uid = Uid(0);
    assert_eq!(
        decide(&locals, &remotes, false, Fate::Unknown)
            .updates
            .len(),
        2
    );
}

#[test]
fn a_rename_onto_a_deleted_mailbox_deletes_first() {
    let locals = [local("b", "id1")];
    let remotes = [remote("a", "id1"), remote("b", "gone")];
    let plan = decide(&locals, &remotes, false, Fate::Tombstone);
    assert_eq!(steps(&plan, &remotes), ["delete b", "a -> b"]);
}

#[test]
fn a_remote_folder_that_lives_under_another_name_is_reported() {
    let remotes = [remote("a", "id1")];
    let plan = decide(&[], &remotes, false, Fate::Alive(name("b")));
    assert_eq!(
        plan.findings,
        [Finding::LivesElsewhere {
            remote: 0,
            name: name("b")
        }]
    );
}

#[test]
fn intermediates_are_sent_only_if_they_differ_and_never_hide_messages() {
    let mut locals = [local("a", "id1")];
    locals[0].mailbox_type = intermediate();
    locals[0].partition = None;
    let mut remotes = [remote("a", "id1")];
    // The mailbox was deleted, its children keep the name alive.
    let plan = decide(&locals, &remotes, false, Fate::Unknown);
    assert_eq!(steps(&plan, &remotes), ["delete a"]);
    assert_eq!(plan.updates.len(), 1);
    // A foreign mailbox keeps its name even in force mode.
    remotes[0] = remote("a", "foreign");
    assert_eq!(decide(&locals, &remotes, true, Fate::Unknown).updates, []);
    remotes[0] = remote("a", "id1");
    remotes[0].mailbox_type = intermediate();
    let plan = decide(&locals, &remotes, false, Fate::Unknown);
    assert_eq!(plan.updates, []);
    remotes[0].folder_modseq = ModSeq(2);
    let plan = decide(&locals, &remotes, false, Fate::Unknown);
    assert_eq!(plan.updates.len(), 1);
}
