//! A stream whose beginning has been looked at, and what is spoken on it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::time::{Instant, timeout, timeout_at};

use super::Limits;
use super::protocol::{PREFACE, Protocol};

/// What is spoken on a connection, and since when: its first byte is that of a head.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Spoken {
    pub(super) protocol: Protocol,
    pub(super) since: Instant,
}

/// A stream, and what was read of it to find out what is spoken on it. That is read again.
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

    /// The same over another stream, made of this one's.
    pub(super) fn map<T>(self, over: impl FnOnce(S) -> T) -> Replayed<T> {
        Replayed {
            stream: over(self.stream),
            start: self.start,
            read: self.read,
            given: self.given,
        }
    }
}

impl<S: AsyncRead + Unpin> Replayed<S> {
    /// Waits for the first bytes and finds out what is spoken. `None` when none come in time.
    ///
    /// HTTP/2 begins with its preface, as no request of HTTP/1 does that is served. Whatever else
    /// begins, and a preface that does not come to its end within the time of a head, is HTTP/1: there
    /// it is refused like any other head that is malformed or too slow.
    pub(super) async fn spoken(&mut self, limits: &Limits) -> Option<Spoken> {
        if !matches!(timeout(limits.idle_timeout, self.more()).await, Ok(Ok(1..))) {
            return None;
        }
        let since = Instant::now();
        let due = since + limits.head_timeout;
        let protocol = loop {
            let start = self.start.get(..self.read).unwrap_or_default();
            if start == PREFACE {
                break Protocol::Http2;
            }
            let may_be = PREFACE.starts_with(start);
            if !may_be || !matches!(timeout_at(due, self.more()).await, Ok(Ok(1..))) {
                break Protocol::Http1;
            }
        };
        Some(Spoken { protocol, since })
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
        if this.given == this.read {
            // A head that came in one piece is to stay in one. What there is but an answer to that
            // shows again.
            drop(Pin::new(&mut this.stream).poll_read(context, buffer));
        }
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
    use std::time::Duration;

    use tokio::io::{AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::time::sleep;

    use super::*;

    /// What is spoken where these pieces come a second apart, and how long it took to know.
    async fn spoken(pieces: &[&[u8]]) -> (Option<Spoken>, Duration, Replayed<DuplexStream>) {
        let (near, mut far) = duplex(1024);
        let mut replayed = Replayed::new(near);
        let pieces: Vec<_> = pieces.iter().map(|piece| piece.to_vec()).collect();
        tokio::spawn(async move {
            for piece in pieces {
                far.write_all(&piece).await.unwrap();
                sleep(Duration::from_secs(1)).await;
            }
            sleep(Duration::from_secs(1000)).await;
        });
        let began = Instant::now();
        let spoken = replayed.spoken(&Limits::default()).await;
        (spoken, began.elapsed(), replayed)
    }

    async fn rest(mut replayed: Replayed<DuplexStream>) -> Vec<u8> {
        let mut all = Vec::new();
        replayed.read_to_end(&mut all).await.unwrap();
        all
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_looked_at_is_read_again() {
        let head = b"GET /api/v3/users/me HTTP/1.1\r\nHost: a\r\n\r\n";
        let (read, took, mut replayed) = spoken(&[head]).await;
        assert_eq!(read.unwrap().protocol, Protocol::Http1);
        assert_eq!(took, Duration::ZERO);
        let mut at_once = [0; 100];
        let count = replayed.read(&mut at_once).await.unwrap();
        assert_eq!(at_once.get(..count), Some(&head[..]), "in one piece");

        let pieces: [&[u8]; 3] = [b"PRI * HT", b"TP/2.0\r\n\r\nSM\r\n\r\n", b"more"];
        let (read, _, replayed) = spoken(&pieces).await;
        assert_eq!(read.unwrap().protocol, Protocol::Http2);
        assert_eq!(rest(replayed).await, pieces.concat());
        let (read, took, replayed) = spoken(&[b"P", b"UT /"]).await;
        assert_eq!(read.unwrap().protocol, Protocol::Http1);
        assert_eq!(took, Duration::from_secs(1), "as soon as it can be told");
        assert_eq!(rest(replayed).await, b"PUT /");
    }

    #[tokio::test(start_paused = true)]
    async fn a_preface_without_its_end_is_a_head_without_its_end() {
        let limits = Limits::default();
        for pieces in [&[&b"P"[..]][..], &[b"PRI * H"], &[b"P", b"R", b"I"]] {
            let (read, took, mut replayed) = spoken(pieces).await;
            let read = read.unwrap();
            assert_eq!(read.protocol, Protocol::Http1);
            // Its time is over with that.
            assert_eq!(took, limits.head_timeout);
            assert_eq!(read.since + limits.head_timeout, Instant::now());
            let mut start = vec![0; pieces.concat().len()];
            replayed.read_exact(&mut start).await.unwrap();
            assert_eq!(start, pieces.concat());
        }
        let (read, took, _) = spoken(&[]).await;
        assert_eq!((read, took), (None, limits.idle_timeout));
    }
}
