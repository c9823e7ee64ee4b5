//! Two small mailbox stores in memory, replicated by the decisions of [`plan`](super) exactly as
//! client and server do it, under random histories.

mod history;
mod replication;
mod store;

use std::collections::BTreeSet;

use proptest::prelude::*;

use self::history::{Operation, Side, World, operations};
use self::replication::{Replication, Server};
use crate::plan::log::{Task, merge};

/// Replicates the user until nothing changes any more; a healthy engine needs one run.
fn settle(world: &mut World, server: Server) -> Replication {
    let mut replication = Replication::new(server);
    replication.sync_user(&mut world.master, &mut world.replica);
    replication
}

fn assert_converged(world: &World, replication: &Replication) {
    let failed = &replication.failed;
    for (name, ours) in &world.master.mailboxes {
        if failed.contains(name) {
            continue;
        }
        let theirs = &world.replica.mailboxes[name];
        assert_eq!(ours.unique_id, theirs.unique_id, "{name}");
        assert_eq!(ours.partition, theirs.partition, "{name}");
        assert_eq!(ours.acl, theirs.acl, "{name}");
        assert_eq!(ours.last_uid, theirs.last_uid, "{name}");
        assert_eq!(ours.highest_modseq, theirs.highest_modseq, "{name}");
        assert_eq!(ours.uid_validity, theirs.uid_validity, "{name}");
        assert_eq!(ours.crc(), theirs.crc(), "{name}");
        assert!(
            ours.live().eq(theirs.live()),
            "{name}: {ours:?}\n{theirs:?}"
        );
    }
    // What else the replica has was never known to the master, or is in the way of nothing.
    let master_ids: BTreeSet<_> = world.master.ids().collect();
    for (name, theirs) in &world.replica.mailboxes {
        assert!(
            master_ids.contains(&theirs.unique_id)
                || !world.master.tombstones.contains(&theirs.unique_id),
            "{name} should be deleted"
        );
    }
}

fn servers() -> impl Strategy<Value = Server> {
    prop_oneof![Just(Server::Atomic), Just(Server::KeepsFailedUpdates)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Only the master changes: whatever happens there, one run makes the replica equal, a
    /// second sends nothing, and the master itself is never touched.
    #[test]
    fn a_replica_follows_its_master(
        rounds in prop::collection::vec(operations(Side::Master), 1..6),
        server in servers(),
    ) {
        let mut world = World::default();
        for round in rounds {
            world.run(&round);
            let before = world.master.clone();
            let replication = settle(&mut world, server);
            prop_assert!(replication.failed.is_empty());
            assert_converged(&world, &replication);
            if !replication.merged {
                prop_assert_eq!(&before, &world.master);
            }
            let again = settle(&mut world, server);
            prop_assert_eq!(again.changes_sent, 0);
        }
        world.assert_nothing_lost();
    }

    /// Both sides change: they converge, no message is lost, no UID is used twice.
    #[test]
    fn a_split_brain_heals(
        rounds in prop::collection::vec(operations(Side::Both), 1..6),
        server in servers(),
    ) {
        let mut world = World::default();
        for round in rounds {
            world.run(&round);
            world.note_ambiguous();
            let replication = settle(&mut world, server);
            assert_converged(&world, &replication);
            let again = settle(&mut world, server);
            prop_assert_eq!(again.changes_sent, 0, "after {:?}", again);
            prop_assert_eq!(&again.failed, &replication.failed);
        }
        world.assert_nothing_lost();
    }

    /// The log of a history brings the replica up to date, however often its runs are repeated
    /// and wherever a run breaks off.
    #[test]
    fn a_log_may_be_replayed(
        rounds in prop::collection::vec(operations(Side::Master), 1..4),
        server in servers(),
        breaks in prop::collection::vec(0_usize..6, 0..3),
    ) {
        let mut world = World::default();
        let mut whole_log = Vec::new();
        for round in rounds {
            let log = world.run(&round);
            let names = world.ownership();
            for tasks_done in &breaks {
                let tasks = merge(log.clone(), &names).into_iter().flat_map(|cohort| {
                    cohort.tasks().collect::<Vec<Task>>()
                });
                for task in tasks.take(*tasks_done) {
                    world.run_task(&task, server);
                }
            }
            world.run_log(&log, server);
            whole_log.extend(log);
            let again = settle(&mut world, server);
            prop_assert_eq!(again.changes_sent, 0, "the log left something out: {:?}", again);
        }
        let before = (world.master.clone(), world.replica.clone());
        world.run_log(&whole_log, server);
        prop_assert_eq!(before, (world.master.clone(), world.replica.clone()));
    }

    /// With the option `-O` the master is never changed, whatever the replica has.
    #[test]
    fn force_never_touches_the_master(
        operations in operations(Side::Both),
        server in servers(),
    ) {
        let mut world = World::default();
        world.run(&operations);
        let before = world.master.clone();
        let mut replication = Replication::forced(server);
        replication.sync_user(&mut world.master, &mut world.replica);
        prop_assert_eq!(before, world.master);
    }
}

#[test]
fn force_overrules_flags_of_the_replica() {
    let mut world = World::default();
    let setup = [
        Operation::create(Side::Master, 0),
        Operation::append(Side::Master, 0),
    ];
    world.run(&setup);
    settle(&mut world, Server::Atomic);
    world.run(&[Operation::flag(Side::Replica, 0, 0, 3)]);
    world.run(&[Operation::flag(Side::Master, 0, 0, 1)]);
    world.run(&[Operation::flag(Side::Replica, 0, 0, 2)]);
    let mut replication = Replication::forced(Server::Atomic);
    replication.sync_user(&mut world.master, &mut world.replica);
    assert_converged(&world, &replication);
    assert!(replication.failed.is_empty());
}
