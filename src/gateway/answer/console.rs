//! A console's body, of which the beginning may have been read.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Version;
use http_body::{Body, Frame, SizeHint};

use crate::upstream::Received;

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
    /// What comes, by this version.
    Incoming(Received, Version),
    /// Nothing.
    Nothing,
}

impl ConsoleBody {
    /// A body that begins with what was read.
    pub(in crate::gateway) fn begun(read: Bytes, rest: Rest) -> Self {
        let read = Some(read).filter(|read| !read.is_empty());
        Self { read, rest }
    }

    /// A body of which nothing was read, and the version that it comes by.
    pub(in crate::gateway) fn unread(incoming: Received, version: Version) -> Self {
        Self {
            read: None,
            rest: Rest::Incoming(incoming, version),
        }
    }

    /// Whether what seemed to be the end was none: a console that stops within a body of HTTP/2
    /// without giving a reason leaves no error behind.
    pub(super) fn was_cut(&self) -> bool {
        match &self.rest {
            Rest::Incoming(incoming, Version::HTTP_2) => !incoming.is_end_stream(),
            Rest::Broken(_) | Rest::Incoming(..) | Rest::Nothing => false,
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
            Rest::Incoming(incoming, _) => Pin::new(incoming).poll_frame(context),
            Rest::Nothing => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_none()
            && match &self.rest {
                Rest::Broken(_) => false,
                Rest::Incoming(incoming, _) => incoming.is_end_stream(),
                Rest::Nothing => true,
            }
    }

    fn size_hint(&self) -> SizeHint {
        let read = self.read.as_ref().map_or(0, |read| read.len() as u64);
        match &self.rest {
            Rest::Broken(_) => SizeHint::new(),
            Rest::Incoming(incoming, _) => {
                let rest = incoming.size_hint();
                rest.exact()
                    .map_or(rest, |rest| SizeHint::with_exact(rest.saturating_add(read)))
            }
            Rest::Nothing => SizeHint::with_exact(read),
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, Empty};
    use hyper::client::conn::http2;
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// What a body is taken for whose console sends these frames after the head of its answer.
    async fn is_cut_after(frames: &[u8]) -> bool {
        let (near, mut console) = tokio::io::duplex(4096);
        let connecting =
            http2::handshake::<_, _, Empty<Bytes>>(TokioExecutor::new(), TokioIo::new(near));
        let (mut sender, connection) = connecting.await.unwrap();
        tokio::spawn(connection);
        let asking = sender.send_request(http::Request::new(Empty::new()));
        let mut bytes = b"\0\0\0\x04\0\0\0\0\0\0\0\x01\x01\x04\0\0\0\x01\x88".to_vec();
        bytes.extend(frames);
        let answering = async {
            // The preface, then the head of the request by its own.
            console.read_exact(&mut [0; 64]).await.unwrap();
            console.write_all(&bytes).await.unwrap();
            std::future::pending::<()>().await;
        };
        let reading = async {
            let answer = asking.await.unwrap();
            let version = answer.version();
            let mut body = ConsoleBody::unread(Received::alone(answer.into_body()), version);
            while let Some(frame) = body.frame().await {
                frame.unwrap();
            }
            body.was_cut()
        };
        tokio::select! {
            () = answering => unreachable!("it never ends"),
            was_cut = reading => was_cut,
        }
    }

    #[tokio::test]
    async fn an_answer_that_stops_without_a_reason_is_not_whole() {
        let stopped = b"\0\0\x01\0\0\0\0\0\x01x\0\0\x04\x03\0\0\0\0\x01\0\0\0\0";
        assert!(is_cut_after(stopped).await);
        assert!(!is_cut_after(b"\0\0\x01\0\x01\0\0\0\x01x").await);
    }
}
