//! The other end of a connection.

use std::net::IpAddr;
use std::sync::Arc;

use super::{Certificate, Credit};

/// The other end of the caller's connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its address.
    pub address: IpAddr,
    /// Whether a proxy has said that this connection is its own, and speaks for nobody else.
    pub is_proxys_own: bool,
    /// `http` or `https`, as the caller sees it.
    pub scheme: &'static str,
    /// The certificate that it holds the key of, if it showed one.
    pub certificate: Option<Arc<Certificate>>,
    /// What its connection may ask of consoles; `None` where that is one request at a time.
    pub credit: Option<Arc<Credit>>,
}

impl Peer {
    /// A peer that shows no certificate, on a connection without TLS.
    pub const fn plain(address: IpAddr) -> Self {
        Self {
            address,
            is_proxys_own: false,
            scheme: "http",
            certificate: None,
            credit: None,
        }
    }
}
