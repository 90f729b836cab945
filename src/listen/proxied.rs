//! Connections that a proxy in front passes on, and what it says of their other end: the PROXY
//! protocol, versions 1 and 2.
//!
//! Its header is taken from the connection to the byte: what follows is for TLS and HTTP.

mod header;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use super::Listener;
use super::limits::{Connections, Limits, Place};
use crate::client::{Peer, Proxies};

use header::{LINE, Look, Malformed, look};

/// Why a connection does not say where it comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
enum Fault {
    /// It was closed before anything came, as those are that only look whether somebody listens.
    #[error("nothing came")]
    Absent,
    /// It ended within its header.
    #[error("the connection ended within its PROXY header")]
    Cut,
    /// The header did not come in time.
    #[error("the PROXY header did not come in time")]
    Late,
    /// It is none.
    #[error("the PROXY header is malformed: {0}")]
    Malformed(#[from] Malformed),
}

/// Finds a place for a connection from `address`, if it may connect at all. A trusted proxy has as
/// many as there are: its connections are others'.
pub(super) fn admit(
    connections: &Arc<Connections>,
    listener: &Listener,
    proxies: &Proxies,
    address: IpAddr,
) -> Option<Place> {
    if proxies.trusts(address) {
        return connections.place_of_proxy(address);
    }
    if listener.proxy_protocol {
        connections.telemetry().connection_refused("untrusted");
        return None;
    }
    connections.place(address)
}

/// The other end of a connection from `address`, which begins with a PROXY header: what that says.
/// None where it does not say it as it should, or its source has too many connections.
pub(super) async fn source(
    stream: &mut TcpStream,
    place: &mut Place,
    address: IpAddr,
) -> Option<Peer> {
    match read(stream, place.limits()).await {
        Ok(Some(source)) => place.is_of(source).then(|| Peer::plain(source)),
        Ok(None) => Some(Peer {
            is_proxys_own: true,
            ..Peer::plain(address)
        }),
        Err(Fault::Absent) => None,
        Err(fault) => {
            place.telemetry().connection_dropped("proxy_header");
            tracing::info!(%address, %fault, "a connection was given up");
            None
        }
    }
}

/// Takes the header from a connection; the address that it tells, if it tells one.
async fn read(stream: &mut TcpStream, limits: &Limits) -> Result<Option<IpAddr>, Fault> {
    let reading = tokio::time::timeout(limits.head_timeout, take(stream));
    let read = reading.await.map_err(|_| Fault::Late)?;
    read.map(|address| address.map(|address| address.to_canonical()))
}

async fn take(stream: &mut TcpStream) -> Result<Option<IpAddr>, Fault> {
    let mut held = Vec::with_capacity(LINE);
    loop {
        let needed = match look(&held)? {
            Look::Whole(address) => return Ok(address),
            Look::Needs(count) => count,
            Look::Line => up_to_line_end(stream, held.len()).await?,
        };
        let mut limited = (&mut *stream).take(needed as u64);
        match limited.read_buf(&mut held).await {
            Ok(0) | Err(_) if held.is_empty() => return Err(Fault::Absent),
            Ok(0) | Err(_) => return Err(Fault::Cut),
            Ok(_) => {}
        }
    }
}

/// How much of what has come belongs to a line of which `held` bytes are there already.
async fn up_to_line_end(stream: &TcpStream, held: usize) -> Result<usize, Fault> {
    let mut ahead = [0; LINE];
    let room = ahead.get_mut(held..).unwrap_or_default();
    let count = stream.peek(room).await.map_err(|_| Fault::Cut)?;
    let seen = room.get(..count).unwrap_or_default();
    match seen.iter().position(|byte| *byte == b'\n') {
        Some(end) => Ok(end + 1),
        // At its end: the reading finds it.
        None => Ok(count.max(1)),
    }
}
