//! Request heads.

use memchr::memchr;

use super::fault::{Fault, What};
use super::fields::{Fields, find_control, is_token};
use super::target::is_target;
use super::{Framing, Minor};

/// Bounds on requests.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The most bytes of a head, its first line and the empty one at its end included.
    pub head: usize,
    /// The most bytes of a target.
    pub target: usize,
    /// The most bytes of a body in chunks. A body that tells its length is let through, to be
    /// refused as a request that was read.
    pub body: u64,
}

/// A request head that was read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Head {
    /// How many bytes it has, up to the body.
    pub size: usize,
    /// How long the body is.
    pub framing: Framing,
    /// The version that it names.
    pub version: Minor,
    /// Whether the method is HEAD, whose answers have no body.
    pub is_head: bool,
}

/// Reads one request head as its bytes come. After a part of it, it goes on where it stopped.
#[derive(Clone, Debug)]
pub struct HeadReader {
    bounds: Bounds,
    /// How many bytes of whole lines were read.
    read: usize,
    /// How many lines these are.
    lines: u16,
    first: Option<First>,
    fields: Fields,
}

/// What the first line says.
#[derive(Clone, Copy, Debug)]
struct First {
    version: Minor,
    is_head: bool,
}

impl HeadReader {
    /// A reader of the next head.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            read: 0,
            lines: 0,
            first: None,
            fields: Fields::default(),
        }
    }

    /// Reads on. `bytes` begin with the head, those that were read before included; `None` when the
    /// head is not whole yet.
    ///
    /// # Errors
    /// Names what is wrong with it, as soon as that is certain.
    pub fn read(&mut self, bytes: &[u8]) -> Result<Option<Head>, Fault> {
        let (from, line) = (self.read, self.lines);
        let read = self.read_lines(bytes)?;
        let text = bytes.get(from..self.read).unwrap_or_default();
        match find_control(text, self.lines - line) {
            Some(control) => Err(What::Value.in_line(line + control)),
            None => Ok(read),
        }
    }

    fn read_lines(&mut self, bytes: &[u8]) -> Result<Option<Head>, Fault> {
        loop {
            let room = self.bounds.head.saturating_sub(self.read);
            let rest = bytes.get(self.read..).unwrap_or_default();
            let Some(end) = memchr(b'\n', rest.get(..room).unwrap_or(rest)) else {
                self.check_part(rest, room)?;
                return Ok(None);
            };
            self.read += end + 1;
            self.lines += 1;
            let at = self.lines;
            let line = rest.get(..end).unwrap_or_default();
            let Some(line) = line.strip_suffix(b"\r") else {
                return Err(What::LineEnd.in_line(at));
            };
            match self.first {
                // One empty line before a request is a leftover of an old client's last one.
                None if line.is_empty() && at == 1 => {}
                None => self.first = Some(self.read_first(line).map_err(|what| what.in_line(at))?),
                Some(first) if line.is_empty() => return self.whole(first).map(Some),
                Some(_) => self.fields.read(line).map_err(|what| what.in_line(at))?,
            }
        }
    }

    /// Whether nothing came yet that makes a request.
    pub fn is_untouched(&self, bytes: &[u8]) -> bool {
        self.first.is_none() && matches!(bytes, b"" | b"\r" | b"\r\n")
    }

    fn whole(&self, first: First) -> Result<Head, Fault> {
        Ok(Head {
            size: self.read,
            framing: self.fields.framing(first.version)?,
            version: first.version,
            is_head: first.is_head,
        })
    }

    /// Looks at a line that is not whole: what is certain already need not be waited for.
    fn check_part(&self, part: &[u8], room: usize) -> Result<(), Fault> {
        let line = self.lines + 1;
        if self.first.is_none() {
            let method = part.iter().take_while(|byte| is_token(**byte)).count();
            let rest = part.get(method..).unwrap_or_default();
            let begins = match rest.first() {
                None => true,
                Some(b' ') => method > 0,
                Some(b'\r') => part == b"\r",
                Some(_) => false,
            };
            if !begins {
                return Err(What::RequestLine.in_line(line));
            }
            if method > METHOD {
                return Err(What::Method.in_line(line));
            }
            // Around the target come two blanks, the version and a CR.
            if rest.len() > self.bounds.target + VERSION.len() + 3 {
                return Err(What::TargetTooLong.in_line(line));
            }
        }
        if part.len() >= room {
            return Err(What::HeadTooLarge.in_line(line));
        }
        Ok(())
    }

    fn read_first(&self, line: &[u8]) -> Result<First, What> {
        let method = memchr(b' ', line).ok_or(What::RequestLine)?;
        let (method, rest) = line.split_at(method);
        if method.is_empty() || !method.iter().copied().all(is_token) {
            return Err(What::RequestLine);
        }
        let rest = rest.get(1..).unwrap_or_default();
        let end = memchr(b' ', rest).ok_or(What::RequestLine)?;
        let (target, version) = rest.split_at(end);
        if target.is_empty() || version.get(1..).is_some_and(|text| text.contains(&b' ')) {
            return Err(What::RequestLine);
        }
        let version = match version {
            b" HTTP/1.1" => Minor::One,
            b" HTTP/1.0" => Minor::Zero,
            _ => return Err(What::Version),
        };
        // Its target is of another kind, and so is everything behind it.
        if method == b"CONNECT" || method.len() > METHOD {
            return Err(What::Method);
        }
        if target.len() > self.bounds.target {
            return Err(What::TargetTooLong);
        }
        if !is_target(target) {
            return Err(What::Target);
        }
        Ok(First {
            version,
            is_head: method == b"HEAD",
        })
    }
}

/// The longest method: none that is served has more than seven letters.
const METHOD: usize = 32;

const VERSION: &[u8] = b"HTTP/1.1";
