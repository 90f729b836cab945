//! Header lines, and what they say about the length of the body.

use super::fault::{Fault, What};
use super::lines::Lines;
use super::{Framing, LINES, Minor};

/// What the header lines of a message have said so far about its body.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fields {
    length: Option<u64>,
    chunked: bool,
    lines: u16,
}

impl Fields {
    /// Reads lines on, up to the empty one that ends them. Says whether that has come. `bytes` begin
    /// with the head.
    pub(super) fn read(&mut self, lines: &mut Lines, bytes: &[u8]) -> Result<bool, Fault> {
        let mut rest = lines.rest(bytes);
        loop {
            // A name ends where something stands that is no token: a colon.
            let name = rest.iter().position(|byte| !is_token(*byte));
            let name = name.unwrap_or(rest.len());
            let Some(line) = lines.next(&mut rest, name)? else {
                return Ok(false);
            };
            if line.is_empty() {
                return Ok(true);
            }
            let here = |what: What| what.in_line(lines.number());
            if name == 0 || line.get(name) != Some(&b':') {
                let is_folded = matches!(line.first(), Some(b' ' | b'\t'));
                return Err(here(if is_folded { What::Folded } else { What::Name }));
            }
            self.lines += 1;
            if self.lines > LINES {
                return Err(here(What::HeadTooLarge));
            }
            // Names are told apart by their lengths first: hardly any has these.
            if matches!(name, CONTENT_LENGTH | TRANSFER_ENCODING) {
                self.read_framing(line, name).map_err(here)?;
            }
        }
    }

    /// Reads a line that may say something about the body. Its name has so many bytes.
    #[inline(never)]
    fn read_framing(&mut self, line: &[u8], name: usize) -> Result<(), What> {
        let (name, value) = line.split_at_checked(name).unwrap_or_default();
        let value = trim(value.get(1..).unwrap_or_default());
        if name.eq_ignore_ascii_case(b"content-length") {
            self.read_length(value)
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.read_coding(value)
        } else {
            Ok(())
        }
    }

    fn read_length(&mut self, value: &[u8]) -> Result<(), What> {
        if self.length.is_some() {
            return Err(What::Lengths);
        }
        let length = decimal(value).ok_or(What::Length)?;
        // The two largest numbers mean something else to the parser behind.
        if length > u64::MAX - 2 {
            return Err(What::BodyTooLarge);
        }
        self.length = Some(length);
        Ok(())
    }

    fn read_coding(&mut self, value: &[u8]) -> Result<(), What> {
        if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
            return Err(What::Coding);
        }
        self.chunked = true;
        Ok(())
    }

    /// What all of them say together. `Framing::None` where they say nothing.
    pub(super) fn framing(&self, version: Minor) -> Result<Framing, What> {
        match (self.length, self.chunked) {
            (Some(_), true) => Err(What::LengthAndCoding),
            (None, true) if version == Minor::Zero => Err(What::CodingInOld),
            (None, true) => Ok(Framing::Chunked),
            (Some(length), false) => Ok(Framing::Length(length)),
            (None, false) => Ok(Framing::None),
        }
    }
}

/// Whether a byte may stand in a token (RFC 9110, 5.6.2): a method, a header's name.
#[inline]
pub(super) fn is_token(byte: u8) -> bool {
    // The table has an entry for every byte.
    TOKENS.get(usize::from(byte)).copied().unwrap_or_default()
}

/// Takes the blanks around a value off.
pub(super) fn trim(mut value: &[u8]) -> &[u8] {
    while let Some((b' ' | b'\t', rest)) = value.split_first() {
        value = rest;
    }
    while let Some((b' ' | b'\t', rest)) = value.split_last() {
        value = rest;
    }
    value
}

/// Reads digits and nothing else, without zeros in front: other readers take those for octal, or
/// for padding.
fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || (text.len() > 1 && text.first() == Some(&b'0')) {
        return None;
    }
    text.iter().try_fold(0_u64, |value, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

const CONTENT_LENGTH: usize = b"content-length".len();

const TRANSFER_ENCODING: usize = b"transfer-encoding".len();

const TOKENS: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    loop {
        #[expect(clippy::indexing_slicing, reason = "computed at compile time")]
        {
            table[byte as usize] = matches!(byte,
                b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'!' | b'#' | b'$' | b'%' | b'&' | b'\''
                | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~');
        }
        if byte == u8::MAX {
            break table;
        }
        byte += 1;
    }
};
