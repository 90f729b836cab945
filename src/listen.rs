//! Sockets, connections and their end.

pub mod descriptors;
mod drain;
mod drive;
mod frames;
mod guard;
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

use std::convert::Infallible;
use std::future::pending;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
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
use frames::Frames;
use guard::{Answered, Guard, Readings};
use limits::Place;
use protocol::{PONG, Protocol, Protocols, spoken};
use tls::Tls;
use unread::{Cord, Unread};

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
        let Some(address) = self.source(&mut stream, from).await else {
            return;
        };
        let peer = Peer::plain(address);
        let protocol = tokio::select! {
            protocol = spoken(&stream, self.place.limits()) => protocol,
            () = late(&mut self.draining) => None,
        };
        match protocol {
            Some(Protocol::Http1) => self.serve_http1(stream, Self::watched, peer).await,
            // Boxed, so that the many connections of HTTP/1 have no room for its state.
            Some(Protocol::Http2) => {
                let watched = |this: &Self, stream| {
                    let mut stream = this.watched(stream);
                    let cord = stream.cord();
                    (stream, cord)
                };
                Box::pin(self.serve_http2(stream, watched, peer)).await;
            }
            None => {}
        }
    }

    /// The address that counts for the connection, which what stands before all else may tell. None
    /// where the connection ends with that.
    async fn source(&mut self, stream: &mut TcpStream, from: SocketAddr) -> Option<IpAddr> {
        let from = from.ip().to_canonical();
        if !self.proxy_protocol {
            return Some(from);
        }
        tokio::select! {
            // Boxed, so that the many connections without it have no room for it.
            address = Box::pin(proxied::source(stream, &mut self.place, from)) => address,
            () = late(&mut self.draining) => None,
        }
    }

    /// The stream of a connection, which ends when its answers are not read.
    fn watched(&self, stream: TcpStream) -> Unread<TcpStream> {
        let unread_timeout = self.place.limits().unread_timeout;
        Unread::new(stream, unread_timeout, self.place.telemetry().clone())
    }

    /// What stands above the stream is made here: a future keeps room for what was moved into it.
    async fn serve_http1<T, S>(mut self, stream: T, over: impl FnOnce(&Self, T) -> S, peer: Peer)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let stream = over(&self, stream);
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
        let guard = Guard::new(stream, bounds, self.place.limits(), Arc::clone(&readings));
        let asked = Notify::new();
        let service = service_fn(|request| {
            asked.notify_one();
            answer_read(
                self.live.now(),
                Arc::clone(&readings),
                request,
                peer.clone(),
            )
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

    /// The same for HTTP/2; with the stream comes the cord of its socket.
    async fn serve_http2<T, S>(
        mut self,
        stream: T,
        over: impl FnOnce(&Self, T) -> (S, Cord),
        peer: Peer,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (stream, cord) = over(&self, stream);
        let telemetry = self.place.telemetry();
        let (frames, watch) = Frames::new(stream, self.place.limits());
        let asked = Notify::new();
        let service = service_fn(|request| {
            asked.notify_one();
            let (gateway, watch) = (self.live.now(), watch.clone());
            let peer = peer.clone();
            async move {
                let answer = answer(gateway, request, peer).await?;
                Ok::<_, Infallible>(answer.map(|body| watch.over(body.with_end_asked_for())))
            }
        });
        let connection = self
            .protocols
            .http2
            .serve_connection(TokioIo::new(frames), service);
        let connection = pin!(connection);
        let address = peer.address;
        let late = async {
            let late = watch.late().await;
            // The kernel is not to go on offering what nobody takes.
            cord.pull();
            late
        };
        tokio::select! {
            _ = drive(connection, &mut self.draining, &asked, watch.idle(Duration::ZERO)) => {}
            // It was told to end by then, and answers nothing.
            () = watch.idle(PONG) => {}
            late = late => {
                telemetry.connection_dropped(late.label());
                tracing::info!(%address, %late, "a connection was given up");
            }
        }
        if let Some(excess) = watch.excess() {
            telemetry.connection_dropped("excess");
            tracing::info!(%address, %excess, "a connection had too much of something");
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

/// The same for HTTP/1: if the guard and hyper have read the same request.
async fn answer_read(
    gateway: Arc<Gateway>,
    readings: Arc<Readings>,
    request: Request<Incoming>,
    peer: Peer,
) -> Result<Response<Answered>, Infallible> {
    let (read, answering) = readings.next(&request);
    let is_old = request.version() == Version::HTTP_10;
    let mut response = match read {
        Ok(()) => Box::pin(gateway.handle(request, peer)).await,
        Err(fault) => Box::pin(gateway.refuse(fault, peer)).await,
    };
    if is_old {
        // Nothing is read behind a request of HTTP/1.0, even if its caller asks for it.
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }
    Ok(response.map(|body| Answered::new(body, answering)))
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
