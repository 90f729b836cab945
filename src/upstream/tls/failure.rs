//! Why TLS with a console failed, told apart by type.

use std::error::Error;
use std::fmt;
use std::io;

use rustls::{AlertDescription, CertificateError, PeerIncompatible};

/// Why TLS with a console failed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TlsFailure {
    /// Which of the reasons that can be told apart.
    pub kind: TlsKind,
    /// What there is to know besides.
    pub text: String,
}

/// The reasons for which TLS fails.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum TlsKind {
    /// No version of HTTP that both speak.
    Alpn,
    /// The console wants a certificate of the gateway's, and there is none.
    ClientCertificateDemanded,
    /// The console does not believe the gateway's certificate.
    ClientCertificateRefused,
    /// The certificate has ended.
    Expired,
    /// The certificate cannot be used for another reason.
    InvalidCertificate,
    /// What came is not TLS.
    NoTls,
    /// The certificate is none of those that are pinned.
    NotPinned,
    /// The certificate is not good yet.
    NotYetValid,
    /// Anything else that TLS knows.
    Other,
    /// Nobody but itself has signed the certificate.
    SelfSigned,
    /// Who has signed the certificate is not believed.
    UnknownIssuer,
    /// No version of TLS that both speak.
    Version,
    /// The certificate is for other names.
    WrongName,
}

impl TlsKind {
    /// How records and logs name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Alpn => "no common HTTP version",
            Self::ClientCertificateDemanded => "client certificate demanded",
            Self::ClientCertificateRefused => "client certificate refused",
            Self::Expired => "expired",
            Self::InvalidCertificate => "invalid certificate",
            Self::NoTls => "not TLS",
            Self::NotPinned => "not pinned",
            Self::NotYetValid => "not valid yet",
            Self::Other => "handshake failed",
            Self::SelfSigned => "self-signed",
            Self::UnknownIssuer => "unknown issuer",
            Self::Version => "no common TLS version",
            Self::WrongName => "wrong name",
        }
    }
}

impl TlsFailure {
    pub(super) fn new(kind: TlsKind, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { kind, text }
    }

    /// What an error of a handshake, or of the first reading after it, means; `None` where TLS is not
    /// the reason.
    pub(super) fn of(error: &io::Error, asked: Asked) -> Option<Self> {
        let inner = error.get_ref();
        match inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(error) => Some(Self::of_rustls(error, asked)),
            // The other side has closed, and a certificate was all that it lacked.
            None if asked == Asked::ShownNone => Some(Self::demanded()),
            None => None,
        }
    }

    fn of_rustls(error: &rustls::Error, asked: Asked) -> Self {
        let kind = match error {
            rustls::Error::InvalidCertificate(CertificateError::Other(other)) => {
                return match other.0.downcast_ref::<Self>() {
                    Some(refusal) => refusal.clone(),
                    None => Self::new(TlsKind::InvalidCertificate, other.0.to_string()),
                };
            }
            rustls::Error::InvalidCertificate(_) => TlsKind::InvalidCertificate,
            rustls::Error::AlertReceived(alert) => return Self::of_alert(*alert, asked),
            rustls::Error::InvalidMessage(_)
            | rustls::Error::InappropriateMessage { .. }
            | rustls::Error::InappropriateHandshakeMessage { .. } => TlsKind::NoTls,
            rustls::Error::NoApplicationProtocol => TlsKind::Alpn,
            rustls::Error::PeerIncompatible(
                PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
            ) => TlsKind::Version,
            _ => TlsKind::Other,
        };
        Self::new(kind, error.to_string())
    }

    fn of_alert(alert: AlertDescription, asked: Asked) -> Self {
        let kind = match (alert, asked) {
            (AlertDescription::CertificateRequired, _) => return Self::demanded(),
            (AlertDescription::NoApplicationProtocol, _) => TlsKind::Alpn,
            (AlertDescription::ProtocolVersion, _) => TlsKind::Version,
            (AlertDescription::UnrecognisedName, _) => TlsKind::WrongName,
            (_, Asked::ShownNone) => return Self::demanded(),
            (_, Asked::Shown) => TlsKind::ClientCertificateRefused,
            (_, Asked::No) => TlsKind::Other,
        };
        Self::new(kind, format!("the console says {alert:?}"))
    }

    fn demanded() -> Self {
        let kind = TlsKind::ClientCertificateDemanded;
        Self::new(kind, "set tls.certificate and tls.key of the console")
    }
}

impl fmt::Display for TlsFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.as_str(), self.text)
    }
}

impl Error for TlsFailure {}

/// Whether a console has asked for a certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Asked {
    /// It has not.
    No,
    /// It has, and was shown one.
    Shown,
    /// It has, and there was none to show.
    ShownNone,
}
