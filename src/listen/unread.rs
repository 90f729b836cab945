//! The connection of a caller that must take what it is sent.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use crate::telemetry::Telemetry;

/// A stream that fails when its other end takes nothing of what is written for too long. Whoever
/// takes a little in that time keeps the connection.
///
/// The answer that was being written is dropped with the connection, and with it the place at the
/// console and in the log that a caller would keep who asks and does not read.
pub(crate) struct Unread<S> {
    stream: S,
    timeout: Duration,
    telemetry: Telemetry,
    /// What waits for the other end now.
    waits: Option<Waits>,
    /// Made when something first waits.
    timer: Option<Pin<Box<Sleep>>>,
    /// What is done with the stream when it fails.
    cut: fn(&S),
    cord: Option<Cord>,
}

/// Has a stream end without waiting for what was written to it, once it is dropped.
#[derive(Clone, Debug, Default)]
pub(super) struct Cord(Arc<AtomicBool>);

impl Cord {
    pub(super) fn pull(&self) {
        self.0.store(true, Relaxed);
    }

    /// Takes that back.
    pub(super) fn slacken(&self) {
        self.0.store(false, Relaxed);
    }
}

impl<S> Drop for Unread<S> {
    fn drop(&mut self) {
        if self.cord.as_ref().is_some_and(|cord| cord.0.load(Relaxed)) {
            (self.cut)(&self.stream);
        }
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Waits {
    Write,
    Flush,
}

impl Unread<TcpStream> {
    /// A connection that is reset after `timeout` without progress.
    pub(super) fn new(stream: TcpStream, timeout: Duration, telemetry: Telemetry) -> Self {
        // The kernel is not to go on offering what nobody takes.
        let cut = |stream: &TcpStream| drop(stream.set_zero_linger());
        Self::with(stream, timeout, telemetry, cut)
    }
}

impl<S> Unread<S> {
    /// A stream that fails after `timeout` without progress.
    pub(crate) fn failing(stream: S, timeout: Duration, telemetry: Telemetry) -> Self {
        Self::with(stream, timeout, telemetry, |_| {})
    }

    fn with(stream: S, timeout: Duration, telemetry: Telemetry, cut: fn(&S)) -> Self {
        Self {
            stream,
            timeout,
            telemetry,
            waits: None,
            timer: None,
            cut,
            cord: None,
        }
    }

    /// The cord of the stream, for whoever knows of other reasons to give it up.
    pub(super) fn cord(&mut self) -> Cord {
        self.cord.get_or_insert_default().clone()
    }

    /// Fails in place of waiting any longer.
    fn wait<T>(&mut self, what: Waits, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        let timeout = self.timeout;
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        if self.waits.is_none() {
            timer.as_mut().reset(Instant::now() + timeout);
        }
        self.waits = Some(what);
        ready!(timer.as_mut().poll(context));
        self.waits = None;
        self.telemetry.connection_dropped("unread");
        (self.cut)(&self.stream);
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the caller does not read its answers",
        )))
    }

    fn written(
        &mut self,
        polled: Poll<io::Result<usize>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if polled.is_pending() {
            return self.wait(Waits::Write, context);
        }
        self.waits = None;
        polled
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Unread<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Unread<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(polled, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.written(polled, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(context);
        if polled.is_pending() {
            return self.wait(Waits::Flush, context);
        }
        // A socket has nothing to flush: that says nothing about a write that waits.
        if self.waits == Some(Waits::Flush) {
            self.waits = None;
        }
        polled
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(10);

    fn pair() -> (Unread<DuplexStream>, DuplexStream) {
        let (near, far) = duplex(64);
        let telemetry = Telemetry::default();
        (Unread::failing(near, TIMEOUT, telemetry), far)
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_given_up_in_time() {
        let (mut near, _far) = pair();
        near.write_all(&[0; 64]).await.unwrap();
        assert!(near.timer.is_none(), "nothing has waited yet");
        let started = Instant::now();
        let error = near.write_all(&[0; 1]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(started.elapsed(), TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_a_little_from_time_to_time_gets_it_all() {
        let (mut near, mut far) = pair();
        let writing = tokio::spawn(async move { near.write_all(&[1; 1000]).await });
        let started = Instant::now();
        let mut got = 0;
        while got < 1000 {
            tokio::time::sleep(TIMEOUT - Duration::from_secs(1)).await;
            got += far.read(&mut [0; 50]).await.unwrap();
        }
        assert!(started.elapsed() > 10 * TIMEOUT);
        writing.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_nothing_is_written_does_not_count() {
        let (mut near, mut far) = pair();
        for _ in 0..3 {
            near.write_all(&[0; 64]).await.unwrap();
            tokio::time::sleep(3 * TIMEOUT).await;
            far.read_exact(&mut [0; 32]).await.unwrap();
            near.write_all(&[0; 32]).await.unwrap();
            let waiting = tokio::time::timeout(TIMEOUT / 2, near.write_all(&[0; 1])).await;
            assert!(waiting.is_err(), "it waits for the other end");
            far.read_exact(&mut [0; 64]).await.unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_flush_that_has_nothing_to_do_is_no_progress() {
        let (mut near, _far) = pair();
        near.write_all(&[0; 64]).await.unwrap();
        let started = Instant::now();
        loop {
            let write = tokio::time::timeout(Duration::from_secs(1), near.write(&[0; 1])).await;
            match write {
                Err(_) => near.flush().await.unwrap(),
                Ok(written) => {
                    assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
                    break;
                }
            }
        }
        assert_eq!(started.elapsed(), TIMEOUT);
    }
}
