//! The body of a console's answer, and the connection that it comes by.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::kept::{Kept, Link};

/// The body of a console's answer as it comes. When all of it was read, its connection may be used
/// again; when it is dropped before, the connection is closed.
pub struct Received {
    body: Incoming,
    held: Option<(Box<Link>, Arc<Kept>)>,
}

impl Received {
    /// A body whose connection is somebody else's business.
    pub(crate) fn alone(body: Incoming) -> Self {
        Self { body, held: None }
    }

    /// A body that comes by a connection, which is kept after it.
    pub(super) fn over(body: Incoming, link: Box<Link>, kept: Arc<Kept>) -> Self {
        let held = Some((link, kept));
        Self { body, held }
    }

    /// Gives the connection back if this was all.
    pub(super) fn look_for_end(&mut self, context: &mut Context<'_>) {
        if self.body.is_end_stream() {
            self.give_back(context);
        }
    }

    fn give_back(&mut self, context: &mut Context<'_>) {
        if let Some((link, kept)) = self.held.take() {
            kept.settle(link, context);
        }
    }
}

impl Body for Received {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let mut polled = Pin::new(&mut this.body).poll_frame(context);
        if polled.is_pending()
            && let Some((link, _)) = &mut this.held
        {
            // It has said by now that it wants more.
            link.drive(context);
            polled = Pin::new(&mut this.body).poll_frame(context);
        }
        match &polled {
            Poll::Ready(None) => this.give_back(context),
            Poll::Ready(Some(Ok(_))) => this.look_for_end(context),
            Poll::Ready(Some(Err(_))) => this.held = None,
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Received").finish_non_exhaustive()
    }
}
