//! Sockets: accepting, TLS, HTTP/1.1 and HTTP/2.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::Shared;
use crate::settings::Protocols;
use crate::visit::{self, Peer};
use crate::wire::{Garbler, Wire};

/// How long accepting rests after it has failed, as it does when there are no descriptors left.
const REST: Duration = Duration::from_millis(10);

/// Accepts connections until it is told to stop; then, and when it is dropped, it closes them all.
pub(crate) async fn serve(
    listener: TcpListener,
    shared: Arc<Shared>,
    tls: Option<TlsAcceptor>,
    cut: watch::Receiver<()>,
    mut stop: watch::Receiver<()>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let open = Open::new(shared.clone(), peer.ip());
                    connections.spawn(connection(stream, open, tls.clone(), cut.clone()));
                }
                Err(_) => tokio::time::sleep(REST).await,
            },
            Some(_) = connections.join_next() => {}
            _ = stop.changed() => break,
        }
    }
    drop(listener);
    connections.shutdown().await;
}

async fn connection(
    stream: TcpStream,
    open: Open,
    tls: Option<TlsAcceptor>,
    mut cut: watch::Receiver<()>,
) {
    cut.mark_unchanged();
    // Without it only latencies change; the connection works all the same.
    stream.set_nodelay(true).unwrap_or_default();
    let spoken = async {
        match tls {
            None => speak(stream, &open).await,
            Some(tls) => {
                if let Ok(stream) = tls.accept(stream).await {
                    speak(stream, &open).await;
                }
            }
        }
    };
    tokio::select! {
        () = spoken => {}
        _ = cut.changed() => {}
    }
}

async fn speak<T>(stream: T, open: &Open)
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let garbler = Garbler::default();
    let wire = TokioIo::new(Wire::new(stream, garbler.clone()));
    let peer = open.peer;
    let shared = &open.shared;
    let service = service_fn(move |request| {
        let shared = shared.clone();
        let garbler = garbler.clone();
        async move { visit::answer(&shared, peer, &garbler, request).await }
    });
    let builder = Builder::new(TokioExecutor::new());
    let builder = match open.shared.switches.protocols {
        Protocols::Both => builder,
        Protocols::Http1 => builder.http1_only(),
        Protocols::Http2 => builder.http2_only(),
    };
    // How a connection ends is the client's business, or a fault's.
    builder
        .serve_connection(wire, service)
        .await
        .unwrap_or_default();
}

/// A connection that counts as open.
struct Open {
    shared: Arc<Shared>,
    peer: Peer,
}

impl Open {
    fn new(shared: Arc<Shared>, address: IpAddr) -> Self {
        let connection = shared.tally.connect();
        let peer = Peer {
            connection,
            address,
        };
        Self { shared, peer }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.shared.tally.disconnect();
    }
}
