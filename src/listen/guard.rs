//! The guard of an HTTP/1 connection: what stands in front of hyper's parser.
//!
//! It looks at the bytes that were read, in place, before hyper sees them, and lets through what
//! [`crate::wire`] can read in one way. A head that has come in part is withheld. At a fault it
//! leaves the fault among the connection's [`Readings`], and feeds hyper a request of its own
//! instead: so every refusal takes the same road as a request, with an id and a record. It keeps
//! the time as well: how long a connection may be idle, and how long a head may take.

mod readings;
#[cfg(test)]
mod tests;

pub(super) use readings::{Answered, Readings};

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::Limits;
use crate::wire::{Bounds, Came, End, Fault, Gate, Place, Requests, What};

/// A connection of which hyper sees only what has one reading.
#[derive(Debug)]
pub(super) struct Guard<S> {
    stream: S,
    /// The most time without a request.
    idle_timeout: Duration,
    /// The most time from the first byte of a head to its last.
    head_timeout: Duration,
    requests: Requests,
    readings: Arc<Readings>,
    gate: Gate,
    state: State,
    /// Whether the caller takes nothing of what is written: it is not idle then.
    blocked: bool,
    /// By when something must have come.
    due: Option<(Due, Instant)>,
    timer: Option<Pin<Box<Sleep>>>,
}

/// What becomes of the bytes that come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// They are read.
    Reading,
    /// They are thrown away: nothing more is expected, or nothing more can be read.
    Deaf,
    /// The connection's end is on its way to the caller; they are thrown away until it is there.
    Lingering,
}

/// What must come in time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Due {
    /// The first byte of a request.
    Request,
    /// The rest of a head.
    Head,
    /// The caller's own end of the connection.
    End,
}

impl<S> Guard<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    /// Takes a stream of which the first byte came, or comes, at `since` or later.
    pub(super) fn new(
        stream: S,
        bounds: Bounds,
        limits: &Limits,
        since: Instant,
        readings: Arc<Readings>,
    ) -> Self {
        Self {
            stream,
            idle_timeout: limits.idle_timeout,
            head_timeout: limits.head_timeout,
            requests: Requests::new(bounds),
            readings,
            gate: Gate::default(),
            state: State::Reading,
            blocked: false,
            // It holds if a part of a head is there.
            due: Some((Due::Head, since + limits.head_timeout)),
            timer: None,
        }
    }

    /// Has a fault answered: hyper gets a request to answer it to.
    fn refuse(&mut self, fault: Fault) {
        self.readings.push_fault(fault);
        self.gate.end_with(STAND_IN);
    }

    /// Throws away what comes. Ready at the end of it.
    fn poll_deaf(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        for _ in 0..PIECES {
            let mut piece = [0; PIECE];
            let mut piece = ReadBuf::new(&mut piece);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut piece))?;
            if piece.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
        // Others get their turn; there is more.
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Waits until the caller has taken the last answer, which it shows by closing its side, or has
    /// had the time for it.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let deadline = match self.due {
            Some((Due::End, deadline)) => deadline,
            _ => Instant::now() + LINGER,
        };
        self.due = Some((Due::End, deadline));
        // The time is looked at first: a caller that sends without end must not outlast it.
        if Instant::now() >= deadline || self.poll_timer(context, deadline).is_ready() {
            return Poll::Ready(());
        }
        // How the caller ends it does not matter any more.
        self.poll_deaf(context).map(drop)
    }

    /// Begins to wait for the next request once all answers are written. hyper does not read again
    /// by itself then, if it has read in vain while it answered.
    fn await_request(&mut self, context: &mut Context<'_>) {
        // Where a head is withheld hyper need not read on before it has answered: to be woken for it
        // would be to be woken again and again.
        let waits = self.state == State::Reading && !self.requests.is_within_head(self.gate.held());
        if waits && self.poll_due(context).is_ready() {
            // It is too late for one already, which the next reading finds.
            context.waker().wake_by_ref();
        }
    }

    fn wrote<T>(&mut self, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        self.blocked = polled.is_pending();
        polled
    }

    /// Nothing came. Ready when the time is over in which it should have.
    fn poll_due(&mut self, context: &mut Context<'_>) -> Poll<Due> {
        let (due, time) = if self.requests.is_within_head(self.gate.held()) {
            (Due::Head, self.head_timeout)
        } else if self.readings.is_idle() && !self.blocked {
            (Due::Request, self.idle_timeout)
        } else {
            self.due = None;
            return Poll::Pending;
        };
        let deadline = match self.due {
            Some((same, deadline)) if same == due => deadline,
            _ => Instant::now() + time,
        };
        self.due = Some((due, deadline));
        self.poll_timer(context, deadline).map(|()| due)
    }

    /// Ready at the deadline. The timer that a connection has is left to an earlier time than it
    /// should, and set anew when that has come: most connections never get there.
    fn poll_timer(&mut self, context: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if timer.deadline() > deadline {
            timer.as_mut().reset(deadline);
        }
        loop {
            ready!(timer.as_mut().poll(context));
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
    }

    /// Whether the caller may still be sending what nobody will read: a connection that is closed
    /// meanwhile is reset, and the answer lost.
    fn lingers(&self) -> bool {
        self.gate.has_ended() || self.requests.is_within_body()
    }
}

impl<S> AsyncRead for Guard<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.state != State::Reading {
                ready!(this.poll_deaf(context))?;
                // Who has only closed its sending side still gets the answer to what was wrong.
                return if this.readings.has_fault() {
                    Poll::Pending
                } else {
                    Poll::Ready(Ok(()))
                };
            }
            let (requests, readings) = (&mut this.requests, &this.readings);
            let look = |bytes: &[u8]| requests.look(bytes, |head| readings.push(head));
            match this
                .gate
                .poll_read(&mut this.stream, look, context, buffer)?
            {
                Poll::Ready(Came::Bytes | Came::Closed) => {
                    this.due = None;
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Came::End(End::Last)) => this.state = State::Deaf,
                // There is a request already, which is refused when its body fails.
                Poll::Ready(Came::End(End::Fault(fault))) if fault.place == Place::Body => {
                    this.state = State::Deaf;
                    return Poll::Ready(Err(fault.into()));
                }
                Poll::Ready(Came::End(End::Fault(fault))) => this.refuse(fault),
                Poll::Pending => match ready!(this.poll_due(context)) {
                    Due::Head => this.refuse(What::Slow.into()),
                    // The connection ends as if the caller had closed it.
                    Due::Request | Due::End => return Poll::Ready(Ok(())),
                },
            }
        }
    }
}

impl<S> AsyncWrite for Guard<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.wrote(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        ready!(self.wrote(flushed))?;
        self.await_request(context);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.state != State::Lingering {
            ready!(Pin::new(&mut this.stream).poll_shutdown(context))?;
            if !this.lingers() {
                return Poll::Ready(Ok(()));
            }
            this.state = State::Lingering;
        }
        this.poll_linger(context).map(Ok)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// What hyper is given in place of what cannot be read. The service never looks at it.
const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\nHost: _\r\nConnection: close\r\n\r\n";

/// How much is read at a time where hyper's buffer is not read into.
const PIECE: usize = 4096;

/// How many pieces are thrown away before others get their turn.
const PIECES: usize = 16;

/// How long a caller gets to take the last answer.
const LINGER: Duration = Duration::from_secs(2);
