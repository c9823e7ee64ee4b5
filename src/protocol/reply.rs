//! Status lines (wire-protocol §7, §9).

use std::fmt;

use crate::protocol::stream::Compression;

/// Why a request was not carried out: the NO answers to GET, APPLY and RESTORE
/// (wire-protocol §9.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// No such user.
    InvalidUser,
    /// No such mailbox.
    MailboxNonexistent,
    /// A lock was not to be had in time.
    MailboxLocked,
    /// The mailbox exists with another name or unique id.
    MailboxMoved,
    /// The mailbox does not support the operation.
    MailboxNotSupported,
    /// Not allowed (only from newer peers).
    PermissionDenied,
    /// The states of both sides do not fit together.
    SyncChecksum,
    /// The replica is not in the state the update was computed against.
    SyncChanged,
    /// A Sieve script does not compile (only from newer peers).
    SyncBadSieve,
    /// The request makes no sense.
    ProtocolError,
    /// A key is missing or malformed.
    BadParameters,
    /// Anything else. A client reads every text it does not know as this.
    Unknown,
}

/// Token and text of each refusal, and the message that log lines use for it.
const REFUSALS: [(Refusal, &str, &str, &str); 11] = [
    (
        Refusal::InvalidUser,
        "IMAP_INVALID_USER",
        "No Such User",
        "Invalid user",
    ),
    (
        Refusal::MailboxNonexistent,
        "IMAP_MAILBOX_NONEXISTENT",
        "No Such Mailbox",
        "Mailbox does not exist",
    ),
    (
        Refusal::MailboxLocked,
        "IMAP_MAILBOX_LOCKED",
        "Mailbox locked",
        "Mailbox is locked",
    ),
    (
        Refusal::MailboxMoved,
        "IMAP_MAILBOX_MOVED",
        "Mailbox exists with another name or uniqueid",
        "Mailbox has been moved to another server",
    ),
    (
        Refusal::MailboxNotSupported,
        "IMAP_MAILBOX_NOTSUPPORTED",
        "Operation is not supported on mailbox",
        "Operation is not supported on mailbox",
    ),
    (
        Refusal::PermissionDenied,
        "IMAP_PERMISSION_DENIED",
        "Permission denied",
        "Permission denied",
    ),
    (
        Refusal::SyncChecksum,
        "IMAP_SYNC_CHECKSUM",
        "Checksum Failure",
        "Replication inconsistency detected",
    ),
    (
        Refusal::SyncChanged,
        "IMAP_SYNC_CHANGED",
        "Changed since last sync",
        "Mailbox has changed since last sync",
    ),
    (
        Refusal::SyncBadSieve,
        "IMAP_SYNC_BADSIEVE",
        "Sieve script compilation failure",
        "Sieve script compilation failure",
    ),
    (
        Refusal::ProtocolError,
        "IMAP_PROTOCOL_ERROR",
        "Protocol error",
        "Bad protocol",
    ),
    (
        Refusal::BadParameters,
        "IMAP_PROTOCOL_BAD_PARAMETERS",
        "",
        "Syntax error in parameters",
    ),
];

impl Refusal {
    /// The exact status line, without CR LF.
    pub fn line(self) -> String {
        match REFUSALS.iter().find(|(refusal, ..)| *refusal == self) {
            Some((_, token, "", _)) => format!("NO {token}"),
            Some((_, token, text, _)) => format!("NO {token} {text}"),
            None => "NO Unknown error".to_owned(),
        }
    }

    /// What the text behind `NO ` means to a client. The token counts only with a space behind
    /// it, as in the original, so the bare `IMAP_PROTOCOL_BAD_PARAMETERS` of its server is
    /// [`Refusal::Unknown`].
    pub fn from_text(text: &str) -> Refusal {
        let token = text.split_once(' ').map(|(token, _)| token);
        REFUSALS
            .iter()
            .find(|(_, known, ..)| Some(*known) == token)
            .map_or(Refusal::Unknown, |(refusal, ..)| *refusal)
    }
}

impl fmt::Display for Refusal {
    /// The original's message for log lines.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = REFUSALS
            .iter()
            .find(|(refusal, ..)| refusal == self)
            .map_or("The remote Server(s) denied the operation", |entry| entry.3);
        f.write_str(message)
    }
}

