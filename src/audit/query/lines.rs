//! The lines of a file, from the first or from the last, in memory that does not grow with it.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use memchr::{memchr, memrchr};

use super::Order;
use crate::audit::segment::LINE_LIMIT;

/// How much is read at once.
const BLOCK: usize = 256 * 1024;

/// The lines of a part of a file.
pub(super) struct Lines {
    file: File,
    order: Order,
    /// The part that is not yet in the buffer.
    ahead: Range<u64>,
    buffer: Vec<u8>,
    /// The part of the buffer that was not given out yet.
    unread: Range<usize>,
    /// Where a line began, or ends, that was too long to keep.
    too_long: Option<u64>,
    spare: Vec<u8>,
}

/// What comes next.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Next {
    End,
    /// So many bytes were read; a line may come next.
    Filled(u64),
    /// A line, without its newline, and where in the file it begins.
    Line {
        offset: u64,
        line: Range<usize>,
    },
    /// A line that is longer than any record, and where in the file it begins.
    TooLong(u64),
}

impl Lines {
    /// Reads the first `len` bytes of a file, which must end behind a newline.
    pub(super) fn new(file: File, len: u64, order: Order) -> Self {
        Self {
            file,
            order,
            ahead: 0..len,
            buffer: Vec::new(),
            unread: 0..0,
            too_long: None,
            spare: Vec::new(),
        }
    }

    /// The bytes of a line that was just given out.
    pub(super) fn bytes(&self, line: Range<usize>) -> &[u8] {
        self.buffer.get(line).unwrap_or_default()
    }

    /// Gives out the next line, or reads on.
    pub(super) fn next(&mut self) -> io::Result<Next> {
        match self.order {
            Order::NewestFirst => self.before(),
            Order::OldestFirst => self.after(),
        }
    }

    fn after(&mut self) -> io::Result<Next> {
        let start = self.unread.start;
        let unread = self.bytes(self.unread.clone());
        let offset = self.ahead.start.saturating_sub(count(unread.len()));
        let Some(length) = memchr(b'\n', unread) else {
            if unread.len() > LINE_LIMIT {
                self.too_long.get_or_insert(offset);
                self.unread.start = self.unread.end;
            }
            return self.fill_after();
        };
        self.unread.start += length + 1;
        Ok(match self.too_long.take() {
            Some(offset) => Next::TooLong(offset),
            None => Self::line(offset, start..start + length),
        })
    }

    fn fill_after(&mut self) -> io::Result<Next> {
        let ahead = self.ahead.end - self.ahead.start;
        let length = BLOCK.min(usize::try_from(ahead).unwrap_or(BLOCK));
        let kept = self.unread.len();
        self.buffer.copy_within(self.unread.clone(), 0);
        self.buffer.resize(kept + BLOCK, 0);
        self.unread = 0..kept;
        let space = self.buffer.get_mut(kept..kept + length).unwrap_or_default();
        let read = self.file.read_at(space, self.ahead.start)?;
        if read == 0 {
            // All is read, or its writer took the rest back.
            self.ahead.end = self.ahead.start;
            return Ok(Next::End);
        }
        self.unread.end += read;
        self.ahead.start += count(read);
        Ok(Next::Filled(count(read)))
    }

    fn before(&mut self) -> io::Result<Next> {
        let unread = self.bytes(self.unread.clone());
        // The rest of a line that is too long has no newline at its end.
        let body = match self.too_long {
            None => unread.strip_suffix(b"\n").unwrap_or(unread),
            Some(_) => unread,
        };
        let start = match memrchr(b'\n', body) {
            Some(at) => at + 1,
            None if self.ahead.is_empty() && unread.is_empty() && self.too_long.is_none() => {
                return Ok(Next::End);
            }
            None if self.ahead.is_empty() => 0,
            None => {
                if body.len() > LINE_LIMIT {
                    self.too_long = Some(self.ahead.end);
                    self.unread = 0..0;
                }
                return self.fill_before();
            }
        };
        let line = start..body.len();
        let offset = self.ahead.end + count(start);
        self.unread.end = start;
        Ok(match self.too_long.take() {
            Some(_) => Next::TooLong(offset),
            None => Self::line(offset, line),
        })
    }

    fn line(offset: u64, line: Range<usize>) -> Next {
        if line.len() > LINE_LIMIT {
            Next::TooLong(offset)
        } else {
            Next::Line { offset, line }
        }
    }

