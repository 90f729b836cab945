//! The body of a request, noted while it is read.

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use crate::answer::{ApiError, ErrorKind};
use crate::seen::Record;

/// The most that an operation of the API takes, in bytes.
pub(crate) const OPERATION_LIMIT: usize = 1024 * 1024;

/// Where a body comes from.
#[derive(Debug)]
enum Source {
    Connection(Incoming),
    /// It was read before.
    Memory(Bytes),
}

/// The body of a request.
#[derive(Debug)]
pub(crate) struct Inbound {
    source: Source,
    record: Option<Record>,
    length: u64,
    over: bool,
}

impl Inbound {
    pub(crate) fn new(incoming: Incoming, record: Option<Record>) -> Self {
        let over = incoming.is_end_stream();
        let mut inbound = Self {
            over,
            source: Source::Connection(incoming),
            record,
            length: 0,
        };
        if over {
            inbound.finish();
        }
        inbound
    }

    /// Makes a body of what was read before.
    pub(crate) fn of(bytes: Bytes) -> Self {
        Self {
            over: bytes.is_empty(),
            source: Source::Memory(bytes),
            record: None,
            length: 0,
        }
    }

    /// Returns how much has been read, in bytes.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Returns the next piece; `None` at the end.
    ///
    /// # Errors
    /// The client hung up or framed its body wrongly.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, hyper::Error> {
        while !self.over {
            let incoming = match &mut self.source {
                Source::Connection(incoming) => incoming,
                Source::Memory(bytes) => {
                    self.over = true;
                    self.length += bytes.len() as u64;
                    return Ok(Some(std::mem::take(bytes)));
                }
            };
            match incoming.frame().await {
                Some(Ok(frame)) => {
                    // Trailers mean nothing to the console.
                    let Ok(bytes) = frame.into_data() else {
                        continue;
                    };
                    self.length += bytes.len() as u64;
                    if let Some(record) = &self.record {
                        record.body(&bytes);
                    }
                    return Ok(Some(bytes));
                }
                Some(Err(error)) => {
                    self.over = true;
                    return Err(error);
                }
                None => self.finish(),
            }
        }
        Ok(None)
    }

    fn finish(&mut self) {
        self.over = true;
        if let Some(record) = &self.record {
            record.note(|seen| seen.body_complete = true);
        }
    }

    /// Returns the whole body, if it is not longer than an operation takes.
    pub(crate) async fn whole(&mut self) -> Result<Bytes, ApiError> {
        let mut whole = BytesMut::new();
        loop {
            match self.next().await {
                Ok(None) => return Ok(whole.freeze()),
                Ok(Some(bytes)) if whole.len() + bytes.len() <= OPERATION_LIMIT => {
                    whole.extend_from_slice(&bytes);
                }
                Ok(Some(_)) => {
                    return Err(ApiError::new(
                        StatusCode::PAYLOAD_TOO_LARGE,
                        ErrorKind::Logical,
                        "The body is too large.",
                    ));
                }
                Err(_) => {
                    return Err(ApiError::new(
                        StatusCode::BAD_REQUEST,
                        ErrorKind::Transport,
                        "The body ends early.",
                    ));
                }
            }
        }
    }

    /// Reads what is left and throws it away.
    pub(crate) async fn drain(&mut self) {
        while let Ok(Some(_)) = self.next().await {}
    }
}
