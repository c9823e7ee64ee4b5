//! Handshakes between our own ends, with certificates made for the purpose.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Certificates, HandshakeError, Secured, TlsAcceptor, TlsConnector, TlsError};
use crate::config::{Config, Environment, TlsSettings};

/// Two authorities, certificates by them, and where they are.
struct Files {
    directory: tempfile::TempDir,
}

impl Files {
    fn new() -> Files {
        let files = Files {
            directory: tempfile::tempdir().unwrap(),
        };
        let authority = files.authority("ca");
        files.authority("other");
        let server = |name: &str| CertificateParams::new([name.to_owned()]).unwrap();
        files.issue("server", server("replica.test"), &authority);
        files.issue("elsewhere", server("elsewhere.test"), &authority);
        let mut expired = server("replica.test");
        expired.not_before = date_time_ymd(2020, 1, 1);
        expired.not_after = date_time_ymd(2021, 1, 1);
        files.issue("expired", expired, &authority);
        let mut client = CertificateParams::default();
        client.distinguished_name.push(DnType::CommonName, "repl");
        files.issue("client", client.clone(), &authority);
        files.issue("stranger", client, &files.authority("third"));
        let key = KeyPair::generate().unwrap();
        let mut own = server("replica.test");
        own.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        files.write("self", &own.self_signed(&key).unwrap().pem(), &key);
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, certificate: &str, key: &KeyPair) {
        std::fs::write(self.path(&format!("{name}.crt")), certificate).unwrap();
        std::fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    fn authority(&self, name: &str) -> Issuer<'static, KeyPair> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        self.write(name, &params.self_signed(&key).unwrap().pem(), &key);
        Issuer::new(params, key)
    }

    fn issue(&self, name: &str, params: CertificateParams, issuer: &Issuer<'_, KeyPair>) {
        let key = KeyPair::generate().unwrap();
        self.write(name, &params.signed_by(&key, issuer).unwrap().pem(), &key);
    }

    /// A configuration; `$` in front of a file name stands for our directory.
    fn config(&self, lines: &str) -> Config {
        let directory = format!("{}/", self.directory.path().display());
        let text = format!(
            "servername: here.test\nconfigdirectory: /c\npartition-default: /s\n{}\n",
            lines.replace('$', &directory)
        );
        let read = |_: &Path| Ok(text.clone().into_bytes());
        Config::read(Path::new("/x"), &Environment::default(), &read).unwrap()
    }

    fn server(&self, name: &str, more: &str) -> TlsSettings {
        let pair = format!("tls_server_cert: ${name}.crt\ntls_server_key: ${name}.key\n{more}");
        self.config(&pair).tls
    }

    /// A handshake of `server` with a client of the configuration `client`.
    async fn handshake(
        &self,
        server: &TlsSettings,
        client: &str,
    ) -> (Result<Secured, HandshakeError>, Result<(), String>) {
        let config = self.config(client);
        let host = config.host("replica.test").unwrap();
        let connector = TlsConnector::load(&config.tls, &host).unwrap();
        let acceptor = TlsAcceptor::load(server).unwrap().unwrap();
        let (near, far) = tokio::io::duplex(1 << 16);
        let serve = async {
            let mut secured = acceptor
                .accept(Box::new(far), Duration::from_secs(10))
                .await?;
            secured.transport.write_all(b"* OK\r\n").await.unwrap();
            secured.transport.flush().await.unwrap();
            Ok(secured)
        };
        // In TLS 1.3 a client hears what the server thinks of its certificate with the first data.
        let call = async {
            let mut transport = connector
                .connect(Box::new(near), "replica.test")
                .await
                .map_err(|error| error.to_string())?;
            let mut banner = [0; 6];
            let read = transport.read_exact(&mut banner).await;
            read.map(drop).map_err(|error| error.to_string())
        };
        tokio::join!(serve, call)
    }

    async fn refusal(&self, server: &str, client: &str) -> String {
        let (_, called) = self.handshake(&self.server(server, ""), client).await;
        called.unwrap_err()
    }
}

