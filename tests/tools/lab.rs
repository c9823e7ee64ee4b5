//! A stock Cyrus instance for one test, removed when dropped.

#![allow(dead_code)] // Each test uses some of it.

use std::path::{Path, PathBuf};
use std::process::Command;

#[path = "ports.rs"]
mod ports;

use ports::Ports;

/// Programs of a stock installation.
const PLACES: [&str; 3] = [
    "/usr/lib/cyrus/bin",
    "/usr/sbin",
    "/usr/libexec/cyrus-imapd",
];

/// An instance in a directory of its own, with the tools of `tests/lab`.
pub struct Lab {
    directory: tempfile::TempDir,
    ports: Ports,
}

impl Lab {
    /// Makes and starts an instance on free ports; `None` where Cyrus is not installed.
    pub fn start() -> Option<Lab> {
        Lab::start_with(&["--no-sync-log"])
    }

    /// The same with further arguments for `cyrus-instance create`.
    pub fn start_with(arguments: &[&str]) -> Option<Lab> {
        let installed = |place| Path::new(place).join("reconstruct").exists();
        if !PLACES.into_iter().any(installed) {
            println!("skipped: there is no reconstruct in any of {PLACES:?}");
            return None;
        }
        let directory = tempfile::Builder::new()
            .prefix("cyrus-sync-test.")
            .tempdir()
            .expect("temporary directory");
        // The instance's own user must reach what is below.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(directory.path(), mode).expect("set permissions");
        let ports = Ports::reserve();
        let port_base = ports.first.to_string();
        let lab = Lab { directory, ports };
        let arguments = [&["--port-base", &port_base], arguments].concat();
        lab.instance("create", &arguments);
        lab.instance("start", &[]);
        Some(lab)
    }

    /// The directory of the instance.
    pub fn root(&self) -> PathBuf {
        self.directory.path().join("instance")
    }

    /// Where a program may put what it makes.
    pub fn scratch(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// `host:port` of IMAP.
    pub fn imap(&self) -> String {
        self.endpoint(0)
    }

    /// `host:port` of another service of the instance, counted from that of IMAP.
    pub fn endpoint(&self, offset: u16) -> String {
        format!("127.0.0.1:{}", self.port(offset))
    }

    /// The port of that service alone.
    pub fn port(&self, offset: u16) -> u16 {
        self.ports.first + offset
    }

    /// Gives everything in the instance to the user that its programs run as.
    pub fn hand_over(&self) {
        if nix::unistd::geteuid().is_root() {
            run(Command::new("chown")
                .args(["-R", "cyrus:mail"])
                .arg(self.root()));
        }
    }

    /// Runs a command of `cyrus-instance` and returns what it printed.
    pub fn instance(&self, command: &str, arguments: &[&str]) -> String {
        // It would take that for the stock client.
        run(Command::new(tool("lab/cyrus-instance"))
            .env_remove("CYRUS_SYNC_CLIENT_BIN")
            .arg(command)
            .arg(self.root())
            .args(arguments))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let instance = tool("lab/cyrus-instance");
        let removed = Command::new(instance)
            .arg("destroy")
            .arg(self.root())
            .status();
        if !removed.is_ok_and(|status| status.success()) {
            println!("could not remove {}", self.root().display());
        }
    }
}

/// A program of the test tools.
pub fn tool(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(name)
}

/// Runs a program that must succeed and returns what it printed.
pub fn run(command: &mut Command) -> String {
    let output = command.env("TZ", "UTC").output().expect("run program");
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
