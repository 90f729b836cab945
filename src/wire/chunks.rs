//! Bodies in chunks.

use super::LINES;
use super::fault::What;
use super::fields::is_token;

/// Reads a body in chunks, and its trailers, as its bytes come.
#[derive(Clone, Debug)]
pub struct Chunks {
    state: State,
    /// Bytes of extensions so far.
    extensions: usize,
    /// Bytes and lines of trailers so far.
    trailers: usize,
    lines: u16,
    /// The most bytes of trailers.
    limit: usize,
    /// How many more bytes of data there may be.
    room: u64,
}

/// How far a body was read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Portion {
    /// All bytes belong to it, and it goes on.
    All,
    /// It ends behind so many bytes.
    End(usize),
}

/// What comes next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// Digits of a size, of which so many were read.
    Size {
        value: u64,
        digits: u8,
    },
    /// A part of an extension; the size stands before it.
    Extension {
        value: u64,
        part: Part,
    },
    /// The LF of the line of a size.
    SizeLf {
        value: u64,
    },
    /// So many bytes of data.
    Data {
        left: u64,
    },
    DataCr,
    DataLf,
    /// The first byte of a trailer line, or of the empty one that ends the body.
    Line,
    Name,
    Value,
    ValueLf,
    LastLf,
}

/// The parts of an extension (RFC 9112, 7.1.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Part {
    /// Behind the semicolon: blanks, then a name.
    BeforeName,
    Name,
    /// Blanks behind a name: an equals sign or a semicolon must follow.
    AfterName,
    BeforeValue,
    Token,
    Quoted,
    /// Behind a backslash in quotes.
    Escaped,
    /// Behind a quoted value.
    AfterQuoted,
    /// Blanks behind a value: a semicolon must follow.
    AfterValue,
}

impl Chunks {
    /// A reader of the next body, with the most bytes of its data and of trailers.
    pub fn new(data: u64, limit: usize) -> Self {
        Self {
            state: State::Size {
                value: 0,
                digits: 0,
            },
            extensions: 0,
            trailers: 0,
            lines: 0,
            limit,
            room: data,
        }
    }

