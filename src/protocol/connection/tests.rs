use std::convert::Infallible;
use std::time::Duration;

use async_compression::Level;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::*;
use crate::dlist::FieldProblem;
use crate::mail::{Guid, UserId};
use crate::protocol::command::{
    Answer, Apply, FlagTable, Get, MailboxAnswer, MailboxArgument, NoFiles, Record, Request, Scope,
    Verb,
};
use crate::protocol::greeting::Capabilities;
use crate::protocol::reply::{Refusal, Status};
use crate::protocol::sasl::server::{Exchange, Failure, PasswordLogin, ScramSecret};
use crate::protocol::sasl::{Mechanism, ScramHash, client::Policy};
use crate::protocol::stream::Compression;

const TIMEOUT: Duration = Duration::from_secs(5);

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(test);
}

fn server_and_wire(capacity: usize) -> (ServerConnection, DuplexStream) {
    let (near, far) = tokio::io::duplex(capacity);
    let stream = Stream::new(Box::new(near), TIMEOUT);
    let mut server = ServerConnection::new(stream, Limits::default());
    server.know_tls();
    (server, far)
}

fn client_and_wire(capacity: usize) -> (ClientConnection, DuplexStream) {
    let (near, far) = tokio::io::duplex(capacity);
    let stream = Stream::new(Box::new(near), TIMEOUT);
    (ClientConnection::new(stream, Limits::default()), far)
}

fn client_and_server() -> (ClientConnection, ServerConnection) {
    let (near, far) = tokio::io::duplex(1000);
    (
        ClientConnection::new(Stream::new(Box::new(near), TIMEOUT), Limits::default()),
        ServerConnection::new(Stream::new(Box::new(far), TIMEOUT), Limits::default()),
    )
}

/// Keeps files; refuses those for the partition `full`.
#[derive(Default)]
struct Kept(Vec<(FileHeader, Vec<u8>, bool)>);

impl FileSink for Kept {
    type Error = &'static str;

    fn begin(&mut self, file: &FileHeader) -> Result<(), &'static str> {
        if file.partition == "full" {
            return Err("full");
        }
        self.0.push((file.clone(), Vec::new(), false));
        Ok(())
    }

    fn chunk(&mut self, octets: &[u8]) -> Result<(), &'static str> {
        self.0.last_mut().ok_or("none")?.1.extend_from_slice(octets);
        Ok(())
    }

    fn end(&mut self) -> Result<(), &'static str> {
        self.0.last_mut().ok_or("none")?.2 = true;
        Ok(())
    }
}

/// The answer to one line for a client of the given standing; the line must be consumed whole.
async fn answer_to(line: &str, access: Access) -> String {
    let (mut server, mut far) = server_and_wire(1 << 20);
    far.write_all(format!("{line}NOOP\r\n").as_bytes())
        .await
        .unwrap();
    let command = server.read_command(access, &mut NoFiles).await.unwrap();
    let next = server
        .read_command(Access::Administrator, &mut NoFiles)
        .await
        .unwrap();
    assert!(matches!(next, Command::Noop), "after {line:?}: {next:?}");
    match command {
        Command::Rejected { status, .. } => status.to_string(),
        Command::Undecodable { error, .. } => Status::Refused(error.refusal()).to_string(),
        command => format!("{command:?}"),
    }
}

