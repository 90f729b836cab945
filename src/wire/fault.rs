//! What is wrong with a message.

use std::fmt;

/// Why a message is not read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Fault {
    /// What is wrong.
    pub what: What,
    /// Where.
    pub place: Place,
}

/// Where in a message a fault is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Place {
    /// In a body, behind a head that was read.
    Body,
    /// In the head as a whole.
    Head,
    /// In a line of the head, counted from one.
    Line(u16),
}

/// What can be wrong with a message. Nothing of its bytes is kept: they may be anybody's secret, or
/// meant for whoever reads the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum What {
    /// Lines end in CR LF and in nothing else.
    #[error("a line does not end in CR LF, or holds a CR or LF of its own")]
    LineEnd,
    /// The body is larger than the limit.
    #[error("the body is larger than this gateway accepts")]
    BodyTooLarge,
    /// The data of a chunk is longer or shorter than its size.
    #[error("the data of a chunk is not as long as its size says")]
    ChunkData,
    /// An extension breaks its grammar.
    #[error("a chunk extension is malformed")]
    ChunkExtension,
    /// The extensions of one body are too long together.
    #[error("the chunk extensions are longer than 4 KiB together")]
    ChunkExtensions,
    /// A size is not a hexadecimal number of 1 to 16 digits.
    #[error("the size of a chunk is not a plain hexadecimal number")]
    ChunkSize,
    /// A transfer coding other than `chunked`, or several lines of it.
    #[error("Transfer-Encoding must be `chunked`, once, and nothing else")]
    Coding,
    /// HTTP/1.0 has no transfer codings.
    #[error("HTTP/1.0 has no Transfer-Encoding")]
    CodingInOld,
    /// The parser behind reads the message in another way.
    #[error("the head can be read in two ways")]
    Doubtful,
    /// A line that begins with a blank would belong to the one before.
    #[error("a header line begins with a blank")]
    Folded,
    /// The head is too large, or has too many lines.
    #[error("the head is larger than this gateway accepts, or has more than 100 header lines")]
    HeadTooLarge,
    /// More answers of the kind 1xx than anybody needs.
    #[error("more than 8 interim answers")]
    Interims,
    /// A length that is not a plain decimal number.
    #[error("Content-Length must be one plain decimal number")]
    Length,
    /// A length and a transfer coding.
    #[error("Content-Length and Transfer-Encoding must not stand together")]
    LengthAndCoding,
    /// Several lengths, even if they are equal.
    #[error("Content-Length must stand there once")]
    Lengths,
    /// A method that is not served, or none.
    #[error("this method is not served")]
    Method,
    /// A name that is empty, has no colon, or holds what is not allowed in names.
    #[error(
        "a header line has no name that ends in a colon, or a character that names must not have"
    )]
    Name,
    /// The first line is not method, target and version.
    #[error("the first line is not a method, a target and a version with one blank between them")]
    RequestLine,
    /// The head did not come in time.
    #[error("the rest of the request head did not come in time")]
    Slow,
    /// The first line is not version, status and reason.
    #[error("the status line is malformed")]
    StatusLine,
    /// The protocol was switched though nobody asked.
    #[error("an unasked switch of protocols")]
    Switched,
    /// A target that is no path, or holds what is not allowed in targets.
    #[error("the request target is malformed: it must be a path, percent-encoded where needed")]
    Target,
    /// A target that is too long.
    #[error("the request target is longer than this gateway accepts")]
    TargetTooLong,
    /// Control characters in a value.
    #[error("a header's value holds a control character")]
    Value,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    #[error("the version must be HTTP/1.1 or HTTP/1.0")]
    Version,
}

impl What {
    /// The same in a line of the head, counted from one.
    pub(super) fn in_line(self, line: u16) -> Fault {
        Fault {
            what: self,
            place: Place::Line(line),
        }
    }

    /// The same in a body.
    pub(super) fn in_body(self) -> Fault {
        Fault {
            what: self,
            place: Place::Body,
        }
    }
}

impl From<What> for Fault {
    fn from(what: What) -> Self {
        Self {
            what,
            place: Place::Head,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Place::Line(line) => write!(f, "line {line} of the head: {}", self.what),
            Place::Body | Place::Head => write!(f, "{}", self.what),
        }
    }
}

impl std::error::Error for Fault {}

impl From<Fault> for std::io::Error {
    fn from(fault: Fault) -> Self {
        Self::new(std::io::ErrorKind::InvalidData, fault)
    }
}
