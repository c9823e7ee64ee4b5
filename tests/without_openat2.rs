//! Our programs work, and nothing leads out of the store, where the system has no openat2.

#![allow(clippy::expect_used, clippy::unwrap_used)]

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A store of the user `nobody` or, where the tests are not root's, of whoever runs them.
struct Store {
    directory: tempfile::TempDir,
    /// What the system says of openat2.
    errno: &'static str,
}

impl Store {
    fn new(errno: &'static str) -> Store {
        let directory = tempfile::tempdir().unwrap();
        let mode = PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(directory.path(), mode).unwrap();
        let store = Store { directory, errno };
        let at = |name| store.path(name).display().to_string();
        let configuration = format!(
            "configdirectory: {}\npartition-default: {}\nsievedir: {}\ncyrus_user: nobody\ncyrus_group: nogroup\n",
            at("conf"),
            at("spool"),
            at("sieve")
        );
        std::fs::write(store.path("imapd.conf"), configuration).unwrap();
        store.hand_over();
        store
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn hand_over(&self) {
        if nix::unistd::geteuid().is_root() {
            let mut chown = Command::new("chown");
            let chown = chown.args(["-R", "nobody:nogroup"]);
            assert!(chown.arg(self.directory.path()).status().unwrap().success());
        }
    }

    fn syncctl(&self, arguments: &[&str]) -> Output {
        let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools");
        let mut command = Command::new(tools.join("without-openat2"));
        command.args([
            self.errno,
            env!("CARGO_BIN_EXE_syncctl"),
            arguments[0],
            "-C",
        ]);
        command.arg(self.path("imapd.conf")).args(&arguments[1..]);
        command.output().expect("run program")
    }
}

#[test]
fn a_store_is_made_filled_and_read() {
    for errno in ["ENOSYS", "EPERM"] {
        let store = Store::new(errno);
        let mail = store.path("mail");
        let message = "From anna@example.org Thu Jan  1 00:00:00 2026\nSubject: one\n\nText\n";
        std::fs::write(&mail, message).unwrap();
        store.hand_over();
        let mail = mail.display().to_string();
        for arguments in [
            &["init", "--user", "anna"][..],
            &["import", "--user", "anna", "--mailbox", "Old", &mail],
            &["ls", "anna"],
        ] {
            let output = store.syncctl(arguments);
            if output.status.code() == Some(77) {
                println!("skipped: {output:?}");
                return;
            }
            assert!(output.status.success(), "{errno} {arguments:?}: {output:?}");
        }
        let listed = String::from_utf8(store.syncctl(&["ls", "anna"]).stdout).unwrap();
        assert!(listed.contains("Old"), "{listed}");

        // A directory that was exchanged for a link is not followed.
        std::fs::rename(store.path("spool/uuid"), store.path("elsewhere")).unwrap();
        symlink(store.path("elsewhere"), store.path("spool/uuid")).unwrap();
        let output = store.syncctl(&["ls", "anna"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && said.contains("it leads out of"),
            "{errno}: {output:?}"
        );
    }
}
