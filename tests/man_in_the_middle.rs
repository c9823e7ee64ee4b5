//! Our client and somebody who stands where its replica should: it must not send the password,
//! and must say why it does not go on.

#![allow(clippy::expect_used, clippy::unwrap_used)]

#[path = "tools/certificates.rs"]
#[allow(dead_code)]
mod certificates;

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use certificates::Certificates;

const USER: &str = "repl";
const PASSWORD: &str = "nobody-must-see-this";
const MECHANISMS: &str = "* SASL PLAIN LOGIN\r\n";

/// What the one in the middle does.
#[derive(Clone)]
struct Script {
    greeting: String,
    answer_to_starttls: String,
    /// Name of its certificate.
    certificate: &'static str,
    tls_at_once: bool,
}

impl Script {
    /// Like a replica, with this certificate.
    fn with(certificate: &'static str) -> Script {
        Script {
            greeting: "* STARTTLS\r\n* OK localhost\r\n".to_owned(),
            answer_to_starttls: "OK Begin TLS negotiation now\r\n".to_owned(),
            certificate,
            tls_at_once: false,
        }
    }

    /// A replica whose offer of TLS was taken out of the greeting.
    fn stripped(mechanisms: &str) -> Script {
        Script {
            greeting: format!("{mechanisms}* OK localhost\r\n"),
            ..Script::with("right")
        }
    }
}

/// The one in the middle, at work.
struct Middle {
    port: u16,
    over: Arc<AtomicBool>,
    thread: JoinHandle<Vec<u8>>,
}

impl Middle {
    fn start(script: Script, certificates: &Certificates) -> Middle {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let chain = CertificateDer::pem_file_iter(certificates.certificate(script.certificate));
        let chain = chain.unwrap().collect::<Result<Vec<_>, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_file(certificates.key(script.certificate)).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(
            rustls::crypto::aws_lc_rs::default_provider(),
        ))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
        let config = Arc::new(config);
        let over = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            let mut heard = Vec::new();
            for socket in listener.incoming() {
                if flag.load(Ordering::SeqCst) {
                    break;
                }
                // However the client ends it, what counts is what it said before.
                let _ = converse(socket.unwrap(), &script, &config, &mut heard);
            }
            heard
        });
        Middle { port, over, thread }
    }

    /// All that clients told, encrypted or not.
    fn heard(self) -> Vec<u8> {
        self.over.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(("127.0.0.1", self.port)));
        self.thread.join().unwrap()
    }
}

fn converse(
    mut socket: TcpStream,
    script: &Script,
    config: &Arc<ServerConfig>,
    heard: &mut Vec<u8>,
) -> io::Result<()> {
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    if !script.tls_at_once {
        socket.write_all(script.greeting.as_bytes())?;
        loop {
            let line = read_line(&mut socket, heard)?;
            if line.ends_with(b"STARTTLS\r\n") {
                socket.write_all(script.answer_to_starttls.as_bytes())?;
                break;
            }
            socket.write_all(b"NO authentication failure\r\n")?;
        }
    }
    let session = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
    let mut secured = StreamOwned::new(session, socket);
    secured.write_all(format!("{MECHANISMS}* OK localhost\r\n").as_bytes())?;
    loop {
        read_line(&mut secured, heard)?;
        secured.write_all(b"NO authentication failure\r\n")?;
    }
}

fn read_line(stream: &mut impl Read, heard: &mut Vec<u8>) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    let mut octet = [0];
    while !line.ends_with(b"\n") {
        stream.read_exact(&mut octet)?;
        heard.push(octet[0]);
        line.push(octet[0]);
    }
    Ok(line)
}

/// As whom the client runs if the test is run by root.
fn nobody() -> Option<nix::unistd::User> {
    let is_root = nix::unistd::geteuid().is_root();
    let nobody = nix::unistd::User::from_name("nobody").ok().flatten();
    nobody.filter(|_| is_root)
}

/// A client with its store, and certificates for everybody.
struct Scene {
    directory: tempfile::TempDir,
    certificates: Certificates,
    /// The right server's key as a pin.
    pin: String,
}

impl Scene {
    fn new() -> Scene {
        let directory = tempfile::tempdir().unwrap();
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(directory.path(), open).unwrap();
        for name in ["conf", "spool"] {
            let path = directory.path().join(name);
            std::fs::create_dir(&path).unwrap();
            if let Some(nobody) = nobody() {
                std::os::unix::fs::chown(&path, Some(nobody.uid.as_raw()), None).unwrap();
            }
        }
        let certificates = Certificates::in_directory(directory.path());
        let authority = certificates.authority("ca");
        let key = certificates.server("right", "localhost", &authority);
        certificates.server("wrong-name", "elsewhere.test", &authority);
        certificates.expired_server("expired", "localhost", &authority);
        let stranger = certificates.authority("stranger");
        certificates.server("other", "localhost", &stranger);
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &key);
        Scene {
            pin: format!("sha256:{}", STANDARD.encode(digest)),
            directory,
            certificates,
        }
    }

    fn trust(&self) -> String {
        let authority = self.certificates.certificate("ca");
        format!("tls_server_ca_file: {}\n", authority.display())
    }

    /// Runs the client against the one in the middle; returns what it printed and what it told.
    fn run(&self, script: Script, options: &str) -> (String, Vec<u8>) {
        let root = self.directory.path().display();
        let flags = if script.tls_at_once { "/tls" } else { "" };
        let middle = Middle::start(script, &self.certificates);
        let text = format!(
            "configdirectory: {root}/conf\npartition-default: {root}/spool\n\
             servername: here.test\nsync_authname: {USER}\nsync_password: {PASSWORD}\n\
             client_timeout: 5\n{options}"
        );
        let text = match nobody() {
            Some(_) => format!("{text}\ncyrus_user: nobody\ncyrus_group: nogroup\n"),
            None => text,
        };
        let config = self.directory.path().join("imapd.conf");
        std::fs::write(&config, text).unwrap();
        let printed = run_client(&config, &format!("localhost:{}{flags}", middle.port));
        (printed, middle.heard())
    }

    /// The client must refuse, with `reason` in its one error, and keep its password.
    fn refuses(&self, script: Script, options: &str, reason: &str) {
        let (printed, heard) = self.run(script, options);
        let errors: Vec<&str> = printed
            .lines()
            .filter(|line| line.contains("ERROR"))
            .collect();
        assert_eq!(errors.len(), 1, "{printed}");
        assert!(errors[0].contains(reason), "{reason:?} is not in {printed}");
        let heard = String::from_utf8_lossy(&heard);
        assert!(!heard.contains("AUTHENTICATE"), "{heard}");
        assert!(!tells_password(&heard), "{heard}");
        assert!(!printed.contains(PASSWORD), "{printed}");
    }
}

