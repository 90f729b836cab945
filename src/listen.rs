//! Sockets, connections and their end.

mod drain;
mod socket;
mod streams;

pub use drain::{Drain, Draining};
pub use socket::{BindError, take_or_bind};

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::gateway::{AnswerBody, Gateway, Peer};
use crate::telemetry::ConnectionGuard;

use streams::Streams;

/// Serves every connection of a listener until the drain begins. Connections go on after that,
/// each until its last request is answered.
pub async fn serve(listener: TcpListener, gateway: Arc<Gateway>, drain: &Drain) {
    let protocol = Arc::new(protocol(drain));
    let mut stop = drain.watch();
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
                    protocol: Arc::clone(&protocol),
                    draining: drain.watch(),
                    _open: guard,
                };
                tokio::spawn(connection.serve(stream, from));
            }
            // Out of descriptors, most often: the connections that are there must end first.
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

struct Connection {
    gateway: Arc<Gateway>,
    protocol: Arc<auto::Builder<Streams>>,
    draining: Draining,
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
        let gateway = Arc::clone(&self.gateway);
        let asked = Notify::new();
        let service = service_fn(|request| {
            asked.notify_one();
            answer(Arc::clone(&gateway), request, peer)
        });
        let mut connection = pin!(
            self.protocol
                .serve_connection(TokioIo::new(stream), service)
        );
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

/// HTTP/1.1, and HTTP/2 with prior knowledge, on one port.
fn protocol(drain: &Drain) -> auto::Builder<Streams> {
    let mut builder = auto::Builder::new(Streams::new(drain));
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .max_buf_size(HEAD_LIMIT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(100)
        .max_header_list_size(HEADER_LIST_LIMIT)
        .keep_alive_interval(IDLE)
        .max_pending_accept_reset_streams(20);
    builder
}

/// The most time between requests of a connection, and for the head of one.
const IDLE: Duration = Duration::from_secs(75);

/// The most time that a drain waits for the first request of a connection.
const FIRST_REQUEST: Duration = Duration::from_secs(1);

/// How long to wait when no connection can be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The most bytes of a request head.
const HEAD_LIMIT: usize = 64 * 1024;

/// The same for HTTP/2, as its frames count it.
const HEADER_LIST_LIMIT: u32 = 64 * 1024;
