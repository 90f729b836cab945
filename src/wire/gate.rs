//! Between a connection and the parser behind it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

use super::fault::Fault;
use super::stream::Look;

/// Lets bytes of a connection through as far as somebody who looks at them says so. They are looked
/// at where they are read to; only the beginning of a head is kept here, until the head is whole.
#[derive(Debug, Default)]
pub struct Gate {
    held: Vec<u8>,
    /// How many of the bytes that are held may go on.
    passed: usize,
    /// What comes behind these.
    end: Option<End>,
}

/// How the bytes of a connection end, whatever else it brings.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// They cannot be read on.
    Fault(Fault),
    /// Nothing is expected to follow.
    Last,
}

/// What a reading came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Came {
    /// Bytes, which are in the buffer.
    Bytes,
    /// The end of the connection.
    Closed,
    /// The end of what may go on; from here on the connection is not read.
    End(End),
}

impl Gate {
    /// Reads from a connection what may go on.
    ///
    /// # Errors
    /// Fails as the connection does.
    pub fn poll_read<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        mut look: impl FnMut(&[u8]) -> Look,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<Came>> {
        loop {
            if self.passed > 0 {
                self.hand_on(buffer);
                return Poll::Ready(Ok(Came::Bytes));
            }
            if let Some(end) = self.end {
                return Poll::Ready(Ok(Came::End(end)));
            }
            let before = buffer.filled().len();
            ready!(Pin::new(&mut *stream).poll_read(context, buffer))?;
            let fresh = buffer.filled().get(before..).unwrap_or_default();
            if fresh.is_empty() {
                return Poll::Ready(Ok(Came::Closed));
            }
            if self.held.is_empty() {
                let passed = self.heed(look(fresh));
                if self.end.is_none() {
                    self.held
                        .extend_from_slice(fresh.get(passed..).unwrap_or_default());
                }
                if passed > 0 {
                    buffer.set_filled(before + passed);
                    return Poll::Ready(Ok(Came::Bytes));
                }
            } else {
                self.held.extend_from_slice(fresh);
                self.passed = self.heed(look(&self.held));
            }
            buffer.set_filled(before);
        }
    }

    /// The beginning of a head that is not whole.
    pub fn held(&self) -> &[u8] {
        &self.held
    }

    /// Whether the connection is not read any more.
    pub fn has_ended(&self) -> bool {
        self.end.is_some()
    }

    /// Lets these bytes through, and nothing after them, in place of what is held.
    pub fn end_with(&mut self, bytes: &[u8]) {
        self.held.clear();
        self.held.extend_from_slice(bytes);
        self.passed = bytes.len();
        self.end = Some(End::Last);
    }

    /// Notes what was said; gives how many bytes may go on.
    fn heed(&mut self, look: Look) -> usize {
        match look {
            Look::Pass(passed) => passed,
            Look::Fault(passed, fault) => {
                self.end = Some(End::Fault(fault));
                passed
            }
            Look::Last(passed) => {
                self.end = Some(End::Last);
                passed
            }
        }
    }

    /// Hands on what is held and may go on, as much as there is room for.
    fn hand_on(&mut self, buffer: &mut ReadBuf<'_>) {
        let now = self.passed.min(buffer.remaining());
        buffer.put_slice(self.held.get(..now).unwrap_or_default());
        self.passed -= now;
        if self.passed == 0 && self.end.is_some() {
            self.held.clear();
        } else {
            self.held.drain(..now);
        }
        if self.held.is_empty() {
            // A connection that waits for its next message holds no memory for the last one.
            self.held = Vec::new();
        }
    }

    #[cfg(test)]
    pub(crate) fn held_capacity(&self) -> usize {
        self.held.capacity()
    }
}
