//! The connection under hyper, which can be told to send what is no HTTP.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What is no answer.
pub(crate) const GARBAGE: &[u8] = b"\x00\xff\x16\x03\x01 this is no HTTP \r\n\r\n\x7f\x00";

/// An answer that would end with its connection.
pub(crate) const UNENDED: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{\"data\":";

/// Tells a connection what to send in place of its answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Garbler(Arc<OnceLock<&'static [u8]>>);

impl Garbler {
    pub(crate) fn begin(&self, bytes: &'static [u8]) {
        self.0.get_or_init(|| bytes);
    }

    fn begun(&self) -> Option<&'static [u8]> {
        self.0.get().copied()
    }
}

/// A connection that sends what hyper writes until it is told to garble.
#[derive(Debug)]
pub(crate) struct Wire<T> {
    inner: T,
    garbler: Garbler,
    garbage_sent: usize,
}

impl<T> Wire<T> {
    pub(crate) fn new(inner: T, garbler: Garbler) -> Self {
        Self {
            inner,
            garbler,
            garbage_sent: 0,
        }
    }
}

impl<T: AsyncWrite + Unpin> Wire<T> {
    /// Sends the garbage and then breaks, so that hyper gives the connection up.
    fn poll_garbage(
        &mut self,
        garbage: &[u8],
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        while let Some(rest) = garbage
            .get(self.garbage_sent..)
            .filter(|rest| !rest.is_empty())
        {
            self.garbage_sent += ready!(Pin::new(&mut self.inner).poll_write(context, rest))?;
        }
        ready!(Pin::new(&mut self.inner).poll_flush(context))?;
        Poll::Ready(Err(io::Error::from(io::ErrorKind::BrokenPipe)))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Wire<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Wire<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Some(garbage) = self.garbler.begun() {
            return self.poll_garbage(garbage, context);
        }
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(garbage) = self.garbler.begun() {
            return self.poll_garbage(garbage, context);
        }
        Pin::new(&mut self.inner).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
