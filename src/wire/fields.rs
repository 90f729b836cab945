//! Header lines, and what they say about the length of the body.

use super::fault::What;
use super::{Framing, LINES, Minor};

/// What the header lines of a message have said so far about its body.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fields {
    length: Option<u64>,
    chunked: bool,
    lines: u16,
}

impl Fields {
    /// Reads a line, without its end. Whether it holds control characters is found out for all
    /// lines together, by [`find_control`].
    pub(super) fn read(&mut self, line: &[u8]) -> Result<(), What> {
        let Some((name, value)) = split(line) else {
            let is_folded = matches!(line.first(), Some(b' ' | b'\t'));
            return Err(if is_folded { What::Folded } else { What::Name });
        };
        self.lines += 1;
        if self.lines > LINES {
            return Err(What::HeadTooLarge);
        }
        // Names are told apart by their lengths first: hardly any has these.
        match name.len() {
            14 if name.eq_ignore_ascii_case(b"content-length") => self.read_length(value),
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => self.read_coding(value),
            _ => Ok(()),
        }
    }

    fn read_length(&mut self, value: &[u8]) -> Result<(), What> {
        if self.length.is_some() {
            return Err(What::Lengths);
        }
        let length = decimal(trim(value)).ok_or(What::Length)?;
        // The two largest numbers mean something else to the parser behind.
        if length > u64::MAX - 2 {
            return Err(What::BodyTooLarge);
        }
        self.length = Some(length);
        Ok(())
    }

    fn read_coding(&mut self, value: &[u8]) -> Result<(), What> {
        if self.chunked || !trim(value).eq_ignore_ascii_case(b"chunked") {
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

/// Parts a line at its colon; `None` where what stands before it is no name.
fn split(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = line.iter().position(|byte| !is_token(*byte))?;
    let (name, rest) = line.split_at_checked(end)?;
    match rest.split_first() {
        Some((b':', value)) if !name.is_empty() => Some((name, value)),
        _ => None,
    }
}

/// Whether a byte may stand in a token (RFC 9110, 5.6.2): a method, a header's name.
#[inline]
pub(super) fn is_token(byte: u8) -> bool {
    // The table has an entry for every byte.
    TOKENS.get(usize::from(byte)).copied().unwrap_or_default()
}

/// Looks for a control character, other than a tab, beside the CR LF at the end of each line. Says
/// in which of the lines it is, counted from one.
///
/// `text` are whole lines, so many. One look at all of them, which the compiler does many bytes at
/// a time, costs a fraction of a look at each: what is counted must be the ends of lines.
pub(super) fn find_control(text: &[u8], lines: u16) -> Option<u16> {
    let (pieces, rest) = text.as_chunks::<64>();
    let count: usize = pieces.iter().map(|piece| controls(piece)).sum();
    if count + controls(rest) == 2 * usize::from(lines) {
        return None;
    }
    let texts = text.split_inclusive(|byte| *byte == b'\n');
    let mut numbered = (1..).zip(texts);
    let found =
        numbered.find(|(_, line)| line.iter().filter(|byte| is_control(**byte)).count() > 2);
    // It was counted, so it is there.
    Some(found.map_or(lines, |(number, _)| number))
}

/// How many control characters other than tabs there are among a few bytes.
fn controls(bytes: &[u8]) -> usize {
    let count = bytes.iter().fold(0_u8, |count, byte| {
        count.wrapping_add(u8::from(is_control(*byte)))
    });
    usize::from(count)
}

/// Whether a byte is a control character other than a tab.
pub(super) fn is_control(byte: u8) -> bool {
    ((byte < b' ') & (byte != b'\t')) | (byte == 0x7f)
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