/// The table of wire-protocol §7, and §3 to §5.
#[test]
fn lines_that_are_no_commands() {
    run(async {
        for (line, answer) in [
            ("\r\n", "BAD Null command"),
            (" NOOP\r\n", "BAD Null command"),
            ("HELLO\r\n", "BAD IMAP_PROTOCOL_ERROR Unrecognized command"),
            (
                "HELLO {5+}\r\n\nEXIT\r\n",
                "BAD IMAP_PROTOCOL_ERROR Unrecognized command",
            ),
            ("X-RUN-ID\r\n", "BAD Missing required argument to X-RUN-ID"),
            (
                "X-RUN-ID Beef\r\n",
                "BAD IMAP_PROTOCOL_ERROR Failed to parse X-RUN-ID line",
            ),
            (
                "X-RUN-ID 12 34\r\n",
                "BAD Unexpected extra arguments to X-RUN-ID",
            ),
            ("noop x\r\n", "BAD Unexpected extra arguments to Noop"),
            ("EXIT \r\n", "BAD Unexpected extra arguments to Exit"),
            (
                "Restart\rx\r\n",
                "BAD Unexpected extra arguments to Restart",
            ),
            (
                "STARTTLS now\r\n",
                "BAD Unexpected extra arguments to Starttls",
            ),
            ("COMPRESS\r\n", "BAD Missing required argument to Compress"),
            (
                "COMPRESS DEFLATE x\r\n",
                "BAD Unexpected extra arguments to Compress",
            ),
            (
                "AUTHENTICATE\r\n",
                "BAD Missing required argument to Authenticate",
            ),
            ("AUTHENTICATE \r\n", "BAD Invalid mechanism"),
            ("AUTHENTICATE PL*IN\r\n", "BAD Invalid mechanism"),
            (
                "AUTHENTICATE PLAIN = x\r\n",
                "BAD Unexpected extra arguments to Authenticate",
            ),
            ("AUTHENTICATE PLAIN\r\n", "BAD Already authenticated"),
            (
                "GET  USER alice\r\n",
                "BAD IMAP_PROTOCOL_ERROR Failed to parse GET line",
            ),
            (
                "GET\r\n",
                "BAD IMAP_PROTOCOL_ERROR Failed to parse GET line",
            ),
            (
                "APPLY SUB x y\r\n",
                "BAD IMAP_PROTOCOL_ERROR Failed to parse APPLY line",
            ),
            (
                "APPLY MESSAGE (%{default 123 4}\r\n\n\n\n\n)\r\n",
                "BAD IMAP_PROTOCOL_ERROR Failed to parse APPLY line",
            ),
            (
                "RESTORE MAILBOX )\r\n",
                "BAD IMAP_PROTOCOL_ERROR Failed to parse RESTORE line",
            ),
            ("GET NEWS x\r\n", "NO IMAP_PROTOCOL_ERROR Protocol error"),
            ("APPLY SUB %(USERID bob MBOXNAME user..x)\r\n", "OK success"),
            ("APPLY SEEN %()\r\n", "NO IMAP_PROTOCOL_BAD_PARAMETERS"),
        ] {
            assert_eq!(answer_to(line, Access::Administrator).await, answer);
        }
        let (near, mut far) = tokio::io::duplex(100);
        let mut server =
            ServerConnection::new(Stream::new(Box::new(near), TIMEOUT), Limits::default());
        far.write_all(b"STARTTLS\r\n").await.unwrap();
        assert!(matches!(
            server.read_command(Access::Anonymous, &mut NoFiles).await,
            Ok(Command::Rejected {
                status: Status::Unrecognized,
                ..
            })
        ));
        let long = format!("{}\r\n", "x".repeat(100_000));
        assert_eq!(
            answer_to(&long, Access::Anonymous).await,
            "BAD IMAP_PROTOCOL_ERROR Unrecognized command"
        );
    });
}

#[test]
fn who_may_do_what() {
    run(async {
        for line in [
            "GET USER alice\r\n",
            "apply UNUSER alice\r\n",
            "RESTORE MAILBOX %(MBOXNAME {6}\r\nuser.a RECORD (%(UID 1)))\r\n",
            "APPLY MESSAGE (%{default 123 4}\r\n\n\n\n\n %{p 0 1}\r\n\n)\r\n",
        ] {
            assert_eq!(
                answer_to(line, Access::Anonymous).await,
                "NO Please authenticate first"
            );
            assert_eq!(
                answer_to(line, Access::Unprivileged).await,
                "NO Permission denied"
            );
        }
        assert_eq!(
            answer_to("EXIT\r\n", Access::Unprivileged).await,
            "NO Permission denied"
        );
        assert_eq!(answer_to("exit\n", Access::Anonymous).await, "Exit");
        assert_eq!(
            answer_to("C01 CAPABILITY\r\n", Access::Anonymous).await,
            "C01 BAD This is a replication server, not IMAP"
        );
    });
}

