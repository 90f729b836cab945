//! What hyper does not bound on connections of HTTP/2.
//!
//! [`Frames`] stands between the socket and hyper. It walks over the heads of the frames in both
//! directions, where they lie, and ends the connection when it has cost too much for what it is of
//! use. The [`Watch`] beside it ends the connection when the rest of a head does not come, when answers
//! are there that the caller does not take, and when there has been no request for too long.

mod budget;
#[cfg(test)]
mod tests;
mod walk;
mod watch;

use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::Limits;
use budget::{Budget, Excess};
use walk::{Due, Walk};
use watch::Ledger;

pub(super) use watch::{Late, Watched};

/// The stream of a connection of HTTP/2, and what the connection may cost.
#[derive(Debug)]
pub(super) struct Frames<S> {
    stream: S,
    incoming: Walk,
    outgoing: Walk,
    budget: Budget,
    ledger: Arc<Ledger>,
    /// The number of the head or frame that is due, if a part of it is there.
    part: Option<u64>,
    /// Bytes of answers that went out and were not counted as progress yet.
    dribble: usize,
    /// Whether the connection has ended for what it cost.
    cut: bool,
}

/// Watches over a connection of HTTP/2.
#[derive(Clone, Debug)]
pub(super) struct Watch(Arc<Ledger>);

impl Watch {
    /// Returns when the connection is to be given up.
    pub(super) async fn late(&self) -> Late {
        self.0.late().await
    }

    /// Returns when the connection has been without a request for as long as it may, and for `beyond`
    /// besides.
    pub(super) async fn idle(&self, beyond: Duration) {
        self.0.idle(beyond).await;
    }

    /// What the connection was ended for, if it had too much of it.
    pub(super) fn excess(&self) -> Option<impl std::error::Error> {
        *self.0.excess.lock()
    }

    /// Has the watch know what becomes of the body of an answer.
    pub(super) fn over<B>(&self, body: B) -> Watched<B> {
        Watched::new(body, Arc::clone(&self.0))
    }
}

impl<S> Frames<S> {
    /// Takes a stream of which nothing has been read, whose first byte came, or may have come, at
    /// `since`. Beside what reads it the watch is to be awaited.
    pub(super) fn new(stream: S, limits: &Limits, since: Instant) -> (Self, Watch) {
        let ledger = Arc::new(Ledger::new(limits, since));
        let watch = Watch(Arc::clone(&ledger));
        let frames = Self {
            stream,
            incoming: Walk::after(PREFACE),
            outgoing: Walk::after(0),
            budget: Budget::new(),
            ledger,
            part: Some(0),
            dribble: 0,
            cut: false,
        };
        (frames, watch)
    }

    fn came(&mut self, bytes: &[u8]) -> Result<(), Excess> {
        let now = self.ledger.now();
        let budget = &mut self.budget;
        budget.pass(now);
        self.incoming.walk(bytes, |frame| budget.came(frame, now))?;
        let part = match self.incoming.due() {
            _ if budget.awaits_more() => Some(budget.units()),
            // It was counted when its own head was there.
            Due::Rest => Some(budget.units() - 1),
            Due::Head => Some(budget.units()),
            Due::Nothing => None,
        };
        if part != self.part {
            self.part = part;
            self.ledger.head_since(part.map(|_| now));
        }
        self.ledger.answering(budget.answering());
        self.ledger.busy(budget.is_busy());
        Ok(())
    }

    fn went(&mut self, bytes: &[u8]) {
        let (budget, dribble) = (&mut self.budget, &mut self.dribble);
        let Ok(()) = self.outgoing.walk(bytes, |frame| {
            *dribble = dribble.saturating_add(budget.went(frame));
            Ok::<_, Infallible>(())
        });
        if self.ledger.moved(*dribble) {
            *dribble = 0;
        }
        self.ledger.answering(budget.answering());
        self.ledger.busy(budget.is_busy());
    }
}

impl<S: AsyncWrite + Unpin> Frames<S> {
    /// Ends the connection, if possible with a word why.
    fn end(&mut self, context: &mut Context<'_>, excess: Excess) -> io::Error {
        self.cut = true;
        *self.ledger.excess.lock() = Some(excess);
        if self.outgoing.is_between() {
            let mut goaway = GOAWAY;
            if let Some(last) = goaway.get_mut(9..13) {
                last.copy_from_slice(&self.budget.newest().to_be_bytes());
            }
            // Whoever does not take it now gets the end of the connection only.
            let _written = Pin::new(&mut self.stream).poll_write(context, &goaway);
        }
        io::Error::other(excess)
    }

    fn after_write(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.ledger.blocked(written.is_pending());
        written
    }

    fn refuse_if_cut(&self) -> io::Result<()> {
        if self.cut {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        Ok(())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Frames<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.refuse_if_cut()?;
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
        let new = buffer.filled().get(before..).unwrap_or_default();
        match this.came(new) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(excess) => Poll::Ready(Err(this.end(context, excess))),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Frames<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.refuse_if_cut()?;
        let written = Pin::new(&mut this.stream).poll_write(context, bytes);
        let written = ready!(this.after_write(written))?;
        this.went(bytes.get(..written).unwrap_or(bytes));
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.refuse_if_cut()?;
        let written = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        let written = ready!(this.after_write(written))?;
        let mut left = written;
        for slice in slices {
            let taken = left.min(slice.len());
            this.went(slice.get(..taken).unwrap_or(slice));
            left -= taken;
        }
        Poll::Ready(Ok(written))
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

/// The length of the connection preface.
const PREFACE: usize = 24;

/// The frame GOAWAY with the code `ENHANCE_YOUR_CALM`, its last stream to be filled in.
const GOAWAY: [u8; 17] = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xb];
