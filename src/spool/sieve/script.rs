//! Sieve scripts as messages of the `#sieve` mailbox (databases §14.2).

use std::fmt;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use jiff::tz::TimeZone;

use super::header;
use crate::mail::{Guid, UnixTime, UserId};

/// The name of a script, safe in a file name. It is what the Subject of the script's message says,
/// encoded words left as they are: so the original stores and lists them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScriptName(Box<str>);

/// A text that cannot be the name of a script.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a legal name of a Sieve script: {0:?}")]
pub struct ScriptNameError(pub String);

const SCRIPT_SUFFIX: &str = ".script";
const BYTE_CODE_SUFFIX: &str = ".bc";

impl ScriptName {
    /// Longest name, in octets: a file name of 1024 with suffix, as the original counts.
    const MAX_LEN: usize = 1012;

    /// Takes a name.
    ///
    /// # Errors
    /// If it is empty, too long, or holds a slash or a control character.
    pub fn parse(text: &str) -> Result<ScriptName, ScriptNameError> {
        let legal = !text.is_empty()
            && text.len() <= ScriptName::MAX_LEN
            && !text
                .bytes()
                .any(|byte| byte == b'/' || byte.is_ascii_control());
        match legal {
            true => Ok(ScriptName(text.into())),
            false => Err(ScriptNameError(text.to_owned())),
        }
    }

    /// The name that a FILENAME `<name>.script` of the wire means; `None` if it ends otherwise.
    ///
    /// # Errors
    /// If the name itself is not legal.
    pub fn from_script_file(file: &str) -> Result<Option<ScriptName>, ScriptNameError> {
        file.strip_suffix(SCRIPT_SUFFIX)
            .map(ScriptName::parse)
            .transpose()
    }

    /// The name that a FILENAME `<name>.bc` of the wire means: its last three characters do not
    /// count, whatever they are (commands §4.11).
    ///
    /// # Errors
    /// If the name itself is not legal.
    pub fn from_byte_code_file(file: &str) -> Result<ScriptName, ScriptNameError> {
        let end = file.len().saturating_sub(BYTE_CODE_SUFFIX.len());
        let name = file.get(..end);
        ScriptName::parse(name.ok_or_else(|| ScriptNameError(file.to_owned()))?)
    }

    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `<name>.script`, as it travels.
    pub fn script_file(&self) -> String {
        format!("{self}{SCRIPT_SUFFIX}")
    }

    /// `<name>.bc`, as it travels and as the compiled script is called.
    pub fn byte_code_file(&self) -> String {
        format!("{self}{BYTE_CODE_SUFFIX}")
    }
}

impl fmt::Display for ScriptName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A script, taken from its message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// The stable id that all versions of the script share.
    pub id: String,
    /// The name.
    pub name: ScriptName,
    /// SHA-1 of the script.
    pub content_id: Guid,
    /// The script itself.
    pub content: Vec<u8>,
}

/// A message that holds no script.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScriptError {
    /// There is no `filename="<id>.sieve"` in a Content-Disposition.
    #[error("message has no script id in its Content-Disposition")]
    NoId,
    /// There is no Subject.
    #[error("message has no Subject to name the script")]
    NoName,
    /// The Subject cannot be the name of a script.
    #[error(transparent)]
    Name(#[from] ScriptNameError),
}

impl Script {
    /// Takes a script from the octets of its message.
    ///
    /// # Errors
    /// If the message says no id or name.
    pub fn parse(message: &[u8]) -> Result<Script, ScriptError> {
        let fields = header::fields(message);
        let value = |wanted: &str| {
            let mut named = fields.list.iter().filter(|(name, _)| name == wanted);
            named.next().map(|(_, value)| value.as_str())
        };
        let id = value("content-disposition")
            .and_then(|value| header::parameter(value, "filename"))
            .and_then(|file| file.strip_suffix(".sieve").map(str::to_owned))
            .filter(|id| !id.is_empty())
            .ok_or(ScriptError::NoId)?;
        let content = message.get(fields.length..).unwrap_or_default().to_vec();
        Ok(Script {
            id,
            name: ScriptName::parse(value("subject").ok_or(ScriptError::NoName)?)?,
            content_id: content_id(&content),
            content,
        })
    }
}

/// SHA-1 of a script, by which the wire and the Sieve table know its content.
pub fn content_id(content: &[u8]) -> Guid {
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, content);
    Guid::from_bytes(hash.as_ref().try_into().unwrap_or_default())
}

/// What a new message of a script is made of.
#[derive(Clone, Debug)]
pub struct ScriptMessage<'a> {
    /// Whose script.
    pub user: &'a UserId,
    /// Option `servername`.
    pub server: &'a str,
    /// The stable id: that of the version before, or a [`new_script_id`].
    pub id: &'a str,
    /// The name as the user gave it; the Subject has it encoded if need be.
    pub name: &'a str,
    /// The script.
    pub content: &'a [u8],
    /// When.
    pub time: UnixTime,
    /// Where the clock stands, for the Date field.
    pub time_zone: &'a TimeZone,
}

