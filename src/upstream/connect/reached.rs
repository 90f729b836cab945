//! A connection that was made.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::upstream::tls::{Doubt, Late};

/// A connection to a console.
#[derive(Debug)]
pub(in crate::upstream) struct Reached {
    stream: Stream,
    /// Whether it went to another address than the pool's: then it is used once.
    stray: bool,
    /// Until the first byte comes: whether the console believes the gateway's certificate.
    doubt: Option<Doubt>,
}

#[derive(Debug)]
pub(super) enum Stream {
    Plain(TcpStream),
    Secured(Box<TlsStream<TcpStream>>),
}

/// Calls a method of the stream, whichever it is.
macro_rules! stream {
    ($self:ident.$method:ident($($argument:expr),*)) => {
        match &mut $self.stream {
            Stream::Plain(stream) => Pin::new(stream).$method($($argument),*),
            Stream::Secured(stream) => Pin::new(stream).$method($($argument),*),
        }
    };
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

    /// Sees whether what was read ends the doubt.
    fn note_read(&mut self, read: &io::Result<()>, is_empty: bool) {
        let Some(doubt) = &self.doubt else {
            return;
        };
        match read {
            Ok(()) if is_empty => doubt.resolve(&io::ErrorKind::UnexpectedEof.into()),
            Ok(()) => self.doubt = None,
            Err(error) => doubt.resolve(error),
        }
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
        match &self.stream {
            Stream::Plain(_) => false,
            Stream::Secured(stream) => stream.get_ref().1.alpn_protocol() == Some(HTTP2),
        }
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
        let closing = poll_fn(|context| stream!(self.poll_shutdown(context)));
        drop(tokio::time::timeout(CLOSING, closing).await);
    }
}

impl Connection for Reached {
    fn connected(&self) -> Connected {
        let mut connected = Connected::new();
        if self.is_http2() {
            connected = connected.negotiated_h2();
        }
        if self.stray {
            connected.poison();
        }
        match &self.doubt {
            Some(doubt) => connected.extra(doubt.late()),
            None => connected,
        }
    }
}

impl AsyncRead for Reached {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = ready!(stream!(self.poll_read(context, buffer)));
        if self.doubt.is_some() {
            self.note_read(&read, buffer.filled().len() == before);
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for Reached {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = stream!(self.poll_write(context, bytes));
        self.note(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = stream!(self.poll_flush(context));
        self.note(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        stream!(self.poll_shutdown(context))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Secured(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = stream!(self.poll_write_vectored(context, buffers));
        self.note(written)
    }
}

/// HTTP/2 as ALPN names it.
const HTTP2: &[u8] = b"h2";

const CLOSING: Duration = Duration::from_secs(1);
