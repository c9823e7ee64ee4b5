use super::*;

struct Vector {
    hash: ScramHash,
    client_nonce: &'static str,
    server_nonce: &'static str,
    salt: &'static str,
    client_first: &'static str,
    server_first: &'static str,
    client_final: &'static str,
    server_final: &'static str,
}

/// RFC 5802 §5 and RFC 7677 §3: user `user`, password `pencil`.
const VECTORS: [Vector; 2] = [
    Vector {
        hash: ScramHash::Sha1,
        client_nonce: "fyko+d2lbbFgONRv9qkxdawL",
        server_nonce: "3rfcNHYJY1ZVvWVs7j",
        salt: "QSXCR+Q6sek8bf92",
        client_first: "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
        server_first: "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
        client_final: "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,\
                       p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
        server_final: "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
    },
    Vector {
        hash: ScramHash::Sha256,
        client_nonce: "rOprNGfwEbeRWgbNEkqO",
        server_nonce: "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
        salt: "W22ZaJ0SNY7soEsUEjb6gQ==",
        client_first: "n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
        server_first: "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                       s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        client_final: "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                       p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        server_final: "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
    },
];

#[test]
fn vectors_of_the_standards() {
    for vector in &VECTORS {
        let hash = vector.hash;
        let nonce = vector.client_nonce.to_owned();
        let (client, first) = ClientFirst::begin_with(hash, "user", b"pencil", nonce);
        assert_eq!(first, vector.client_first.as_bytes());

        let salt = STANDARD.decode(vector.salt).unwrap();
        let secret = ScramSecret::derive(hash, b"pencil", salt, ITERATIONS);
        let server = ServerFirst::read(hash, &first).unwrap();
        let (server, challenge) = server.first_message(secret, true, vector.server_nonce);
        assert_eq!(challenge, vector.server_first.as_bytes());

        let (client, response) = client.respond(&challenge).unwrap();
        assert_eq!(response, vector.client_final.as_bytes());

        let (identity, proof) = server.read(&response).unwrap();
        assert_eq!(identity.authentication, "user");
        assert_eq!(proof, vector.server_final.as_bytes());
        client.check(&proof).unwrap();
        assert_eq!(client.check(b"v=AAAA"), Err(ClientError::NotVerified));
        assert_eq!(
            client.check(b"e=other-error"),
            Err(ClientError::NotVerified)
        );
    }
}

fn exchange(password: &[u8], secret: Option<ScramSecret>) -> Result<(Identity, Vec<u8>), Failure> {
    let hash = ScramHash::Sha256;
    let (client, first) = ClientFirst::begin(hash, "a,b=c", password).unwrap();
    let server = ServerFirst::read(hash, &first)?;
    assert_eq!(server.identity.authentication, "a,b=c");
    let (server, challenge) = server.go_on(secret)?;
    let (_, response) = client.respond(&challenge).unwrap();
    server.read(&response)
}

#[test]
fn wrong_passwords_and_unknown_users_fail_alike() {
    let secret = ScramSecret::from_password(ScramHash::Sha256, b"secret").unwrap();
    assert!(exchange(b"secret", Some(secret.clone())).is_ok());
    assert_eq!(
        exchange(b"Secret", Some(secret)).unwrap_err(),
        Failure::WrongPassword
    );
    assert_eq!(
        exchange(b"secret", None).unwrap_err(),
        Failure::WrongPassword
    );
    let other = ScramSecret::from_password(ScramHash::Sha1, b"secret").unwrap();
    assert_eq!(
        exchange(b"secret", Some(other)).unwrap_err(),
        Failure::Internal
    );
}

#[test]
fn malformed_client_messages_are_refused() {
    for message in [
        "",
        "n,,",
        "n,,n=,r=x",
        "n,,n=a",
        "n,,n=a,r=",
        "n,,r=x,n=a",
        "n,,n=a=2,r=x",
        "n,,n=a=2D,r=x",
        "p=tls-unique,,n=a,r=x",
        "n,b=c,n=a,r=x",
        "n,,m=ext,n=a,r=x",
    ] {
        assert!(
            ServerFirst::read(ScramHash::Sha1, message.as_bytes()).is_err(),
            "{message:?}"
        );
    }
    let first = ServerFirst::read(ScramHash::Sha1, b"y,a==2Cx,n=a,r=x").unwrap();
    assert_eq!(first.identity.authorization, ",x");
    let secret = ScramSecret::from_password(ScramHash::Sha1, b"x").unwrap();
    for message in ["c=eSxhPT0yQ3gs", "c=biws,r=x,p=AAAA", "", "\u{fffd}"] {
        let first = ServerFirst::read(ScramHash::Sha1, b"y,a=x,n=a,r=x").unwrap();
        let (server, _) = first.first_message(secret.clone(), true, "y");
        assert_eq!(
            server.read(message.as_bytes()).unwrap_err(),
            Failure::Malformed,
            "{message:?}"
        );
    }
}

#[test]
fn malformed_server_messages_are_refused() {
    for message in [
        "",
        "r=other,s=AAAA,i=4096",
        "r=nonce,s=AAAA,i=4096",
        "r=nonceX,s=A,i=4096",
        "r=nonceX,s=AAAA,i=0",
        "r=nonceX,s=AAAA,i=4095",
        "r=nonceX,s=AAAA,i=4000000000",
        "m=x,r=nonceX,s=AAAA,i=4096",
    ] {
        let (client, _) =
            ClientFirst::begin_with(ScramHash::Sha1, "user", b"x", "nonce".to_owned());
        assert_eq!(
            client.respond(message.as_bytes()).unwrap_err(),
            ClientError::BadChallenge,
            "{message:?}"
        );
    }
}