#[test]
fn commands_without_data() {
    run(async {
        let (mut server, mut far) = server_and_wire(1000);
        far.write_all(
            b"X-RUN-ID 0123abcd\r\nx-run-id NIL\r\nNoop\nRESTART\r\nstarttls\r\nCOMPRESS deflate\r\nAUTHENTICATE PLAIN =\r\n\
              AUTHENTICATE LOGIN\r\nAUTHENTICATE plain !\r\n",
        )
        .await
        .unwrap();
        let mut seen = Vec::new();
        for _ in 0..9 {
            let command = server.read_command(Access::Anonymous, &mut NoFiles).await;
            seen.push(format!("{:?}", command.unwrap()));
        }
        assert_eq!(
            seen,
            [
                "Run(Some(RunId(\"0123abcd\")))",
                "Run(None)",
                "Noop",
                "Restart",
                "StartTls",
                "Compress(\"deflate\")",
                "Authenticate { mechanism: \"PLAIN\", initial: Some(Message(Zeroizing { .. })) }",
                "Authenticate { mechanism: \"LOGIN\", initial: None }",
                "Authenticate { mechanism: \"plain\", initial: Some(Malformed) }",
            ]
        );
    });
}

#[test]
fn a_refused_file_fails_its_command_only() {
    run(async {
        let (mut server, mut far) = server_and_wire(1 << 20);
        let guid = "53a4fa8a78d952cca2a23d5c59ed1536d64540f5";
        let body = "\r\nAPPLY UNUSER bob\r\n".repeat(5000);
        let size = body.len();
        far.write_all(
            format!(
                "APPLY MESSAGE (%{{default {guid} 3}}\r\nabc %{{full {guid} {size}}}\r\n{body} \
                 %{{default {guid} 3}}\r\nabc)\r\nEXIT\r\n"
            )
            .as_bytes(),
        )
        .await
        .unwrap();
        let mut sink = Kept::default();
        let error = server
            .read_command(Access::Administrator, &mut sink)
            .await
            .unwrap_err();
        assert!(matches!(error, ReadError::Sink("full")));
        assert_eq!(sink.0.len(), 1);
        let next = server.read_command(Access::Administrator, &mut sink).await;
        assert!(matches!(next.unwrap(), Command::Exit));
    });
}

struct Passwords;

impl Verifier for Passwords {
    async fn check_password(&self, login: &PasswordLogin) -> Result<bool, Failure> {
        Ok(login.identity.authentication == "repl" && *login.password == b"secret")
    }

    async fn scram_secret(
        &self,
        user: &str,
        hash: ScramHash,
    ) -> Result<Option<ScramSecret>, Failure> {
        match user {
            "repl" => ScramSecret::from_password(hash, b"secret").map(Some),
            _ => Ok(None),
        }
    }
}

/// Serves one AUTHENTICATE.
async fn serve_authenticate(server: &mut ServerConnection) -> Verdict {
    let command = server.read_command(Access::Anonymous, &mut NoFiles).await;
    let Command::Authenticate { mechanism, initial } = command.unwrap() else {
        panic!("no AUTHENTICATE");
    };
    let exchange = Exchange::begin(mechanism.parse().unwrap(), None);
    let verdict = server
        .authenticate(exchange, initial, &Passwords)
        .await
        .unwrap();
    server.send_status(&verdict.status(false)).await.unwrap();
    verdict
}

#[test]
fn every_mechanism_over_a_connection() {
    run(async {
        for mechanism in Mechanism::ALL.into_iter().skip(1) {
            for (password, right) in [("secret", true), ("Secret", false)] {
                let (mut client, mut server) = client_and_server();
                let policy = Policy {
                    allow_plain_text: true,
                    ..Policy::default()
                };
                let offered = [mechanism.name().to_owned()];
                let ahead: &[u8] = b"NOOP\r\nNOOP\r\n";
                let login = Login {
                    user: "repl",
                    password: password.as_bytes(),
                    ahead,
                };
                let login = client.authenticate(&offered, &policy, login);
                let (login, verdict) = tokio::join!(login, serve_authenticate(&mut server));
                match (login, verdict) {
                    (Ok(used), Verdict::Authenticated(identity)) if right => {
                        assert_eq!(used.mechanism, mechanism);
                        // Only if the server was known to accept the login.
                        let is_scram = matches!(mechanism, Mechanism::Scram(_));
                        assert_eq!(used.sent_ahead.is_some(), is_scram);
                        if is_scram {
                            for _ in 0..2 {
                                let next = server
                                    .read_command(Access::Administrator, &mut NoFiles)
                                    .await;
                                assert!(matches!(next, Ok(Command::Noop)), "{next:?}");
                            }
                        }
                        assert_eq!(identity.authentication, "repl");
                    }
                    (Err(AuthenticationError::Refused(text)), Verdict::Failed(_)) if !right => {
                        assert_eq!(text, "authentication failure");
                    }
                    other => panic!("{mechanism} {other:?}"),
                }
            }
        }
    });
}

