//! What somebody who has not logged in may do to our server: little, and not for long.
//!
//! Without an installed Cyrus these tests do nothing and say so.

#![allow(clippy::expect_used, clippy::unwrap_used)]

#[path = "tools/lab.rs"]
mod lab;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use lab::Lab;

/// A client that is greeted.
struct Client {
    reader: BufReader<TcpStream>,
}

impl Client {
    fn connect(lab: &Lab) -> Client {
        let socket = TcpStream::connect(lab.endpoint(1)).unwrap();
        let timeout = Some(Duration::from_secs(20));
        socket.set_read_timeout(timeout).unwrap();
        let mut client = Client {
            reader: BufReader::new(socket),
        };
        while !client.line().starts_with("* OK ") {}
        client
    }

    /// A line, empty once the server has closed the connection.
    fn line(&mut self) -> String {
        let mut line = String::new();
        match self.reader.read_line(&mut line) {
            Ok(_) => line,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => String::new(),
            Err(error) => panic!("{error}"),
        }
    }

    fn send(&mut self, octets: &[u8]) -> std::io::Result<()> {
        self.reader.get_mut().write_all(octets)
    }

    fn log_in(&mut self, password: &str) -> String {
        let message = STANDARD.encode(format!("\0repl\0{password}"));
        let line = format!("AUTHENTICATE PLAIN {message}\r\n");
        self.send(line.as_bytes()).unwrap();
        self.line()
    }

    /// Reads until the server closes the connection.
    fn is_closed(&mut self) {
        let mut rest = Vec::new();
        match self.reader.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
    }
}

fn server(options: &[&str]) -> Option<Lab> {
    let mut arguments = vec!["--sync-server", "ours", "--no-sync-log"];
    for option in options {
        arguments.extend(["--option", option]);
    }
    Lab::start_with(&arguments)
}

fn log(lab: &Lab) -> String {
    std::fs::read_to_string(lab.root().join("log/sync_server.log")).unwrap()
}

/// Waits until the server has logged this: it may close a connection first.
fn logged(lab: &Lab, text: &str) {
    let end = Instant::now() + Duration::from_secs(5);
    while !log(lab).contains(text) {
        assert!(Instant::now() < end, "no {text:?} in {}", log(lab));
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn octets_and_time_before_the_login_are_limited() {
    let Some(lab) = server(&["cyrus_sync_login_timeout: 3"]) else {
        return;
    };
    // Commands that are answered, one after the other.
    let mut talkative = Client::connect(&lab);
    let mut sent = 0;
    while sent < 200_000 && talkative.send(&b"NOOP\r\n".repeat(100)).is_ok() {
        sent += 600;
    }
    talkative.is_closed();
    logged(&lab, "sent too much before it logged in");

    // Neither a word without end nor one octet now and then keeps a connection open.
    let start = Instant::now();
    let mut slow = Client::connect(&lab);
    for _ in 0..10 {
        if slow.send(b"x").is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    slow.is_closed();
    assert!(start.elapsed() < Duration::from_secs(10));

    // After the login neither limit holds.
    let mut honest = Client::connect(&lab);
    assert!(honest.log_in("secret").starts_with("OK "));
    std::thread::sleep(Duration::from_secs(4));
    honest.send(&b"NOOP\r\n".repeat(20_000)).unwrap();
    for _ in 0..20_000 {
        assert_eq!(honest.line(), "OK Noop completed\r\n");
    }
}

#[test]
fn failed_logins_are_counted_and_named_by_address() {
    let limits = [
        "cyrus_sync_max_login_failures: 3",
        "cyrus_sync_max_per_address: 2",
        "failedloginpause: 0",
    ];
    let Some(lab) = server(&limits) else {
        return;
    };
    let mut client = Client::connect(&lab);
    assert!(client.log_in("wrong-one").starts_with("NO "));
    assert!(client.log_in("secret").starts_with("OK "), "forgiven");
    drop(client);
    let mut client = Client::connect(&lab);
    for _ in 0..3 {
        assert!(client.log_in("wrong-one").starts_with("NO "));
    }
    client.is_closed();
    // Even the right password is not tried any more.
    let mut other = Client::connect(&lab);
    assert_eq!(other.log_in("secret"), "NO authentication failure\r\n");

    // This address may have two connections that have not logged in.
    let _second = Client::connect(&lab);
    let third = TcpStream::connect(lab.endpoint(1)).unwrap();
    let timeout = Some(Duration::from_secs(20));
    third.set_read_timeout(timeout).unwrap();
    Client {
        reader: BufReader::new(third),
    }
    .is_closed();

    logged(&lab, "cyrus_sync_max_per_address is reached");
    let log = log(&lab);
    assert!(log.contains("badlogin: 127.0.0.1:"), "{log}");
    assert!(log.contains("login not tried after 3 failures"), "{log}");
    for secret in ["wrong-one", "secret", &STANDARD.encode("\0repl\0wrong-one")] {
        let shown = log.lines().find(|line| line.contains(secret));
        assert!(shown.is_none(), "{shown:?}");
    }
}
