//! A connection that was made.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::MaybeHttpsStream;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

pub(super) type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;

/// A connection to a console.
#[derive(Debug)]
pub(in crate::upstream) struct Reached {
    stream: Stream,
    /// Whether it went to another address than the pool's: then it is used once.
    stray: bool,
}

impl Reached {
    pub(super) fn new(stream: Stream, stray: bool) -> Self {
        Self { stream, stray }
    }

    /// Whether HTTP/2 was agreed on.
    pub(in crate::upstream) fn is_http2(&self) -> bool {
        self.stream.connected().is_negotiated_h2()
    }

    /// Whether it is for one request only.
    pub(in crate::upstream) fn is_stray(&self) -> bool {
        self.stray
    }

    /// Closes it in good order, so that the other side need not complain of it.
    pub(in crate::upstream) async fn close(mut self) {
        let closing = poll_fn(|context| Pin::new(&mut self.stream).poll_shutdown(context));
        drop(tokio::time::timeout(CLOSING, closing).await);
    }
}

impl Connection for Reached {
    fn connected(&self) -> Connected {
        let connected = self.stream.connected();
        if self.stray {
            connected.poison();
        }
        connected
    }
}

impl Read for Reached {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl Write for Reached {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }
}

const CLOSING: Duration = Duration::from_secs(1);