/// The dialogues of wire-protocol §3.
#[test]
fn dialogues_as_they_are_on_the_wire() {
    run(async {
        for (input, output) in [
            (
                "AUTHENTICATE PLAIN AHJlcGwAc2VjcmV0\r\n",
                "OK Success (no protection)\r\n",
            ),
            (
                "AUTHENTICATE PLAIN\r\nAHJlcGwAc2VjcmV0\r\n",
                "+ \r\nOK Success (no protection)\r\n",
            ),
            (
                "AUTHENTICATE PLAIN AHJlcGwAd3Jvbmc=\r\n",
                "NO authentication failure\r\n",
            ),
            (
                "AUTHENTICATE LOGIN\r\n*\r\n",
                "+ VXNlcm5hbWU6\r\nBAD Client canceled authentication\r\n",
            ),
            (
                "AUTHENTICATE LOGIN\r\ncmVwbA\r\n",
                "+ VXNlcm5hbWU6\r\nNO bad protocol / cancel\r\n",
            ),
        ] {
            let (mut server, mut far) = server_and_wire(1000);
            far.write_all(input.as_bytes()).await.unwrap();
            serve_authenticate(&mut server).await;
            drop(server);
            let mut written = String::new();
            far.read_to_string(&mut written).await.unwrap();
            assert_eq!(written, output, "{input:?}");
        }
    });
}

fn record(uid: u32) -> Record {
    Record {
        uid: uid.into(),
        modseq: 7.into(),
        guid: Guid::from_bytes([1; 20]),
        ..Record::default()
    }
}

fn mailbox() -> Box<crate::protocol::command::MailboxUpdate> {
    const TEXT: &str = "%(UNIQUEID 54lxoc7sbxiyqaap5r8c1wsm MBOXNAME user.alice LAST_UID 4 \
        HIGHESTMODSEQ 7 RECENTUID 4 RECENTTIME 1 LAST_APPENDDATE 1 POP3_LAST_LOGIN 0 UIDVALIDITY 1 \
        PARTITION default ACL \"\" OPTIONS P)";
    let value = crate::dlist::parse_value(TEXT.as_bytes()).unwrap();
    Box::new(crate::protocol::command::MailboxUpdate {
        item: crate::protocol::command::MailboxItem::from_fields(value.fields().unwrap()).unwrap(),
        list: crate::protocol::command::RecordList::default(),
    })
}

async fn next_request(server: &mut ServerConnection, sink: &mut Kept) -> Request {
    match server.read_command(Access::Administrator, sink).await {
        Ok(Command::Request(request)) => request,
        other => panic!("{other:?}"),
    }
}

