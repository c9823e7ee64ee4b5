//! From an address to a session: connecting, the banner, login, compression, capabilities
//! (wire-protocol §1 to §6, §12).

mod backoff;
mod error;
mod imap;

use std::time::{Duration, Instant};

use async_compression::Level;
use tokio::net::{TcpStream, UnixStream};

use crate::client::peer::{Flavour, Peer};
use crate::config::{
    ChannelSettings, Config, ConfigError, Demand, HostSettings, LineSettings, ReplicaAddress,
    SaslSettings, TlsSettings,
};
use crate::dlist::{Limits, LiteralStyle};
use crate::protocol::command::{Answer, Apply, NoFiles, RecordForm};
use crate::protocol::connection::{AuthenticationError, ClientConnection, Login, ReplyError};
use crate::protocol::greeting::SIEVE_MAILBOX;
use crate::protocol::sasl::Mechanism;
use crate::protocol::sasl::client::Policy;
use crate::protocol::stream::{Compression, Stream};
use crate::protocol::tls::TlsConnector;
use crate::service::credentials;

pub use backoff::Backoff;
pub use error::ConnectError;

/// A session, and what was agreed upon.
#[derive(Debug)]
pub struct Connected {
    /// The session.
    pub peer: Peer,
    /// Sieve scripts travel as messages.
    pub scripts_are_messages: bool,
}

/// Knows how to reach a replica.
#[derive(Clone, Debug, PartialEq)]
pub struct Connector {
    address: ReplicaAddress,
    port: Option<String>,
    try_imap: bool,
    user: Option<String>,
    password: Option<crate::config::Secret>,
    tls: TlsSettings,
    host: HostSettings,
    /// The only mechanisms to log in with, if not all.
    mechanisms: Option<Vec<Mechanism>>,
    allow_plain_text: bool,
    connect_timeout: Duration,
    timeout: Duration,
    line: LineSettings,
    extensions: bool,
    require_compression: bool,
    force: bool,
    trace: bool,
}

/// What of the command line concerns connections.
#[derive(Clone, Copy, Debug)]
pub struct Demands {
    /// Fail without compression (`-z`).
    pub compression: bool,
    /// Force mode (`-O`).
    pub force: bool,
    /// Copy the session to the standard error (`-vv`).
    pub trace: bool,
}

/// A connection before the login.
struct Link {
    stream: Stream,
    /// TLS is active.
    tls: bool,
    /// A client certificate can be shown.
    certificate: bool,
}

/// What the banner or the capabilities tell.
struct Offer {
    compressed: bool,
    sieve_mailbox: bool,
    unmailbox_id: bool,
    run_id: bool,
    digest: bool,
    compact_records: bool,
    /// The answer to what was sent ahead of the end of the login.
    enabled: Option<Enabled>,
}

/// The answer to APPLY CAPABILITIES.
struct Enabled {
    names: Vec<String>,
    /// How long it took.
    answer_time: Duration,
}

impl Enabled {
    fn of(answers: Vec<Answer>, asked: Instant) -> Enabled {
        let names = answers.into_iter().filter_map(|answer| match answer {
            Answer::Enabled(names) => Some(names),
            _ => None,
        });
        Enabled {
            names: names.flatten().collect(),
            answer_time: asked.elapsed(),
        }
    }

    fn has(&self, wanted: &str) -> bool {
        self.names
            .iter()
            .any(|name| name.eq_ignore_ascii_case(wanted))
    }
}

/// Longest line during the login.
const LONGEST_LINE: usize = 64 << 10;

/// How hard uploads are compressed, with either algorithm. Of mail, level 6 of DEFLATE leaves
/// 5 % fewer octets and takes 2.6 times as long.
const COMPRESSION: Level = Level::Precise(2);

impl Connector {
    /// A connector for a channel, to `address`.
    ///
    /// # Errors
    /// If what is set for this host is wrong.
    pub fn new(
        config: &Config,
        channel: &ChannelSettings,
        address: ReplicaAddress,
        demands: Demands,
    ) -> Result<Connector, ConfigError> {
        let name = match &address {
            ReplicaAddress::Socket(_) => "",
            ReplicaAddress::Host { name, .. } => name.as_str(),
        };
        let mut host = config.host(name)?;
        credentials::client_certificate(&mut host);
        if !config.tls.verify_server && config.tls.client != Demand::Never {
            tracing::warn!(
                "cyrus_sync_client_verify is off: anybody can pretend to be the replica {name}"
            );
        }
        Ok(Connector {
            address,
            port: channel.port.clone(),
            try_imap: channel.try_imap,
            user: channel.user.clone(),
            password: channel.password.clone(),
            tls: config.tls.clone(),
            mechanisms: mechanisms(&config.sasl, &host),
            host,
            allow_plain_text: config.sasl.client_plaintext,
            connect_timeout: config.network.connect_timeout,
            timeout: config.replication.timeout,
            line: config.network.line,
            extensions: config.replication.extensions,
            require_compression: demands.compression,
            force: demands.force,
            trace: demands.trace,
        })
    }

