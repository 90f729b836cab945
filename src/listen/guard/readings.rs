//! What the guard of a connection has read, for the service that answers it.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Version};
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;

use super::super::unread::Cord;
use crate::gateway::{AnswerBody, AnswerCut};
use crate::wire::{Fault, Framing, Head, Minor, What};

/// The heads and faults of a connection in their order, and how many of them are not answered.
#[derive(Debug, Default)]
pub(in crate::listen) struct Readings(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    waiting: VecDeque<Reading>,
    answering: usize,
    has_fault: bool,
}

/// A head, or what stands in for one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::listen) enum Reading {
    /// What follows cannot be read; hyper has a request that nobody sent.
    Fault(Fault),
    /// A request.
    Head(Head),
}

impl Readings {
    pub(super) fn push(&self, head: Head) {
        self.0.lock().waiting.push_back(Reading::Head(head));
    }

    pub(super) fn push_fault(&self, fault: Fault) {
        let mut inner = self.0.lock();
        inner.waiting.push_back(Reading::Fault(fault));
        inner.has_fault = true;
    }

    /// Whether nothing is to be answered.
    pub(super) fn is_idle(&self) -> bool {
        let inner = self.0.lock();
        inner.waiting.is_empty() && inner.answering == 0
    }

    /// Whether a fault is among what is to be answered.
    pub(super) fn has_fault(&self) -> bool {
        let inner = self.0.lock();
        inner.has_fault && (inner.answering > 0 || !inner.waiting.is_empty())
    }

    /// Takes the reading of the request that hyper has parsed next. It counts as unanswered until
    /// what comes with it is dropped.
    ///
    /// # Errors
    /// Gives the fault that hyper's request stands for, or says that hyper has read another request
    /// than the guard.
    pub(in crate::listen) fn next<B>(
        self: &Arc<Self>,
        request: &Request<B>,
    ) -> (Result<(), Fault>, Answering)
    where
        B: Body,
    {
        let mut inner = self.0.lock();
        inner.answering += 1;
        let reading = inner.waiting.pop_front();
        if inner.waiting.is_empty() && inner.waiting.capacity() > KEPT {
            inner.waiting = VecDeque::new();
        }
        drop(inner);
        let read = match reading {
            Some(Reading::Head(head)) if agree(&head, request) => Ok(()),
            Some(Reading::Head(_)) | None => Err(What::Doubtful.into()),
            Some(Reading::Fault(fault)) => Err(fault),
        };
        (read, Answering(Arc::clone(self)))
    }
}

/// Whether two readers of a head mean the same message.
fn agree<B: Body>(head: &Head, request: &Request<B>) -> bool {
    let version = match head.version {
        Minor::Zero => Version::HTTP_10,
        Minor::One => Version::HTTP_11,
    };
    let length = request.body().size_hint().exact();
    let framing = match head.framing {
        Framing::Chunked => length.is_none(),
        Framing::Length(told) => length == Some(told),
        Framing::None => length == Some(0),
        Framing::UntilClose => false,
    };
    framing && request.version() == version
}

/// A request that is being answered.
#[derive(Debug)]
pub(in crate::listen) struct Answering(Arc<Readings>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.0.lock().answering -= 1;
    }
}

/// An answer's body, with which the request counts as answered.
#[derive(Debug)]
pub(in crate::listen) struct Answered {
    body: AnswerBody,
    _answering: Answering,
    /// Pulled as long as the body has begun and not ended.
    cord: Option<Cord>,
}

impl Answered {
    pub(in crate::listen) fn new(body: AnswerBody, answering: Answering) -> Self {
        Self {
            body,
            _answering: answering,
            cord: None,
        }
    }

    /// The same for a caller of HTTP/1.0. It takes the end of the connection for the end of the
    /// answer, so that an answer that does not come to its end must end otherwise, whatever the
    /// reason: the connection is reset.
    pub(in crate::listen) fn or_reset(self, cord: Cord) -> Self {
        Self {
            cord: Some(cord),
            ..self
        }
    }
}

impl Body for Answered {
    type Data = Bytes;
    type Error = AnswerCut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerCut>>> {
        let this = &mut *self;
        let frame = Pin::new(&mut this.body).poll_frame(context);
        if let Some(cord) = &this.cord {
            let has_ended = match &frame {
                Poll::Ready(None) => true,
                Poll::Ready(Some(Ok(frame))) => {
                    // hyper asks for no end behind trailers, nor behind as many bytes as were told.
                    let is_last = this.body.size_hint().exact() == Some(0);
                    frame.is_trailers() || is_last || this.body.is_end_stream()
                }
                Poll::Ready(Some(Err(_))) | Poll::Pending => false,
            };
            if has_ended {
                cord.slacken();
            } else {
                cord.pull();
            }
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// For how many requests a connection keeps room once they are answered.
const KEPT: usize = 16;

#[cfg(test)]
mod tests {
    use http_body_util::Empty;

    use super::*;

    #[test]
    fn a_connection_that_was_answered_holds_no_memory_for_what_it_had_asked() {
        let readings = Arc::new(Readings::default());
        let head = Head {
            size: 18,
            framing: Framing::None,
            version: Minor::One,
            is_head: false,
        };
        // As many as fit into what is read at once.
        for _ in 0..64 * 1024 / head.size {
            readings.push(head);
        }
        while !readings.is_idle() {
            drop(readings.next(&Request::new(Empty::<Bytes>::new())));
        }
        assert!(readings.0.lock().waiting.capacity() <= KEPT);
    }
}