fn run_client(config: &Path, server: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_sync_client"))
        .args(["-o", "-u", "anna", "-S", server, "-C"])
        .arg(config)
        .env_remove("JOURNAL_STREAM")
        .output()
        .unwrap();
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// As it is, in PLAIN's message, or in LOGIN's.
fn tells_password(heard: &str) -> bool {
    let plain = STANDARD.encode(format!("\0{USER}\0{PASSWORD}"));
    [PASSWORD, &plain, &STANDARD.encode(PASSWORD)]
        .iter()
        .any(|form| heard.contains(form))
}

#[test]
fn the_right_replica_is_told_the_password() {
    let scene = Scene::new();
    let (printed, heard) = scene.run(Script::with("right"), &scene.trust());
    assert!(printed.contains("couldn't authenticate"), "{printed}");
    assert!(tells_password(&String::from_utf8_lossy(&heard)));
    let at_once = Script {
        tls_at_once: true,
        ..Script::with("right")
    };
    let (_, heard) = scene.run(at_once, &scene.trust());
    assert!(tells_password(&String::from_utf8_lossy(&heard)));
    let pinned = format!("cyrus_sync_server_pins: {}\n", scene.pin);
    let (_, heard) = scene.run(Script::with("right"), &pinned);
    assert!(tells_password(&String::from_utf8_lossy(&heard)));
}

#[test]
fn another_certificate() {
    let scene = Scene::new();
    let trust = scene.trust();
    scene.refuses(Script::with("other"), &trust, "nobody whom we trust");
    scene.refuses(Script::with("expired"), &trust, "certificate expired");
    let name = "not valid for name \"localhost\"";
    scene.refuses(Script::with("wrong-name"), &trust, name);
    let pinned = format!("cyrus_sync_server_pins: {}\n", scene.pin);
    let other_key = "none of cyrus_sync_server_pins";
    scene.refuses(Script::with("other"), &pinned, other_key);
    scene.refuses(Script::with("wrong-name"), &pinned, other_key);
    for certificate in ["other", "expired", "wrong-name"] {
        let at_once = Script {
            tls_at_once: true,
            ..Script::with(certificate)
        };
        scene.refuses(at_once, &trust, "invalid peer certificate");
    }
}

#[test]
fn no_offer_of_tls() {
    let scene = Scene::new();
    let required = "does not offer STARTTLS, which cyrus_sync_client_tls requires";
    let scram = "* SASL SCRAM-SHA-256 PLAIN\r\n";
    for mechanisms in [MECHANISMS, scram] {
        scene.refuses(Script::stripped(mechanisms), &scene.trust(), required);
    }
    scene.refuses(
        Script::stripped(scram),
        "cyrus_sync_client_tls: require\n",
        required,
    );
    let imap = Script {
        greeting: "* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] localhost\r\n".to_owned(),
        ..Script::with("right")
    };
    scene.refuses(imap.clone(), &scene.trust(), required);
    // Where nothing is said about TLS, at least the password stays here.
    scene.refuses(
        Script::stripped(MECHANISMS),
        "",
        "takes the password only as it is",
    );
    scene.refuses(imap, "", "no password without verified TLS");
}

#[test]
fn plain_text_before_the_handshake() {
    let scene = Scene::new();
    let injected = Script {
        answer_to_starttls: format!("OK Begin TLS negotiation now\r\n{MECHANISMS}* OK x\r\n"),
        ..Script::with("right")
    };
    scene.refuses(injected, &scene.trust(), "octets of plain text follow");
    let refused = Script {
        answer_to_starttls: "NO Error initializing TLS\r\n".to_owned(),
        ..Script::with("right")
    };
    scene.refuses(refused, &scene.trust(), "refuses STARTTLS");
}

#[test]
fn without_verification_the_password_stays_here() {
    let scene = Scene::new();
    let options = format!("{}cyrus_sync_client_verify: no\n", scene.trust());
    let reason = "takes the password only as it is";
    scene.refuses(Script::with("other"), &options, reason);
    let (printed, _) = scene.run(Script::with("other"), &options);
    assert!(
        printed.contains("anybody can pretend to be the replica"),
        "{printed}"
    );
    let in_words = format!("{options}cyrus_sync_client_plaintext: yes\n");
    let (_, heard) = scene.run(Script::with("other"), &in_words);
    assert!(tells_password(&String::from_utf8_lossy(&heard)));
}