    /// The name of the replica, as in messages and lock names.
    pub fn name(&self) -> String {
        match &self.address {
            ReplicaAddress::Socket(path) => path.display().to_string(),
            ReplicaAddress::Host { name, .. } => name.clone(),
        }
    }

    /// Makes a session.
    ///
    /// # Errors
    /// If that is not possible now.
    pub async fn connect(&self) -> Result<Connected, ConnectError> {
        let attempt = self.establish();
        match tokio::time::timeout(self.connect_timeout, attempt).await {
            Ok(connected) => connected,
            Err(_) => Err(ConnectError::Silent {
                server: self.name(),
                limit: self.connect_timeout,
            }),
        }
    }

    async fn establish(&self) -> Result<Connected, ConnectError> {
        match &self.address {
            ReplicaAddress::Socket(path) => {
                let socket = UnixStream::connect(path)
                    .await
                    .map_err(|error| ConnectError::Unreachable(self.name(), error))?;
                let stream = Stream::unix(socket, self.timeout);
                let mut connection = ClientConnection::new(stream, Limits::default());
                connection.read_banner().await?;
                // Nobody logs in here, and nothing is advertised.
                let offer = Offer {
                    compressed: false,
                    sieve_mailbox: false,
                    unmailbox_id: false,
                    run_id: false,
                    digest: false,
                    compact_records: false,
                    enabled: None,
                };
                self.begin(connection.into_stream(), Flavour::Csync, offer)
                    .await
            }
            ReplicaAddress::Host {
                name,
                port,
                tls,
                without_login,
            } => self.host(name, port.as_deref(), *tls, !without_login).await,
        }
    }

    /// What listens is told by its first line, so one connection is enough where the port is
    /// given. Without a port, IMAP is tried first (wire-protocol §12).
    async fn host(
        &self,
        name: &str,
        port: Option<&str>,
        tls: bool,
        login: bool,
    ) -> Result<Connected, ConnectError> {
        if let Some(port) = port.or(self.port.as_deref()) {
            let stream = self.open(name, port, tls).await?;
            return self.talk(stream, login).await;
        }
        if self.try_imap
            && let Ok(stream) = self.open(name, "imap", tls).await
            && let Ok(connected) = self.talk(stream, login).await
        {
            return Ok(connected);
        }
        let stream = self.open(name, "csync", tls).await?;
        self.talk(stream, login).await
    }

    async fn open(&self, name: &str, port: &str, tls: bool) -> Result<Link, ConnectError> {
        let number = match port {
            "csync" => 2005,
            "imap" => 143,
            other => other
                .parse()
                .map_err(|_| ConnectError::UnknownService(name.to_owned(), other.to_owned()))?,
        };
        let socket = TcpStream::connect((name, number))
            .await
            .map_err(|error| ConnectError::Unreachable(format!("{name}:{number}"), error))?;
        let link = Link {
            stream: Stream::tcp(socket, self.timeout, self.line)?,
            tls: false,
            certificate: false,
        };
        match tls {
            true => self.secure(link.stream).await,
            false => Ok(link),
        }
    }

    /// Makes the TLS handshake. The files are read anew each time, so that a new certificate
    /// serves from the next connection on.
    async fn secure(&self, stream: Stream) -> Result<Link, ConnectError> {
        let connector = TlsConnector::load(&self.tls, &self.host)?;
        let (transport, injected) = stream.into_transport()?;
        if injected > 0 {
            return Err(ConnectError::Injected(self.name(), injected));
        }
        let transport = connector.connect(transport, &self.name()).await?;
        Ok(Link {
            stream: Stream::new(transport, self.timeout),
            tls: true,
            certificate: connector.has_certificate(),
        })
    }

    /// Whether to start TLS now.
    fn wants_tls(&self, link_is_secure: bool, offered: bool) -> Result<bool, ConnectError> {
        match self.tls.client {
            _ if link_is_secure => Ok(false),
            Demand::Never => Ok(false),
            Demand::Require if !offered => Err(ConnectError::TlsNotOffered(self.name())),
            Demand::Optional | Demand::Require => Ok(offered),
        }
    }