    fn fill_before(&mut self) -> io::Result<Next> {
        let length = BLOCK.min(usize::try_from(self.ahead.end).unwrap_or(BLOCK));
        let start = self.ahead.end - count(length);
        self.spare.resize(length, 0);
        self.file.read_exact_at(&mut self.spare, start)?;
        self.spare
            .extend_from_slice(self.buffer.get(self.unread.clone()).unwrap_or_default());
        std::mem::swap(&mut self.spare, &mut self.buffer);
        self.unread = 0..self.buffer.len();
        self.ahead.end = start;
        Ok(Next::Filled(count(length)))
    }
}

/// A count of bytes as files count them.
fn count(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;

    fn file(content: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file
    }

    /// Offset and text of each line; none for one that is too long.
    fn read(content: &[u8], order: Order) -> Vec<(u64, Option<Vec<u8>>)> {
        let mut lines = Lines::new(file(content), content.len() as u64, order);
        let mut found = Vec::new();
        loop {
            match lines.next().unwrap() {
                Next::End => break,
                Next::Filled(_) => {}
                Next::Line { offset, line } => {
                    found.push((offset, Some(lines.bytes(line).to_vec())))
                }
                Next::TooLong(offset) => found.push((offset, None)),
            }
            assert!(
                lines.buffer.capacity() < 2 * (LINE_LIMIT + 2 * BLOCK),
                "memory grows"
            );
        }
        if order == Order::NewestFirst {
            found.reverse();
        }
        found
    }

    fn expected(content: &[u8]) -> Vec<(u64, Option<Vec<u8>>)> {
        let mut offset = 0;
        let lines = content.split_inclusive(|byte| *byte == b'\n');
        lines
            .map(|line| {
                let at = offset;
                offset += line.len() as u64;
                let kept = (line.len() <= LINE_LIMIT + 1).then(|| line[..line.len() - 1].to_vec());
                (at, kept)
            })
            .collect()
    }

    #[test]
    fn lines_are_the_same_in_both_orders_whatever_their_length() {
        let long = |length: usize| vec![b'x'; length];
        for lengths in [
            &[][..],
            &[0],
            &[5, 0, 7],
            &[BLOCK - 1, 3],
            &[BLOCK, BLOCK],
            &[BLOCK + 1, 0, 2 * BLOCK, 9],
            &[1, LINE_LIMIT + 2 * BLOCK, 2],
            &[4 * LINE_LIMIT],
            &[LINE_LIMIT, LINE_LIMIT + 1, LINE_LIMIT],
            &[7, LINE_LIMIT, LINE_LIMIT + 1, LINE_LIMIT, 9],
            &[4 * LINE_LIMIT, 4 * LINE_LIMIT, 1],
            // The long line begins, and ends, where a block does.
            &[BLOCK - 1, 8 * LINE_LIMIT - 1, BLOCK - 1],
            &[6 * BLOCK - 1, LINE_LIMIT + BLOCK - 1, 2 * BLOCK - 1],
        ] {
            let content: Vec<u8> = lengths
                .iter()
                .flat_map(|length| [long(*length), vec![b'\n']].concat())
                .collect();
            for order in [Order::OldestFirst, Order::NewestFirst] {
                let found = read(&content, order);
                let found: Vec<_> = found
                    .iter()
                    .map(|(at, line)| (at, line.as_ref().map(Vec::len)))
                    .collect();
                let expected = expected(&content);
                let expected: Vec<_> = expected
                    .iter()
                    .map(|(at, line)| (at, line.as_ref().map(Vec::len)))
                    .collect();
                assert_eq!(found, expected, "{lengths:?} {order:?}");
            }
        }
    }

    #[test]
    fn what_was_taken_back_is_the_end() {
        let file = file(b"one\ntwo\n");
        let mut lines = Lines::new(file.try_clone().unwrap(), 8, Order::OldestFirst);
        file.set_len(6).unwrap();
        assert_eq!(lines.next().unwrap(), Next::Filled(6));
        assert_eq!(
            lines.next().unwrap(),
            Next::Line {
                offset: 0,
                line: 0..3
            }
        );
        assert_eq!(lines.next().unwrap(), Next::End);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn any_lines_come_in_order(lines in prop::collection::vec("[a-z]{0,40}", 0..2000)) {
            let content: String = lines.iter().map(|line| format!("{line}\n")).collect();
            let content = content.repeat(8).into_bytes();
            prop_assert_eq!(read(&content, Order::OldestFirst), expected(&content));
            prop_assert_eq!(read(&content, Order::NewestFirst), expected(&content));
        }
    }
}
