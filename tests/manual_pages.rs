//! Holds the manual pages against the programs: every option and every setting is there.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use cyrus_sync::config::SETTINGS;
use cyrus_sync::service::event::ALL;

fn page(name: &str) -> String {
    let path = format!("{}/man/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap()
}

/// The options that `--help` of a program shows, as `d` and `-delay`.
fn options_of(program: &str, command: &[&str]) -> BTreeSet<String> {
    let output = Command::new(program)
        .args(command)
        .arg("--help")
        .output()
        .unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let options = help.lines().filter_map(|line| {
        let line = line.trim_start();
        line.starts_with('-')
            .then(|| line.split("  ").next().unwrap_or_default().to_owned())
    });
    options
        .flat_map(|line| {
            let words: Vec<String> = line.split([',', ' ']).map(str::to_owned).collect();
            words
        })
        .filter_map(|word| word.strip_prefix('-').map(str::to_owned))
        .map(|option| option.trim_end_matches("...").to_owned())
        .collect()
}

/// The options that have an entry (`.It`) in a page.
fn options_in(page: &str) -> BTreeSet<String> {
    let words: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix(".It "))
        .flat_map(str::split_whitespace)
        .collect();
    words
        .windows(2)
        .filter_map(|pair| match pair {
            ["Fl", option] => Some((*option).to_owned()),
            _ => None,
        })
        .collect()
}

#[test]
fn sync_client_options() {
    let options = options_of(env!("CARGO_BIN_EXE_sync_client"), &[]);
    assert!(options.contains("d") && options.contains("-delay"));
    assert_eq!(options, options_in(&page("sync_client.8")));
}

#[test]
fn sync_server_options() {
    let options = options_of(env!("CARGO_BIN_EXE_sync_server"), &[]);
    assert!(options.contains("C") && options.contains("-listen"));
    assert_eq!(options, options_in(&page("sync_server.8")));
}

#[test]
fn syncctl_options() {
    let program = env!("CARGO_BIN_EXE_syncctl");
    let page = page("syncctl.8");
    let commands = commands_of(program);
    assert!(commands.len() > 3, "{commands:?}");
    let mut options = options_of(program, &[]);
    for command in &commands {
        assert!(page.contains(&format!(".Ss {command}\n")), "{command}");
        options.extend(options_of(program, &[command]));
    }
    assert_eq!(options, options_in(&page));
}

/// The commands that `--help` of a program shows.
fn commands_of(program: &str) -> Vec<String> {
    let output = Command::new(program).arg("--help").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    help.lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .filter(|command| *command != "help")
        .map(str::to_owned)
        .collect()
}

#[test]
fn kinds_of_journal_entries() {
    let page = page("cyrus-sync.journal-fields.7");
    let documented: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix(".It Li "))
        .collect();
    let existing: Vec<&str> = ALL.iter().map(|(_, id)| *id).collect();
    assert_eq!(documented, existing);
}

/// Every field that the programs write is documented, and every documented one is written.
#[test]
fn fields_of_journal_entries() {
    let page = page("cyrus-sync.journal-fields.7");
    let documented: BTreeSet<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix(".It Ev "))
        .map(str::to_lowercase)
        .collect();
    let mut written = BTreeSet::new();
    sources(
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")),
        &mut |text| {
            for (place, _) in text.match_indices("sync_") {
                let rest = &text[place..];
                let end = rest.find(|letter: char| !letter.is_ascii_lowercase() && letter != '_');
                let (name, behind) = rest.split_at(end.unwrap_or(rest.len()));
                let is_field = behind.starts_with(" = ");
                let before = text[..place].trim_end_matches(' ');
                if is_field
                    && (before.ends_with('\n') || before.ends_with(',') || before.ends_with('('))
                {
                    written.insert(name.to_owned());
                }
            }
        },
    );
    assert_eq!(written, documented);
}

/// Gives the text of every source file to `take`.
fn sources(directory: &Path, take: &mut impl FnMut(&str)) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, take);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            take(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn settings() {
    let page = page("cyrus-sync.conf.5");
    let documented: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix(".It Ic "))
        .collect();
    let existing: Vec<String> = SETTINGS
        .iter()
        .map(|setting| format!("{} Pq {}", setting.name, setting.toml))
        .collect();
    assert_eq!(documented, existing);
}
