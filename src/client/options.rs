//! The command line: letters and long names of the original, and a few long names of our own.

use std::path::PathBuf;

use clap::{ArgAction, Parser};

use crate::client::jobs::Jobs;
use crate::config::{ChannelName, ReplicaAddress};
use crate::mail::Partition;

/// Replicates mailboxes to a sync_server.
#[derive(Clone, Debug, Parser)]
#[command(name = "sync_client", version, args_override_self = true)]
pub struct Options {
    /// Rolling replication: process the sync log again and again
    #[arg(short = 'r', long = "rolling")]
    pub rolling: bool,
    /// Rolling replication in the foreground; with an input file, process it once
    #[arg(short = 'R', long = "foreground-rolling")]
    pub foreground_rolling: bool,
    /// With -r or -R: process the log once and stop
    #[arg(short = '1', long = "rolling-once")]
    pub once: bool,
    /// The arguments are users: replicate each completely
    #[arg(short = 'u', long = "userids")]
    pub users: bool,
    /// The arguments are mailboxes: replicate exactly these
    #[arg(short = 'm', long = "mailboxes")]
    pub mailboxes: bool,
    /// The arguments are users: replicate their seen state, subscriptions and Sieve scripts
    #[arg(short = 's', long = "sieve-mode")]
    pub meta: bool,
    /// All users and shared mailboxes, or those whose names begin with the argument
    #[arg(short = 'A', long = "all-users")]
    pub all: bool,

    /// Print what is done; twice: trace the session, without passwords
    #[arg(short = 'v', long = "verbose", action = ArgAction::Count)]
    pub verbose: u8,
    /// Log what is done
    #[arg(short = 'l', long = "verbose-logging")]
    pub verbose_logging: bool,
    /// The configuration file
    #[arg(short = 'C', value_name = "FILE", default_value = crate::config::Config::DEFAULT_PATH)]
    pub config: PathBuf,
    /// The channel
    #[arg(short = 'n', long = "channel", value_name = "CHANNEL", value_parser = channel, default_value = "")]
    pub channel: ChannelName,
    /// The replica: HOST, HOST:PORT with /tls or /noauth behind it, or /PATH of a socket
    #[arg(short = 'S', long = "server", value_name = "SERVER", value_parser = address)]
    pub server: Option<ReplicaAddress>,
    /// Read users, mailboxes or sync log lines from a file (- is the standard input)
    #[arg(short = 'f', long = "input-file", value_name = "FILE")]
    pub input_file: Option<PathBuf>,
    /// Stop rolling when this file appears
    #[arg(short = 'F', long = "shutdown-file", value_name = "FILE")]
    pub shutdown_file: Option<PathBuf>,
    /// Wait before starting
    #[arg(
        short = 'w',
        long = "delayed-startup",
        value_name = "SECONDS",
        default_value_t = 0
    )]
    pub startup_delay: u64,
    /// Reconnect a rolling session after this time, 0 = never
    #[arg(
        short = 't',
        long = "timeout",
        value_name = "SECONDS",
        default_value_t = 600
    )]
    pub session_age: u64,
    /// Shortest time from one run of the log to the next
    #[arg(short = 'd', long = "delay", value_name = "SECONDS")]
    pub delay: Option<u64>,
    /// The partition of the replica for everything
    #[arg(short = 'p', long = "dest-partition", value_name = "PARTITION", value_parser = partition)]
    pub partition: Option<Partition>,
    /// Do not try again if the connection cannot be made
    #[arg(short = 'o', long = "connect-once")]
    pub connect_once: bool,
    /// Fail if the replica does not offer compression
    #[arg(short = 'z', long = "require-compression")]
    pub require_compression: bool,
    /// Change the mailbox list of the replica only, not that of its Murder
    #[arg(short = 'L', long = "local-only")]
    pub local_only: bool,
    /// Skip users who are being replicated by another process
    #[arg(short = 'N', long = "skip-locked")]
    pub skip_locked: bool,
    /// Force the master's state upon the replica, copy nothing back
    #[arg(short = 'O', long = "no-copyback")]
    pub no_copy_back: bool,
    /// Let the replica stage messages on its archive partition
    #[arg(short = 'a', long = "stage-to-archive")]
    pub stage_to_archive: bool,

    /// End the rolling client of the channel by its shutdown file, if it has one
    #[arg(long)]
    pub stop: bool,
    /// Replicate this many users at a time; default: two per core, at most 4, twice as many if the replica is far, and 1 with -v
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    pub jobs: Option<u8>,
    /// Show what would be sent, send nothing that changes the replica
    #[arg(long)]
    pub dry_run: bool,
    /// Show a progress bar if the standard error is a terminal
    #[arg(long)]
    pub progress: bool,
    /// Print one JSON object for each user or mailbox
    #[arg(long)]
    pub json: bool,

    /// Users, mailboxes, or a prefix
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
}

fn channel(text: &str) -> Result<ChannelName, String> {
    ChannelName::parse(text).map_err(|error| error.to_string())
}

fn address(text: &str) -> Result<ReplicaAddress, String> {
    ReplicaAddress::parse(text).map_err(|error| error.to_string())
}

fn partition(text: &str) -> Result<Partition, String> {
    Partition::parse(text).map_err(|error| error.to_string())
}

