//! What can be wrong with the files of a listener.

use std::io;

use rustls::Error;
use rustls::server::VerifierBuilderError;

use crate::client::CertificateFault;
use crate::secret::SecretError;

/// Something that is wrong with the files of a listener.
#[derive(Debug)]
pub struct Fault {
    /// The key of the file, within the settings of the listener: `certificates[0].key`.
    pub place: String,
    /// What is wrong, and what to do.
    pub wrong: Wrong,
}

impl Fault {
    pub(super) fn of(place: impl Into<String>, wrong: impl Into<Wrong>) -> Self {
        Self {
            place: place.into(),
            wrong: wrong.into(),
        }
    }
}

/// What can be wrong with certificates, keys and lists.
#[derive(Debug, thiserror::Error)]
pub enum Wrong {
    /// An authority that cannot be used.
    #[error("certificate {number} of {path} cannot be used as an authority: {error}")]
    Authority {
        /// The file.
        path: String,
        /// Which, from one.
        number: usize,
        /// What rustls says.
        error: Error,
    },
    /// The key needs a password.
    #[error(
        "the key is encrypted, and nobody is there at a start to type its password: take that off with \
         `openssl pkey -in KEY -out NEW`, and let only the gateway read the new file"
    )]
    Encrypted,
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    File {
        /// The file.
        path: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// Nobody's certificate could be accepted.
    #[error(
        "no list in {0} is of an authority in client_ca, so that every client certificate would be \
         refused: put the list of each authority there"
    )]
    ForeignList(String),
    /// The key cannot be used.
    #[error("the key cannot be used: {0}")]
    Key(Error),
    /// Another certificate's key.
    #[error(
        "is not the key of the certificate in {0}: `openssl x509 -pubkey -noout -in CERTIFICATE` and \
         `openssl pkey -pubout -in KEY` must print the same"
    )]
    KeyMismatch(String),
    /// The certificate cannot be read.
    #[error("certificate {number} of {path} cannot be read: {fault}")]
    Malformed {
        /// The file.
        path: String,
        /// Which, from one.
        number: usize,
        /// What is wrong.
        fault: CertificateFault,
    },
    /// There is no certificate in the file.
    #[error(
        "{0} holds no certificate in PEM, which begins with -----BEGIN CERTIFICATE----- (from DER: \
         `openssl x509 -inform der -in DER -out PEM`)"
    )]
    NoCertificate(String),
    /// There is no key in the file.
    #[error(
        "holds no private key in PEM, which begins with -----BEGIN PRIVATE KEY----- (from DER: \
         `openssl pkey -inform der -in DER -out PEM`)"
    )]
    NoKey,
    /// There is no list in the file.
    #[error(
        "{0} holds no list of what is revoked in PEM, which begins with -----BEGIN X509 CRL----- (from \
         DER: `openssl crl -inform der -in DER -out PEM`)"
    )]
    NoList(String),
    /// No caller would accept the certificate.
    #[error(
        "the certificate in {0} has neither a DNS name nor an address (subjectAltName): clients do not \
         look at its subject; have it issued with the names that they call"
    )]
    NoName(String),
    /// The certificates do not follow each other.
    #[error(
        "the certificates in {path} are in the wrong order: the server's own must be the first, and each \
         one after it must have issued the one before, which number {number} has not"
    )]
    Order {
        /// The file.
        path: String,
        /// Which, from one.
        number: usize,
    },
    /// What looks like PEM is not.
    #[error("{path} is not in order: {error}")]
    Pem {
        /// The file.
        path: String,
        /// What is wrong.
        error: rustls_pki_types::pem::Error,
    },
    /// A list that cannot be used.
    #[error("list {number} of {path} cannot be read: it is not as RFC 5280 says")]
    Revocation {
        /// The file.
        path: String,
        /// Which, from one.
        number: usize,
    },
    /// The lists cannot be used.
    #[error("what is revoked cannot be used: {0}")]
    Revocations(VerifierBuilderError),
    /// The key cannot be had.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// rustls refuses the settings.
    #[error("TLS cannot be set up: {0}")]
    Tls(Error),
}
