//! The lines of a head, as their bytes come.

use memchr::memchr;

use super::fault::{Fault, What};
use super::fields::find_control;

/// Takes a head apart into lines. After a part of it, it goes on where it stopped.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lines {
    /// The most bytes of the head.
    limit: usize,
    /// How many bytes of whole lines were taken.
    taken: usize,
    /// How many lines these are.
    count: u16,
}

impl Lines {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            taken: 0,
            count: 0,
        }
    }

    /// How many bytes the lines have that were taken, their ends included.
    pub(super) fn size(&self) -> usize {
        self.taken
    }

    /// The number of the line that was taken last, from one.
    pub(super) fn number(&self) -> u16 {
        self.count
    }

    /// Takes the next line, without its end; `None` when it is not whole. `bytes` begin with the
    /// head.
    pub(super) fn next<'a>(&mut self, bytes: &'a [u8]) -> Result<Option<&'a [u8]>, Fault> {
        let text = bytes.get(..self.limit).unwrap_or(bytes);
        let rest = text.get(self.taken..).unwrap_or_default();
        let Some(end) = memchr(b'\n', rest) else {
            return Ok(None);
        };
        self.taken += end + 1;
        self.count += 1;
        let line = rest.get(..end).and_then(|line| line.strip_suffix(b"\r"));
        line.map(Some).ok_or(What::LineEnd.in_line(self.count))
    }

    /// What there is of a line that is not whole.
    pub(super) fn part<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        bytes.get(self.taken..).unwrap_or_default()
    }

    /// Whether the rest of the head may still come.
    pub(super) fn check_room(&self, bytes: &[u8]) -> Result<(), Fault> {
        if bytes.len() >= self.limit {
            return Err(What::HeadTooLarge.in_line(self.count + 1));
        }
        Ok(())
    }

    /// Whether the lines that were taken since `before` hold no control characters.
    pub(super) fn check_controls(&self, bytes: &[u8], before: Self) -> Result<(), Fault> {
        let text = bytes.get(before.taken..self.taken).unwrap_or_default();
        match find_control(text, self.count - before.count) {
            Some(line) => Err(What::Value.in_line(before.count + line)),
            None => Ok(()),
        }
    }
}