/// A status line that a server sends.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// GET, APPLY or RESTORE succeeded.
    Success,
    /// Answer to NOOP.
    Noop,
    /// Answer to RESTART.
    Restarting,
    /// Answer to X-RUN-ID.
    RunNoted,
    /// Answer to EXIT; the connection is closed behind it.
    Finished,
    /// The TLS handshake begins behind this line.
    BeginTls,
    /// Compression begins behind this line.
    CompressionActive(Compression),
    /// AUTHENTICATE succeeded.
    Authenticated {
        /// TLS is active.
        tls: bool,
    },
    /// GET, APPLY or RESTORE failed.
    Refused(Refusal),
    /// GET, APPLY or RESTORE before AUTHENTICATE.
    AuthenticateFirst,
    /// Any command of a user who is no administrator.
    NotPermitted,
    /// AUTHENTICATE failed.
    AuthenticationFailed(&'static str),
    /// Second AUTHENTICATE.
    AlreadyAuthenticated,
    /// The client answered a challenge with `*`.
    AuthenticationCanceled,
    /// The mechanism of AUTHENTICATE is no atom.
    InvalidMechanism,
    /// STARTTLS after AUTHENTICATE.
    TlsAfterAuthentication,
    /// Second STARTTLS.
    TlsActive,
    /// TLS cannot be set up.
    TlsUnavailable,
    /// Second COMPRESS.
    CompressionAlreadyActive,
    /// COMPRESS with another algorithm.
    UnknownCompression(String),
    /// A line without a verb.
    NullCommand,
    /// An unknown verb.
    Unrecognized,
    /// A verb lacks its argument. The verb is written as in `Compress`.
    MissingArgument(&'static str),
    /// A verb has arguments it does not take.
    ExtraArguments(&'static str),
    /// GET, APPLY or RESTORE with a malformed value. The verb is in upper case.
    Unparsable(&'static str),
    /// A line announces more octets than are waited for; the connection is closed behind this
    /// line.
    TooMuchAnnounced,
    /// A client looks for IMAP here (wire-protocol §12).
    NotImap,
    /// The server shuts down; the connection is closed behind this line.
    ShuttingDown,
    /// There are too many sessions; the connection is closed behind this line.
    TooManySessions,
}

impl fmt::Display for Status {
    /// The line without CR LF.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Status::Success => "OK success",
            Status::Noop => "OK Noop completed",
            Status::Restarting => "OK Restarting",
            Status::RunNoted => "OK Run noted",
            Status::Finished => "OK Finished",
            Status::BeginTls => "OK Begin TLS negotiation now",
            Status::CompressionActive(compression) => {
                return write!(f, "OK {} active", compression.name());
            }
            Status::Authenticated { tls: false } => "OK Success (no protection)",
            Status::Authenticated { tls: true } => "OK Success (tls protection)",
            Status::Refused(refusal) => return f.write_str(&refusal.line()),
            Status::TooMuchAnnounced => {
                "BAD IMAP_PROTOCOL_ERROR Literal too large, closing the session"
            }
            Status::AuthenticateFirst => "NO Please authenticate first",
            Status::NotPermitted => "NO Permission denied",
            Status::AuthenticationFailed(text) => return write!(f, "NO {text}"),
            Status::AlreadyAuthenticated => "BAD Already authenticated",
            Status::AuthenticationCanceled => "BAD Client canceled authentication",
            Status::InvalidMechanism => "BAD Invalid mechanism",
            Status::TlsAfterAuthentication => "BAD Can't Starttls after authentication",
            Status::TlsActive => "BAD Already did a successful Starttls",
            Status::TlsUnavailable => "NO Error initializing TLS",
            Status::CompressionAlreadyActive => "NO Compression already active: DEFLATE",
            Status::UnknownCompression(name) => {
                return write!(f, "NO Unknown compression algorithm: {name}");
            }
            Status::NullCommand => "BAD Null command",
            Status::Unrecognized => "BAD IMAP_PROTOCOL_ERROR Unrecognized command",
            Status::MissingArgument(verb) => {
                return write!(f, "BAD Missing required argument to {verb}");
            }
            Status::ExtraArguments(verb) => {
                return write!(f, "BAD Unexpected extra arguments to {verb}");
            }
            Status::Unparsable(verb) => {
                return write!(f, "BAD IMAP_PROTOCOL_ERROR Failed to parse {verb} line");
            }
            Status::NotImap => "C01 BAD This is a replication server, not IMAP",
            Status::ShuttingDown => "BYE shutting down",
            Status::TooManySessions => "BYE too many sessions",
        };
        f.write_str(text)
    }
}

/// A status line that a client received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// `OK`; the text means nothing.
    Ok,
    /// `NO`, with what it means and the whole text for the log.
    No(Refusal, String),
    /// `BYE`: the server goes away.
    Bye(String),
    /// `BAD`, or a line that is no status line.
    Bad(String),
}