/// A session of both ends of this module, compressed from its middle on.
#[test]
fn a_session() {
    run(async {
        let (mut client, mut server) = client_and_server();
        let offered = Capabilities {
            mechanisms: vec!["PLAIN".to_owned()],
            deflate: true,
            sieve_mailbox: true,
            ..Capabilities::default()
        };
        let file = FileHeader {
            partition: "default".to_owned(),
            guid: Guid::from_bytes([1; 20]),
            size: 200_000,
        };
        let content = vec![b'\n'; 200_000];
        let item = mailbox().item;
        let alice = UserId::parse("alice").unwrap();

        let serve = async {
            server.send_banner(&offered, "r", "1").await.unwrap();
            let command = server
                .read_command(Access::Administrator, &mut NoFiles)
                .await;
            let Ok(Command::Compress(algorithm)) = command else {
                panic!("{command:?}");
            };
            server.compress(&algorithm, Level::Fastest).await.unwrap();

            let mut sink = Kept::default();
            let request = next_request(&mut server, &mut sink).await;
            assert_eq!(request, Request::Get(Get::User(Some(alice.clone()))));
            let flags = FlagTable::default();
            let records = (1..=5000).map(|uid| Ok::<_, StreamError>(record(uid)));
            server.send_mailbox(&item, &flags, records).await.unwrap();
            server.send_answer(&Answer::Lsub(vec![])).await.unwrap();
            server.send_status(&Status::Success).await.unwrap();

            let request = next_request(&mut server, &mut sink).await;
            assert_eq!(request, Request::Message(vec![file.clone(), file.clone()]));
            assert!(sink.0.iter().all(|kept| kept.2 && kept.1 == content));
            let refusal = Status::Refused(Refusal::SyncChecksum);
            server.send_status(&refusal).await.unwrap();

            let request = next_request(&mut server, &mut sink).await;
            let Request::Apply(Apply::Mailbox(Scope::Local, MailboxArgument::Update(update))) =
                request
            else {
                panic!("{request:?}");
            };
            assert_eq!(update.list.records.len(), 3000);
            server.send_status(&Status::Success).await.unwrap();

            let request = next_request(&mut server, &mut sink).await;
            assert_eq!(request, Request::Get(Get::Mailboxes(vec![])));
            server
                .send_file(&file, &mut content.as_slice())
                .await
                .unwrap();
            server.send_status(&Status::Success).await.unwrap();

            let command = server
                .read_command(Access::Administrator, &mut NoFiles)
                .await;
            assert!(matches!(command, Ok(Command::Exit)));
            server.send_status(&Status::Finished).await.unwrap();
            assert!(server.stream().traffic().sent < 100_000);
        };
        let work = async {
            assert_eq!(client.read_banner().await.unwrap(), offered);
            client
                .compress(Compression::Deflate, Level::Default)
                .await
                .unwrap();
            let answers = client
                .get_all(&Get::User(Some(alice.clone())))
                .await
                .unwrap();
            assert_eq!(answers.len(), 2);
            let Answer::Mailbox(mailbox) = &answers[0] else {
                panic!("{answers:?}");
            };
            let MailboxAnswer { item, records } = &**mailbox;
            assert_eq!(records.as_ref().unwrap().records.len(), 5000);

            let mut upload = client.upload();
            upload.file(&file, &mut content.as_slice()).await.unwrap();
            upload.file(&file, &mut content.as_slice()).await.unwrap();
            match upload.finish().await.unwrap_err() {
                ReplyError::Refused { refusal, text } => {
                    assert_eq!(refusal, Refusal::SyncChecksum);
                    assert_eq!(text, "IMAP_SYNC_CHECKSUM Checksum Failure");
                }
                other => panic!("{other:?}"),
            }

            let records = (1..=3000).map(|uid| Ok::<_, ReplyError>(record(uid)));
            client
                .apply_mailbox(Scope::Local, item, &FlagTable::default(), records)
                .await
                .unwrap();

            let mut kept = Kept::default();
            let mut answers = Vec::new();
            client
                .get(&Get::Mailboxes(vec![]), &mut kept, |answer| {
                    answers.push(answer);
                })
                .await
                .unwrap();
            assert_eq!(answers, [Answer::Message(Some(file.clone()))]);
            assert_eq!(kept.0, [(file.clone(), content.clone(), true)]);
            client.exit().await.unwrap();
        };
        tokio::join!(serve, work);
    });
}

async fn reply(text: &str) -> (Result<(), ReplyError<Infallible>>, usize) {
    let (mut client, mut far) = client_and_wire(1 << 20);
    far.write_all(text.as_bytes()).await.unwrap();
    drop(far);
    let mut count = 0;
    let result = client.read_reply(&mut NoFiles, |_| count += 1).await;
    (result, count)
}