    /// Reads on: `bytes` follow those that were read before.
    ///
    /// # Errors
    /// Names what is wrong with the first byte that cannot be read.
    pub fn read(&mut self, bytes: &[u8]) -> Result<Portion, What> {
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            if let State::Data { left } = self.state {
                let here = u64::try_from(bytes.len() - at)
                    .unwrap_or(u64::MAX)
                    .min(left);
                // At most the length of the slice.
                at += usize::try_from(here).unwrap_or(usize::MAX);
                self.state = match left - here {
                    0 => State::DataCr,
                    left => State::Data { left },
                };
                continue;
            }
            at += 1;
            match self.next(*byte)? {
                Some(state) => self.state = state,
                None => return Ok(Portion::End(at)),
            }
        }
        Ok(Portion::All)
    }

    /// What comes after a byte; `None` after the last one.
    fn next(&mut self, byte: u8) -> Result<Option<State>, What> {
        Ok(Some(match self.state {
            State::Size { value, digits } => size(value, digits, byte)?,
            State::Extension { value, part } => self.extension(value, part, byte)?,
            State::SizeLf { value } => match (byte, value) {
                (b'\n', 0) => State::Line,
                (b'\n', left) => {
                    self.room = self.room.checked_sub(left).ok_or(What::BodyTooLarge)?;
                    State::Data { left }
                }
                _ => return Err(What::LineEnd),
            },
            // Data is taken in one piece, not here.
            State::Data { .. } | State::DataCr if byte == b'\r' => State::DataLf,
            State::DataLf if byte == b'\n' => State::Size {
                value: 0,
                digits: 0,
            },
            State::Data { .. } | State::DataCr | State::DataLf => return Err(What::ChunkData),
            State::LastLf if byte == b'\n' => return Ok(None),
            State::LastLf => return Err(What::LineEnd),
            State::Line | State::Name | State::Value | State::ValueLf => self.trailer(byte)?,
        }))
    }

    fn extension(&mut self, value: u64, part: Part, byte: u8) -> Result<State, What> {
        self.extensions += 1;
        if self.extensions > EXTENSIONS {
            return Err(What::ChunkExtensions);
        }
        if matches!(byte, b'\n' | b'\r') {
            let whole = matches!(part, Part::Name | Part::Token | Part::AfterQuoted);
            return match byte {
                b'\r' if whole => Ok(State::SizeLf { value }),
                _ => Err(What::LineEnd),
            };
        }
        let part = match (part, byte) {
            (Part::BeforeName | Part::BeforeValue, b' ' | b'\t') => part,
            (Part::BeforeName, byte) if is_token(byte) => Part::Name,
            (Part::Name, byte) if is_token(byte) => Part::Name,
            (Part::Name | Part::AfterName, b' ' | b'\t') => Part::AfterName,
            (Part::Name | Part::AfterName, b'=') => Part::BeforeValue,
            (Part::BeforeValue, b'"') => Part::Quoted,
            (Part::BeforeValue | Part::Token, byte) if is_token(byte) => Part::Token,
            (Part::Quoted, b'"') => Part::AfterQuoted,
            (Part::Quoted, b'\\') => Part::Escaped,
            (Part::Quoted | Part::Escaped, b'\t' | b' '..=b'~' | 0x80..) => Part::Quoted,
            (Part::Token | Part::AfterQuoted | Part::AfterValue, b' ' | b'\t') => Part::AfterValue,
            (
                Part::Name | Part::AfterName | Part::Token | Part::AfterQuoted | Part::AfterValue,
                b';',
            ) => Part::BeforeName,
            _ => return Err(What::ChunkExtension),
        };
        Ok(State::Extension { value, part })
    }

    fn trailer(&mut self, byte: u8) -> Result<State, What> {
        self.trailers += 1;
        if self.trailers > self.limit {
            return Err(What::HeadTooLarge);
        }
        match (self.state, byte) {
            (State::Line, b'\r') => Ok(State::LastLf),
            (State::Line, b' ' | b'\t') => Err(What::Folded),
            (State::Line, byte) if is_token(byte) => {
                self.lines += 1;
                if self.lines > LINES {
                    return Err(What::HeadTooLarge);
                }
                Ok(State::Name)
            }
            (State::Name, byte) if is_token(byte) => Ok(State::Name),
            (State::Name, b':') => Ok(State::Value),
            (State::Value, b'\r') => Ok(State::ValueLf),
            (State::Value, b'\t' | b' '..=b'~' | 0x80..) => Ok(State::Value),
            (State::ValueLf, b'\n') => Ok(State::Line),
            (State::Value | State::ValueLf | State::Line | State::Name, b'\n' | b'\r')
            | (State::ValueLf, _) => Err(What::LineEnd),
            (State::Value, _) => Err(What::Value),
            _ => Err(What::Name),
        }
    }
}

/// A byte of the line of a size, up to its extension or its end.
fn size(value: u64, digits: u8, byte: u8) -> Result<State, What> {
    match (char::from(byte).to_digit(16), byte) {
        (Some(digit), _) if digits < DIGITS => Ok(State::Size {
            value: value << 4 | u64::from(digit),
            digits: digits + 1,
        }),
        (None, b';') if digits > 0 => Ok(State::Extension {
            value,
            part: Part::BeforeName,
        }),
        (None, b'\r') if digits > 0 => Ok(State::SizeLf { value }),
        (None, b'\n' | b'\r') => Err(What::LineEnd),
        _ => Err(What::ChunkSize),
    }
}

/// The most digits of a size: as many as fit.
const DIGITS: u8 = 16;

/// The most bytes of extensions of one body: nobody needs any.
const EXTENSIONS: usize = 4096;
