//! Between a connection and the parser behind it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

use crate::wire::{Fault, Look};

/// Lets bytes of a connection through as far as somebody who looks at them says so. They are looked
/// at where they are read to; only the beginning of a head is kept here, until the head is whole.
#[derive(Debug, Default)]
pub(super) struct Gate {
    held: Vec<u8>,
    /// How many of the bytes that are held may go on.
    passed: usize,
    /// What comes behind these.
    end: Option<End>,
}

/// How the bytes of a connection end, whatever else it brings.
#[derive(Clone, Copy, Debug)]
enum End {
    Fault(Fault),
    Last,
}

impl Gate {
    /// Reads from a connection what may go on, as [`AsyncRead::poll_read`] does. Where `look` says
    /// that nothing follows, this is the end.
    ///
    /// # Errors
    /// Fails as the connection does, and with the [`Fault`] that `look` finds.
    pub(super) fn poll_read<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        mut look: impl FnMut(&[u8]) -> Look,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if self.passed > 0 {
                self.hand_on(buffer);
                return Poll::Ready(Ok(()));
            }
            match self.end {
                Some(End::Fault(fault)) => return Poll::Ready(Err(fault.into())),
                Some(End::Last) => return Poll::Ready(Ok(())),
                None => {}
            }
            let before = buffer.filled().len();
            ready!(Pin::new(&mut *stream).poll_read(context, buffer))?;
            let fresh = buffer.filled().get(before..).unwrap_or_default();
            if fresh.is_empty() {
                return Poll::Ready(Ok(()));
            }
            if self.held.is_empty() {
                let passed = self.heed(look(fresh));
                if self.end.is_none() {
                    self.held
                        .extend_from_slice(fresh.get(passed..).unwrap_or_default());
                }
                if passed > 0 {
                    buffer.set_filled(before + passed);
                    return Poll::Ready(Ok(()));
                }
            } else {
                self.held.extend_from_slice(fresh);
                self.passed = self.heed(look(&self.held));
            }
            buffer.set_filled(before);
        }
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
            self.held = Vec::new();
        }
    }

    #[cfg(test)]
    pub(super) fn held_capacity(&self) -> usize {
        self.held.capacity()
    }
}