const TRUST: &str = "tls_server_ca_file: $ca.crt";

#[tokio::test]
async fn a_server_is_verified() {
    let files = Files::new();
    let (accepted, called) = files.handshake(&files.server("server", ""), TRUST).await;
    called.unwrap();
    let secured = accepted.unwrap();
    assert_eq!((secured.strength, secured.client), (256, None));
    assert!(secured.description.starts_with("TLSv1_3 "));
}

#[tokio::test]
async fn another_authority_date_or_name_is_refused() {
    let files = Files::new();
    let text = files
        .refusal("server", "tls_server_ca_file: $other.crt")
        .await;
    assert!(text.contains("UnknownIssuer"), "{text}");
    let text = files.refusal("expired", TRUST).await;
    assert!(text.contains("certificate expired"), "{text}");
    let text = files.refusal("elsewhere", TRUST).await;
    assert!(text.contains("not valid for name"), "{text}");
    let text = files.refusal("self", TRUST).await;
    assert!(text.contains("UnknownIssuer"), "{text}");
}

#[tokio::test]
async fn a_self_signed_certificate_can_be_pinned() {
    let files = Files::new();
    let server = files.server("self", "");
    let (_, called) = files
        .handshake(&server, "tls_server_ca_file: $self.crt")
        .await;
    called.unwrap();
    let pinned = "tls_server_ca_file: $expired.crt";
    let text = files.refusal("expired", pinned).await;
    assert!(text.contains("xpired"), "{text}");
}

#[tokio::test]
async fn without_verification_every_server_is_taken() {
    let files = Files::new();
    for server in ["expired", "elsewhere", "self"] {
        let lines = format!("{TRUST}\ncyrus_sync_client_verify: no");
        let (_, called) = files.handshake(&files.server(server, ""), &lines).await;
        called.unwrap();
    }
}

#[tokio::test]
async fn clients_are_named_by_verified_certificates_only() {
    let files = Files::new();
    let with =
        |name: &str| format!("{TRUST}\ntls_client_cert: ${name}.crt\ntls_client_key: ${name}.key");
    let asks = files.server("server", "tls_client_ca_file: $ca.crt");
    let (accepted, called) = files.handshake(&asks, &with("client")).await;
    called.unwrap();
    assert_eq!(accepted.unwrap().client.as_deref(), Some("repl"));
    let (accepted, _) = files.handshake(&asks, TRUST).await;
    assert_eq!(accepted.unwrap().client, None);
    let (accepted, called) = files.handshake(&asks, &with("stranger")).await;
    assert!(accepted.is_err() && called.is_err());

    let requires = "tls_client_ca_file: $ca.crt\ntls_client_certs: require";
    let requires = files.server("server", requires);
    let (accepted, called) = files.handshake(&requires, TRUST).await;
    assert!(accepted.is_err() && called.is_err());

    let does_not_ask = files.server("server", "");
    let (accepted, _) = files.handshake(&does_not_ask, &with("client")).await;
    assert_eq!(accepted.unwrap().client, None);
}

#[tokio::test]
async fn a_map_tells_whom_certificates_stand_for() {
    let files = Files::new();
    let with =
        |name: &str| format!("{TRUST}\ntls_client_cert: ${name}.crt\ntls_client_key: ${name}.key");
    let mapped = |rules: &str| {
        let lines = format!("tls_client_ca_file: $ca.crt\ncyrus_sync_certificate_map: {rules}");
        files.server("server", &lines)
    };
    let pem = std::fs::read(files.path("client.crt")).unwrap();
    let der = rustls::pki_types::pem::PemObject::from_pem_slice(&pem).unwrap();
    let der: rustls::pki_types::CertificateDer<'_> = der;
    let digest = super::name::key_digest(&der).unwrap();
    let key = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, digest);
    for (rules, name, user) in [
        ("cn:repl=anna", "client", Some("anna")),
        ("cn:other=anna", "client", None),
        ("san:ELSEWHERE.test=anna", "elsewhere", Some("anna")),
        ("san:elsewhere.test=anna", "client", None),
        (
            &format!("cn:x=x sha256:{key}=by-key cn:repl=z"),
            "client",
            Some("by-key"),
        ),
        (&format!("sha256:{key}=by-key"), "elsewhere", None),
    ] {
        let (accepted, _) = files.handshake(&mapped(rules), &with(name)).await;
        let secured = accepted.unwrap();
        assert!(secured.has_certificate);
        assert_eq!(secured.client.as_deref(), user, "{rules}");
    }
}

