//! Request bodies on their way to a console, held as long as they may have to be sent again.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::{io, mem};

use bytes::Bytes;
use http::Version;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use parking_lot::Mutex;

use super::paced::{Pace, Paced, Slow};
use crate::wire::{self, What};

/// A request body for a console.
#[derive(Debug)]
pub enum RequestBody {
    /// No body.
    Empty,
    /// A body made by the gateway itself.
    Full(Bytes),
    /// A caller's body, passed on as it comes.
    Streaming(StreamingBody),
}

impl RequestBody {
    /// Takes a caller's body, and the handle that can send it again.
    ///
    /// The version that it came by tells how its end is known. `hold` is how many bytes are kept for a
    /// second sending; then how many may pass at all, and how slowly they may come.
    pub fn streaming(
        incoming: Incoming,
        version: Version,
        hold: usize,
        (limit, pace): (u64, Pace),
    ) -> (Self, ReplayHandle) {
        if incoming.is_end_stream() {
            return (Self::Empty, ReplayHandle(None));
        }
        let declared = incoming.size_hint().exact();
        let source = Arc::new(Mutex::new(Source {
            incoming: Paced::new(incoming, pace),
            shows_end: version == Version::HTTP_2,
            declared,
            last: None,
            held: Some(Vec::new()),
            held_bytes: 0,
            hold,
            limit,
            received: 0,
            ended: false,
            fault: None,
            reader: 0,
            waker: None,
        }));
        let body = StreamingBody {
            source: Arc::clone(&source),
            reader: 0,
            next: 0,
            sent: 0,
            declared,
        };
        (
            Self::Streaming(body),
            ReplayHandle(Some((source, declared))),
        )
    }
}

/// Sends a caller's body a second time, as long as all of it is still held.
#[derive(Debug)]
pub struct ReplayHandle(Option<(Arc<Mutex<Source>>, Option<u64>)>);

impl ReplayHandle {
    /// The body once more from its start; `None` when it has grown past what is held.
    ///
    /// The body that was given out before fails from now on: two must not share the caller's.
    pub fn again(&self) -> Option<RequestBody> {
        let Some((source, declared)) = &self.0 else {
            return Some(RequestBody::Empty);
        };
        let mut shared = source.lock();
        shared.held.as_ref()?;
        shared.reader += 1;
        let reader = shared.reader;
        // The former sending is not waiting for the caller's body any more: it is to end.
        if let Some(waker) = shared.waker.take() {
            waker.wake();
        }
        drop(shared);
        let (source, declared) = (Arc::clone(source), *declared);
        Some(RequestBody::Streaming(StreamingBody {
            source,
            reader,
            next: 0,
            sent: 0,
            declared,
        }))
    }

    /// Counts the caller's bytes; `None` when there is no body.
    pub fn progress(&self) -> Option<BodyProgress> {
        self.0
            .as_ref()
            .map(|(source, _)| BodyProgress(Arc::clone(source)))
    }
}

/// Knows how much of a caller's body has come.
#[derive(Debug)]
pub struct BodyProgress(Arc<Mutex<Source>>);

impl BodyProgress {
    /// How many bytes the caller has sent so far.
    pub fn received(&self) -> u64 {
        self.0.lock().received
    }

    /// Why no more of it can be had, where that is the caller's doing.
    pub fn fault(&self) -> Option<BodyFault> {
        self.0.lock().fault
    }

    /// Whether the gateway waits for the caller to send more of it.
    pub fn is_awaited(&self) -> bool {
        self.0.lock().incoming.is_awaited()
    }

    /// All that has come so far, if it is held.
    pub fn held(&self) -> Option<Vec<u8>> {
        self.0.lock().held.as_ref().map(|frames| frames.concat())
    }
}

/// A caller's body as one sending of it sees it.
#[derive(Debug)]
pub struct StreamingBody {
    source: Arc<Mutex<Source>>,
    reader: u32,
    next: usize,
    sent: u64,
    declared: Option<u64>,
}

/// A caller's body and what is held of it.
#[derive(Debug)]
struct Source {
    incoming: Paced<Incoming>,
    /// Whether the end is told apart from the last byte, as HTTP/2 does. What stops without it was
    /// given up, though hyper tells of no error when the caller gives it up without a reason.
    shows_end: bool,
    declared: Option<u64>,
    /// The last bytes of the declared length, until the end has shown: with them the request would
    /// be whole to the console, whatever follows.
    last: Option<Bytes>,
    held: Option<Vec<Bytes>>,
    held_bytes: usize,
    hold: usize,
    limit: u64,
    received: u64,
    ended: bool,
    /// What it ended with, if that was not its end.
    fault: Option<BodyFault>,
    reader: u32,
    /// Of the sending that waits for the caller.
    waker: Option<Waker>,
}

