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

/// The body of a request.
#[derive(Debug)]
pub(crate) struct Inbound {
    incoming: Incoming,
    record: Option<Record>,
    length: u64,
    over: bool,
}

impl Inbound {
    pub(crate) fn new(incoming: Incoming, record: Option<Record>) -> Self {
        let mut inbound = Self {
            over: false,
            incoming,
            record,
            length: 0,
        };
        if inbound.incoming.is_end_stream() {
            inbound.finish();
        }
        inbound
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
            match self.incoming.frame().await {
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
