//! Judging the certificate that a console presents.

use std::sync::Arc;

use parking_lot::Mutex;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{CertificateError, DigitallySignedStruct, OtherError, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::facts::{CertificateFacts, Moment};
use super::failure::{TlsFailure, TlsKind};
use super::{Fingerprint256, Tls};

/// Believes what the settings say. The handshake signature is verified in every case, so the server
/// must hold the private key.
#[derive(Debug)]
pub(super) struct Verifier {
    /// The judgement by authorities, unless the pins alone decide.
    authorities: Option<Arc<WebPkiServerVerifier>>,
    /// If there are any, one of them must fit.
    pins: Vec<Fingerprint256>,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    pub(super) fn new(
        tls: &Tls,
        authorities: Option<Arc<WebPkiServerVerifier>>,
        provider: Arc<CryptoProvider>,
    ) -> Self {
        Self {
            authorities,
            pins: tls.pins.clone(),
            provider,
        }
    }

    fn judge(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<(), TlsFailure> {
        let presented = Fingerprint256::of(certificate);
        if !self.pins.is_empty() && !self.pins.contains(&presented) {
            return Err(TlsFailure::new(
                TlsKind::NotPinned,
                format!("the other end presented a certificate with SHA-256 {presented}"),
            ));
        }
        let Some(authorities) = &self.authorities else {
            return Ok(());
        };
        let verified = authorities.verify_server_cert(certificate, between, name, ocsp, now);
        match verified {
            Ok(_) => Ok(()),
            Err(error) => Err(refusal(&error, certificate, name)),
        }
    }
}

/// Why a certificate is not believed, with its fingerprint: that tells which one it was.
fn refusal(
    error: &rustls::Error,
    certificate: &CertificateDer<'_>,
    name: &ServerName<'_>,
) -> TlsFailure {
    let facts = CertificateFacts::read(certificate);
    let presented = Fingerprint256::of(certificate);
    let self_issued = facts.as_ref().is_some_and(|facts| facts.is_self_issued);
    let when = |of: fn(&CertificateFacts) -> Moment| {
        let moment = facts.as_ref().map(|facts| of(facts).to_string());
        moment.unwrap_or_default()
    };
    let rustls::Error::InvalidCertificate(error) = error else {
        return TlsFailure::new(TlsKind::Other, error.to_string());
    };
    let (kind, text) = match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            let ends = when(|facts| facts.ends);
            (TlsKind::Expired, format!("the certificate ended at {ends}"))
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            let begins = when(|facts| facts.begins);
            let text = format!("the certificate begins at {begins}");
            (TlsKind::NotYetValid, text)
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            let names = facts.as_ref().map(|facts| facts.names.join(", "));
            let names = names.filter(|names| !names.is_empty());
            let names = names.unwrap_or_else(|| "no name at all".to_owned());
            let text = format!("the certificate is for {names}, not {}", name.to_str());
            (TlsKind::WrongName, text)
        }
        CertificateError::UnknownIssuer if self_issued => (
            TlsKind::SelfSigned,
            "nobody but itself has signed the certificate".to_owned(),
        ),
        CertificateError::UnknownIssuer => {
            let issuer = facts.as_ref().map(|facts| &*facts.issuer);
            let issuer = issuer.unwrap_or_default();
            let text = format!("the certificate is signed by {issuer}, which is not trusted");
            (TlsKind::UnknownIssuer, text)
        }
        CertificateError::BadSignature => {
            let issuer = facts.as_ref().map(|facts| &*facts.issuer);
            let issuer = issuer.unwrap_or_default();
            let text =
                format!("the certificate is signed by another {issuer} than the trusted one");
            (TlsKind::UnknownIssuer, text)
        }
        other if self_issued => {
            let text = format!("and cannot be used as a server's: {other}");
            (TlsKind::SelfSigned, text)
        }
        other => (TlsKind::InvalidCertificate, other.to_string()),
    };
    TlsFailure::new(kind, format!("{text} (SHA-256 {presented})"))
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.judge(end_entity, intermediates, server_name, ocsp_response, now)
            .map(|()| ServerCertVerified::assertion())
            .map_err(|failure| CertificateError::Other(OtherError(Arc::new(failure))).into())
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

/// Goes on with the handshake whatever it judges, and keeps the judgement: to show a certificate to
/// somebody who decides whether to believe it. Nothing is ever sent over such a connection.
#[derive(Debug)]
pub(super) struct Onlooker {
    verifier: Arc<Verifier>,
    judgement: Mutex<Option<Result<(), TlsFailure>>>,
}

impl Onlooker {
    pub(super) fn new(verifier: Arc<Verifier>) -> Self {
        Self {
            verifier,
            judgement: Mutex::default(),
        }
    }

    pub(super) fn judgement(&self) -> Option<Result<(), TlsFailure>> {
        self.judgement.lock().clone()
    }
}

impl ServerCertVerifier for Onlooker {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verifier = &self.verifier;
        let judged = verifier.judge(end_entity, intermediates, server_name, ocsp_response, now);
        *self.judgement.lock() = Some(judged);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}
