//! Connections with TLS.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::time::Instant;

use super::protocol::Protocol;
use super::replayed::Spoken;
use super::tls::{Secured, Tls, shake};
use super::{Connection, late, send_at_once};
use crate::client::Peer;

impl Connection {
    /// Serves a connection with TLS.
    pub(super) async fn secure(mut self, mut stream: TcpStream, from: SocketAddr, tls: Arc<Tls>) {
        send_at_once(&stream);
        let Some(peer) = self.source(&mut stream, from).await else {
            return;
        };
        let socket = self.watched(stream);
        let (limits, telemetry) = (self.place.limits(), self.place.telemetry());
        // Boxed, so that nothing of it is kept for as long as the connection lives.
        let shaken = tokio::select! {
            shaken = Box::pin(shake(&tls, socket, peer.address, limits, telemetry)) => shaken,
            () = late(&mut self.draining) => None,
        };
        drop(tls);
        let Some(Secured {
            mut stream,
            protocol,
            certificate,
        }) = shaken
        else {
            return;
        };
        let peer = Peer {
            scheme: "https",
            certificate,
            ..peer
        };
        let spoken = match protocol {
            Some(protocol) => Some(Spoken {
                protocol,
                since: Instant::now(),
            }),
            None => tokio::select! {
                spoken = stream.spoken(self.place.limits()) => spoken,
                () = late(&mut self.draining) => None,
            },
        };
        let Some(Spoken { protocol, since }) = spoken else {
            return;
        };
        let cord = stream.get_mut().get_mut().0.cord();
        let with_cord = |_: &Self, stream| (stream, cord);
        match protocol {
            Protocol::Http1 => self.serve_http1(stream, with_cord, since, peer).await,
            Protocol::Http2 => Box::pin(self.serve_http2(stream, with_cord, since, peer)).await,
        }
    }
}
