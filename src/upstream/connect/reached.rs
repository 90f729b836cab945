//! A connection that was made.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use hyper_rustls::MaybeHttpsStream;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::upstream::tls::{Doubt, Late};

pub(super) type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;

/// A connection to a console.
#[derive(Debug)]
pub(in crate::upstream) struct Reached {
    stream: Stream,
    /// Whether it went to another address than the pool's: then it is used once.
    stray: bool,
    /// Until the first byte comes: whether the console believes the gateway's certificate.
    doubt: Option<Doubt>,
}

impl Reached {
    pub(super) fn new(stream: Stream, doubt: Option<Doubt>) -> Self {
        Self {
            stream,
            stray: false,
            doubt,
        }
    }

    pub(super) fn astray(mut self, stray: bool) -> Self {
        self.stray = stray;
        self
    }

    /// Reads while there is doubt.
    fn poll_first_read(
        &mut self,
        context: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut space = [MaybeUninit::uninit(); 1024];
        let length = buffer.remaining().min(space.len());
        let space = space.get_mut(..length).unwrap_or_default();
        let mut first = ReadBuf::uninit(space);
        let read = ready!(Pin::new(&mut self.stream).poll_read(context, first.unfilled()));
        let Some(doubt) = &self.doubt else {
            return Poll::Ready(read);
        };
        match &read {
            Ok(()) if first.filled().is_empty() => {
                doubt.resolve(&io::ErrorKind::UnexpectedEof.into());
            }
            Ok(()) => {
                buffer.put_slice(first.filled());
                self.doubt = None;
            }
            Err(error) => doubt.resolve(error),
        }
        Poll::Ready(read)
    }

    /// What an error of writing means while there is doubt.
    fn note<T>(&self, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let (Poll::Ready(Err(error)), Some(doubt)) = (&written, &self.doubt) {
            doubt.resolve(error);
        }
        written
    }

    /// Whether HTTP/2 was agreed on.
    pub(in crate::upstream) fn is_http2(&self) -> bool {
        self.stream.connected().is_negotiated_h2()
    }

    /// Whether it is for one request only.
    pub(in crate::upstream) fn is_stray(&self) -> bool {
        self.stray
    }

    /// Where it will be found why TLS failed, as long as the console may still say so.
    pub(in crate::upstream) fn late(&self) -> Option<Late> {
        self.doubt.as_ref().map(Doubt::late)
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
        match &self.doubt {
            Some(doubt) => connected.extra(doubt.late()),
            None => connected,
        }
    }
}

impl Read for Reached {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.doubt.is_some() {
            return self.poll_first_read(context, buffer);
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl Write for Reached {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.note(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.note(flushed)
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
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, buffers);
        self.note(written)
    }
}

const CLOSING: Duration = Duration::from_secs(1);
