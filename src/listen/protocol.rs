//! HTTP/1.1, and HTTP/2 with prior knowledge, on one port.

use std::io;
use std::time::Duration;

use hyper_util::rt::TokioTimer;
use hyper_util::server::conn::auto::Builder;
use tokio::net::TcpStream;

use super::streams::Streams;
use super::{Drain, Times};

/// What is spoken with callers, and within which bounds.
pub(super) struct Protocols {
    pub(super) http1: Builder<Streams>,
    pub(super) http2: Builder<Streams>,
    times: Times,
}

/// What a caller speaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Spoken {
    Http1,
    Http2,
}

impl Protocols {
    pub(super) fn new(drain: &Drain, times: Times) -> Self {
        Self {
            http1: builder(drain, times).http1_only(),
            http2: builder(drain, times).http2_only(),
            times,
        }
    }

    /// Waits for the first bytes of a connection and finds out what is spoken on it. `None` when
    /// they do not come, or not in time.
    ///
    /// Nothing is taken from the stream. The builder could find out by itself, but its first read
    /// is of a few bytes only, which makes hyper double the read buffer of every connection; and
    /// it would wait for them forever.
    pub(super) async fn of(&self, stream: &TcpStream) -> Option<Spoken> {
        let first = tokio::time::timeout(self.times.idle, stream.readable());
        first.await.ok()?.ok()?;
        match tokio::time::timeout(self.times.head, begins_http2(stream)).await {
            Ok(Ok(true)) => Some(Spoken::Http2),
            Ok(Ok(false)) => Some(Spoken::Http1),
            Ok(Err(_)) | Err(_) => None,
        }
    }
}

/// Whether a connection begins as HTTP/2 does with prior knowledge, which is how no request of
/// HTTP/1 begins that is served.
async fn begins_http2(stream: &TcpStream) -> io::Result<bool> {
    let mut buffer = [0; PREFACE.len()];
    loop {
        let length = stream.peek(&mut buffer).await?;
        let start = buffer.get(..length).unwrap_or_default();
        if start == PREFACE {
            return Ok(true);
        }
        if start.is_empty() || !PREFACE.starts_with(start) {
            return Ok(false);
        }
        // What was seen stays readable, so that there is no event to wait for.
        tokio::time::sleep(PREFACE_PAUSE).await;
    }
}

fn builder(drain: &Drain, times: Times) -> Builder<Streams> {
    let mut builder = Builder::new(Streams::new(drain));
    // No flattening of answers (`pipeline_flush`): a connection would keep a write buffer as large
    // as the largest piece of a body that it ever passed on.
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(times.idle)
        .max_buf_size(HEAD_LIMIT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEADER_LIST_LIMIT)
        .max_send_buf_size(SEND_BUFFER)
        // Silence is asked about before it has lasted too long, and must be answered by then.
        .keep_alive_interval(times.idle * 3 / 4)
        .keep_alive_timeout(times.idle / 4)
        // What `frames` bounds for a burst, these bound where a burst is read as a whole.
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(100);
    builder
}

/// The start of the connection preface of HTTP/2.
const PREFACE: &[u8] = b"PRI ";

/// How long to wait for the rest of a preface that comes in pieces.
const PREFACE_PAUSE: Duration = Duration::from_millis(50);

/// The most requests of a connection at once.
const STREAMS: u32 = 100;

/// The most of an answer that waits for the caller to make room.
const SEND_BUFFER: usize = 64 * 1024;

/// The most bytes of a request head.
const HEAD_LIMIT: usize = 64 * 1024;

/// The same for HTTP/2, as its frames count it.
const HEADER_LIST_LIMIT: u32 = 64 * 1024;
