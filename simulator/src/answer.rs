//! Answers: the console's envelopes and errors, and bodies that can be cut or stalled.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::settings::UnauthorizedBody;

/// An answer on its way out.
pub(crate) type Reply = Response<ReplyBody>;

const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

/// The body of an answer.
#[derive(Debug)]
pub(crate) enum ReplyBody {
    /// Promises more than it sends, then breaks the connection or falls silent.
    Broken {
        start: Option<Bytes>,
        ending: Ending,
        /// How often the body still pauses before the break, so that what was sent gets flushed.
        pauses: u8,
    },
    /// The same block over and over.
    Repeated {
        block: Bytes,
        left: u64,
        length: Length,
    },
    /// All there is, in one piece.
    Whole(Bytes),
}

/// How a broken body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Cut,
    Stall,
}

/// Whether a body tells its length beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    Chunked,
    Told,
}

impl ReplyBody {
    pub(crate) fn empty() -> Self {
        Self::Whole(Bytes::new())
    }

    pub(crate) fn broken(start: Bytes, ending: Ending) -> Self {
        Self::Broken {
            start: Some(start),
            ending,
            pauses: 3,
        }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match self.get_mut() {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Repeated { left: 0, .. } => Poll::Ready(None),
            Self::Repeated { block, left, .. } => {
                let size = usize::try_from(*left).map_or(block.len(), |left| left.min(block.len()));
                *left -= size as u64;
                Poll::Ready(Some(Ok(Frame::data(block.slice(..size)))))
            }
            Self::Broken {
                start,
                ending,
                pauses,
            } => match (start.take(), ending) {
                (Some(start), _) => Poll::Ready(Some(Ok(Frame::data(start)))),
                (None, Ending::Stall) => Poll::Pending,
                (None, Ending::Cut) if *pauses > 0 => {
                    *pauses -= 1;
                    context.waker().wake_by_ref();
                    Poll::Pending
                }
                (None, Ending::Cut) => Poll::Ready(Some(Err(io::Error::other("cut by a fault")))),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Broken { .. } => false,
            Self::Repeated { left, .. } => *left == 0,
            Self::Whole(bytes) => bytes.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Broken { .. } => SizeHint::new(),
            Self::Repeated {
                length: Length::Chunked,
                ..
            } => SizeHint::new(),
            Self::Repeated { left, .. } => SizeHint::with_exact(*left),
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
        }
    }
}

/// Makes an answer with a JSON body.
pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> Reply {
    match serde_json::to_vec(body) {
        Ok(text) => typed(status, JSON, text),
        Err(_) => bare(server_fault()),
    }
}

/// Makes an answer whose body is `data` in the console's envelope.
pub(crate) fn data(data: &Value) -> Reply {
    #[derive(Serialize)]
    struct Envelope<'a> {
        data: &'a Value,
    }
    json(StatusCode::OK, &Envelope { data })
}

/// Makes an answer with a body of the given type.
pub(crate) fn typed(status: StatusCode, kind: HeaderValue, body: impl Into<Bytes>) -> Reply {
    let mut reply = bare(status);
    reply.headers_mut().insert(CONTENT_TYPE, kind);
    *reply.body_mut() = ReplyBody::Whole(body.into());
    reply
}

/// Makes an answer without a body.
pub(crate) fn bare(status: StatusCode) -> Reply {
    let mut reply = Response::new(ReplyBody::empty());
    *reply.status_mut() = status;
    reply
}

/// Gives an answer of 401 the body that the switch asks for.
pub(crate) fn unauthorized_as(body: UnauthorizedBody, mut reply: Reply) -> Reply {
    if reply.status() != StatusCode::UNAUTHORIZED {
        return reply;
    }
    match body {
        UnauthorizedBody::Errors => {}
        UnauthorizedBody::Empty => {
            reply.headers_mut().remove(CONTENT_TYPE);
            *reply.body_mut() = ReplyBody::empty();
        }
        UnauthorizedBody::Html => {
            let page = "<!DOCTYPE html><html><head><title>401 - Unauthorized</title></head></html>";
            let html = HeaderValue::from_static("text/html; charset=utf-8");
            reply.headers_mut().insert(CONTENT_TYPE, html);
            *reply.body_mut() = ReplyBody::Whole(Bytes::from_static(page.as_bytes()));
        }
    }
    reply
}

/// Returns the status that the console uses for faults of its own.
pub(crate) fn server_fault() -> StatusCode {
    StatusCode::from_u16(520).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// What kind of error the console speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorKind {
    Logical,
    Security,
    Transport,
}

impl ErrorKind {
    fn name(self) -> &'static str {
        match self {
            Self::Logical => "logical",
            Self::Security => "security",
            Self::Transport => "transport",
        }
    }
}

/// A refusal in the shape of every operation but `/token`.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    kind: ErrorKind,
    message: Option<String>,
    extra: Option<(&'static str, Value)>,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            status,
            kind,
            message: Some(message.into()),
            extra: None,
        }
    }

    /// A parameter in the path or query is wrong.
    pub(crate) fn parameter(name: &str, message: impl Into<String>) -> Self {
        Self {
            extra: Some(("parameterName", Value::from(name))),
            ..Self::new(StatusCode::BAD_REQUEST, ErrorKind::Logical, message)
        }
    }

    /// A member of the body is wrong.
    pub(crate) fn property(name: &str, message: impl Into<String>) -> Self {
        Self {
            extra: Some(("propertyName", Value::from(name))),
            ..Self::new(StatusCode::BAD_REQUEST, ErrorKind::Logical, message)
        }
    }

    /// An operation of a patch cannot be carried out.
    pub(crate) fn patch(operation: Value) -> Self {
        Self {
            extra: Some(("failedJsonPatch", operation)),
            ..Self::new(
                StatusCode::BAD_REQUEST,
                ErrorKind::Logical,
                "The patch operation cannot be applied.",
            )
        }
    }

    pub(crate) fn not_found(what: &str) -> Self {
        let message = format!("{what} is not found.");
        Self::new(StatusCode::NOT_FOUND, ErrorKind::Logical, message)
    }

    pub(crate) fn forbidden(message: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, ErrorKind::Security, message)
    }

    pub(crate) fn unauthorized(message: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, ErrorKind::Security, message)
    }

    pub(crate) fn media_type() -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            ErrorKind::Logical,
            "The content type is not supported by the operation.",
        )
    }

    /// Too many requests; the console sends no message with it.
    pub(crate) fn throttled(retry_after: Option<u64>) -> Self {
        Self {
            status: StatusCode::TOO_MANY_REQUESTS,
            kind: ErrorKind::Transport,
            message: None,
            extra: retry_after.map(|seconds| ("retryAfter", Value::from(seconds))),
        }
    }

    pub(crate) fn into_reply(self) -> Reply {
        let mut error = Map::new();
        if let Some(message) = self.message {
            error.insert("message".to_owned(), Value::from(message));
        }
        error.insert("type".to_owned(), Value::from(self.kind.name()));
        error.insert("code".to_owned(), Value::from(self.status.as_u16()));
        if let Some((name, value)) = self.extra {
            error.insert(name.to_owned(), value);
        }
        let mut reply = json(self.status, &json!({ "errors": [error] }));
        if self.status == StatusCode::UNAUTHORIZED {
            reply
                .headers_mut()
                .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        reply
    }
}
