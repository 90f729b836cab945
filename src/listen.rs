//! Sockets, connections and their end.

pub mod descriptors;
mod drain;
mod drive;
mod frames;
mod guard;
mod http2;
mod limits;
mod protocol;
mod proxied;
mod replayed;
mod secure;
mod socket;
mod streams;
pub mod tls;
mod unread;

pub use drain::{Drain, Draining};
pub use limits::{Connections, Limits, Shortage, room};
pub use socket::{BindError, take_or_bind};
pub(crate) use unread::Unread;

use std::convert::Infallible;
use std::future::pending;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulConnection;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::client::Peer;
use crate::gateway::{AnswerBody, Gateway, Live};
use crate::telemetry::ConnectionGuard;
use crate::wire::Bounds;

use drive::FIRST_REQUEST;
use guard::{Answered, Guard, Readings};
use limits::Place;
use protocol::{Protocol, Protocols};
use replayed::{Replayed, Spoken};
use tls::Tls;
use unread::Cord;

/// Where callers connect, and how.
#[derive(Clone, Debug)]
pub struct Listener {
    /// The address.
    pub address: SocketAddr,
    /// How TLS is spoken there; `None` where it is not.
    pub tls: Option<Arc<Tls>>,
    /// Whether each connection begins with a header of the PROXY protocol; then only trusted proxies
    /// may connect.
    pub proxy_protocol: bool,
}

impl Listener {
    /// A listener without TLS, to which callers connect themselves.
    pub const fn plain(address: SocketAddr) -> Self {
        Self {
            address,
            tls: None,
            proxy_protocol: false,
        }
    }
}

/// Serves every connection of a listener until the drain begins. Connections go on after that,
/// each until its last request is answered. `connections` are those of all listeners. Each request
/// is answered by the gateway that `live` has when it comes.
pub async fn serve(
    socket: TcpListener,
    listener: &Listener,
    live: Arc<Live>,
    connections: &Arc<Connections>,
    drain: &Drain,
) {
    let telemetry = live.now().telemetry.clone();
    let watching = async {
        match &listener.tls {
            Some(tls) => tls.watch(&telemetry).await,
            None => pending().await,
        }
    };
    tokio::select! {
        () = accept(socket, listener, live, connections, drain) => {}
        () = watching => {}
    }
}

