//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::Config;
use crate::mail::UserId;

/// Makes Cyrus IMAP mail stores, imports mail, lists what is there, compares stores.
#[derive(Clone, Debug, Parser)]
#[command(name = "syncctl", version)]
pub struct Options {
    /// Print JSON objects, one a line, instead of text
    #[arg(long, global = true)]
    pub json: bool,

    /// What to do
    #[command(subcommand)]
    pub action: Action,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Action {
    /// Make what is missing of a store: directories, databases, users, mailboxes
    Init(Init),
    /// Append the messages of mbox files and Maildirs to the mailboxes of a user
    Import(Import),
    /// List users, or the mailboxes of a user or below a mailbox, with what they hold
    Ls(List),
    /// Compare two stores; exit status 0 if they are equal, 1 if not
    Compare(Compare),
    /// Set or remove the password of a user in the file cyrus_sync_password_file
    Passwd(Passwd),
}

/// `syncctl init`
#[derive(Clone, Debug, Args)]
pub struct Init {
    /// The configuration file
    #[arg(short = 'C', value_name = "FILE", default_value = Config::DEFAULT_PATH)]
    pub config: PathBuf,
    /// Make this user's INBOX; may be repeated
    #[arg(long = "user", value_name = "USER", value_parser = user)]
    pub users: Vec<UserId>,
    /// Make this mailbox, a name as administrators write it (user/alice/Work); may be repeated
    #[arg(long = "mailbox", value_name = "MAILBOX")]
    pub mailboxes: Vec<String>,
}

/// `syncctl import`
#[derive(Clone, Debug, Args)]
pub struct Import {
    /// The configuration file
    #[arg(short = 'C', value_name = "FILE", default_value = Config::DEFAULT_PATH)]
    pub config: PathBuf,
    /// Whose mailboxes
    #[arg(long, value_name = "USER", value_parser = user)]
    pub user: UserId,
    /// The mailbox below the user's INBOX, instead of the INBOX; made if it is missing
    #[arg(long, value_name = "MAILBOX")]
    pub mailbox: Option<String>,
    /// mbox files (- is the standard input) and Maildirs, whose subfolders become mailboxes
    #[arg(value_name = "MBOX|MAILDIR", required = true)]
    pub sources: Vec<PathBuf>,
}

/// `syncctl ls`
#[derive(Clone, Debug, Args)]
pub struct List {
    /// The configuration file
    #[arg(short = 'C', value_name = "FILE", default_value = Config::DEFAULT_PATH)]
    pub config: PathBuf,
    /// A user, or a mailbox as administrators write it; without it all users and shared mailboxes
    #[arg(value_name = "USER|MAILBOX")]
    pub name: Option<String>,
}

/// `syncctl compare`
#[derive(Clone, Debug, Args)]
pub struct Compare {
    /// Also read every message and check its SHA-1
    #[arg(long)]
    pub content: bool,
    /// The configuration file of the one store
    #[arg(value_name = "CONFIG_A")]
    pub a: PathBuf,
    /// The configuration file of the other store
    #[arg(value_name = "CONFIG_B")]
    pub b: PathBuf,
}

/// `syncctl passwd`
#[derive(Clone, Debug, Args)]
pub struct Passwd {
    /// The configuration file
    #[arg(short = 'C', value_name = "FILE", default_value = Config::DEFAULT_PATH)]
    pub config: PathBuf,
    /// Remove the password
    #[arg(long)]
    pub delete: bool,
    /// Who logs in with it; the password is read from the standard input
    #[arg(value_name = "USER")]
    pub user: String,
}

fn user(text: &str) -> Result<UserId, String> {
    UserId::parse(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_table_is_consistent() {
        Options::command().debug_assert();
    }

    #[test]
    fn json_may_stand_anywhere() {
        for line in [["syncctl", "--json", "ls"], ["syncctl", "ls", "--json"]] {
            assert!(Options::try_parse_from(line).unwrap().json);
        }
    }

    #[test]
    fn an_import_needs_a_user_and_a_source() {
        assert!(Options::try_parse_from(["syncctl", "import", "mbox"]).is_err());
        assert!(Options::try_parse_from(["syncctl", "import", "--user", "a"]).is_err());
        assert!(Options::try_parse_from(["syncctl", "import", "--user", "a", "-"]).is_ok());
    }
}
