//! Heads of answers.

use super::fault::{Fault, What};
use super::fields::Fields;
use super::lines::Lines;
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
    lines: Lines,
    first: Option<(Minor, u16)>,
    fields: Fields,
}

impl AnswerReader {
    /// A reader of the answer to a request, with the most bytes of a head.
    pub fn new(asked: Asked, limit: usize) -> Self {
        Self {
            asked,
            lines: Lines::new(limit),
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
        let answer = self.read_lines(bytes)?;
        self.lines.check_controls()?;
        Ok(answer)
    }

    fn read_lines(&mut self, bytes: &[u8]) -> Result<Option<Answer>, Fault> {
        let first = match self.first {
            Some(first) => Some(first),
            None => self.read_first(bytes)?,
        };
        if let Some(first) = first
            && self.fields.read(&mut self.lines, bytes)?
        {
            return Ok(Some(self.whole(first)?));
        }
        self.lines.check_room(bytes)?;
        Ok(None)
    }

    /// Reads the first line; `None` when it is not whole.
    fn read_first(&mut self, bytes: &[u8]) -> Result<Option<(Minor, u16)>, Fault> {
        let here = |what: What| what.in_line(1);
        if let Some(line) = self.lines.next(&mut self.lines.rest(bytes), 0)? {
            self.first = Some(status_line(line).map_err(here)?);
        } else if !begins_status(self.lines.part(bytes)) {
            return Err(here(What::StatusLine));
        }
        Ok(self.first)
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
            size: self.lines.size(),
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

fn status_line(line: &[u8]) -> Result<(Minor, u16), What> {
    let (version, rest) = line.split_at_checked(9).ok_or(What::StatusLine)?;
    let version = match version {
        b"HTTP/1.1 " => Minor::One,
        b"HTTP/1.0 " => Minor::Zero,
        _ => return Err(What::StatusLine),
    };
    let (digits, reason) = rest.split_at_checked(3).ok_or(What::StatusLine)?;
    let status = digits.iter().try_fold(0_u16, |status, byte| {
        byte.is_ascii_digit()
            .then(|| status * 10 + u16::from(byte - b'0'))
    });
    match (status, reason.first()) {
        (Some(101), None | Some(b' ')) => Err(What::Switched),
        (Some(status @ 100..=599), None | Some(b' ')) => Ok((version, status)),
        _ => Err(What::StatusLine),
    }
}
