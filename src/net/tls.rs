//! TLS: whom we trust, who we are, and what went wrong, in words.
//!
//! The only file that names rustls' types of configuration. Certificates are verified unless
//! `--SIDE-tls-insecure` was asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::ResolvesClientCert;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError,
    RootCertStore, SignatureScheme,
};

use crate::config::{Pem, Server, TlsOptions};
use crate::error::{Error, Kind, Result};

/// TLS to one server.
#[derive(Clone)]
pub(super) struct Tls {
    pub(super) connector: TlsConnector,
    pub(super) name: ServerName<'static>,
    asked: Arc<AtomicBool>,
}

/// Who we are, if anybody asks: also that somebody did is worth knowing when a handshake fails.
#[derive(Debug)]
struct Identity {
    key: Option<Arc<CertifiedKey>>,
    asked: Arc<AtomicBool>,
}

impl ResolvesClientCert for Identity {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.asked.store(true, Ordering::Relaxed);
        self.key.clone()
    }

    fn has_certs(&self) -> bool {
        self.key.is_some()
    }
}

impl Tls {
    /// Understands the files that the options name.
    pub(super) fn new(server: &Server) -> Result<Self> {
        let options = &server.tls;
        let name =
            options.server_name.as_deref().or_else(|| server.endpoint.host()).unwrap_or_default();
        let name = ServerName::try_from(name.to_owned()).map_err(|_| {
            Error::config(format!("'{name}' is no name that a certificate can be checked against"))
                .advise(format!("give the server's name by --{}-sni", server.side))
        })?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::config(format!("TLS cannot be set up: {error}")))?;
        let builder = if options.insecure {
            let verifier = Arc::new(TrustAnything { provider: provider.clone() });
            builder.dangerous().with_custom_certificate_verifier(verifier)
        } else {
            builder.with_root_certificates(roots(options)?)
        };
        let key = match (&options.certificate, &options.key) {
            (None, None) => None,
            (Some(certificate), Some(key)) => {
                let chain = certificates(certificate)?;
                Some(Arc::new(identity(chain, private_key(key)?, &provider)?))
            }
            _ => {
                let side = server.side;
                return Err(Error::config(format!("--{side}-cert and --{side}-key go together")));
            }
        };
        let asked = Arc::<AtomicBool>::default();
        let identity = Identity { key, asked: asked.clone() };
        let config = builder.with_client_cert_resolver(Arc::new(identity));
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), name, asked })
    }

    /// What a failed handshake means, if TLS was the cause.
    pub(super) fn explain(&self, error: &std::io::Error, server: &Server) -> Option<Error> {
        explain(error, server, self.asked.load(Ordering::Relaxed))
    }
}

/// Our certificate with its key.
fn identity(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    provider: &CryptoProvider,
) -> Result<CertifiedKey> {
    match CertifiedKey::from_der(chain.clone(), key.clone_key(), provider) {
        Ok(identity) => Ok(identity),
        Err(TlsError::InconsistentKeys(_)) => {
            Err(Error::config("certificate and private key do not belong together"))
        }
        // A certificate of another form than we can read, of version 1, say: the server judges it.
        Err(TlsError::InvalidCertificate(_)) => {
            let key = provider.key_provider.load_private_key(key);
            key.map(|key| CertifiedKey::new(chain, key)).map_err(|error| unusable(&error))
        }
        Err(error) => Err(unusable(&error)),
    }
}

fn unusable(error: &TlsError) -> Error {
    Error::config(format!("the private key cannot be used: {error}"))
}

fn roots(options: &TlsOptions) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let given = match (&options.authorities, &options.authorities_text) {
        (Some(pem), _) => Some(certificates(pem)?),
        (None, Some(text)) => Some(parse_certificates(text.as_bytes(), "the service key's cacrt")?),
        (None, None) => None,
    };
    let own = given.is_some();
    let found = given.unwrap_or_else(|| rustls_native_certs::load_native_certs().certs);
    let (added, _) = roots.add_parsable_certificates(found);
    if added == 0 && own {
        return Err(Error::config("the CA file holds no certificate that can be used"));
    }
    Ok(roots)
}

fn certificates(pem: &Pem) -> Result<Vec<CertificateDer<'static>>> {
    parse_certificates(&pem.text, &pem.path.display().to_string())
}

fn parse_certificates(pem: &[u8], from: &str) -> Result<Vec<CertificateDer<'static>>> {
    let found: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(Error::config(format!("{from} holds no certificate in PEM form"))),
    }
}

fn private_key(pem: &Pem) -> Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_slice(&pem.text).map_err(|_| {
        Error::config(format!("{} holds no private key in PEM form", pem.path.display()))
            .advise("an encrypted key must be decrypted first")
    })
}