impl Source {
    fn poll_data(
        &mut self,
        next: usize,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, BodyFault>>> {
        if let Some(frame) = self.held.as_ref().and_then(|frames| frames.get(next)) {
            return Poll::Ready(Some(Ok(frame.clone())));
        }
        if let Some(fault) = self.fault {
            return Poll::Ready(Some(Err(fault)));
        }
        while !self.ended {
            let Poll::Ready(frame) = self.incoming.poll_frame(context) else {
                self.waker = Some(context.waker().clone());
                return Poll::Pending;
            };
            let data = match frame {
                None if self.shows_end && !self.incoming.is_end_stream() => Err(BodyFault::Aborted),
                None => {
                    self.ended = true;
                    break;
                }
                Some(Err(Slow::Failed(error))) => Err(BodyFault::of(&error)),
                Some(Err(Slow::Stalled)) => Err(BodyFault::Stalled),
                // Trailers are dropped: nothing of them may be taken for a header later.
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if self.shows_end && self.completes(&data) => {
                        self.last = Some(data);
                        continue;
                    }
                    Ok(data) if !data.is_empty() => self.take(data),
                    Ok(_) | Err(_) => continue,
                },
            };
            self.fault = data.as_ref().err().copied();
            return Poll::Ready(Some(data));
        }
        Poll::Ready(self.last.take().map(|last| self.take(last)))
    }

    /// Whether these are the last bytes of the declared length, and the end has not shown yet.
    fn completes(&self, data: &Bytes) -> bool {
        let after = self.received.saturating_add(data.len() as u64);
        !data.is_empty() && self.declared == Some(after) && !self.incoming.is_end_stream()
    }

    fn take(&mut self, data: Bytes) -> Result<Bytes, BodyFault> {
        self.received = self.received.saturating_add(data.len() as u64);
        if self.received > self.limit {
            return Err(BodyFault::TooLarge);
        }
        self.held_bytes += data.len();
        if self.held_bytes > self.hold {
            self.held = None;
        } else if let Some(frames) = &mut self.held {
            frames.push(data.clone());
        }
        Ok(data)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(mem::take(bytes))))),
            Self::Streaming(body) => {
                let mut source = body.source.lock();
                if source.reader != body.reader {
                    return Poll::Ready(Some(Err(BodyFault::Superseded)));
                }
                let Some(data) = ready!(source.poll_data(body.next, context)?) else {
                    return Poll::Ready(None);
                };
                drop(source);
                body.next += 1;
                body.sent = body.sent.saturating_add(data.len() as u64);
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_empty(),
            Self::Streaming(body) => body.declared == Some(body.sent),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Streaming(body) => body.declared.map_or_else(SizeHint::new, |all| {
                SizeHint::with_exact(all.saturating_sub(body.sent))
            }),
        }
    }
}

/// Why a caller's body ended before its end.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BodyFault {
    /// The caller went away, or sent a malformed body.
    #[error("the caller ended the body early")]
    Aborted,
    /// The body breaks the rules of its framing.
    #[error("the request body is malformed")]
    Malformed,
    /// The body came too slowly, or no more of it for too long.
    #[error("the request body came too slowly, or not to its end")]
    Stalled,
    /// The body is being sent anew on another connection.
    #[error("the body is being sent again elsewhere")]
    Superseded,
    /// More bytes came than are allowed.
    #[error("the body is larger than this gateway accepts")]
    TooLarge,
}

impl BodyFault {
    /// What an error of the caller's connection says about the body.
    fn of(error: &hyper::Error) -> Self {
        let mut next: Option<&(dyn Error + 'static)> = Some(error);
        while let Some(current) = next {
            if let Some(fault) = fault(current)
                && fault.what == What::BodyTooLarge
            {
                return Self::TooLarge;
            }
            if let Some(io) = current.downcast_ref::<io::Error>()
                && matches!(
                    io.kind(),
                    io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput
                )
            {
                return Self::Malformed;
            }
            next = current.source();
        }
        Self::Aborted
    }
}

/// The fault that the strict reader of a connection has found, where an error holds it.
fn fault<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a wire::Fault> {
    error.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref()
}
