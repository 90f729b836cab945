//! The strict reading of what goes over an HTTP/1 connection to a console.
//!
//! Of answers, only what [`crate::wire`] can read in one way reaches the parser behind. Where
//! something comes that nobody asked for, the connection ends before it, so that the pool does not
//! hand it out again and the next caller never sees that.
//!
//! To know whether an answer is asked for, a connection has to know what was sent. Where nobody says
//! so, requests are read once more as they are written, and one that could be read in a second way
//! does not leave. Where whoever sends them does say so, the second reading shows only that hyper
//! writes what it was given: builds for development do it, so that every test goes through it.

#[cfg(test)]
mod tests;

use std::error::Error;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use futures_util::TryFutureExt as _;
use futures_util::future::MapOk;
use http::{Method, Uri};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tower_service::Service;

use super::pool::ANSWER_HEAD_LIMIT;
use super::{HttpVersions, UpstreamError};
use crate::wire::{Answers, Asked, Bounds, Came, End, Fault, Gate, Look, Requests, What};

/// A connector whose HTTP/1 connections are read strictly.
#[derive(Clone, Debug)]
pub(super) struct Strict<C> {
    connector: C,
    /// Whether HTTP/2 is spoken whatever the connection says.
    http2: bool,
}

impl<C> Strict<C> {
    pub(super) fn new(connector: C, http: HttpVersions) -> Self {
        let http2 = http == HttpVersions::Http2;
        Self { connector, http2 }
    }
}

impl<C> Service<Uri> for Strict<C>
where
    C: Service<Uri>,
    C::Response: Connection,
{
    type Response = TokioIo<Watched<C::Response>>;
    type Error = C::Error;
    type Future = MapOk<C::Future, fn(C::Response) -> Self::Response>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), C::Error>> {
        self.connector.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.connector.call(uri);
        connecting.map_ok(if self.http2 {
            |stream| TokioIo::new(Watched::unread(stream))
        } else {
            |stream| TokioIo::new(Watched::new(stream))
        })
    }
}

/// A connection to a console.
#[derive(Debug)]
pub(super) struct Watched<S> {
    stream: S,
    /// `None` where HTTP/2 is spoken.
    watch: Option<Box<Watch>>,
}

impl<S: Connection> Watched<S> {
    /// One that is read strictly, unless HTTP/2 was agreed on.
    fn new(stream: S) -> Self {
        let watched = !stream.connected().is_negotiated_h2();
        Self {
            stream,
            watch: watched.then(Box::default),
        }
    }
}

impl<S> Watched<S> {
    /// One that is read strictly, and that is told what is asked.
    pub(super) fn told(stream: S, asking: Asking) -> Self {
        let watch = Watch {
            asking: Some(asking),
            sent: cfg!(debug_assertions).then(Sent::default),
            ..Watch::default()
        };
        Self {
            stream,
            watch: Some(Box::new(watch)),
        }
    }

    fn unread(stream: S) -> Self {
        Self {
            stream,
            watch: None,
        }
    }
}

/// Tells a connection what is asked on it next. Nothing may be asked before the last answer is there.
#[derive(Clone, Debug, Default)]
pub(super) struct Asking(Arc<AtomicU8>);

impl Asking {
    /// To be called before the request is given away, which orders it before what is written.
    pub(super) fn ask(&self, method: &Method) {
        let asked = if *method == Method::HEAD {
            Self::HEAD
        } else {
            Self::OTHER
        };
        self.0.store(asked, Relaxed);
    }

    fn asked(&self) -> Option<Asked> {
        match self.0.load(Relaxed) {
            Self::NOTHING => None,
            Self::HEAD => Some(Asked::Head),
            _ => Some(Asked::Other),
        }
    }

    fn take(&self) -> Option<Asked> {
        let asked = self.asked();
        if asked.is_some() {
            self.0.store(Self::NOTHING, Relaxed);
        }
        asked
    }

    const NOTHING: u8 = 0;
    const HEAD: u8 = 1;
    const OTHER: u8 = 2;
}

