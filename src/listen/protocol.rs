//! HTTP/1.1, and HTTP/2 with prior knowledge, on one port.

use std::io;
use std::time::Duration;

use hyper_util::rt::TokioTimer;
use hyper_util::server::conn::auto::Builder;
use tokio::net::TcpStream;

use super::Drain;
use super::streams::Streams;

/// What is spoken with callers, and within which bounds.
pub(super) struct Protocols {
    http1: Builder<Streams>,
    http2: Builder<Streams>,
}

impl Protocols {
    pub(super) fn new(drain: &Drain) -> Self {
        Self {
            http1: builder(drain).http1_only(),
            http2: builder(drain).http2_only(),
        }
    }

    /// Waits for the first bytes of a connection and finds out what is spoken on it. `None` when
    /// they do not come, or not in time.
    ///
    /// Nothing is taken from the stream. The builder could find out by itself, but its first read
    /// is of a few bytes only, which makes hyper double the read buffer of every connection; and
    /// it would wait for them forever.
    pub(super) async fn of(&self, stream: &TcpStream) -> Option<&Builder<Streams>> {
        match tokio::time::timeout(IDLE, begins_http2(stream)).await {
            Ok(Ok(true)) => Some(&self.http2),
            Ok(Ok(false)) => Some(&self.http1),
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

fn builder(drain: &Drain) -> Builder<Streams> {
    let mut builder = Builder::new(Streams::new(drain));
    // No flattening of answers (`pipeline_flush`): a connection would keep a write buffer as large
    // as the largest piece of a body that it ever passed on.
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .max_buf_size(HEAD_LIMIT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(STREAMS * STREAM_WINDOW)
        .max_header_list_size(HEADER_LIST_LIMIT)
        .keep_alive_interval(IDLE)
        .max_pending_accept_reset_streams(20);
    builder
}

/// The start of the connection preface of HTTP/2.
const PREFACE: &[u8] = b"PRI ";

/// How long to wait for the rest of a preface that comes in pieces.
const PREFACE_PAUSE: Duration = Duration::from_millis(50);

/// The most time between requests of a connection, and for the head of one.
const IDLE: Duration = Duration::from_secs(75);

/// The most requests under way on a connection of HTTP/2.
const STREAMS: u32 = 100;

/// The most bytes of a request body that are taken before anybody asks for them. A connection has
/// room for that of all its requests: bodies that wait for their console must not keep another from
/// coming, which would be taken for the caller's slowness.
const STREAM_WINDOW: u32 = 64 * 1024;

/// The most bytes of a request head.
const HEAD_LIMIT: usize = 64 * 1024;

/// The same for HTTP/2, as its frames count it.
const HEADER_LIST_LIMIT: u32 = 64 * 1024;
