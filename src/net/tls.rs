//! TLS: whom we trust, who we are, and what went wrong, in words.
//!
//! The only file that names rustls' types of configuration. Certificates are verified unless
//! `--SIDE-tls-insecure` was asked for.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError,
    RootCertStore, SignatureScheme,
};

use crate::config::{Server, TlsOptions};
use crate::error::{Error, Kind, Result};

/// TLS to one server.
#[derive(Clone)]
pub(super) struct Tls {
    pub(super) connector: TlsConnector,
    pub(super) name: ServerName<'static>,
}

impl Tls {
    /// Reads the files that the options name.
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
            let verifier = Arc::new(TrustAnything { provider });
            builder.dangerous().with_custom_certificate_verifier(verifier)
        } else {
            builder.with_root_certificates(roots(options)?)
        };
        let config = match (&options.certificate, &options.key) {
            (None, None) => builder.with_no_client_auth(),
            (Some(certificate), Some(key)) => builder
                .with_client_auth_cert(certificates(certificate)?, private_key(key)?)
                .map_err(|error| {
                    Error::config(format!("certificate and private key do not fit: {error}"))
                })?,
            _ => {
                let side = server.side;
                return Err(Error::config(format!("--{side}-cert and --{side}-key go together")));
            }
        };
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), name })
    }
}

fn roots(options: &TlsOptions) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let given = match (&options.authorities, &options.authorities_text) {
        (Some(path), _) => Some(certificates(path)?),
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

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    parse_certificates(&read(path)?, &path.display().to_string())
}

fn parse_certificates(pem: &[u8], from: &str) -> Result<Vec<CertificateDer<'static>>> {
    let found: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(Error::config(format!("{from} holds no certificate in PEM form"))),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_slice(&read(path)?).map_err(|_| {
        Error::config(format!("{} holds no private key in PEM form", path.display()))
            .advise("an encrypted key must be decrypted first")
    })
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path)
        .map_err(|error| Error::config(format!("{} cannot be read: {error}", path.display())))
}

/// What a failed read, write or handshake means, if TLS was the cause.
pub(super) fn explain(error: &std::io::Error, server: &Server) -> Option<Error> {
    let cause = error.get_ref()?.downcast_ref::<TlsError>()?;
    let side = server.side;
    let failed = |text: String| Error::new(Kind::Connect, text);
    Some(match cause {
        TlsError::InvalidCertificate(CertificateError::UnknownIssuer) => {
            failed("its certificate is signed by an authority that is not trusted".into())
                .advise(format!("give the file of its CA by --{side}-cacert"))
        }
        TlsError::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => failed(format!("its certificate is not valid for the name we asked for: {cause}"))
            .advise(format!("connect by a name in the certificate, or give it by --{side}-sni")),
        TlsError::InvalidCertificate(reason) => {
            failed(format!("its certificate is not valid: {reason}"))
        }
        TlsError::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::HandshakeFailure
            | AlertDescription::BadCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::CertificateUnknown,
        ) if server.tls.certificate.is_some() => {
            failed(format!("it does not accept our client certificate: {cause}"))
        }
        TlsError::AlertReceived(
            AlertDescription::CertificateRequired | AlertDescription::HandshakeFailure,
        ) => failed(format!("it wants a client certificate: {cause}"))
            .advise(format!("give ours by --{side}-cert and --{side}-key")),
        TlsError::InvalidMessage(_) => failed(format!("it does not speak TLS here: {cause}"))
            .advise("use redis:// for a plain connection, or the server's TLS port"),
        other => failed(format!("TLS failed: {other}")),
    })
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