impl Outcome {
    /// Reads a line without its end. The first word must be followed by a space
    /// (wire-protocol §9).
    pub fn from_line(line: &[u8]) -> Outcome {
        let text = String::from_utf8_lossy(line);
        match text.split_once(' ') {
            Some(("OK", _)) => Outcome::Ok,
            Some(("NO", text)) => Outcome::No(Refusal::from_text(text), text.to_owned()),
            Some(("BYE", text)) => Outcome::Bye(text.to_owned()),
            _ => Outcome::Bad(text.into_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of wire-protocol §9.1.
    #[test]
    fn refusals_both_ways() {
        for (line, seen) in [
            ("NO IMAP_INVALID_USER No Such User", Refusal::InvalidUser),
            (
                "NO IMAP_MAILBOX_NONEXISTENT No Such Mailbox",
                Refusal::MailboxNonexistent,
            ),
            (
                "NO IMAP_MAILBOX_LOCKED Mailbox locked",
                Refusal::MailboxLocked,
            ),
            (
                "NO IMAP_MAILBOX_MOVED Mailbox exists with another name or uniqueid",
                Refusal::MailboxMoved,
            ),
            (
                "NO IMAP_MAILBOX_NOTSUPPORTED Operation is not supported on mailbox",
                Refusal::MailboxNotSupported,
            ),
            (
                "NO IMAP_PERMISSION_DENIED Permission denied",
                Refusal::PermissionDenied,
            ),
            (
                "NO IMAP_SYNC_CHECKSUM Checksum Failure",
                Refusal::SyncChecksum,
            ),
            (
                "NO IMAP_SYNC_CHANGED Changed since last sync",
                Refusal::SyncChanged,
            ),
            (
                "NO IMAP_SYNC_BADSIEVE Sieve script compilation failure",
                Refusal::SyncBadSieve,
            ),
            (
                "NO IMAP_PROTOCOL_ERROR Protocol error",
                Refusal::ProtocolError,
            ),
            ("NO Unknown error", Refusal::Unknown),
        ] {
            assert_eq!(seen.line(), line);
            assert_eq!(
                Outcome::from_line(line.as_bytes()),
                Outcome::No(seen, line[3..].to_owned())
            );
        }
        let bad_parameters = Refusal::BadParameters.line();
        assert_eq!(bad_parameters, "NO IMAP_PROTOCOL_BAD_PARAMETERS");
        let seen = |line: &str| match Outcome::from_line(line.as_bytes()) {
            Outcome::No(refusal, _) => refusal,
            other => panic!("{other:?}"),
        };
        assert_eq!(seen(&bad_parameters), Refusal::Unknown);
        assert_eq!(
            seen(&format!("{bad_parameters} UID")),
            Refusal::BadParameters
        );
        assert_eq!(seen("NO Please authenticate first"), Refusal::Unknown);
    }

    #[test]
    fn other_status_lines() {
        assert_eq!(Outcome::from_line(b"OK success"), Outcome::Ok);
        assert_eq!(Outcome::from_line(b"OK "), Outcome::Ok);
        assert_eq!(Outcome::from_line(b"OK"), Outcome::Bad("OK".to_owned()));
        assert_eq!(
            Outcome::from_line(b"BYE shutting down"),
            Outcome::Bye("shutting down".to_owned())
        );
        assert_eq!(
            Outcome::from_line(b"BAD Null command"),
            Outcome::Bad("BAD Null command".to_owned())
        );
    }
}
