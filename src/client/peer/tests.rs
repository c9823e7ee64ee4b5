use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::*;
use crate::mail::UserId;

/// A peer, and the other end of its connection.
fn connected(flavour: Flavour) -> (Peer, DuplexStream) {
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    let stream = Stream::new(Box::new(ours), Duration::from_secs(5));
    (Peer::new(stream, flavour, false), theirs)
}

fn user(name: &str) -> Get {
    Get::Meta(Some(UserId::parse(name).unwrap()))
}

/// What the peer has sent.
async fn sent(server: &mut DuplexStream) -> String {
    let mut octets = vec![0; 4096];
    let count = server.read(&mut octets).await.unwrap();
    octets.truncate(count);
    String::from_utf8(octets).unwrap()
}

fn subscriptions(answers: &[Answer]) -> Vec<String> {
    answers
        .iter()
        .flat_map(|answer| match answer {
            Answer::Lsub(names) => names.iter().map(ToString::to_string).collect(),
            _ => Vec::new(),
        })
        .collect()
}

#[tokio::test]
async fn answers_are_found_in_any_order() {
    let (mut peer, mut server) = connected(Flavour::Csync);
    let first = peer.send_get(&user("a")).await.unwrap();
    peer.send_restart();
    let second = peer.send_get(&user("b")).await.unwrap();
    assert_eq!(
        sent(&mut server).await,
        "GET META a\r\nRESTART\r\nGET META b\r\n"
    );
    server
        .write_all(
            b"* LSUB (user.a)\r\nOK success\r\nOK Restarting\r\n* LSUB (user.b)\r\nOK success\r\n",
        )
        .await
        .unwrap();
    assert_eq!(
        subscriptions(&peer.answer(second).await.unwrap()),
        ["user.b"]
    );
    assert_eq!(
        subscriptions(&peer.answer(first).await.unwrap()),
        ["user.a"]
    );
}

#[tokio::test]
async fn what_is_held_back_is_sent_before_its_answer_is_awaited() {
    let (mut peer, mut server) = connected(Flavour::Csync);
    peer.send_restart();
    let message = peer.begin("MESSAGE");
    peer.queue().extend_from_slice(b"APPLY MESSAGE ()\r\n");
    peer.relieve().await.unwrap();
    let replica = async {
        assert_eq!(sent(&mut server).await, "RESTART\r\nAPPLY MESSAGE ()\r\n");
        server
            .write_all(b"OK Restarting\r\nOK success\r\n")
            .await
            .unwrap();
    };
    let (answer, ()) = tokio::join!(peer.answer(message), replica);
    assert_eq!(answer.unwrap(), []);
}

#[tokio::test]
async fn only_what_may_be_long_is_cleared_out_of_the_way() {
    let (mut peer, mut server) = connected(Flavour::Csync);
    let long = peer.send_get(&user("a")).await.unwrap();
    let short = peer.begin("MAILBOX");
    peer.queue().extend_from_slice(b"APPLY MAILBOX x\r\n");
    peer.finish().await.unwrap();
    server.write_all(b"OK success\r\n").await.unwrap();
    peer.clear_the_way().await.unwrap();
    assert_eq!(peer.answer(long).await.unwrap(), []);
    server
        .write_all(b"NO IMAP_SYNC_CHANGED Changed since last sync\r\n")
        .await
        .unwrap();
    let error = peer.answer(short).await.unwrap_err();
    assert_eq!(error.refusal(), Some(Refusal::SyncChanged));
    assert!(error.leaves_connection_usable());
    assert_eq!(
        error.to_string(),
        "MAILBOX received NO response: IMAP_SYNC_CHANGED Changed since last sync"
    );
}

#[tokio::test]
async fn tags_and_their_status_lines() {
    let (mut peer, mut server) = connected(Flavour::Imap);
    let first = peer.send_get(&user("a")).await.unwrap();
    let second = peer.send(&Apply::Force).await.unwrap();
    assert_eq!(
        sent(&mut server).await,
        "S0 SYNCGET META a\r\nS1 SYNCAPPLY FORCE %()\r\n"
    );
    server
        .write_all(b"* LSUB (user.a)\r\nS0 OK success\r\nS1 BAD Replication parse failure\r\n")
        .await
        .unwrap();
    assert_eq!(
        subscriptions(&peer.answer(first).await.unwrap()),
        ["user.a"]
    );
    let error = peer.answer(second).await.unwrap_err();
    assert!(matches!(error, PeerError::NotUnderstood { .. }), "{error}");
}

#[tokio::test]
async fn what_ends_a_session() {
    for answer in [
        &b"BYE shutting down\r\n"[..],
        b"* Fatal error: [TOOBIG] Word too long\r\n",
        b"OK\r\n",
        b"nonsense\r\n",
    ] {
        let (mut peer, mut server) = connected(Flavour::Csync);
        server.write_all(answer).await.unwrap();
        let error = peer.get(&user("a")).await.unwrap_err();
        assert!(!error.leaves_connection_usable(), "{error}");
    }
    let (mut peer, server) = connected(Flavour::Csync);
    drop(server);
    let error = peer.get(&user("a")).await.unwrap_err();
    assert!(matches!(error, PeerError::Lost(_)), "{error}");
}

#[tokio::test]
async fn an_unusable_line_costs_one_answer() {
    let (mut peer, mut server) = connected(Flavour::Csync);
    server
        .write_all(b"* MAILBOX %(UNIQUEID x)\r\nOK success\r\nOK success\r\n")
        .await
        .unwrap();
    let error = peer.get(&user("a")).await.unwrap_err();
    assert!(matches!(error, PeerError::Unusable { .. }), "{error}");
    assert_eq!(peer.get(&user("b")).await.unwrap(), []);
}

#[tokio::test]
async fn nobody_waits_for_an_answer_that_cannot_come() {
    let (mut peer, _server) = connected(Flavour::Csync);
    let stray = Ticket(7);
    assert!(peer.answer(stray).await.is_err());
}
