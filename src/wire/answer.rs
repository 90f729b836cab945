//! Heads of answers.

use memchr::memchr;

use super::fault::{Fault, What};
use super::fields::{Fields, find_control};
use super::{Framing, Minor};

/// What the answer is an answer to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Asked {
    /// A HEAD request: its answer has a head only, whatever that says.
    Head,
    /// Any other.
    Other,
}

/// The head of an answer that was read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Answer {
    /// How many bytes it has, up to the body.
    pub size: usize,
    /// The status.
    pub status: u16,
    /// The version that it names.
    pub version: Minor,
    /// How long the body is.
    pub framing: Framing,
    /// Whether it tells of a body though it cannot have one: what comes next on the connection is
    /// anybody's guess.
    pub doubtful: bool,
}

impl Answer {
    /// Whether another answer follows.
    pub fn is_interim(&self) -> bool {
        self.status < 200
    }
}

/// Reads one head as its bytes come. After a part of it, it goes on where it stopped.
#[derive(Clone, Debug)]
pub struct AnswerReader {
    asked: Asked,
    /// The most bytes of a head.
    limit: usize,
    read: usize,
    lines: u16,
    first: Option<(Minor, u16)>,
    fields: Fields,
}

impl AnswerReader {
    /// A reader of the answer to a request, with the most bytes of a head.
    pub fn new(asked: Asked, limit: usize) -> Self {
        Self {
            asked,
            limit,
            read: 0,
            lines: 0,
            first: None,
            fields: Fields::default(),
        }
    }

    /// What it is an answer to.
    pub(super) fn asked(&self) -> Asked {
        self.asked
    }

    /// Reads on. `bytes` begin with the head, those that were read before included; `None` when the
    /// head is not whole yet.
    ///
    /// # Errors
    /// Names what is wrong with it.
    pub fn read(&mut self, bytes: &[u8]) -> Result<Option<Answer>, Fault> {
        let (from, line) = (self.read, self.lines);
        let read = self.read_lines(bytes)?;
        let text = bytes.get(from..self.read).unwrap_or_default();
        match find_control(text, self.lines - line) {
            Some(control) => Err(What::Value.in_line(line + control)),
            None => Ok(read),
        }
    }

    fn read_lines(&mut self, bytes: &[u8]) -> Result<Option<Answer>, Fault> {
        loop {
            let room = self.limit.saturating_sub(self.read);
            let rest = bytes.get(self.read..).unwrap_or_default();
            let Some(end) = memchr(b'\n', rest.get(..room).unwrap_or(rest)) else {
                let at = self.lines + 1;
                return if rest.len() >= room {
                    Err(What::HeadTooLarge.in_line(at))
                } else if self.first.is_none() && !begins_status(rest) {
                    Err(What::StatusLine.in_line(at))
                } else {
                    Ok(None)
                };
            };
            self.read += end + 1;
            self.lines += 1;
            let at = self.lines;
            let line = rest.get(..end).unwrap_or_default();
            let Some(line) = line.strip_suffix(b"\r") else {
                return Err(What::LineEnd.in_line(at));
            };
            match self.first {
                None => {
                    let first = status_line(line).ok_or(What::StatusLine.in_line(at))?;
                    if first.1 == 101 {
                        return Err(What::Switched.into());
                    }
                    self.first = Some(first);
                }
                Some(first) if line.is_empty() => return Ok(Some(self.whole(first)?)),
                Some(_) => self.fields.read(line).map_err(|what| what.in_line(at))?,
            }
        }
    }

    fn whole(&self, (version, status): (Minor, u16)) -> Result<Answer, What> {
        let told = self.fields.framing(version)?;
        let empty = status < 200 || status == 204;
        let doubtful = empty && !matches!(told, Framing::None | Framing::Length(0));
        if doubtful && status < 200 {
            return Err(What::Doubtful);
        }
        let framing = match told {
            _ if empty || status == 304 || self.asked == Asked::Head => Framing::None,
            Framing::None => Framing::UntilClose,
            told => told,
        };
        Ok(Answer {
            size: self.read,
            status,
            version,
            framing,
            doubtful,
        })
    }
}

/// Whether a part of the first line begins as one does.
fn begins_status(part: &[u8]) -> bool {
    let length = part.len().min(b"HTTP/1.".len());
    part.get(..length) == b"HTTP/1.".get(..length)
}

fn status_line(line: &[u8]) -> Option<(Minor, u16)> {
    let (version, rest) = line.split_at_checked(9)?;
    let version = match version {
        b"HTTP/1.1 " => Minor::One,
        b"HTTP/1.0 " => Minor::Zero,
        _ => return None,
    };
    let (digits, reason) = rest.split_at_checked(3)?;
    if !matches!(reason.first(), None | Some(b' ')) {
        return None;
    }
    let status = digits.iter().try_fold(0_u16, |status, byte| {
        byte.is_ascii_digit()
            .then(|| status * 10 + u16::from(byte - b'0'))
    })?;
    (100..=599).contains(&status).then_some((version, status))
}
