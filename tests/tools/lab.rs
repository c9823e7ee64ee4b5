//! A stock Cyrus instance for one test, removed when dropped.

#![allow(dead_code)] // Each test uses some of it.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Programs of a stock installation.
const PLACES: [&str; 3] = [
    "/usr/lib/cyrus/bin",
    "/usr/sbin",
    "/usr/libexec/cyrus-imapd",
];

/// An instance in a directory of its own, with the tools of `tests/lab`.
pub struct Lab {
    directory: tempfile::TempDir,
    port: u16,
}

impl Lab {
    /// Makes and starts an instance on ports from `port`; `None` where Cyrus is not installed.
    pub fn start(port: u16) -> Option<Lab> {
        Lab::start_with(port, &["--no-sync-log"])
    }

    /// The same with further arguments for `cyrus-instance create`.
    pub fn start_with(port: u16, arguments: &[&str]) -> Option<Lab> {
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
        let lab = Lab { directory, port };
        let port_base = port.to_string();
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
        format!("127.0.0.1:{}", self.port)
    }

    /// The port of another service of the instance, counted from that of IMAP.
    pub fn endpoint(&self, offset: u16) -> String {
        format!("127.0.0.1:{}", self.port + offset)
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
        run(Command::new(tool("lab/cyrus-instance"))
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