/// What the program does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// `-u`
    Users,
    /// `-m`
    Mailboxes,
    /// `-s`
    Meta,
    /// `-A`
    All,
    /// `-r` or `-R`
    Rolling {
        /// Leave the terminal and go on in the background.
        background: bool,
    },
    /// `--stop`
    Stop,
}

/// Not exactly one mode was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ModeError {
    /// None.
    #[error("No replication mode specified")]
    None,
    /// More than one.
    #[error("Mutually exclusive options defined")]
    Several,
}

impl Options {
    /// How many users are replicated at a time. With `-v` it is one if nothing else is asked for,
    /// so that the lines of a user stand together.
    pub fn jobs(&self) -> Jobs {
        if let Some(jobs) = self.jobs {
            return Jobs::exactly(jobs);
        }
        if self.verbose > 0 || self.dry_run {
            return Jobs::exactly(1);
        }
        Jobs::suiting(std::thread::available_parallelism().map_or(1, usize::from))
    }

    /// The one mode. `-r` with an input file, or under a supervisor that sets
    /// `CYRUS_ISDAEMON`, stays in the foreground (algorithm §1).
    ///
    /// # Errors
    /// If there is none or more than one.
    pub fn mode(&self, supervised: bool) -> Result<Mode, ModeError> {
        let background = !self.foreground_rolling && !supervised && self.input_file.is_none();
        let rolling = Mode::Rolling { background };
        let mut asked_for = [
            (self.users, Mode::Users),
            (self.mailboxes, Mode::Mailboxes),
            (self.meta, Mode::Meta),
            (self.all, Mode::All),
            (self.rolling || self.foreground_rolling, rolling),
            (self.stop, Mode::Stop),
        ]
        .into_iter()
        .filter_map(|(wanted, mode)| wanted.then_some(mode));
        match (asked_for.next(), asked_for.next()) {
            (None, _) => Err(ModeError::None),
            (Some(mode), None) => Ok(mode),
            (Some(_), Some(_)) => Err(ModeError::Several),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(arguments: &[&str]) -> Options {
        Options::try_parse_from([&["sync_client"], arguments].concat()).unwrap()
    }

    #[test]
    fn the_table_is_consistent() {
        Options::command().debug_assert();
    }

    /// The letters of 3.6.1 and the long names of 3.8 (configuration §8).
    #[test]
    fn every_letter_has_its_long_name() {
        let names: Vec<String> = Options::command()
            .get_arguments()
            .filter_map(|argument| {
                Some(format!(
                    "{} {}",
                    argument.get_short()?,
                    argument.get_long()?
                ))
            })
            .collect();
        for expected in [
            "1 rolling-once",
            "A all-users",
            "F shutdown-file",
            "L local-only",
            "N skip-locked",
            "O no-copyback",
            "R foreground-rolling",
            "S server",
            "a stage-to-archive",
            "d delay",
            "f input-file",
            "l verbose-logging",
            "m mailboxes",
            "n channel",
            "o connect-once",
            "p dest-partition",
            "r rolling",
            "s sieve-mode",
            "t timeout",
            "u userids",
            "v verbose",
            "w delayed-startup",
            "z require-compression",
        ] {
            assert!(names.iter().any(|name| name == expected), "{expected}");
        }
    }

    #[test]
    fn letters_can_be_joined_and_options_follow_names() {
        let options = parse(&["-vvlC", "/x", "-u", "alice", "bob", "-S", "r:2005/tls"]);
        assert_eq!(options.verbose, 2);
        assert!(options.verbose_logging);
        assert_eq!(options.config, PathBuf::from("/x"));
        assert_eq!(options.names, ["alice", "bob"]);
        assert!(matches!(
            options.server,
            Some(ReplicaAddress::Host { tls: true, .. })
        ));
        assert_eq!(parse(&["-A", "user."]).names, ["user."]);
        assert_eq!(parse(&["-R1"]).session_age, 600);
    }

    #[test]
    fn lines_of_a_user_stand_together() {
        assert!((2..=4).contains(&parse(&["-A"]).jobs().near()));
        assert_eq!(parse(&["-A", "-v"]).jobs(), Jobs::exactly(1));
        assert_eq!(parse(&["-A", "--dry-run"]).jobs(), Jobs::exactly(1));
        assert_eq!(parse(&["-A", "-v", "--jobs", "7"]).jobs(), Jobs::exactly(7));
    }

    #[test]
    fn exactly_one_mode() {
        let mode = |arguments: &[&str]| parse(arguments).mode(false);
        assert_eq!(mode(&[]), Err(ModeError::None));
        assert_eq!(mode(&["-u", "-m"]), Err(ModeError::Several));
        assert_eq!(mode(&["-r", "-A"]), Err(ModeError::Several));
        assert_eq!(mode(&["-s", "a"]), Ok(Mode::Meta));
        let rolling = |background| Ok(Mode::Rolling { background });
        assert_eq!(mode(&["-r"]), rolling(true));
        assert_eq!(mode(&["-R"]), rolling(false));
        assert_eq!(mode(&["-r", "-R"]), rolling(false));
        assert_eq!(mode(&["-r", "-f", "log"]), rolling(false));
        assert_eq!(parse(&["-r"]).mode(true), rolling(false));
    }
}