#[tokio::test]
async fn certificates_are_read_anew_for_later_connections() {
    let files = Files::new();
    let certificates = Certificates::load(&files.server("server", "")).unwrap();
    let greeted = async |acceptor: &TlsAcceptor| {
        let (near, far) = tokio::io::duplex(1 << 16);
        let config = files.config(TRUST);
        let host = config.host("replica.test").unwrap();
        let connector = TlsConnector::load(&config.tls, &host).unwrap();
        let accept = acceptor.accept(Box::new(far), Duration::from_secs(10));
        let (accepted, called) =
            tokio::join!(accept, connector.connect(Box::new(near), "replica.test"));
        (
            accepted,
            called.map(drop).map_err(|error| error.to_string()),
        )
    };
    let before = certificates.acceptor().unwrap();
    for extension in ["crt", "key"] {
        let [old, new] =
            ["server", "elsewhere"].map(|name| files.path(&format!("{name}.{extension}")));
        std::fs::copy(new, old).unwrap();
    }
    certificates.reload().unwrap();
    // A session that began before goes on with what it has.
    greeted(&before).await.1.unwrap();
    let text = greeted(&certificates.acceptor().unwrap())
        .await
        .1
        .unwrap_err();
    assert!(text.contains("not valid for name"), "{text}");

    std::fs::write(files.path("server.key"), "nonsense").unwrap();
    assert!(certificates.reload().is_err());
    let text = greeted(&certificates.acceptor().unwrap())
        .await
        .1
        .unwrap_err();
    assert!(text.contains("not valid for name"), "{text}");
}

#[tokio::test]
async fn tls_1_2_must_be_asked_for() {
    let files = Files::new();
    let old = files.server("server", "tls_versions: tls1_2");
    let (accepted, called) = files.handshake(&old, TRUST).await;
    assert!(accepted.is_err() && called.is_err());
    let both = format!("{TRUST}\ntls_versions: tls1_2 tls1_3");
    let (accepted, called) = files.handshake(&old, &both).await;
    called.unwrap();
    assert!(accepted.unwrap().description.starts_with("TLSv1_2 "));
}

#[tokio::test]
async fn a_silent_client_is_given_up() {
    let files = Files::new();
    let acceptor = TlsAcceptor::load(&files.server("server", "")).unwrap();
    let (_near, far) = tokio::io::duplex(100);
    let limit = Duration::from_millis(50);
    let accepted = acceptor.unwrap().accept(Box::new(far), limit).await;
    assert!(matches!(accepted, Err(HandshakeError::TimedOut(_))));
}

#[test]
fn what_is_wrong_with_a_file_is_said() {
    let files = Files::new();
    let error = |settings: &TlsSettings| TlsAcceptor::load(settings).err().unwrap().to_string();
    let missing = error(&files.server("nobody", ""));
    assert!(missing.contains("nobody.crt"), "{missing}");
    let lines = "tls_server_cert: $server.crt\ntls_server_key: $client.key";
    let pair = error(&files.config(lines).tls);
    assert!(
        pair.contains("server.crt") && pair.contains("client.key"),
        "{pair}"
    );
    std::fs::write(files.path("empty.crt"), "").unwrap();
    std::fs::write(files.path("empty.key"), "").unwrap();
    let empty = error(&files.server("empty", ""));
    assert!(empty.ends_with("empty.crt holds no certificate"), "{empty}");
    let settings = files.server("server", "tls_client_certs: require");
    assert!(matches!(
        TlsAcceptor::load(&settings),
        Err(TlsError::NoClientAuthority)
    ));
    assert!(TlsAcceptor::load(&files.config("").tls).unwrap().is_none());
}
