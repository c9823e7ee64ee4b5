//! Addresses of replicas.

use std::path::PathBuf;

/// Where a replica listens (configuration §6.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplicaAddress {
    /// A Unix socket; there nobody logs in.
    Socket(PathBuf),
    /// A host.
    Host {
        /// Its name or IPv4 address.
        name: String,
        /// Number or name of the port.
        port: Option<String>,
        /// TLS from the first octet on.
        tls: bool,
        /// Nobody logs in.
        without_login: bool,
    },
}

/// A text that is no address of a replica.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("replica {0:?}: an address is HOST, HOST:PORT with /tls or /noauth behind, or /PATH")]
pub struct ReplicaAddressError(pub String);

impl ReplicaAddress {
    /// Takes `HOST`, `HOST:PORT`, `HOST:PORT/tls/noauth` or an absolute path. As in Cyrus the host
    /// ends at the first colon, so an IPv6 host needs a name.
    ///
    /// # Errors
    /// If the text is nothing of that.
    pub fn parse(text: &str) -> Result<ReplicaAddress, ReplicaAddressError> {
        let fail = || ReplicaAddressError(text.to_owned());
        if text.starts_with('/') {
            return Ok(ReplicaAddress::Socket(PathBuf::from(text)));
        }
        let (name, rest) = match text.split_once(':') {
            Some((name, rest)) => (name, Some(rest)),
            None => (text, None),
        };
        let is_legal = |word: &str| {
            !word.is_empty()
                && !word.contains([':', '/'])
                && word.bytes().all(|b| b.is_ascii_graphic())
        };
        let mut words = rest.unwrap_or_default().split('/');
        let port = words.next().filter(|port| !port.is_empty());
        if !is_legal(name) || rest.is_some() && !port.is_some_and(is_legal) {
            return Err(fail());
        }
        let (mut tls, mut without_login) = (false, false);
        for word in words {
            match word {
                "tls" => tls = true,
                "noauth" => without_login = true,
                _ => return Err(fail()),
            }
        }
        Ok(ReplicaAddress::Host {
            name: name.to_owned(),
            port: port.map(str::to_owned),
            tls,
            without_login,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let host = |name: &str, port: Option<&str>, tls, without_login| ReplicaAddress::Host {
            name: name.to_owned(),
            port: port.map(str::to_owned),
            tls,
            without_login,
        };
        for (text, address) in [
            ("replica", host("replica", None, false, false)),
            ("replica:2005", host("replica", Some("2005"), false, false)),
            ("r:csync/tls", host("r", Some("csync"), true, false)),
            ("r:1/tls/noauth", host("r", Some("1"), true, true)),
            ("/run/csync", ReplicaAddress::Socket("/run/csync".into())),
        ] {
            assert_eq!(ReplicaAddress::parse(text), Ok(address), "{text}");
        }
        for bad in ["", ":1", "r:", "r/tls", "::1", "r:1/ssl", "r x", "r:1:2"] {
            assert!(ReplicaAddress::parse(bad).is_err(), "{bad}");
        }
    }
}
