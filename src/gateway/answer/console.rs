//! A console's body, of which the beginning may have been read.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

/// A console's body: what was read of it before, then the rest.
#[derive(Debug)]
pub(in crate::gateway) struct ConsoleBody {
    read: Option<Bytes>,
    rest: Rest,
}

/// What comes after that.
#[derive(Debug)]
pub(in crate::gateway) enum Rest {
    /// The fault that reading ended with, until it is told.
    Broken(Option<hyper::Error>),
    /// What comes.
    Incoming(Incoming),
    /// Nothing.
    Nothing,
}

impl ConsoleBody {
    /// A body that begins with what was read.
    pub(in crate::gateway) fn begun(read: Bytes, rest: Rest) -> Self {
        let read = Some(read).filter(|read| !read.is_empty());
        Self { read, rest }
    }
}

impl From<Incoming> for ConsoleBody {
    fn from(incoming: Incoming) -> Self {
        Self {
            read: None,
            rest: Rest::Incoming(incoming),
        }
    }
}

impl Body for ConsoleBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if let Some(read) = self.read.take() {
            return Poll::Ready(Some(Ok(Frame::data(read))));
        }
        match &mut self.rest {
            Rest::Broken(error) => Poll::Ready(error.take().map(Err)),
            Rest::Incoming(incoming) => Pin::new(incoming).poll_frame(context),
            Rest::Nothing => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_none()
            && match &self.rest {
                Rest::Broken(_) => false,
                Rest::Incoming(incoming) => incoming.is_end_stream(),
                Rest::Nothing => true,
            }
    }

    fn size_hint(&self) -> SizeHint {
        let read = self.read.as_ref().map_or(0, |read| read.len() as u64);
        match &self.rest {
            Rest::Broken(_) => SizeHint::new(),
            Rest::Incoming(incoming) => {
                let rest = incoming.size_hint();
                rest.exact()
                    .map_or(rest, |rest| SizeHint::with_exact(rest.saturating_add(read)))
            }
            Rest::Nothing => SizeHint::with_exact(read),
        }
    }
}