impl ScriptMessage<'_> {
    /// The message, as 3.6.1 makes it.
    pub fn to_bytes(&self) -> Vec<u8> {
        let from = match self.user.domain() {
            Some(_) => self.user.to_string(),
            None => format!("{}@{}", self.user, self.server),
        };
        let date = jiff::Timestamp::from_second(i64::from(self.time.0))
            .unwrap_or_default()
            .to_zoned(self.time_zone.clone())
            .strftime("%a, %d %b %Y %H:%M:%S %z");
        let head = format!(
            "From: <{from}>\r\n\
             Subject: {}\r\n\
             Date: {date}\r\n\
             Message-ID: <{}@{}>\r\n\
             Content-Type: application/sieve; charset=utf-8\r\n\
             Content-Length: {}\r\n\
             Content-Disposition: attachment;\r\n\tfilename=\"{}.sieve\"\r\n\
             MIME-Version: 1.0\r\n\
             \r\n",
            header::encode(self.name),
            content_id(self.content),
            self.server,
            self.content.len(),
            self.id,
        );
        [head.as_bytes(), self.content].concat()
    }
}

/// A random id of 24 letters and digits for a script that did not exist before.
///
/// # Errors
/// If the system gives no random numbers.
pub fn new_script_id() -> Result<String, getrandom::Error> {
    const LETTERS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let mut random = [0_u8; 24];
    getrandom::fill(&mut random)?;
    let letter = |byte: u8| LETTERS.get(usize::from(byte) % LETTERS.len());
    Ok(random
        .iter()
        .filter_map(|byte| letter(*byte))
        .map(|letter| char::from(*letter))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message as 3.6.1 stored it.
    const MAIN: &str = "From: <anna@lab.test>\r\n\
        Subject: main\r\n\
        Date: Tue, 24 Nov 2026 16:04:17 +0000\r\n\
        Message-ID: <c9551b39d13c745ccfeea77c6615091676b85853@lab.test>\r\n\
        Content-Type: application/sieve; charset=utf-8\r\n\
        Content-Length: 38\r\n\
        Content-Disposition: attachment;\r\n\tfilename=\"gaxd2y7gp4rr1jufogmf9y5u.sieve\"\r\n\
        MIME-Version: 1.0\r\n\
        \r\n\
        require \"fileinto\";\r\nfileinto \"Sub\";\r\n";

    static ZONE: TimeZone = TimeZone::UTC;

    fn message<'a>(user: &'a UserId, name: &'a str) -> ScriptMessage<'a> {
        ScriptMessage {
            user,
            server: "lab.test",
            id: "gaxd2y7gp4rr1jufogmf9y5u",
            name,
            content: b"require \"fileinto\";\r\nfileinto \"Sub\";\r\n",
            time: UnixTime(1_795_536_257),
            time_zone: &ZONE,
        }
    }

    #[test]
    fn the_message_of_the_original() {
        let anna = UserId::parse("anna").unwrap();
        let octets = message(&anna, "main").to_bytes();
        assert_eq!(String::from_utf8(octets).unwrap(), MAIN);
        let script = Script::parse(MAIN.as_bytes()).unwrap();
        assert_eq!(script.id, "gaxd2y7gp4rr1jufogmf9y5u");
        assert_eq!(script.name.as_str(), "main");
        assert_eq!(
            script.content_id.to_string(),
            "c9551b39d13c745ccfeea77c6615091676b85853"
        );
        assert!(script.content.ends_with(b"\"Sub\";\r\n"));
    }

    #[test]
    fn names_survive_as_the_original_lists_them() {
        let anna = UserId::parse("anna@example.com").unwrap();
        let long = format!("{} long {}", "a".repeat(90), "b".repeat(90));
        let encoded = format!(
            "=?UTF-8?Q?{}?= =?UTF-8?Q?{}_long_{}?= =?UTF-8?Q?{}?= =?UTF-8?Q?bb?=",
            "a".repeat(62),
            "a".repeat(28),
            "b".repeat(27),
            "b".repeat(61),
        );
        for (name, stored) in [
            ("blank name(x)", "blank name(x)"),
            ("\u{e4}name", "=?UTF-8?Q?=C3=A4name?="),
            (&long, &encoded),
        ] {
            let octets = message(&anna, name).to_bytes();
            assert!(octets.starts_with(b"From: <anna@example.com>\r\n"));
            assert_eq!(Script::parse(&octets).unwrap().name.as_str(), stored);
        }
    }

    #[test]
    fn messages_without_a_script_are_refused() {
        let without = |gone: &str| {
            let lines: Vec<&str> = MAIN.split_inclusive("\r\n").collect();
            let kept = lines.into_iter().filter(|line| !line.contains(gone));
            Script::parse(kept.collect::<String>().as_bytes())
        };
        assert_eq!(without("filename"), Err(ScriptError::NoId));
        assert_eq!(without("Subject"), Err(ScriptError::NoName));
        assert_eq!(Script::parse(b""), Err(ScriptError::NoId));
        let evil = MAIN.replace("Subject: main", "Subject: ../../x");
        assert!(matches!(
            Script::parse(evil.as_bytes()),
            Err(ScriptError::Name(_))
        ));
    }

    #[test]
    fn file_names_of_the_wire() {
        let name = ScriptName::parse("a.b").unwrap();
        assert_eq!(name.script_file(), "a.b.script");
        assert_eq!(
            ScriptName::from_script_file("a.b.script").unwrap(),
            Some(name.clone())
        );
        assert_eq!(ScriptName::from_script_file("a.b.bc").unwrap(), None);
        assert!(ScriptName::from_script_file("a/b.script").is_err());
        assert_eq!(ScriptName::from_byte_code_file("a.bxyz").unwrap(), name);
        for bad in ["", ".bc", "x", "\u{e4}\u{e4}"] {
            assert!(ScriptName::from_byte_code_file(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn new_ids_differ() {
        let ids: Vec<String> = (0..2).map(|_| new_script_id().unwrap()).collect();
        assert_ne!(ids[0], ids[1]);
        assert_eq!(ids[0].len(), 24);
    }
}
