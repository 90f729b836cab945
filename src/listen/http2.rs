//! Connections of HTTP/2.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::frames::Frames;
use super::protocol::PONG;
use super::unread::Cord;
use super::{Connection, answer, drive};
use crate::client::Peer;

impl Connection {
    /// Serves a connection of HTTP/2; with the stream comes the cord of its socket.
    pub(super) async fn serve_http2<T, S>(
        mut self,
        stream: T,
        over: impl FnOnce(&Self, T) -> (S, Cord),
        since: Instant,
        peer: Peer,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (stream, cord) = over(&self, stream);
        let telemetry = self.place.telemetry();
        let (frames, watch) = Frames::new(stream, self.place.limits(), since);
        let asked = Notify::new();
        let peer = Peer {
            credit: Some(Arc::default()),
            ..peer
        };
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
