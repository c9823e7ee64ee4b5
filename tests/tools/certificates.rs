//! Authorities and certificates made for one test.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};

/// Certificates in a directory, each `NAME.crt` with its `NAME.key`.
pub struct Certificates {
    directory: PathBuf,
}

/// Who vouches for certificates.
pub type Authority = Issuer<'static, KeyPair>;

impl Certificates {
    /// None yet; they go to this directory.
    pub fn in_directory(directory: &Path) -> Certificates {
        Certificates {
            directory: directory.to_owned(),
        }
    }

    /// The file of a certificate.
    pub fn certificate(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.crt"))
    }

    /// The file of its key.
    pub fn key(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.key"))
    }

    /// Makes an authority.
    pub fn authority(&self, name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("key");
        let certificate = params.self_signed(&key).expect("authority");
        self.write(name, &certificate.pem(), &key);
        Issuer::new(params, key)
    }

    /// Makes the certificate of the server `host`; returns its public key in DER.
    pub fn server(&self, name: &str, host: &str, issuer: &Authority) -> Vec<u8> {
        let params = CertificateParams::new([host.to_owned()]).expect("host name");
        self.issue(name, params, issuer)
    }

    /// Makes one that was valid until 2021.
    pub fn expired_server(&self, name: &str, host: &str, issuer: &Authority) {
        let mut params = CertificateParams::new([host.to_owned()]).expect("host name");
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
        self.issue(name, params, issuer);
    }

    /// Makes the certificate of the client `common_name`.
    pub fn client(&self, name: &str, common_name: &str, issuer: &Authority) {
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        self.issue(name, params, issuer);
    }

    fn issue(&self, name: &str, params: CertificateParams, issuer: &Authority) -> Vec<u8> {
        let key = KeyPair::generate().expect("key");
        let certificate = params.signed_by(&key, issuer).expect("certificate");
        self.write(name, &certificate.pem(), &key);
        rcgen::PublicKeyData::subject_public_key_info(&key)
    }

    fn write(&self, name: &str, certificate: &str, key: &KeyPair) {
        std::fs::write(self.certificate(name), certificate).expect("write certificate");
        std::fs::write(self.key(name), key.serialize_pem()).expect("write key");
    }
}