/// What a failed read, write or handshake means, if TLS was the cause. `asked`: the server wanted to know
/// who we are.
pub(super) fn explain(error: &std::io::Error, server: &Server, asked: bool) -> Option<Error> {
    let cause = error.get_ref()?.downcast_ref::<TlsError>()?;
    let failed = |text: String| Error::new(Kind::Connect, text);
    Some(match cause {
        TlsError::InvalidCertificate(reason) => their_certificate(reason, server),
        TlsError::AlertReceived(alert) => refused(*alert, server, asked),
        TlsError::InvalidMessage(_) => failed("it does not speak TLS here".into())
            .advise("use redis:// for a plain connection, or the server's TLS port"),
        TlsError::PeerIncompatible(_) => no_common_ground(),
        other => failed(format!("TLS failed: {other}")),
    })
}

/// Why we do not accept the server's certificate.
fn their_certificate(reason: &CertificateError, server: &Server) -> Error {
    let side = server.side;
    let failed = |text: &str| Error::new(Kind::Connect, format!("its certificate {text}"));
    let told = format!("{reason:?}");
    match reason {
        CertificateError::UnknownIssuer if server.tls.authorities.is_some() => {
            failed("is signed by an authority that is not trusted").advise(format!(
                "the file of --{side}-cacert is of another CA, or the server does not send the \
                 intermediate certificate between: add that to the file, or to the server's own"
            ))
        }
        CertificateError::UnknownIssuer => failed("is signed by an authority that is not trusted")
            .advise(format!("give the file of its CA by --{side}-cacert")),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            failed(&format!("is not valid for the name we asked for: {reason}"))
                .advise(format!("connect by a name in the certificate, or give it by --{side}-sni"))
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            failed("has expired").advise("renew it there; or is this machine's clock wrong?")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            failed("is not valid yet").advise("is this machine's clock wrong?")
        }
        CertificateError::BadSignature => failed("has a signature that is not of its CA")
            .advise(format!("is the file of --{side}-cacert an older one of the same name?")),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            failed("is not made for servers").advise("it lacks the usage 'server authentication'")
        }
        // The library that judges certificates has its own names, which no type of ours tells apart.
        _ if told.contains("CaUsedAsEndEntity") => failed("is that of a CA, and not of a server")
            .advise("have the CA sign a certificate for the server, and use that there"),
        _ if told.contains("UnsupportedCertVersion") => failed("is of X.509 version 1")
            .advise("make one of version 3, with the server's name in it, and use that there"),
        CertificateError::Other(_) => failed("is not of a form that is accepted")
            .advise("make one of X.509 version 3 for servers, and use that there"),
        _ => failed(&format!("is not valid: {reason}")),
    }
}

/// Why the server does not go on.
fn refused(alert: AlertDescription, server: &Server, asked: bool) -> Error {
    let side = server.side;
    let failed = |text: String| Error::new(Kind::Connect, text);
    let ours = asked && server.tls.certificate.is_some();
    let why = match alert {
        AlertDescription::ProtocolVersion | AlertDescription::InsufficientSecurity => {
            return no_common_ground();
        }
        AlertDescription::UnrecognisedName => {
            return failed("it knows no server of the name we asked for".into())
                .advise(format!("give the right one by --{side}-sni"));
        }
        AlertDescription::CertificateExpired => "has expired",
        AlertDescription::CertificateRevoked => "is revoked",
        AlertDescription::UnknownCA => "is signed by an authority that it does not trust",
        AlertDescription::UnsupportedCertificate => "is of a kind that it does not take",
        AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::DecryptError
        | AlertDescription::AccessDenied => "is not one that it takes",
        AlertDescription::CertificateRequired | AlertDescription::HandshakeFailure if ours => {
            "is not one that it takes"
        }
        AlertDescription::CertificateRequired => "",
        AlertDescription::HandshakeFailure if asked => "",
        AlertDescription::HandshakeFailure => return no_common_ground(),
        other => {
            let alert = other.as_str().unwrap_or("an alert that is not known here");
            return failed(format!("it ended the TLS handshake: {alert}"));
        }
    };
    match ours {
        true => failed(format!("it does not accept our client certificate, which {why}"))
            .advise(format!("give one that its CA has signed by --{side}-cert and --{side}-key")),
        false => failed("it wants a client certificate".into())
            .advise(format!("give ours by --{side}-cert and --{side}-key")),
    }
}

fn no_common_ground() -> Error {
    Error::new(Kind::Connect, "it has no version of TLS or no cipher in common with us").advise(
        "it has to offer TLS 1.2 or 1.3 with modern ciphers: see its tls-protocols, tls-ciphers and \
         tls-ciphersuites",
    )
}

/// `--SIDE-tls-insecure`: signatures are still checked against whatever certificate is shown.
#[derive(Debug)]
struct TrustAnything {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for TrustAnything {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, TlsError> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, TlsError> {
        let algorithms = &self.provider.signature_verification_algorithms;
        tokio_rustls::rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signature,
            algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, TlsError> {
        let algorithms = &self.provider.signature_verification_algorithms;
        tokio_rustls::rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signature,
            algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
