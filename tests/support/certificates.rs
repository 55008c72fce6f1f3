//! Authorities and certificates, made fresh for each test; none lie in the repository.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use tempfile::TempDir;

/// The names every ordinary test server has.
pub(crate) const LOCAL_NAMES: [&str; 2] = ["localhost", "127.0.0.1"];

/// A certificate authority whose files live as long as this.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: TempDir,
}

/// A certificate and key a server shows, and the authority by which it judges clients.
pub(crate) struct ServerCertificate {
    files: Files,
    authority: PathBuf,
}

/// A certificate and key a client shows.
pub(crate) struct ClientCertificate {
    files: Files,
}

struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

impl Authority {
    /// A new authority; two of the same name still do not trust each other.
    pub(crate) fn new(name: &str) -> Self {
        let mut parameters = named(name, &LOCAL_NAMES);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key pair");
        let issuer = CertifiedIssuer::self_signed(parameters, key).expect("an authority");
        let directory = TempDir::new().expect("a temporary directory");
        write(&directory.path().join("ca.crt"), &issuer.pem());
        write(&directory.path().join("ca.key"), &issuer.key().serialize_pem());
        Self { issuer, directory }
    }

    /// The file for `--source-cacert` or `--target-cacert`.
    pub(crate) fn file(&self) -> String {
        text(&self.directory.path().join("ca.crt"))
    }

    /// The certificate itself, as it stands in service keys.
    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A server certificate for `localhost` and `127.0.0.1`.
    pub(crate) fn local_server(&self) -> ServerCertificate {
        self.server(&LOCAL_NAMES)
    }

    /// A server certificate for these names only.
    pub(crate) fn server(&self, names: &[&str]) -> ServerCertificate {
        let files = self.sign("server", names, ExtendedKeyUsagePurpose::ServerAuth, false);
        ServerCertificate { files, authority: self.directory.path().join("ca.crt") }
    }

    /// A server certificate whose time is over.
    pub(crate) fn expired_server(&self) -> ServerCertificate {
        let files = self.sign("server", &LOCAL_NAMES, ExtendedKeyUsagePurpose::ServerAuth, true);
        ServerCertificate { files, authority: self.directory.path().join("ca.crt") }
    }

    /// The authority's own certificate, in the place of a server's.
    pub(crate) fn as_server(&self) -> ServerCertificate {
        let [certificate, key] = ["ca.crt", "ca.key"].map(|name| self.directory.path().join(name));
        let authority = certificate.clone();
        ServerCertificate { files: Files { certificate, key }, authority }
    }

    /// A client certificate.
    pub(crate) fn client(&self) -> ClientCertificate {
        let files = self.sign("client", &[], ExtendedKeyUsagePurpose::ClientAuth, false);
        ClientCertificate { files }
    }

    /// A client certificate whose time is over.
    pub(crate) fn expired_client(&self) -> ClientCertificate {
        let files = self.sign("client", &[], ExtendedKeyUsagePurpose::ClientAuth, true);
        ClientCertificate { files }
    }

    fn sign(
        &self,
        role: &str,
        names: &[&str],
        usage: ExtendedKeyUsagePurpose,
        expired: bool,
    ) -> Files {
        let mut parameters = named(role, names);
        parameters.extended_key_usages = vec![usage];
        parameters.use_authority_key_identifier_extension = true;
        if expired {
            parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
            parameters.not_after = rcgen::date_time_ymd(2021, 1, 1);
        }
        let key = KeyPair::generate().expect("a key pair");
        let certificate = parameters.signed_by(&key, &self.issuer).expect("a signed certificate");
        let files = Files {
            certificate: self.directory.path().join(format!("{role}.crt")),
            key: self.directory.path().join(format!("{role}.key")),
        };
        write(&files.certificate, &certificate.pem());
        write(&files.key, &key.serialize_pem());
        files
    }
}

impl ServerCertificate {
    pub(crate) fn certificate(&self) -> String {
        text(&self.files.certificate)
    }

    pub(crate) fn key(&self) -> String {
        text(&self.files.key)
    }

    pub(crate) fn authority(&self) -> String {
        text(&self.authority)
    }
}

impl ClientCertificate {
    pub(crate) fn certificate(&self) -> String {
        text(&self.files.certificate)
    }

    pub(crate) fn key(&self) -> String {
        text(&self.files.key)
    }
}

fn named(name: &str, alternatives: &[&str]) -> CertificateParams {
    let alternatives: Vec<String> = alternatives.iter().map(ToString::to_string).collect();
    let mut parameters = CertificateParams::new(alternatives).expect("valid names");
    parameters.distinguished_name.push(DnType::CommonName, format!("keyferry test {name}"));
    parameters
}

fn write(path: &Path, pem: &str) {
    fs::write(path, pem).expect("a certificate file");
}

fn text(path: &Path) -> String {
    path.to_str().expect("a temporary directory with a plain name").to_owned()
}
