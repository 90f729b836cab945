//! Sockets, connections and their end.

mod drain;
mod frames;
mod protocol;
mod socket;
mod streams;
mod times;

pub use drain::{Drain, Draining};
pub use socket::{BindError, take_or_bind};
pub use times::Times;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto::{Builder, HttpServerConnExec};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::gateway::{AnswerBody, Gateway, Peer};
use crate::telemetry::ConnectionGuard;

use frames::Frames;
use protocol::{Protocols, Spoken};
use streams::Streams;

/// Serves every connection of a listener until the drain begins. Connections go on after that,
/// each until its last request is answered.
pub async fn serve(listener: TcpListener, gateway: Arc<Gateway>, drain: &Drain) {
    serve_within(listener, gateway, drain, Times::default()).await;
}

/// The same within other times.
pub async fn serve_within(
    listener: TcpListener,
    gateway: Arc<Gateway>,
    drain: &Drain,
    times: Times,
) {
    let protocols = Arc::new(Protocols::new(drain, times));
    let mut stop = drain.watch();
    let mut complained: Option<Instant> = None;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.begun() => return,
        };
        match accepted {
            Ok((stream, from)) => {
                let guard = gateway.telemetry.connection();
                let connection = Connection {
                    gateway: Arc::clone(&gateway),
                    protocols: Arc::clone(&protocols),
                    draining: drain.watch(),
                    times,
                    _open: guard,
                };
                tokio::spawn(connection.serve(stream, from));
            }
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
    gateway: Arc<Gateway>,
    protocols: Arc<Protocols>,
    draining: Draining,
    times: Times,
    _open: ConnectionGuard,
}

impl Connection {
    async fn serve(mut self, stream: TcpStream, from: SocketAddr) {
        // Without it small answers wait for the caller's acknowledgement.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
        let peer = Peer {
            address: from.ip().to_canonical(),
            scheme: "http",
        };
        let spoken = tokio::select! {
            spoken = self.protocols.of(&stream) => spoken,
            () = late(&mut self.draining) => None,
        };
        match spoken {
            None => {}
            Some(Spoken::Http1) => self.serve_http1(stream, peer).await,
            // Boxed, as the other has less to hold.
            Some(Spoken::Http2) => Box::pin(self.serve_http2(stream, peer)).await,
        }
    }

    async fn serve_http1(mut self, stream: TcpStream, peer: Peer) {
        let asked = Notify::new();
        let (protocols, gateway) = (Arc::clone(&self.protocols), Arc::clone(&self.gateway));
        let service = service_fn(|request| {
            asked.notify_one();
            answer(Arc::clone(&gateway), request, peer)
        });
        self.run(&protocols.http1, stream, service, &asked).await;
    }

    async fn serve_http2(mut self, stream: TcpStream, peer: Peer) {
        let asked = Notify::new();
        let (protocols, gateway) = (Arc::clone(&self.protocols), Arc::clone(&self.gateway));
        let (frames, watch) = Frames::new(stream, self.times);
        let service = service_fn(|request| {
            asked.notify_one();
            let (gateway, watch) = (Arc::clone(&gateway), watch.clone());
            async move {
                let answer = answer(gateway, request, peer).await?;
                Ok::<_, Infallible>(answer.map(|body| watch.over(body.with_end_asked_for())))
            }
        });
        let address = peer.address;
        tokio::select! {
            () = self.run(&protocols.http2, frames, service, &asked) => {}
            late = watch.late() => tracing::info!(%address, %late, "a connection was given up"),
        }
        if let Some(excess) = watch.excess() {
            tracing::info!(%address, %excess, "a connection had too much of something");
        }
    }

    /// Serves a connection to its end, or to that of the drain.
    async fn run<I, S, B>(
        &mut self,
        protocol: &Builder<Streams>,
        stream: I,
        service: S,
        asked: &Notify,
    ) where
        I: AsyncRead + AsyncWrite + Unpin + 'static,
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
        S::Future: 'static,
        B: Body + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
        Streams: HttpServerConnExec<S::Future, B>,
    {
        let mut connection = pin!(protocol.serve_connection(TokioIo::new(stream), service));
        let end = async {
            self.draining.begun().await;
            // Who has only just connected has a request under way: a new connection that is closed
            // without a word is a failure to its caller, unlike one that lay idle.
            drop(tokio::time::timeout(FIRST_REQUEST, asked.notified()).await);
        };
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = end => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = connection => ended,
                    () = self.draining.cut() => return,
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended with an error");
        }
    }
}

/// Boxed, so that a connection that waits for its next request holds no memory for one.
async fn answer(
    gateway: Arc<Gateway>,
    request: Request<Incoming>,
    peer: Peer,
) -> Result<Response<AnswerBody>, Infallible> {
    Ok(Box::pin(gateway.handle(request, peer)).await)
}

/// Returns when a connection on which nothing has come yet may be closed by a drain.
async fn late(draining: &mut Draining) {
    draining.begun().await;
    tokio::time::sleep(FIRST_REQUEST).await;
}

/// The most time that a drain waits for the first request of a connection.
const FIRST_REQUEST: Duration = Duration::from_secs(1);

/// How often that is logged.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);

/// How long to wait when no connection can be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
