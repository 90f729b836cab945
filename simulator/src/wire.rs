//! The connection under hyper, which can be told to send what is no HTTP.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What a garbling connection sends in place of its answer.
const GARBAGE: &[u8] = b"\x00\xff\x16\x03\x01 this is no HTTP \r\n\r\n\x7f\x00";

/// Tells a connection to send garbage.
#[derive(Clone, Debug, Default)]
pub(crate) struct Garbler(Arc<AtomicBool>);

impl Garbler {
    pub(crate) fn begin(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn begun(&self) -> bool {
        self.0.load(Ordering::Relaxed)
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
    fn poll_garbage(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        while let Some(rest) = GARBAGE
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
        if self.garbler.begun() {
            return self.poll_garbage(context);
        }
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.garbler.begun() {
            return self.poll_garbage(context);
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
