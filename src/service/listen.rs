//! Listening sockets: inherited from systemd, or opened by ourselves.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::task::{Context, Poll};

use listenfd::ListenFd;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// A socket on which clients arrive.
#[derive(Debug)]
pub enum Listener {
    /// TCP; peers must authenticate.
    Tcp(TcpListener),
    /// TCP, with TLS from the first octet on.
    Tls(TcpListener),
    /// Unix stream socket; its file mode decides who may connect, peers are trusted as in the
    /// original (wire-protocol §1).
    Unix(UnixListener),
}

/// A connection just accepted.
#[derive(Debug)]
pub enum Accepted {
    /// From a TCP listener, with the peer's address.
    Tcp(TcpStream, SocketAddr),
    /// From a TCP listener for TLS, with the peer's address.
    Tls(TcpStream, SocketAddr),
    /// From a Unix listener.
    Unix(UnixStream),
}

impl Accepted {
    /// The peer's address, unless it came by a Unix socket.
    pub fn peer(&self) -> Option<SocketAddr> {
        match self {
            Accepted::Tcp(_, address) | Accepted::Tls(_, address) => Some(*address),
            Accepted::Unix(_) => None,
        }
    }
}

/// Why there is no socket to listen on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Neither an inherited socket nor an address.
    #[error(
        "no listening socket: start under systemd socket activation (LISTEN_FDS) or give --listen ADDR"
    )]
    NoSocket,
    /// An inherited descriptor is no stream listener.
    #[error(
        "inherited descriptor {index} (LISTEN_FDS) is neither a TCP nor a Unix stream listener: {source}"
    )]
    Inherited {
        /// Position among the inherited descriptors, from 0.
        index: usize,
        /// What the system says of it.
        source: io::Error,
    },
    /// An address cannot be bound.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address as given.
        address: ListenAddress,
        /// What the system says.
        source: io::Error,
    },
}

/// Where to listen when no socket is inherited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// `host:port` with a literal address.
    Tcp(SocketAddr),
    /// The same, with TLS from the first octet on.
    Tls(SocketAddr),
    /// An absolute path.
    Unix(PathBuf),
}

/// The name of inherited sockets that speak TLS from the first octet on (`FileDescriptorName=`).
const TLS_NAME: &str = "csyncs";
/// The names of the inherited sockets, in order, with colons between.
const NAMES_VARIABLE: &str = "LISTEN_FDNAMES";

impl std::str::FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<ListenAddress, String> {
        if text.starts_with('/') {
            return Ok(ListenAddress::Unix(PathBuf::from(text)));
        }
        text.parse().map(ListenAddress::Tcp).map_err(|_| {
            "expected ADDRESS:PORT (such as 127.0.0.1:2005 or [::1]:2005) or an absolute path"
                .to_owned()
        })
    }
}

impl std::fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ListenAddress::Tcp(address) | ListenAddress::Tls(address) => address.fmt(f),
            ListenAddress::Unix(path) => path.display().fmt(f),
        }
    }
}

/// What to listen on.
#[derive(Debug)]
pub struct Sockets {
    /// At least one.
    pub listeners: Vec<Listener>,
    /// systemd has them too, and starts the program again when somebody comes.
    pub are_inherited: bool,
}

/// Takes the sockets that systemd passed (`LISTEN_FDS`), or else opens `addresses`.
///
/// # Errors
/// If there are neither, or one of them cannot be used.
pub fn listeners(addresses: &[ListenAddress]) -> Result<Sockets, ListenError> {
    let names = std::env::var(NAMES_VARIABLE).unwrap_or_default();
    let names: Vec<&str> = names.split(':').collect();
    let mut inherited = ListenFd::from_env();
    let are_inherited = inherited.len() > 0;
    let listeners: Vec<Listener> = if are_inherited {
        (0..inherited.len())
            .map(|index| {
                let is_tls = names.get(index) == Some(&TLS_NAME);
                take(&mut inherited, index, is_tls)
                    .map_err(|source| ListenError::Inherited { index, source })
            })
            .collect::<Result<_, _>>()?
    } else {
        addresses
            .iter()
            .map(|address| {
                bind(address).map_err(|source| ListenError::Bind {
                    address: address.clone(),
                    source,
                })
            })
            .collect::<Result<_, _>>()?
    };
    if listeners.is_empty() {
        Err(ListenError::NoSocket)
    } else {
        Ok(Sockets {
            listeners,
            are_inherited,
        })
    }
}

fn take(inherited: &mut ListenFd, index: usize, is_tls: bool) -> io::Result<Listener> {
    if let Ok(Some(listener)) = inherited.take_tcp_listener(index) {
        return Ok(match is_tls {
            true => Listener::Tls(from_tcp(listener)?),
            false => Listener::Tcp(from_tcp(listener)?),
        });
    }
    match inherited.take_unix_listener(index)? {
        Some(listener) => from_unix(listener),
        None => Err(io::Error::from(io::ErrorKind::NotFound)),
    }
}

fn bind(address: &ListenAddress) -> io::Result<Listener> {
    match address {
        ListenAddress::Tcp(address) => tcp(address).map(Listener::Tcp),
        ListenAddress::Tls(address) => tcp(address).map(Listener::Tls),
        ListenAddress::Unix(path) => from_unix(std::os::unix::net::UnixListener::bind(path)?),
    }
}

fn tcp(address: &SocketAddr) -> io::Result<TcpListener> {
    from_tcp(std::net::TcpListener::bind(address)?)
}

fn from_tcp(listener: std::net::TcpListener) -> io::Result<TcpListener> {
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

fn from_unix(listener: std::os::unix::net::UnixListener) -> io::Result<Listener> {
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener).map(Listener::Unix)
}

/// Waits for the next client of any of the listeners. Nobody is lost if the wait is given up.
///
/// # Errors
/// What the system says; the listeners stay usable (descriptors may be short for a while).
pub async fn accept(listeners: &[Listener]) -> io::Result<Accepted> {
    poll_fn(|context| {
        listeners
            .iter()
            .map(|listener| listener.poll_accept(context))
            .find(Poll::is_ready)
            .unwrap_or(Poll::Pending)
    })
    .await
}

impl Listener {
    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        match self {
            Listener::Tcp(listener) => listener
                .poll_accept(context)
                .map_ok(|(stream, address)| Accepted::Tcp(stream, address)),
            Listener::Tls(listener) => listener
                .poll_accept(context)
                .map_ok(|(stream, address)| Accepted::Tls(stream, address)),
            Listener::Unix(listener) => listener
                .poll_accept(context)
                .map_ok(|(stream, _)| Accepted::Unix(stream)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        assert_eq!(
            "/run/x".parse(),
            Ok(ListenAddress::Unix(PathBuf::from("/run/x")))
        );
        assert!(matches!(
            "127.0.0.1:2005".parse(),
            Ok(ListenAddress::Tcp(_))
        ));
        assert!("localhost".parse::<ListenAddress>().is_err());
    }

    #[test]
    fn without_any_socket_it_says_what_to_do() {
        let error = listeners(&[]).unwrap_err();
        assert!(error.to_string().contains("--listen"), "{error}");
    }
}