impl<S: Connection> Connection for Watched<S> {
    fn connected(&self) -> Connected {
        self.stream.connected()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, watch } = self.get_mut();
        let Some(Watch { gate, answers, .. }) = watch.as_deref_mut() else {
            return Pin::new(stream).poll_read(context, buffer);
        };
        let look = |bytes: &[u8]| answers.look(bytes);
        Poll::Ready(
            match ready!(gate.poll_read(stream, look, context, buffer))? {
                Came::End(End::Fault(fault)) => Err(fault.into()),
                // The connection leaves the pool: the next caller never sees what follows.
                Came::Bytes | Came::Closed | Came::End(End::Last) => Ok(()),
            },
        )
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Self { stream, watch } = self.get_mut();
        if let Some(watch) = watch {
            watch.offer([bytes])?;
        }
        let taken = ready!(Pin::new(stream).poll_write(context, bytes))?;
        if let Some(watch) = watch {
            watch.taken(taken);
        }
        Poll::Ready(Ok(taken))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Self { stream, watch } = self.get_mut();
        if let Some(watch) = watch {
            watch.offer(pieces.iter().map(|piece| &**piece))?;
        }
        let taken = ready!(Pin::new(stream).poll_write_vectored(context, pieces))?;
        if let Some(watch) = watch {
            watch.taken(taken);
        }
        Poll::Ready(Ok(taken))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

/// Where both directions of a connection are.
#[derive(Debug)]
struct Watch {
    gate: Gate,
    answers: Answers,
    /// Says what is asked, where somebody does.
    asking: Option<Asking>,
    /// What was written, where it is read once more.
    sent: Option<Sent>,
}

impl Default for Watch {
    /// Of a connection that nobody says anything to.
    fn default() -> Self {
        Self {
            gate: Gate::default(),
            answers: Answers::new(ANSWER_HEAD_LIMIT),
            asking: None,
            sent: Some(Sent::default()),
        }
    }
}

impl Watch {
    /// Looks at what is about to be written, where that is done.
    fn offer<'a>(&mut self, pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<(), Unsendable> {
        let Some(sent) = &mut self.sent else {
            return Ok(());
        };
        sent.offer(pieces)?;
        let told = self.asking.as_ref().and_then(Asking::asked);
        match (told, sent.due) {
            (Some(told), Some((_, read))) if told != read => Err(What::Doubtful.into()),
            _ => Ok(()),
        }
    }

    /// So many bytes of what was offered are on their way. From the first byte of a request on, its
    /// answer may come.
    fn taken(&mut self, count: usize) {
        let read = self.sent.as_mut().and_then(|sent| sent.taken(count));
        let asked = match &self.asking {
            None => read,
            Some(_) if count == 0 => None,
            Some(asking) => asking.take(),
        };
        if let Some(asked) = asked {
            self.answers.expect(asked);
        }
    }
}

/// Requests that are read once more.
#[derive(Debug)]
struct Sent {
    requests: Requests,
    /// How many of the bytes that are offered next were looked at before: what was not taken is
    /// offered again.
    ahead: usize,
    /// The head that was looked at and not taken yet: how many of these bytes stand before it.
    due: Option<(usize, Asked)>,
}

impl Default for Sent {
    fn default() -> Self {
        Self {
            requests: Requests::new(REQUEST_BOUNDS),
            ahead: 0,
            due: None,
        }
    }
}

impl Sent {
    /// Looks at what is about to be written, as far as that was not done before. Heads come in one
    /// piece.
    fn offer<'a>(&mut self, pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<(), Unsendable> {
        let mut known = self.ahead;
        for piece in pieces {
            let fresh = piece.get(known..).unwrap_or_default();
            known = known.saturating_sub(piece.len());
            if fresh.is_empty() {
                continue;
            }
            let mut asked = None;
            let look = self.requests.look(fresh, |head| {
                asked = Some(if head.is_head {
                    Asked::Head
                } else {
                    Asked::Other
                });
            });
            match look {
                Look::Pass(all) | Look::Last(all) if all == fresh.len() => {}
                Look::Fault(_, fault) => return Err(Unsendable(fault)),
                Look::Pass(_) | Look::Last(_) => return Err(What::Doubtful.into()),
            }
            if let Some(asked) = asked {
                self.due = Some((self.ahead, asked));
            }
            self.ahead += fresh.len();
        }
        Ok(())
    }

    /// So many bytes of what was offered are on their way. Gives what is asked with them.
    fn taken(&mut self, count: usize) -> Option<Asked> {
        self.ahead = self.ahead.saturating_sub(count);
        let (before, asked) = self.due?;
        if count > before {
            self.due = None;
            return Some(asked);
        }
        self.due = Some((before - count, asked));
        None
    }
}

/// A request was about to be sent that could be read in two ways.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error(transparent)]
struct Unsendable(Fault);

impl From<What> for Unsendable {
    fn from(what: What) -> Self {
        Self(what.into())
    }
}

impl From<Unsendable> for io::Error {
    fn from(fault: Unsendable) -> Self {
        Self::new(io::ErrorKind::InvalidData, fault)
    }
}

/// The fault that ended a connection, if one did.
pub(super) fn fault_of(error: &(dyn Error + 'static)) -> Option<UpstreamError> {
    if let Some(fault) = fault_within(error) {
        return Some(UpstreamError::Invalid(fault.to_string()));
    }
    inner::<Unsendable>(error).map(|Unsendable(fault)| UpstreamError::Unsendable(*fault))
}

/// What is wrong with an answer, where that and not the connection is why it broke off.
pub fn fault_within(error: &(dyn Error + 'static)) -> Option<Fault> {
    inner(error).copied()
}

/// What an `io::Error` in the chain of causes wraps: `source` skips it.
fn inner<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(current) = next {
        let wrapped = current
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        if let Some(found) = wrapped.and_then(|wrapped| wrapped.downcast_ref()) {
            return Some(found);
        }
        next = current.source();
    }
    None
}

/// Bounds on the gateway's own requests: above what a caller may send, and a token.
const REQUEST_BOUNDS: Bounds = Bounds {
    head: 1024 * 1024,
    target: 1024 * 1024,
    body: u64::MAX,
};
