//! What a client's certificate says.

use std::net::IpAddr;

use crate::clock::Timestamp;
use crate::upstream::Fingerprint256;

/// A certificate that was verified during the handshake.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The digest of the whole.
    pub fingerprint: Fingerprint256,
    /// Its subject as RFC 4514 writes it, e.g. `CN=zabbix,O=Example`.
    pub subject: String,
    /// Its alternative names.
    pub names: Vec<SubjectName>,
    /// When it ends.
    pub expires: Timestamp,
}

/// An alternative name of a certificate, whole and without a NUL.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SubjectName {
    /// A DNS name, in lower case.
    Dns(String),
    /// A mail address.
    Email(String),
    /// An IP address.
    Ip(IpAddr),
    /// A URI, e.g. a SPIFFE id.
    Uri(String),
}
