//! Replication over TLS between stock Cyrus and our programs, in both directions, and between our
//! own with certificates on both sides and no password anywhere.
//!
//! Without an installed Cyrus these tests do nothing and say so.

#![allow(clippy::expect_used, clippy::unwrap_used)]

#[path = "tools/certificates.rs"]
#[allow(dead_code)]
mod certificates;
#[path = "tools/lab.rs"]
mod lab;

use std::path::Path;
use std::process::{Command, Output};

use certificates::Certificates;
use lab::{Lab, run, tool};

/// Adds options to a configuration, which win over those that are there.
fn set(lab: &Lab, options: &[String]) {
    let path = lab.root().join("imapd.conf");
    let text = std::fs::read_to_string(&path).unwrap();
    let name = |line: &str| line.split(':').next().unwrap_or_default().to_owned();
    let new: Vec<String> = options.iter().map(|option| name(option)).collect();
    let kept = text.lines().filter(|line| !new.contains(&name(line)));
    let lines: Vec<&str> = kept.chain(options.iter().map(String::as_str)).collect();
    std::fs::write(&path, lines.join("\n") + "\n").unwrap();
}

fn log(lab: &Lab, name: &str) -> String {
    let path = lab.root().join("log").join(name);
    std::fs::read_to_string(path).unwrap_or_default()
}

/// Runs our sync_client as the user of the instance.
fn our_client(lab: &Lab, arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_sync_client");
    let mut command = match nix::unistd::geteuid().is_root() {
        true => {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=cyrus", "--regid=mail", "--init-groups", program]);
            command
        }
        false => Command::new(program),
    };
    command
        .arg("-C")
        .arg(lab.root().join("imapd.conf"))
        .args(arguments)
        .current_dir("/")
        .output()
        .expect("run sync_client")
}

fn replicate(lab: &Lab, server: &str) {
    let output = our_client(lab, &["-o", "-A", "-S", server]);
    assert!(output.status.success(), "{output:?}");
}

/// Compares what IMAP shows, for which the replica takes passwords again.
fn same_mail(master: &Lab, replica: &Lab) {
    let lax = [
        "allowplaintext: yes",
        "sasl_minimum_layer: 0",
        "tls_required: no",
        PASSWORDS,
    ];
    set(replica, &options(&lax));
    replica.instance("restart", &[]);
    let compare = tool("lab/compare.py");
    run(Command::new(compare)
        .args([master.imap(), replica.imap()])
        .args(["--ignore", "servermetadata"]));
}

const PASSWORDS: &str = "sasl_mech_list: PLAIN LOGIN SCRAM-SHA-1 SCRAM-SHA-256";

fn options(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|line| (*line).to_owned()).collect()
}

#[test]
fn stock_client_to_our_server() {
    let Some(master) = Lab::start_with(&["--sync-server", "none"]) else {
        return;
    };
    let protected = [
        "--sync-server",
        "ours",
        "--tls",
        "--option",
        "allowplaintext: no",
        "--option",
        "sasl_minimum_layer: 2",
    ];
    let replica = Lab::start_with(&protected).unwrap();
    for (mechanism, user) in [("SCRAM-SHA-256", "anna"), ("PLAIN", "bert")] {
        master.instance("user", &["--folders", "Sub", user]);
        set(&master, &[format!("force_sasl_client_mech: {mechanism}")]);
        let to = replica.endpoint(1);
        master.instance("sync", &["--to", &to, "-v", "-u", user]);
        let log = log(&replica, "sync_server.log");
        assert!(log.contains("starttls: "), "{log}");
        let login = format!(" repl {mechanism} User logged in");
        assert!(log.contains(&login), "{login}: {log}");
    }
    same_mail(&master, &replica);
}

#[test]
fn our_client_to_stock_server() {
    let Some(master) = Lab::start_with(&["--sync-server", "none"]) else {
        return;
    };
    let replica = Lab::start_with(&["--tls", "--option", "allowplaintext: no"]).unwrap();
    let authority = replica.root().join("tls.crt");
    let authority = format!("tls_server_ca_file: {}", authority.display());
    let server = format!("localhost:{}", replica.port(1));
    for (mechanism, user) in [("SCRAM-SHA-256", "anna"), ("PLAIN", "bert")] {
        master.instance("user", &["--folders", "Sub", user]);
        let mechanism_only = format!("force_sasl_client_mech: {mechanism}");
        set(&master, &[mechanism_only, authority.clone()]);
        replicate(&master, &server);
        let log = log(&replica, "cyrus.log");
        assert!(log.contains("starttls: TLSv1.3"), "{log}");
        let login = log.lines().any(|line| {
            line.contains("repl") && line.contains(mechanism) && line.contains("User logged in")
        });
        assert!(login, "{mechanism}: {log}");
    }
    same_mail(&master, &replica);

    // Whom nobody vouches for is not told anything.
    let other = Certificates::in_directory(&replica.scratch(""));
    other.authority("other");
    let other = other.certificate("other");
    set(
        &master,
        &[format!("tls_server_ca_file: {}", other.display())],
    );
    let logins = log(&replica, "cyrus.log").matches("User logged in").count();
    let refused = our_client(&master, &["-o", "-A", "-S", &server]);
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("nobody whom we trust"), "{said}");
    let after = log(&replica, "cyrus.log").matches("User logged in").count();
    assert_eq!(after, logins);
}

