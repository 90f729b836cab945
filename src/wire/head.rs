//! Request heads.

use memchr::memchr;

use super::fault::{Fault, What};
use super::fields::{Fields, is_token};
use super::lines::Lines;
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
    /// The most bytes of a target.
    target: usize,
    lines: Lines,
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
            target: bounds.target,
            lines: Lines::new(bounds.head),
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
        let head = self.read_lines(bytes)?;
        self.lines.check_controls()?;
        Ok(head)
    }

    fn read_lines(&mut self, bytes: &[u8]) -> Result<Option<Head>, Fault> {
        let first = match self.first {
            Some(first) => Some(first),
            None => self.read_first(bytes)?,
        };
        if let Some(first) = first
            && self.fields.read(&mut self.lines, bytes)?
        {
            return self.whole(first).map(Some);
        }
        self.lines.check_room(bytes)?;
        Ok(None)
    }

    /// Reads the first line; `None` when it is not whole.
    fn read_first(&mut self, bytes: &[u8]) -> Result<Option<First>, Fault> {
        while let Some(line) = self.lines.next(&mut self.lines.rest(bytes), 0)? {
            let number = self.lines.number();
            // One empty line before a request is a leftover of an old client's last one.
            if !line.is_empty() || number > 1 {
                let first = self.first_of(line).map_err(|what| what.in_line(number))?;
                self.first = Some(first);
                return Ok(self.first);
            }
        }
        let number = self.lines.number() + 1;
        self.check_first(self.lines.part(bytes))
            .map_err(|what| what.in_line(number))?;
        Ok(None)
    }

    /// Whether nothing came yet that makes a request.
    pub fn is_untouched(&self, bytes: &[u8]) -> bool {
        self.first.is_none() && matches!(bytes, b"" | b"\r" | b"\r\n")
    }

    fn whole(&self, first: First) -> Result<Head, Fault> {
        Ok(Head {
            size: self.lines.size(),
            framing: self.fields.framing(first.version)?,
            version: first.version,
            is_head: first.is_head,
        })
    }

    /// Looks at a first line that is not whole: what is certain already need not be waited for.
    fn check_first(&self, part: &[u8]) -> Result<(), What> {
        let method = part.iter().take_while(|byte| is_token(**byte)).count();
        let rest = part.get(method..).unwrap_or_default();
        let begins = match rest.first() {
            None => true,
            Some(b' ') => method > 0,
            Some(b'\r') => part == b"\r",
            Some(_) => false,
        };
        if !begins {
            return Err(What::RequestLine);
        }
        if method > METHOD {
            return Err(What::Method);
        }
        // Around the target come two blanks, the version and a CR.
        if rest.len() > self.target + VERSION.len() + 3 {
            return Err(What::TargetTooLong);
        }
        Ok(())
    }

    fn first_of(&self, line: &[u8]) -> Result<First, What> {
        let method = line.iter().take_while(|byte| is_token(**byte)).count();
        let Some((method, [b' ', rest @ ..])) = line.split_at_checked(method) else {
            return Err(What::RequestLine);
        };
        let end = memchr(b' ', rest).ok_or(What::RequestLine)?;
        let (target, version) = rest.split_at(end);
        if method.is_empty()
            || target.is_empty()
            || version.get(1..).is_some_and(|text| text.contains(&b' '))
        {
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
        if target.len() > self.target {
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