/// Commands that came together are answered together, but nobody who waits is kept waiting.
#[test]
fn answers_wait_for_commands_that_are_here_and_for_no_others() {
    run(async {
        let (mut server, mut wire) = server_and_wire(1000);
        let command = async |server: &mut ServerConnection| {
            let mut files = NoFiles;
            let command = server.read_command(Access::Administrator, &mut files);
            assert!(matches!(command.await.unwrap(), Command::Noop));
            server.send_status_soon(&Status::Noop).await.unwrap();
        };
        let received = async |wire: &mut DuplexStream| {
            let mut octets = vec![0; 1000];
            let count = wire.read(&mut octets).await.unwrap();
            octets.truncate(count);
            String::from_utf8(octets).unwrap()
        };
        let line = format!("{}\r\n", Status::Noop);
        wire.write_all(b"NOOP\r\nNOOP\r\n").await.unwrap();
        command(&mut server).await;
        let early = tokio::time::timeout(Duration::from_millis(20), received(&mut wire));
        assert!(early.await.is_err());
        command(&mut server).await;
        assert_eq!(received(&mut wire).await, format!("{line}{line}"));
        // The second command is not complete: its rest may be sent when the answer has come.
        wire.write_all(b"NOOP\r\nNO").await.unwrap();
        command(&mut server).await;
        let rest = async {
            assert_eq!(received(&mut wire).await, line);
            wire.write_all(b"OP\r\n").await.unwrap();
        };
        tokio::join!(command(&mut server), rest);
        assert_eq!(received(&mut wire).await, line);
    });
}

#[test]
fn answers_that_fail() {
    run(async {
        let (result, count) = reply("* MISSING ()\r\n* LSUB (a)\r\nOK x\r\n").await;
        assert!(result.is_ok());
        assert_eq!(count, 2);
        for (text, usable) in [
            (
                "* LSUB (a)\r\nNO IMAP_MAILBOX_LOCKED Mailbox locked\r\n",
                true,
            ),
            ("* NEWS x\r\n* LSUB (a)\r\nOK success\r\n", true),
            ("* SEEN %(UNIQUEID aa)\r\nOK success\r\n", true),
            ("BYE shutting down\r\n", false),
            ("BAD Null command\r\n", false),
            ("OK\r\n", false),
            ("*LSUB (a)\r\nOK x\r\n", false),
            ("* Fatal error: [TOOBIG] Word too long\r\n", false),
            ("* LSUB (a\r\n", false),
            ("", false),
        ] {
            let error = reply(text).await.0.unwrap_err();
            assert_eq!(error.is_connection_usable(), usable, "{text:?}");
        }
        let (result, _) = reply("* Fatal error: [TOOBIG] Word too long\r\n").await;
        assert_eq!(
            result.unwrap_err().to_string(),
            "unparsable answer \"Fatal error: [TOOBIG] Word too long\": \
             octet 12: unexpected octet 0x20"
        );
        assert!(matches!(
            reply("* LSUB x\r\n").await.0,
            Err(ReplyError::Stream(StreamError::Closed))
        ));
        let refused = reply("NO IMAP_SYNC_CHANGED Changed since last sync\r\n")
            .await
            .0;
        assert_eq!(refused.unwrap_err().refusal(), Some(Refusal::SyncChanged));
    });
}

#[test]
fn a_file_that_ends_early_ends_the_connection() {
    run(async {
        let file = FileHeader {
            partition: "default".to_owned(),
            guid: Guid::NULL,
            size: 10,
        };
        let (mut client, _far) = client_and_wire(1000);
        let mut upload = client.upload();
        assert!(matches!(
            upload.file(&file, &mut b"short".as_slice()).await,
            Err(FileError::Read(_))
        ));
        drop(upload);
        assert!(matches!(
            client.noop().await,
            Err(ReplyError::Stream(StreamError::Unfinished))
        ));
        let (mut client, _far) = client_and_wire(1000);
        drop(client.upload());
        assert!(client.noop().await.is_err());
    });
}

#[test]
fn undecodable_requests_tell_what_they_were() {
    run(async {
        let (mut server, mut far) = server_and_wire(1000);
        far.write_all(b"APPLY rename %(NEWMBOXNAME a)\r\n")
            .await
            .unwrap();
        let command = server
            .read_command(Access::Administrator, &mut NoFiles)
            .await;
        match command.unwrap() {
            Command::Undecodable { verb, name, error } => {
                assert_eq!((verb, name.as_str()), (Verb::Apply, "RENAME"));
                assert_eq!(error.to_string(), "key PARTITION: is missing");
                assert!(matches!(
                    error,
                    crate::protocol::command::DecodeError::Field(field)
                        if field.problem == FieldProblem::Missing
                ));
            }
            other => panic!("{other:?}"),
        }
    });
}
