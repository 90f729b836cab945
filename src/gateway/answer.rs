//! Answer bodies on their way to the caller, measured and recorded.

mod console;

pub(super) use console::{ConsoleBody, Rest};

use std::fmt;
use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use http::Response;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::exchange::Exchange;
use super::headers;
use super::reply::TokenReply;
use crate::audit::Code;
use crate::upstream::{Turn, fault_within};

/// What a request is answered with.
pub(super) enum Answer {
    /// What the console answered.
    Console(ConsoleAnswer),
    /// What the gateway says on `/token`.
    Token(TokenReply),
}

/// A console's answer, ready for the caller.
#[derive(Debug)]
pub(super) struct ConsoleAnswer {
    pub(super) response: Response<ConsoleBody>,
    /// The request's turn, which ends with the answer, if it has one still.
    pub(super) turn: Option<Turn>,
    /// The most silence within the body.
    pub(super) idle_timeout: Duration,
    /// Whether trailers go on to the caller.
    pub(super) trailers: bool,
}

/// The body of an answer.
pub struct AnswerBody(Inner);

enum Inner {
    Full(Option<Bytes>),
    Streamed(Box<Streamed>),
}

/// A console's body, passed on as it comes. When it ends, or is dropped, the exchange is closed
/// with the truth about it.
struct Streamed {
    incoming: ConsoleBody,
    exchange: Option<Exchange>,
    turn: Option<Turn>,
    bytes: u64,
    trailers: bool,
    idle_timeout: Duration,
    /// Made when the console first makes the caller wait.
    idle: Option<Pin<Box<Sleep>>>,
    /// Whether the caller waits for the console now.
    waits: bool,
    /// What the caller is told next: its connection is cut once it has had what came before.
    cut: Option<AnswerCut>,
    /// The beginning of the body, where something of it is to be recorded.
    kept: Option<Vec<u8>>,
    /// Whether its end counts only once it was asked for.
    asked_for_end: bool,
}

/// The console's answer broke off; the caller's connection is cut, so that it can tell.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AnswerCut {
    /// Nothing came for too long.
    #[error("the console fell silent within its answer")]
    Silent,
    /// The connection ended.
    #[error("the console's answer broke off")]
    Upstream,
}

impl AnswerBody {
    /// A body made by the gateway.
    pub(super) fn full(bytes: Bytes) -> Self {
        Self(Inner::Full(Some(bytes).filter(|bytes| !bytes.is_empty())))
    }

    /// A console's body, and the exchange and the turn that end with it.
    pub(super) fn streamed(
        incoming: ConsoleBody,
        exchange: Exchange,
        turn: Option<Turn>,
        trailers: bool,
        idle_timeout: Duration,
    ) -> Self {
        let kept = exchange.reads_answer().then(Vec::new);
        let exchange = Some(exchange);
        let streamed = Streamed {
            incoming,
            exchange,
            turn,
            bytes: 0,
            trailers,
            idle_timeout,
            idle: None,
            waits: false,
            cut: None,
            kept,
            asked_for_end: false,
        };
        Self(Inner::Streamed(Box::new(streamed)))
    }

    /// The body for a transport that takes a piece from it before the caller has room for it, as
    /// HTTP/2 does: the end does not show before it is asked for, which is when the last piece has
    /// gone. Else an answer that nobody takes would be recorded as one that was given.
    #[must_use]
    pub fn with_end_asked_for(mut self) -> Self {
        if let Inner::Streamed(streamed) = &mut self.0 {
            streamed.asked_for_end = true;
        }
        self
    }
}

impl Streamed {
    /// Whether there is nothing more to ask for.
    fn has_ended(&self) -> bool {
        self.incoming.is_end_stream() && !(self.asked_for_end && self.bytes > 0)
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, AnswerCut>>> {
        if let Some(cut) = self.cut.take() {
            return Poll::Ready(Some(Err(cut)));
        }
        let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(context) else {
            ready!(self.poll_idle(context));
            self.close(Code::UpstreamCut);
            return self.cut(AnswerCut::Silent, context);
        };
        self.waits = false;
        match frame {
            None if self.incoming.was_cut() => {
                self.close(Code::UpstreamCut);
                self.cut(AnswerCut::Upstream, context)
            }
            None => {
                self.close(Code::Ok);
                Poll::Ready(None)
            }
            Some(Err(error)) => {
                if let (Some(exchange), Some(fault)) = (&mut self.exchange, fault_within(&error)) {
                    exchange.saw_answer_fault(fault);
                }
                // It may have come before the request's body had, and gone with that.
                let fault = self.exchange.as_ref().and_then(Exchange::body_fault);
                self.close(fault.unwrap_or(Code::UpstreamCut));
                self.cut(AnswerCut::Upstream, context)
            }
            Some(Ok(frame)) if frame.is_trailers() && !self.trailers => {
                self.close(Code::Ok);
                Poll::Ready(None)
            }
            Some(Ok(mut frame)) => {
                if let Some(trailers) = frame.trailers_mut() {
                    headers::clean_trailers(trailers);
                    // Nothing follows them, and nobody asks whether something does.
                    self.close(Code::Ok);
                }
                if let Some(data) = frame.data_ref() {
                    self.passed(data.chunk());
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    /// Cuts the caller's connection the next time: an error would overtake the head and the data
    /// that are not written yet.
    fn cut<T>(&mut self, cut: AnswerCut, context: &Context<'_>) -> Poll<T> {
        self.cut = Some(cut);
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Ready when the console has been silent for too long. The time begins when the caller has
    /// taken all there was: a caller that does not read is not the console's silence.
    fn poll_idle(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let timeout = self.idle_timeout;
        let idle = self
            .idle
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        if !self.waits {
            self.waits = true;
            idle.as_mut().reset(Instant::now() + timeout);
        }
        idle.as_mut().poll(context)
    }

    fn passed(&mut self, data: &[u8]) {
        self.bytes = self.bytes.saturating_add(data.len() as u64);
        if let Some(kept) = &mut self.kept {
            let room = KEPT_LIMIT.saturating_sub(kept.len());
            kept.extend_from_slice(data.get(..room).unwrap_or(data));
        }
    }

    fn close(&mut self, code: Code) {
        self.turn = None;
        if let Some(exchange) = self.exchange.take() {
            exchange.close(code, self.bytes, self.kept.as_deref());
        }
    }
}

impl Drop for Streamed {
    fn drop(&mut self) {
        // A body whose end is known beforehand is not polled for it, nor is one of which all bytes have
        // gone that were told.
        let is_whole = !self.asked_for_end && self.incoming.size_hint().exact() == Some(0);
        let ended = self.has_ended() || is_whole;
        self.close(if ended { Code::Ok } else { Code::Aborted });
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = AnswerCut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerCut>>> {
        match &mut self.0 {
            Inner::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Inner::Streamed(streamed) => streamed.poll(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Full(bytes) => bytes.is_none(),
            Inner::Streamed(streamed) => streamed.cut.is_none() && streamed.has_ended(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Full(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Inner::Streamed(streamed) => streamed.incoming.size_hint(),
        }
    }
}

impl fmt::Debug for AnswerBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Inner::Full(_) => "AnswerBody::Full",
            Inner::Streamed(_) => "AnswerBody::Streamed",
        })
    }
}

/// The most of an answer that is read for the audit record.
const KEPT_LIMIT: usize = 64 * 1024;