/// The certificates of both sides, which the instances' user may read.
fn make_certificates(directory: &Path) -> Certificates {
    std::fs::create_dir(directory).unwrap();
    let certificates = Certificates::in_directory(directory);
    let authority = certificates.authority("ca");
    certificates.server("replica", "localhost", &authority);
    certificates.client("master", "master1.example.org", &authority);
    certificates.client("other", "other.example.org", &authority);
    certificates
}

#[test]
fn certificates_on_both_sides_and_no_password() {
    let Some(master) = Lab::start_with(&["--sync-server", "none"]) else {
        return;
    };
    let certificates = make_certificates(&master.scratch("certificates"));
    let [authority, certificate, key, own, own_key, other, other_key] = [
        certificates.certificate("ca"),
        certificates.certificate("replica"),
        certificates.key("replica"),
        certificates.certificate("master"),
        certificates.key("master"),
        certificates.certificate("other"),
        certificates.key("other"),
    ]
    .map(|path| path.display().to_string());
    let replica = Lab::start_with(&["--sync-server", "ours"]).unwrap();
    let passwords = replica.root().join("sasldb2");
    let aside = replica.scratch("sasldb2");
    std::fs::rename(&passwords, &aside).unwrap();
    set(
        &replica,
        &[
            format!("tls_server_cert: {certificate}"),
            format!("tls_server_key: {key}"),
            format!("tls_client_ca_file: {authority}"),
            "tls_client_certs: require".to_owned(),
            "tls_required: yes".to_owned(),
            "sasl_mech_list: EXTERNAL".to_owned(),
            "cyrus_sync_certificate_map: cn:master1.example.org=repl".to_owned(),
        ],
    );
    replica.hand_over();
    replica.instance("unserve", &[]);
    replica.instance("serve", &["--listen-tls", &replica.endpoint(9)]);
    let server = format!("localhost:{}", replica.port(1));

    let conf = master.root().join("imapd.conf");
    let text = std::fs::read_to_string(&conf).unwrap();
    let without: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with("sync_password") && !line.starts_with("sync_authname"))
        .collect();
    std::fs::write(&conf, without.join("\n") + "\n").unwrap();
    let trust = format!("tls_server_ca_file: {authority}");
    let with = |certificate: &str, key: &str| {
        vec![
            trust.clone(),
            format!("tls_client_cert: {certificate}"),
            format!("tls_client_key: {key}"),
        ]
    };
    if nix::unistd::geteuid().is_root() {
        run(Command::new("chown")
            .args(["-R", "cyrus"])
            .arg(master.scratch("certificates")));
    }

    master.instance("user", &["--folders", "Sub", "anna"]);
    set(&master, &with(&own, &own_key));
    replicate(&master, &server);
    master.instance("user", &["bert"]);
    replicate(&master, &format!("localhost:{}/tls", replica.port(9)));
    let served = log(&replica, "sync_server.log");
    // The client may use several connections.
    let logins = served.matches("User logged in").count();
    let external = served.matches(" repl EXTERNAL User logged in").count();
    assert!(external >= 2 && external == logins, "{served}");

    // A certificate that is as good, but stands for nobody here; and none at all.
    set(&master, &with(&other, &other_key));
    let refused = our_client(&master, &["-o", "-A", "-S", &server]);
    assert!(!refused.status.success());
    let served = log(&replica, "sync_server.log");
    assert!(
        served.contains("a certificate that stands for nobody"),
        "{served}"
    );
    set(&master, &options(&[&trust]));
    let without = text_without_certificate(&conf);
    std::fs::write(&conf, without).unwrap();
    let refused = our_client(&master, &["-o", "-A", "-S", &server]);
    assert!(!refused.status.success());
    let served = log(&replica, "sync_server.log");
    assert_eq!(served.matches("User logged in").count(), logins, "{served}");

    std::fs::rename(&aside, &passwords).unwrap();
    same_mail(&master, &replica);
}

fn text_without_certificate(conf: &Path) -> String {
    let text = std::fs::read_to_string(conf).unwrap();
    let kept: Vec<&str> = text
        .lines()
        .filter(|line| {
            !line.starts_with("tls_client_cert:") && !line.starts_with("tls_client_key:")
        })
        .collect();
    kept.join("\n") + "\n"
}
