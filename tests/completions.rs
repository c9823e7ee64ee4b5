//! Holds the completions for shells (contrib/completions) against the options of the programs.
//! `CYRUS_SYNC_WRITE_COMPLETIONS=1 cargo test --test completions` writes them anew.

#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use clap::{Command, CommandFactory};
use clap_complete::{Shell, generate};

fn programs() -> [(&'static str, Command); 3] {
    [
        (
            "sync_client",
            cyrus_sync::client::options::Options::command(),
        ),
        (
            "sync_server",
            cyrus_sync::server::options::Options::command(),
        ),
        ("syncctl", cyrus_sync::operator::options::Options::command()),
    ]
}

#[test]
fn completions_are_those_of_the_options() {
    let directory = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/contrib/completions"));
    let write = std::env::var_os("CYRUS_SYNC_WRITE_COMPLETIONS").is_some();
    for (name, mut command) in programs() {
        for (shell, file) in [
            (Shell::Bash, format!("{name}.bash")),
            (Shell::Zsh, format!("_{name}")),
            (Shell::Fish, format!("{name}.fish")),
        ] {
            let mut text = Vec::new();
            generate(shell, &mut command, name, &mut text);
            let path = directory.join(file);
            if write {
                std::fs::write(&path, &text).unwrap();
            }
            let kept = std::fs::read(&path).unwrap_or_default();
            assert!(kept == text, "{} is not up to date", path.display());
        }
    }
}
