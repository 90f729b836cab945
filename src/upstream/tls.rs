//! Whose certificates are believed.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use aws_lc_rs::digest;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

/// Whose certificates are believed for a console.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Trust {
    /// The certificate authorities in a PEM file.
    Authorities(PathBuf),
    /// Exactly these certificates, whatever they say: for self-signed consoles.
    Pinned(Vec<Fingerprint256>),
    /// The operating system's certificate authorities.
    #[default]
    System,
}

impl Trust {
    /// Tells what the files say that it rests on apart from what they said before. Reads them.
    pub(super) fn print(&self) -> Option<u64> {
        match self {
            Self::Authorities(path) => {
                let read = std::fs::read(path).ok()?;
                let hash = digest::digest(&digest::SHA256, &read);
                let first = hash.as_ref().first_chunk().copied();
                first.map(u64::from_be_bytes)
            }
            Self::Pinned(_) | Self::System => None,
        }
    }
}

/// The SHA-256 digest of a certificate in DER form.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct Fingerprint256([u8; 32]);

impl Fingerprint256 {
    /// Reads 64 hex digits, with or without colons.
    pub fn parse(text: &str) -> Option<Self> {
        let digits: String = text.chars().filter(|c| *c != ':').collect();
        let mut bytes = [0_u8; 32];
        hex::decode_to_slice(digits, &mut bytes).ok()?;
        Some(Self(bytes))
    }

    /// The digest of a certificate.
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        let mut bytes = [0_u8; 32];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, certificate).as_ref());
        Self(bytes)
    }
}

impl fmt::Debug for Fingerprint256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// Why trust material cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file holds no certificate.
    #[error("{0} holds no PEM certificate")]
    Empty(String),
    /// The operating system has no certificate authorities.
    #[error("the system has no certificate authorities (install ca-certificates, or set `tls`)")]
    NoSystemRoots,
    /// The file cannot be read or parsed.
    #[error("cannot use {path}: {reason}")]
    Unusable {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// rustls refuses the settings.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

pub(crate) fn client_config(trust: &Trust) -> Result<ClientConfig, TrustError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    let config = match trust {
        Trust::Authorities(path) => builder.with_root_certificates(read_authorities(path)?),
        Trust::Pinned(pins) => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Pins {
                pins: pins.clone(),
                provider,
            })),
        Trust::System => builder.with_root_certificates(system_roots()?),
    };
    Ok(config.with_no_client_auth())
}

fn read_authorities(path: &PathBuf) -> Result<RootCertStore, TrustError> {
    let unusable = |reason: String| TrustError::Unusable {
        path: path.display().to_string(),
        reason,
    };
    let mut roots = RootCertStore::empty();
    for certificate in
        CertificateDer::pem_file_iter(path).map_err(|error| unusable(error.to_string()))?
    {
        let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| unusable(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(TrustError::Empty(path.display().to_string()));
    }
    Ok(roots)
}

fn system_roots() -> Result<RootCertStore, TrustError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        Err(TrustError::NoSystemRoots)
    } else {
        Ok(roots)
    }
}

/// Believes exactly the pinned certificates. The handshake signature is still verified, so the
/// server must hold the private key.
#[derive(Debug)]
struct Pins {
    pins: Vec<Fingerprint256>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pins {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let presented = Fingerprint256::of(end_entity);
        if self.pins.contains(&presented) {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::Error::General(format!(
            "the console presented a certificate with SHA-256 {presented:?}, which is not pinned"
        )))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
