//! From a connection to a connection with TLS.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::server::Acceptor;
use rustls::{CertificateError, Error, ServerConnection};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::super::Limits;
use super::super::protocol::Protocol;
use super::super::replayed::Replayed;
use super::super::unread::Unread;
use super::Tls;
use crate::client::{Certificate, CertificateFault};
use crate::telemetry::Telemetry;

/// The socket below, which is given up when its other end takes nothing: what waits there is
/// what the caller does not take, whatever TLS still holds.
type Socket = Unread<TcpStream>;

/// A connection whose handshake went well.
pub(in crate::listen) struct Secured {
    /// Boxed, so that it is in one place however often it is moved.
    pub(in crate::listen) stream: Replayed<Box<TlsStream<Socket>>>,
    /// What both ends have settled on; `None` where the caller left it open.
    pub(in crate::listen) protocol: Option<Protocol>,
    /// What the caller has shown.
    pub(in crate::listen) certificate: Option<Arc<Certificate>>,
}

/// A handshake that came to nothing.
struct Refused {
    reason: &'static str,
    error: Option<io::Error>,
    /// The socket, where there is somebody left to be told.
    socket: Option<Socket>,
}

/// Does the handshake of a connection. `None` where it comes to nothing, which is counted and
/// logged.
pub(in crate::listen) async fn shake(
    tls: &Tls,
    socket: Socket,
    from: IpAddr,
    limits: &Limits,
    telemetry: &Telemetry,
) -> Option<Secured> {
    let Refused {
        reason,
        error,
        socket,
    } = match tokio::time::timeout(limits.handshake_timeout, attempt(tls, socket)).await {
        Ok(Ok(secured)) => {
            telemetry.handshake("ok");
            return Some(secured);
        }
        Ok(Err(refused)) => refused,
        Err(_) => Refused {
            reason: "timeout",
            error: None,
            socket: None,
        },
    };
    telemetry.handshake(reason);
    if reason == CLOSED {
        // Whoever looks whether the port is open does so, again and again.
        tracing::debug!(%from, "a connection was closed during its handshake");
    } else {
        tls.refusals
            .add(&tls.listener, reason, from, error.as_ref());
    }
    if let Some(socket) = socket {
        // A socket that is closed while bytes wait is reset, and the alert lost.
        drop(tokio::time::timeout(LINGER, linger(socket)).await);
    }
    None
}

async fn attempt(tls: &Tls, socket: Socket) -> Result<Secured, Refused> {
    let mut acceptor = LazyConfigAcceptor::new(Acceptor::default(), socket);
    let start = match (&mut acceptor).await {
        Ok(start) => start,
        Err(error) => return Err(Refused::of(error, acceptor.take_io())),
    };
    let present = tls.present.load_full();
    let hello = start.client_hello();
    let is_known = hello
        .server_name()
        .is_some_and(|name| present.material.names.knows(name));
    if present.settings.strict_sni && !is_known {
        let mut socket = start.io;
        // Who does not take it does not learn why.
        socket.write_all(UNRECOGNIZED_NAME).await.ok();
        return Err(Refused {
            reason: "unknown_name",
            error: None,
            socket: Some(socket),
        });
    }
    let config = Arc::clone(&present.material.config);
    let bound = |session: &mut ServerConnection| session.set_buffer_limit(Some(SEND_BUFFER));
    let accept = start.into_stream_with(config, bound).into_fallible();
    let stream = match accept.await {
        Ok(stream) => stream,
        Err((error, socket)) => return Err(Refused::of(error, Some(socket))),
    };
    let (_, session) = stream.get_ref();
    let protocol = match session.alpn_protocol() {
        Some(b"h2") => Some(Protocol::Http2),
        Some(_) => Some(Protocol::Http1),
        None => None,
    };
    let shown = session.peer_certificates().and_then(|chain| chain.first());
    let certificate = match shown.map(Certificate::read).transpose() {
        Ok(read) => read.map(Arc::new),
        // It was read during the handshake already.
        Err(fault) => return Err(Refused::of(io::Error::other(fault), None)),
    };
    Ok(Secured {
        stream: Replayed::new(Box::new(stream)),
        protocol,
        certificate,
    })
}

impl Refused {
    fn of(error: io::Error, socket: Option<Socket>) -> Self {
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref());
        let reason = tls.map_or(CLOSED, reason);
        Self {
            reason,
            error: Some(error),
            socket: socket.filter(|_| reason != CLOSED),
        }
    }
}

/// The class of a failure, as metrics tell it.
fn reason(error: &Error) -> &'static str {
    match error {
        Error::InvalidMessage(_) | Error::InappropriateMessage { .. } => "not_tls",
        Error::InappropriateHandshakeMessage { .. } => "not_tls",
        Error::PeerIncompatible(_) | Error::NoApplicationProtocol => "incompatible",
        Error::NoCertificatesPresented => "no_certificate",
        Error::InvalidCertificate(error) => certificate_reason(error),
        Error::AlertReceived(_) => "refused_by_caller",
        _ => "failed",
    }
}

fn certificate_reason(error: &CertificateError) -> &'static str {
    use CertificateError as E;
    match error {
        E::Expired | E::ExpiredContext { .. } => "expired",
        E::NotValidYet | E::NotValidYetContext { .. } => "not_valid_yet",
        E::Revoked => "revoked",
        E::UnknownIssuer => "unknown_issuer",
        E::BadSignature => "bad_signature",
        E::UnknownRevocationStatus
        | E::ExpiredRevocationList
        | E::ExpiredRevocationListContext { .. } => "revocation_unknown",
        E::Other(other) if is_name(other) => "bad_name",
        _ => "bad_certificate",
    }
}

fn is_name(error: &rustls::OtherError) -> bool {
    error.0.downcast_ref() == Some(&CertificateFault::Character)
}

/// The caller went away in the middle.
pub(in crate::listen) const CLOSED: &str = "closed";

/// Waits until the caller has seen what was written, which it shows by closing its side.
async fn linger(mut socket: Socket) {
    if socket.shutdown().await.is_err() {
        return;
    }
    let mut piece = [0; 512];
    let mut left = LINGER_BYTES;
    while let Ok(length @ 1..) = socket.read(&mut piece).await {
        let Some(rest) = left.checked_sub(length) else {
            return;
        };
        left = rest;
    }
}

/// A fatal alert in a record of TLS 1.2, as RFC 8446 (5.1, 6) has it: 112, `unrecognized_name`.
const UNRECOGNIZED_NAME: &[u8] = &[21, 3, 3, 0, 2, 2, 112];

/// How much TLS holds of what the socket does not take.
const SEND_BUFFER: usize = 32 * 1024;

/// How long a caller gets to see why its handshake was refused.
const LINGER: Duration = Duration::from_secs(1);

/// How much of what it still sends is thrown away.
const LINGER_BYTES: usize = 64 * 1024;
