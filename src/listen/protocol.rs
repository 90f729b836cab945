//! HTTP/1.1, and HTTP/2 with prior knowledge, on one port.

use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper_util::rt::TokioTimer;

use super::streams::Streams;
use super::{Drain, Limits};

/// What is spoken with callers, and within which bounds.
pub(super) struct Protocols {
    pub(super) http1: http1::Builder,
    pub(super) http2: http2::Builder<Streams>,
}

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

impl Protocols {
    pub(super) fn new(drain: &Drain, limits: &Limits) -> Self {
        Self {
            http1: http1(),
            http2: http2(drain, limits),
        }
    }
}

fn http1() -> http1::Builder {
    let mut builder = http1::Builder::new();
    // No flattening of answers (`pipeline_flush`): a connection would keep a write buffer as large
    // as the largest piece of a body that it ever passed on. No timeout: the guard keeps the time.
    builder.header_read_timeout(None).max_buf_size(HEAD_LIMIT);
    builder
}

fn http2(drain: &Drain, limits: &Limits) -> http2::Builder<Streams> {
    let mut builder = http2::Builder::new(Streams::new(drain));
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(STREAMS * STREAM_WINDOW)
        .max_header_list_size(HEADER_LIST_LIMIT)
        .max_send_buf_size(SEND_BUFFER)
        // Silence is asked about before it has lasted too long, and must be answered by then.
        .keep_alive_interval(limits.idle_timeout * 3 / 4)
        .keep_alive_timeout(PONG.max(limits.idle_timeout / 4))
        // What `frames` bounds for a burst, these bound where a burst is read as a whole.
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(100);
    builder
}

/// The connection preface of HTTP/2 (RFC 9113, 3.4).
pub(super) const PREFACE: [u8; 24] = *b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The time that every caller has for the answer to a ping.
pub(super) const PONG: Duration = Duration::from_secs(5);

/// The most of an answer that waits for the caller to make room.
const SEND_BUFFER: usize = 64 * 1024;

/// The most requests under way on a connection of HTTP/2.
const STREAMS: u32 = 100;

/// The most bytes of a request body that are taken before anybody asks for them. A connection has
/// room for that of all its requests: bodies that wait for their console must not keep another from
/// coming, which would be taken for the caller's slowness.
const STREAM_WINDOW: u32 = 64 * 1024;

/// The most bytes of a request head that can be configured.
const HEAD_LIMIT: usize = 64 * 1024;

/// The same for HTTP/2, as its frames count it.
const HEADER_LIST_LIMIT: u32 = 64 * 1024;
