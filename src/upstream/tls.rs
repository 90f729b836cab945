//! TLS with consoles: whose certificates are believed, which one the gateway shows itself, and what
//! is said where it fails.
//!
//! `material` reads the files, `verify` judges what a console presents, `failure` says why TLS
//! failed, `live` keeps what is used now and watches the files, `facts` reads certificates.

mod facts;
mod failure;
mod live;
mod material;
#[cfg(test)]
mod tests;
mod verify;

pub use facts::{CertificateFacts, Moment};
pub(crate) use facts::{address, attribute_name};
pub use failure::{TlsFailure, TlsKind};
pub use live::Ending;

pub(super) use live::{Doubt, Late, Live};

use std::fmt;
use std::path::PathBuf;

use aws_lc_rs::digest;
use http::uri::Authority;
use rustls_pki_types::ServerName;

use crate::secret::SecretSource;

/// How TLS is set up with a console.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Tls {
    /// Whose certificates are believed. With `pins` it may be that nobody's are by themselves.
    pub trust: Trust,
    /// The certificates that are believed, each as it is. With authorities both must hold.
    pub pins: Vec<Fingerprint256>,
    /// What the gateway shows to a console that asks for a certificate.
    pub identity: Option<Identity>,
    /// What the console is called in the handshake, and must be called by its certificate. `None`:
    /// the host of its URL.
    pub server_name: Option<ServerName<'static>>,
    /// The oldest version that is spoken.
    pub oldest: TlsVersion,
}

/// Whose certificates are believed for a console.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Trust {
    /// The certificate authorities in a PEM file.
    Authorities(PathBuf),
    /// The pins alone decide, whatever the certificate says: for self-signed consoles.
    Pins,
    /// The operating system's certificate authorities.
    #[default]
    System,
}

/// The files of a certificate of the gateway's own.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Identity {
    /// The certificate in PEM, and what is between it and its authority.
    pub certificate: PathBuf,
    /// Its key in PEM, not encrypted.
    pub key: SecretSource,
    /// The file of the key.
    pub key_path: PathBuf,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[default]
    Tls12,
    /// TLS 1.3.
    Tls13,
}

impl Tls {
    /// What the console is called in the handshake.
    fn name_for(&self, authority: &Authority) -> Option<ServerName<'static>> {
        if let Some(name) = &self.server_name {
            return Some(name.clone());
        }
        let host = authority.host();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        ServerName::try_from(bare.to_owned()).ok()
    }

    /// The files that it is made of.
    fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        if let Trust::Authorities(path) = &self.trust {
            files.push(path.clone());
        }
        if let Some(identity) = &self.identity {
            files.push(identity.certificate.clone());
            files.push(identity.key_path.clone());
        }
        files
    }

    /// Everything that is wrong with the files now.
    pub fn faults(&self) -> Vec<TlsFault> {
        material::faults(self)
    }

    /// When the certificates in the files end.
    pub fn endings(&self) -> Vec<Ending> {
        material::read(self).map_or_else(|_| Vec::new(), |material| material.endings)
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

    /// The fingerprint of a certificate.
    pub fn of(certificate: &[u8]) -> Self {
        let mut bytes = [0_u8; 32];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, certificate).as_ref());
        Self(bytes)
    }
}

impl fmt::Display for Fingerprint256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Fingerprint256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why TLS with a console cannot be set up as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum TlsFault {
    /// The file of the authorities cannot be used.
    #[error("cannot use {path}: {reason}")]
    Authorities {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The file of the gateway's own certificate cannot be used.
    #[error("cannot use {path}: {reason}")]
    Certificate {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The file of the gateway's own key cannot be used.
    #[error("{0}")]
    Key(String),
    /// The operating system has no certificate authorities.
    #[error(
        "the system has no certificate authorities: install ca-certificates, or set tls.ca or \
         tls.fingerprint_sha256"
    )]
    NoSystemRoots,
    /// rustls refuses the settings.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

impl TlsFault {
    /// The key in `tls` whose value is at fault; empty: the whole.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Authorities { .. } => "ca",
            Self::Certificate { .. } => "certificate",
            Self::Key(_) => "key",
            Self::NoSystemRoots | Self::Tls(_) => "",
        }
    }
}