async fn accept(
    socket: TcpListener,
    listener: &Listener,
    live: Arc<Live>,
    connections: &Arc<Connections>,
    drain: &Drain,
) {
    let protocols = Arc::new(Protocols::new(drain, connections.limits()));
    let mut stop = drain.watch();
    let mut complained: Option<Instant> = None;
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            () = stop.begun() => return,
        };
        match accepted {
            Ok((stream, from)) => {
                let Some(place) =
                    proxied::admit(connections, listener, &live.now().proxies, from.ip())
                else {
                    refuse(stream);
                    continue;
                };
                let guard = place.telemetry().connection();
                let connection = Connection {
                    live: Arc::clone(&live),
                    protocols: Arc::clone(&protocols),
                    draining: drain.watch(),
                    _open: guard,
                    place,
                    proxy_protocol: listener.proxy_protocol,
                };
                match &listener.tls {
                    None => tokio::spawn(connection.serve(stream, from)),
                    Some(tls) => tokio::spawn(connection.secure(stream, from, Arc::clone(tls))),
                };
            }
            // It went away while it waited: that says nothing about the others.
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
            // Out of descriptors, most often: the connections that are there must end first.
            Err(error) => {
                if complained.is_none_or(|at| at.elapsed() > COMPLAIN_EVERY) {
                    complained = Some(Instant::now());
                    tracing::warn!(%error, "cannot accept connections; raise the limit of descriptors");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

struct Connection {
    live: Arc<Live>,
    protocols: Arc<Protocols>,
    draining: Draining,
    _open: ConnectionGuard,
    place: Place,
    /// Whether it begins with a header of the PROXY protocol.
    proxy_protocol: bool,
}

impl Connection {
    async fn serve(mut self, mut stream: TcpStream, from: SocketAddr) {
        send_at_once(&stream);
        let Some(peer) = self.source(&mut stream, from).await else {
            return;
        };
        let mut stream = Replayed::new(stream);
        let spoken = tokio::select! {
            spoken = stream.spoken(self.place.limits()) => spoken,
            () = late(&mut self.draining) => None,
        };
        let Some(Spoken { protocol, since }) = spoken else {
            return;
        };
        let watched = |this: &Self, stream: Replayed<_>| {
            let mut stream = stream.map(|stream| this.watched(stream));
            let cord = stream.get_mut().cord();
            (stream, cord)
        };
        match protocol {
            Protocol::Http1 => self.serve_http1(stream, watched, since, peer).await,
            // Boxed, so that the many connections of HTTP/1 have no room for its state.
            Protocol::Http2 => Box::pin(self.serve_http2(stream, watched, since, peer)).await,
        }
    }

    /// Who counts as the other end of the connection, which what stands before all else may tell. None
    /// where the connection ends with that.
    async fn source(&mut self, stream: &mut TcpStream, from: SocketAddr) -> Option<Peer> {
        let from = from.ip().to_canonical();
        if !self.proxy_protocol {
            return Some(Peer::plain(from));
        }
        tokio::select! {
            // Boxed, so that the many connections without it have no room for it.
            peer = Box::pin(proxied::source(stream, &mut self.place, from)) => peer,
            () = late(&mut self.draining) => None,
        }
    }

    /// The stream of a connection, which ends when its answers are not read.
    fn watched(&self, stream: TcpStream) -> Unread<TcpStream> {
        let unread_timeout = self.place.limits().unread_timeout;
        Unread::new(stream, unread_timeout, self.place.telemetry().clone())
    }

    /// With the stream comes the cord of its socket. What stands above the stream is made here: a
    /// future keeps room for what was moved into it.
    async fn serve_http1<T, S>(
        mut self,
        stream: T,
        over: impl FnOnce(&Self, T) -> (S, Cord),
        since: Instant,
        peer: Peer,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (stream, cord) = over(&self, stream);
        let readings = Arc::new(Readings::default());
        // For as long as the connection lasts: requests are held to the limits of their own
        // configuration beside, when they are read.
        let bounds = {
            let limits = &self.live.now().limits;
            Bounds {
                head: limits.head,
                target: limits.target,
                body: limits.body,
            }
        };
        let limits = self.place.limits();
        let guard = Guard::new(stream, bounds, limits, since, Arc::clone(&readings));
        let asked = Notify::new();
        let service = service_fn(|request: Request<Incoming>| {
            asked.notify_one();
            let is_old = request.version() == Version::HTTP_10;
            let read = (Arc::clone(&readings), is_old.then(|| cord.clone()));
            answer_read(self.live.now(), read, request, peer.clone())
        });
        let http1 = &self.protocols.http1;
        let mut connection = http1.serve_connection(TokioIo::new(guard), service);
        if drive(
            Pin::new(&mut connection),
            &mut self.draining,
            &asked,
            pending(),
        )
        .await
        {
            // hyper leaves that to others where a request has asked for another protocol.
            let mut guard = connection.into_parts().io.into_inner();
            drop(guard.shutdown().await);
        }
    }
}

/// Serves a connection to its end, or until a drain ends it, or `idle` returns. Says whether it came
/// to its end well.
///
/// Pinned by its caller: a future keeps room for what was moved into it and for where it was moved to.
/// The caller keeps `draining` too, for longer than the connection: a drain is complete when it is gone,
/// and what is cut off must have left its record by then.
async fn drive<C>(
    mut connection: Pin<&mut C>,
    draining: &mut Draining,
    asked: &Notify,
    idle: impl Future<Output = ()>,
) -> bool
where
    C: GracefulConnection<Error = hyper::Error>,
{
    let ended = match drive::until_told(connection.as_mut(), draining, asked, idle).await {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection => ended,
                () = draining.cut() => return false,
            }
        }
    };
    if let Err(error) = &ended {
        tracing::debug!(%error, "a connection ended with an error");
    }
    ended.is_ok()
}

/// Boxed, so that a connection that waits for its next request holds no memory for one.
async fn answer(
    gateway: Arc<Gateway>,
    request: Request<Incoming>,
    peer: Peer,
) -> Result<Response<AnswerBody>, Infallible> {
    Ok(Box::pin(gateway.handle(request, peer)).await)
}

/// The same for HTTP/1: if the guard and hyper have read the same request. For one of HTTP/1.0 there is
/// the cord of its connection.
async fn answer_read(
    gateway: Arc<Gateway>,
    (readings, cord): (Arc<Readings>, Option<Cord>),
    request: Request<Incoming>,
    peer: Peer,
) -> Result<Response<Answered>, Infallible> {
    let (read, answering) = readings.next(&request);
    let mut response = match read {
        Ok(()) => Box::pin(gateway.handle(request, peer)).await,
        Err(fault) => Box::pin(gateway.refuse(fault, peer)).await,
    };
    let Some(cord) = cord else {
        return Ok(response.map(|body| Answered::new(body, answering)));
    };
    // Nothing is read behind a request of HTTP/1.0, even if its caller asks for it.
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(CONNECTION, close);
    // Else hyper would write `keep-alive` beside it for a caller that asks.
    *response.version_mut() = Version::HTTP_10;
    Ok(response.map(|body| Answered::new(body, answering).or_reset(cord)))
}

/// Without it small answers wait for the caller's acknowledgement.
fn send_at_once(stream: &TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
}

/// Closes a connection for which there is no place: reset, so that nothing of it is left behind here.
fn refuse(stream: TcpStream) {
    if let Err(error) = stream.set_zero_linger() {
        tracing::debug!(%error, "cannot reset a connection");
    }
    drop(stream);
}

/// Returns when a connection on which nothing has come yet may be closed by a drain.
async fn late(draining: &mut Draining) {
    draining.begun().await;
    tokio::time::sleep(FIRST_REQUEST).await;
}

/// How often that is logged.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);

/// How long to wait when no connection can be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
