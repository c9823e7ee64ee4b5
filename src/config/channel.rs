//! Names of replication channels.

use std::fmt;

/// The name of a replication channel, which is also the name of a directory below `sync/`
/// (databases §17.1). The default channel has an empty name and no directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelName(Box<str>);

/// A text that cannot be the name of a channel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("channel {0:?}: a name holds no slash, blank or control character, and is not . or ..")]
pub struct ChannelNameError(pub String);

impl ChannelName {
    /// Takes a name; the default channel is written `""` in `imapd.conf` or is the empty text.
    ///
    /// # Errors
    /// If the name cannot be that of a directory or of an element of `sync_log_channels`.
    pub fn parse(text: &str) -> Result<ChannelName, ChannelNameError> {
        let name = if text == "\"\"" { "" } else { text };
        let illegal = |byte: u8| byte.is_ascii_control() || matches!(byte, b'/' | b' ');
        // `log` and `log-run` are the files of the default channel.
        let reserved = matches!(name, "." | ".." | "log" | "log-run");
        if reserved || name.len() > 200 || name.bytes().any(illegal) {
            return Err(ChannelNameError(text.to_owned()));
        }
        Ok(ChannelName(name.into()))
    }

    /// The name itself; empty for the default channel.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the default channel.
    pub fn is_default(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_default() {
            f.write_str("\"\"")
        } else {
            f.write_str(&self.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channel_names() {
        assert!(ChannelName::parse("").unwrap().is_default());
        assert!(ChannelName::parse("\"\"").unwrap().is_default());
        assert_eq!(
            ChannelName::parse("replica-1").unwrap().as_str(),
            "replica-1"
        );
        for bad in ["a/b", "..", ".", "a b", "a\n", "log"] {
            assert!(ChannelName::parse(bad).is_err(), "{bad:?}");
        }
    }
}
