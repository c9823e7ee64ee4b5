//! Login to an IMAP server that replicates (wire-protocol §12).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{ConnectError, Connected, Connector, LONGEST_LINE, Link, Offer};
use crate::client::peer::Flavour;
use crate::protocol::stream::{Stream, StreamError};

impl Connector {
    /// Logs in to an IMAP server. Tags are those of the original.
    pub(super) async fn imap(&self, mut link: Link) -> Result<Connected, ConnectError> {
        let greeting = link.stream.read_line(LONGEST_LINE).await?;
        let greeting = String::from_utf8_lossy(&greeting).to_ascii_uppercase();
        let offered = capabilities_of(&greeting).unwrap_or_default();
        let starttls = offered
            .split_ascii_whitespace()
            .any(|word| word == "STARTTLS");
        if self.wants_tls(link.tls, starttls)? {
            let answer = exchange(&mut link.stream, "S01 STARTTLS\r\n", "S01").await?;
            if !answer.ok {
                return Err(ConnectError::TlsRefused(self.name(), answer.text));
            }
            link = self.secure(link.stream).await?;
        }
        let protected = link.tls && self.tls.verify_server;
        if !protected && !self.allow_plain_text {
            return Err(ConnectError::Unprotected(self.name()));
        }
        let mut stream = link.stream;
        let (user, password) = self.credentials()?;
        let mut message = zeroize::Zeroizing::new(vec![0]);
        message.extend_from_slice(user.as_bytes());
        message.push(0);
        message.extend_from_slice(password);
        let encoded = zeroize::Zeroizing::new(STANDARD.encode(&*message));
        let line = format!("A01 AUTHENTICATE PLAIN {}\r\n", *encoded);
        let answer = exchange(&mut stream, &zeroize::Zeroizing::new(line), "A01").await?;
        if !answer.ok {
            return Err(ConnectError::ImapLogin(answer.text));
        }
        let capabilities = match capabilities_of(&answer.text) {
            Some(list) => list,
            None => {
                exchange(&mut stream, "C01 CAPABILITY\r\n", "C01")
                    .await?
                    .untagged
            }
        };
        let has = |name: &str| {
            capabilities
                .split_ascii_whitespace()
                .any(|word| word.eq_ignore_ascii_case(name))
        };
        if !has("X-REPLICATION") {
            return Err(ConnectError::NoReplication);
        }
        let offer = Offer {
            compressed: false,
            sieve_mailbox: has("X-SIEVE-MAILBOX"),
            unmailbox_id: has("X-UNMAILBOX-ID"),
            run_id: false,
            digest: false,
            compact_records: false,
            enabled: None,
        };
        self.begin(stream, Flavour::Imap, offer).await
    }
}

/// An answer to an IMAP command during the login.
struct ImapAnswer {
    ok: bool,
    /// The text behind OK or NO.
    text: String,
    /// The untagged lines before it.
    untagged: String,
}

async fn exchange(stream: &mut Stream, line: &str, tag: &str) -> Result<ImapAnswer, StreamError> {
    // One of the lines has the password.
    stream.queue_secret().extend_from_slice(line.as_bytes());
    stream.flush().await?;
    let mut untagged = String::new();
    loop {
        let line = stream.read_line(LONGEST_LINE).await?;
        let line = String::from_utf8_lossy(&line).into_owned();
        match line
            .strip_prefix(tag)
            .and_then(|rest| rest.strip_prefix(' '))
        {
            Some(status) => {
                return Ok(ImapAnswer {
                    ok: status.starts_with("OK "),
                    text: status.to_owned(),
                    untagged,
                });
            }
            None => {
                untagged.push_str(&line);
                untagged.push(' ');
            }
        }
        if untagged.len() > LONGEST_LINE {
            return Err(StreamError::LineTooLong(LONGEST_LINE));
        }
    }
}

/// The list of `[CAPABILITY …]` in a status text.
fn capabilities_of(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("[CAPABILITY ")?;
    let (list, _) = rest.split_once(']')?;
    Some(list.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_in_a_status_text() {
        let text = "OK [CAPABILITY IMAP4rev1 X-REPLICATION] Success";
        assert_eq!(capabilities_of(text).unwrap(), "IMAP4rev1 X-REPLICATION");
        assert_eq!(capabilities_of("OK Success"), None);
    }
}
