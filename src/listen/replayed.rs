//! A stream whose beginning has been looked at.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::time::timeout;

use super::Limits;
use super::protocol::{PREFACE, Protocol};

/// A stream that cannot be peeked at, and what was read of it to find out what is spoken on it. That
/// is read again.
#[derive(Debug)]
pub(super) struct Replayed<S> {
    stream: S,
    start: [u8; PREFACE.len()],
    read: usize,
    given: usize,
}

impl<S> Replayed<S> {
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            start: [0; PREFACE.len()],
            read: 0,
            given: 0,
        }
    }

    pub(super) fn get_mut(&mut self) -> &mut S {
        &mut self.stream
    }
}

impl<S: AsyncRead + Unpin> Replayed<S> {
    /// Waits for the first bytes and finds out what is spoken. `None` when they do not come, or not
    /// in time.
    pub(super) async fn spoken(&mut self, limits: &Limits) -> Option<Protocol> {
        if !matches!(timeout(limits.idle_timeout, self.more()).await, Ok(Ok(1..))) {
            return None;
        }
        let rest = async {
            loop {
                let start = self.start.get(..self.read).unwrap_or_default();
                if start == PREFACE {
                    return Some(Protocol::Http2);
                }
                if !PREFACE.starts_with(start) {
                    return Some(Protocol::Http1);
                }
                if !matches!(self.more().await, Ok(1..)) {
                    return None;
                }
            }
        };
        timeout(limits.head_timeout, rest).await.ok().flatten()
    }

    async fn more(&mut self) -> io::Result<usize> {
        let room = self.start.get_mut(self.read..).unwrap_or_default();
        let length = self.stream.read(room).await?;
        self.read += length;
        Ok(length)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Replayed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let left = this.start.get(this.given..this.read).unwrap_or_default();
        if left.is_empty() {
            return Pin::new(&mut this.stream).poll_read(context, buffer);
        }
        let length = left.len().min(buffer.remaining());
        buffer.put_slice(left.get(..length).unwrap_or_default());
        this.given += length;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Replayed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt as _, duplex};

    use super::*;

    async fn spoken(pieces: &[&[u8]]) -> (Option<Protocol>, Vec<u8>) {
        let (near, mut far) = duplex(1024);
        let mut replayed = Replayed::new(near);
        let sending = async {
            for piece in pieces {
                far.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let limits = Limits::default();
        let (protocol, ()) = tokio::join!(replayed.spoken(&limits), sending);
        drop(far);
        let mut all = Vec::new();
        replayed.read_to_end(&mut all).await.unwrap();
        (protocol, all)
    }

    #[tokio::test]
    async fn what_was_looked_at_is_read_again() {
        let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let read = spoken(&[head]).await;
        assert_eq!(read, (Some(Protocol::Http1), head.to_vec()));
        let read = spoken(&[b"PRI * HT", b"TP/2.0\r\n\r\nSM\r\n\r\n", b"more"]).await;
        assert_eq!(read.0, Some(Protocol::Http2));
        assert_eq!(read.1, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nmore");
        let read = spoken(&[b"P", b"UT /"]).await;
        assert_eq!(read, (Some(Protocol::Http1), b"PUT /".to_vec()));
    }

    #[tokio::test(start_paused = true)]
    async fn half_a_preface_is_nothing() {
        assert_eq!(spoken(&[b"PRI * H"]).await.0, None);
        assert_eq!(spoken(&[]).await.0, None);
    }
}
