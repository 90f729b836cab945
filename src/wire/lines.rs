//! The lines of a head, as their bytes come.

use memchr::memchr;

use super::fault::{Fault, What};

/// Takes a head apart into lines. After a part of it, it goes on where it stopped.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lines {
    /// The most bytes of the head.
    limit: usize,
    /// How many bytes of whole lines were taken.
    taken: usize,
    /// How many lines these are.
    count: u16,
    /// The first line that holds a control character in its text, counted from one; 0 if none does.
    controls: u16,
}

impl Lines {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            taken: 0,
            count: 0,
            controls: 0,
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

    /// What stands behind the lines that were taken, as far as a head may go. `bytes` begin with the
    /// head.
    #[inline]
    pub(super) fn rest<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let text = bytes.get(..self.limit).unwrap_or(bytes);
        text.get(self.taken..).unwrap_or_default()
    }

    /// Takes a line off the front of `rest`, without its end; `None` when it is not whole. Of its
    /// first `seen` bytes it is known that they are no control characters.
    ///
    /// Its end is looked for among all control characters, so that no second look has to find out
    /// whether there are others: hardly any line has one before its end.
    #[inline]
    pub(super) fn next<'a>(
        &mut self,
        rest: &mut &'a [u8],
        seen: usize,
    ) -> Result<Option<&'a [u8]>, Fault> {
        let end = seen + before_control(rest.get(seen..).unwrap_or_default());
        let (line, behind) = match rest.split_at_checked(end) {
            Some((line, [b'\r', b'\n', behind @ ..])) => (line, behind),
            _ => match self.odd(rest)? {
                Some(parts) => parts,
                None => return Ok(None),
            },
        };
        *rest = behind;
        self.taken += line.len() + END.len();
        self.count += 1;
        Ok(Some(line))
    }

    /// The same where something else than an end comes first. Control characters are only noted:
    /// what is wrong with a line as such counts before them.
    #[cold]
    fn odd<'a>(&mut self, rest: &'a [u8]) -> Result<Option<Parts<'a>>, Fault> {
        let end = memchr(b'\n', rest);
        let Some((line, behind)) = end.and_then(|end| rest.split_at_checked(end + 1)) else {
            return Ok(None);
        };
        let number = self.count + 1;
        let line = line.strip_suffix(END);
        let line = line.ok_or(What::LineEnd.in_line(number))?;
        if self.controls == 0 && line.iter().any(|byte| *byte != b'\t' && is_control(*byte)) {
            self.controls = number;
        }
        Ok(Some((line, behind)))
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

    /// Whether the lines that were taken hold no control characters other than tabs.
    pub(super) fn check_controls(&self) -> Result<(), Fault> {
        match self.controls {
            0 => Ok(()),
            line => Err(What::Value.in_line(line)),
        }
    }
}

/// A line without its end, and what stands behind it.
type Parts<'a> = (&'a [u8], &'a [u8]);

/// How many bytes stand before the first control character; of these a tab is one here.
#[inline]
fn before_control(text: &[u8]) -> usize {
    let (words, rest) = text.as_chunks::<8>();
    for (before, word) in words.iter().enumerate() {
        let found = controls(u64::from_le_bytes(*word));
        if found != 0 {
            return before * 8 + found.trailing_zeros() as usize / 8;
        }
    }
    let within = rest.iter().position(|byte| is_control(*byte));
    words.len() * 8 + within.unwrap_or(rest.len())
}

/// Looks at eight bytes at once: the lowest bit that is set is in the first one that is a control
/// character. What borrows from its neighbour below makes the bits above that one mean nothing.
#[inline]
fn controls(word: u64) -> u64 {
    const EACH: u64 = u64::MAX / 0xff;
    let below_blank = word.wrapping_sub(EACH * 0x20);
    let delete = (word ^ (EACH * 0x7f)).wrapping_sub(EACH);
    (below_blank | delete) & !word & (EACH * 0x80)
}

fn is_control(byte: u8) -> bool {
    byte < b' ' || byte == 0x7f
}

const END: &[u8] = b"\r\n";