    async fn talk(&self, mut link: Link, login: bool) -> Result<Connected, ConnectError> {
        link.stream.wait_for_input().await?;
        let imap = link.stream.buffered().starts_with(b"* OK [CAPABILITY");
        if imap {
            return self.imap(link).await;
        }
        let mut connection = ClientConnection::new(link.stream, Limits::default());
        let mut capabilities = connection.read_banner().await?;
        let (mut tls, mut certificate) = (link.tls, link.certificate);
        if self.wants_tls(tls, capabilities.starttls)? {
            match connection.start_tls().await {
                Ok(()) => {}
                Err(ReplyError::Stream(error)) => return Err(error.into()),
                Err(error) => {
                    return Err(ConnectError::TlsRefused(self.name(), error.to_string()));
                }
            }
            let secured = self.secure(connection.into_stream()).await?;
            (tls, certificate) = (secured.tls, secured.certificate);
            connection = ClientConnection::new(secured.stream, Limits::default());
            // What was told before could have come from anybody.
            capabilities = connection.read_banner().await?;
        }
        let capabilities = capabilities.with_extensions(self.extensions);
        let compression = match (capabilities.zstd, capabilities.deflate) {
            (true, _) => Some(Compression::Zstd),
            (false, true) => Some(Compression::Deflate),
            (false, false) => None,
        };
        let mut offer = Offer {
            compressed: false,
            sieve_mailbox: capabilities.sieve_mailbox,
            unmailbox_id: capabilities.unmailbox_id,
            run_id: capabilities.run_id,
            digest: capabilities.digest,
            compact_records: capabilities.compact_records,
            enabled: None,
        };
        let mut sent_ahead = None;
        if login {
            let policy = Policy {
                only: self.mechanisms.clone(),
                tls,
                unverified: !self.tls.verify_server,
                certificate,
                allow_plain_text: self.allow_plain_text,
            };
            let mechanism = policy
                .choose(&capabilities.mechanisms)
                .map_err(AuthenticationError::from)?;
            let (user, password) = match mechanism {
                Mechanism::External => Default::default(),
                _ => self.credentials()?,
            };
            let ahead = commands_ahead(&offer, compression);
            let login = Login {
                user,
                password,
                ahead: &ahead,
            };
            let offered = &capabilities.mechanisms;
            let logged_in = connection.authenticate(offered, &policy, login).await?;
            sent_ahead = logged_in.sent_ahead;
        }
        if let Some(asked) = sent_ahead
            && offer.sieve_mailbox
        {
            let mut answers = Vec::new();
            connection
                .read_reply(&mut NoFiles, |answer| answers.push(answer))
                .await
                .map_err(ConnectError::Capabilities)?;
            offer.enabled = Some(Enabled::of(answers, asked));
        }
        if let Some(compression) = compression {
            let begun = match sent_ahead {
                Some(_) => connection.begin_compression(compression, COMPRESSION).await,
                None => connection.compress(compression, COMPRESSION).await,
            };
            offer.compressed = self.is_compressed(begun)?;
        }
        self.begin(connection.into_stream(), Flavour::Csync, offer)
            .await
    }

    fn credentials(&self) -> Result<(&str, &[u8]), ConnectError> {
        match (&self.user, &self.password) {
            (Some(user), Some(password)) => Ok((user, password.expose().as_bytes())),
            _ => Err(ConnectError::NoCredentials),
        }
    }

    /// Without `-z` a refusal only costs bandwidth.
    fn is_compressed(&self, begun: Result<(), ReplyError>) -> Result<bool, ConnectError> {
        match begun {
            Ok(()) => Ok(true),
            Err(ReplyError::Stream(error)) => Err(error.into()),
            Err(error) => {
                tracing::warn!("{}: no compression: {error}", self.name());
                Ok(false)
            }
        }
    }

    /// What a session begins with, once the login is over.
    async fn begin(
        &self,
        stream: Stream,
        flavour: Flavour,
        offer: Offer,
    ) -> Result<Connected, ConnectError> {
        if self.require_compression && !offer.compressed {
            return Err(ConnectError::NoCompression(self.name()));
        }
        let mut peer = Peer::new(stream, flavour, self.trace);
        peer.set_unmailbox_id(offer.unmailbox_id);
        peer.takes_run_ids = offer.run_id;
        peer.tells_digests = offer.digest;
        if offer.compact_records {
            peer.record_form = RecordForm::Compact;
        }
        let mut scripts_are_messages = false;
        if offer.sieve_mailbox {
            let enabled = match offer.enabled {
                Some(enabled) => enabled,
                None => {
                    let asked = Instant::now();
                    Enabled::of(peer.apply(&wanted_capabilities()).await?, asked)
                }
            };
            peer.answer_time = enabled.answer_time;
            scripts_are_messages = enabled.has(SIEVE_MAILBOX);
        }
        if self.force {
            peer.apply(&Apply::Force).await?;
        }
        Ok(Connected {
            peer,
            scripts_are_messages,
        })
    }
}

fn wanted_capabilities() -> Apply {
    Apply::Capabilities(vec![SIEVE_MAILBOX.to_owned()])
}

/// What a server of ours takes with the end of the login, so that it costs no round trips. Others
/// may throw away what comes before they have told that the login is over.
fn commands_ahead(offer: &Offer, compression: Option<Compression>) -> Vec<u8> {
    let mut commands = Vec::new();
    if !offer.run_id {
        return commands;
    }
    if offer.sieve_mailbox {
        wanted_capabilities().write(&mut commands, LiteralStyle::Plus);
    }
    if let Some(compression) = compression {
        commands.extend_from_slice(compression.command().as_bytes());
    }
    commands
}

/// The mechanisms that the configuration limits a client to. Those that we do not have are left
/// out, so that none may remain.
fn mechanisms(sasl: &SaslSettings, host: &HostSettings) -> Option<Vec<Mechanism>> {
    let forced = sasl.client_mechanism.clone().map(|name| vec![name]);
    let names = forced.or_else(|| host.mechanisms.clone())?;
    Some(names.iter().filter_map(|name| name.parse().ok()).collect())
}
