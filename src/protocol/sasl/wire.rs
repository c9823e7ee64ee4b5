//! The lines of an exchange: base64 around its messages.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// Longest line of an exchange, in octets (wire-protocol §3).
pub const MAX_LINE: usize = 65_535;

/// A line that a client answered a challenge with.
#[derive(Debug, PartialEq, Eq)]
pub enum Response {
    /// The message.
    Message(Zeroizing<Vec<u8>>),
    /// `*`
    Canceled,
    /// The line is not base64.
    Malformed,
}

/// Reads the initial response of AUTHENTICATE; `=` is an empty one.
pub fn read_initial(text: &[u8]) -> Response {
    match text {
        b"=" => Response::Message(Zeroizing::default()),
        _ => read_base64(text),
    }
}

/// Reads a client's line without its end; an empty line is an empty message.
pub fn read_response(line: &[u8]) -> Response {
    match line {
        b"*" => Response::Canceled,
        _ => read_base64(line),
    }
}

fn read_base64(text: &[u8]) -> Response {
    match STANDARD.decode(text) {
        Ok(message) => Response::Message(Zeroizing::new(message)),
        Err(_) => Response::Malformed,
    }
}

/// A challenge as a line with its end: `+ ` even before nothing.
pub fn challenge_line(message: &[u8]) -> String {
    format!("+ {}\r\n", STANDARD.encode(message))
}

/// A response as a line with its end.
pub fn response_line(message: &[u8]) -> Zeroizing<String> {
    let mut line = Zeroizing::new(STANDARD.encode(message));
    line.push_str("\r\n");
    line
}

/// The command that begins an exchange.
pub fn authenticate_line(mechanism: &str, initial: Option<&[u8]>) -> Zeroizing<String> {
    let initial = match initial {
        None => Zeroizing::default(),
        Some([]) => Zeroizing::new(" =".to_owned()),
        Some(message) => {
            let encoded = Zeroizing::new(STANDARD.encode(message));
            Zeroizing::new(format!(" {}", *encoded))
        }
    };
    Zeroizing::new(format!("AUTHENTICATE {mechanism}{}\r\n", *initial))
}

/// Reads the challenge of a server's line without its end; `None` if the line is none.
pub fn read_challenge(line: &[u8]) -> Option<Vec<u8>> {
    let text = line.strip_prefix(b"+")?;
    let text = text.strip_prefix(b" ").unwrap_or(text);
    STANDARD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &[u8]) -> Response {
        Response::Message(Zeroizing::new(text.to_vec()))
    }

    /// The lines of wire-protocol §3.
    #[test]
    fn lines_both_ways() {
        let plain = b"\0cyrus\0secret";
        assert_eq!(
            *authenticate_line("PLAIN", Some(plain)),
            "AUTHENTICATE PLAIN AGN5cnVzAHNlY3JldA==\r\n"
        );
        assert_eq!(
            *authenticate_line("EXTERNAL", Some(b"")),
            "AUTHENTICATE EXTERNAL =\r\n"
        );
        assert_eq!(*authenticate_line("LOGIN", None), "AUTHENTICATE LOGIN\r\n");
        assert_eq!(read_initial(b"AGN5cnVzAHNlY3JldA=="), message(plain));
        assert_eq!(read_initial(b"="), message(b""));
        assert_eq!(read_initial(b"*"), Response::Malformed);
        assert_eq!(challenge_line(b""), "+ \r\n");
        assert_eq!(read_challenge(b"+ "), Some(vec![]));
        assert_eq!(read_challenge(b"+"), Some(vec![]));
        assert_eq!(read_challenge(b"+ YQ=="), Some(b"a".to_vec()));
        assert_eq!(read_challenge(b"OK x"), None);
        assert_eq!(read_challenge(b"+ !"), None);
        assert_eq!(read_response(b""), message(b""));
        assert_eq!(read_response(b"*"), Response::Canceled);
        assert_eq!(read_response(b"YQ="), Response::Malformed);
        assert_eq!(*response_line(b""), "\r\n");
        assert_eq!(*response_line(plain), "AGN5cnVzAHNlY3JldA==\r\n");
    }
}
