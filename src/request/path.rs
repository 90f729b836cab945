//! The path as policy sees it.

use std::fmt;

use smallvec::SmallVec;

/// A path in the one form that rules are matched against: percent-encoded unreserved characters
/// decoded, lower case (the console is ASP.NET and does not tell case apart), no trailing slash.
///
/// The console gets the bytes as they were typed. Both are the same path because every spelling
/// that two readers could take apart differently is refused: dot segments, empty segments,
/// encoded or backward slashes, semicolons, encoded controls, double encoding, overlong UTF-8,
/// letters that could be taken for others, and segments that end in a dot or a blank.
#[derive(Clone, Eq, PartialEq)]
pub struct CanonicalPath(SmallVec<[u8; 112]>);

/// Why a path is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PathFault {
    /// It could be read in two ways.
    Ambiguous,
    /// It is not a path.
    Malformed,
}

impl CanonicalPath {
    /// Reads a raw path.
    ///
    /// # Errors
    /// Refuses what is malformed or ambiguous.
    pub fn parse(raw: &str) -> Result<Self, PathFault> {
        Self::plain(raw.as_bytes()).map_or_else(|| Self::read(raw), Ok)
    }

    /// A path without anything that needs a closer look, as nearly every one is.
    fn plain(raw: &[u8]) -> Option<Self> {
        let mut text = SmallVec::from_slice(raw);
        let (mut before, mut is_plain) = (0, true);
        // Without an early return: nearly every path is plain.
        for byte in &mut text[..] {
            let folded = fold_plain(*byte);
            is_plain &= folded != 0 && !(folded == b'/' && is_bad_end(before));
            *byte = folded;
            before = folded;
        }
        if !is_plain {
            return None;
        }
        match text[..] {
            [b'/'] => {}
            [b'/', .., b'/'] => drop(text.pop()),
            [b'/', .., last] if !is_bad_end(last) => {}
            _ => return None,
        }
        Some(Self(text))
    }

    fn read(raw: &str) -> Result<Self, PathFault> {
        let Some(rest) = raw.strip_prefix('/') else {
            return Err(PathFault::Malformed);
        };
        let mut text = SmallVec::new();
        text.push(b'/');
        let mut bytes = rest.bytes();
        let mut ascii = true;
        while let Some(byte) = bytes.next() {
            let (byte, encoded) = match byte {
                b'%' => (decode(bytes.next(), bytes.next())?, true),
                plain => (plain, false),
            };
            if is_ambiguous(byte, encoded) {
                return Err(PathFault::Ambiguous);
            }
            if byte == b'/' && ends_badly(&text) {
                return Err(PathFault::Ambiguous);
            }
            ascii &= byte.is_ascii();
            text.push(byte.to_ascii_lowercase());
        }
        if text.len() > 1 && text.last() == Some(&b'/') {
            // One trailing slash is the same resource; two were refused above.
            text.pop();
        } else if text.len() > 1 && ends_badly(&text) {
            return Err(PathFault::Ambiguous);
        }
        if is_encoded_still(&text) {
            return Err(PathFault::Ambiguous);
        }
        if !ascii {
            text = fold_unicode(&text)?;
        }
        Ok(Self(text))
    }

    /// The path as text, starting with a slash.
    pub fn as_str(&self) -> &str {
        // Only ASCII or UTF-8 that was checked gets in, so this never takes the empty branch.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The same as bytes, which need no check.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The segments, without the slashes. The root has none.
    pub fn segments(&self) -> impl Iterator<Item = &str> + Clone {
        // By hand: they are short, and the search that `split` sets up for each costs more.
        let mut rest = self.as_str().get(1..).unwrap_or_default();
        std::iter::from_fn(move || {
            let end = rest.bytes().position(|byte| byte == b'/');
            let (segment, after) = rest.split_at_checked(end.unwrap_or(rest.len()))?;
            rest = after.get(1..).unwrap_or_default();
            (!segment.is_empty()).then_some(segment)
        })
    }

    /// The same as bytes, which need no check: rules look at every path several times.
    pub(crate) fn segment_bytes(&self) -> impl Iterator<Item = &[u8]> {
        segments_of(&self.0)
    }

    /// Whether the path begins with another one, and goes on with a segment.
    pub(crate) fn is_below(&self, path: &str) -> bool {
        let rest = self.0.strip_prefix(path.as_bytes());
        rest.is_some_and(|rest| rest.first() == Some(&b'/'))
    }

    /// What comes after `/api/v3` in a path that is that or below it: nothing, or it starts with a
    /// slash.
    pub(crate) fn within_api(&self) -> Option<&[u8]> {
        let rest = self.0.strip_prefix(API.as_bytes())?;
        matches!(rest.first(), None | Some(b'/')).then_some(rest)
    }
}

impl fmt::Debug for CanonicalPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// The root of VSPC's REST API.
pub(super) const API: &str = "/api/v3";

/// The segments of a text that begins with one, or with the slash before it.
pub(super) fn segments_of(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = text.strip_prefix(b"/").unwrap_or(text);
    std::iter::from_fn(move || {
        let end = rest.iter().position(|byte| *byte == b'/');
        let (segment, after) = rest.split_at_checked(end.unwrap_or(rest.len()))?;
        rest = after.get(1..).unwrap_or_default();
        (!segment.is_empty()).then_some(segment)
    })
}

/// The lower case of a byte that stands for itself wherever it stands; 0 of those that may not.
fn fold_plain(byte: u8) -> u8 {
    // The table has an entry for every byte.
    PLAIN.get(usize::from(byte)).copied().unwrap_or_default()
}

/// Lower case of printable ASCII but the percent sign, the semicolon and the backslash; 0 of the
/// rest.
const PLAIN: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = b' ';
    while byte < 0x7f {
        if !matches!(byte, b'%' | b';' | b'\\') {
            #[expect(clippy::indexing_slicing, reason = "computed at compile time")]
            {
                table[byte as usize] = byte.to_ascii_lowercase();
            }
        }
        byte += 1;
    }
    table
};

/// Whether something would be decoded once more by a second reader.
fn is_encoded_still(text: &[u8]) -> bool {
    text.windows(3).any(|window| {
        matches!(window, [b'%', high, low] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit())
    })
}

fn decode(high: Option<u8>, low: Option<u8>) -> Result<u8, PathFault> {
    let digit = |byte: Option<u8>| {
        byte.and_then(|b| char::from(b).to_digit(16))
            .and_then(|d| u8::try_from(d).ok())
            .ok_or(PathFault::Malformed)
    };
    Ok(digit(high)? << 4 | digit(low)?)
}

fn is_ambiguous(byte: u8, encoded: bool) -> bool {
    match byte {
        b'\\' | b';' => true,
        b'/' => encoded,
        0x00..=0x1f | 0x7f => true,
        _ => false,
    }
}

/// Whether the segment that ends here is empty, a dot segment, or ends in a dot or a blank.
fn ends_badly(text: &[u8]) -> bool {
    text.last().is_none_or(|last| is_bad_end(*last))
}

fn is_bad_end(byte: u8) -> bool {
    matches!(byte, b'/' | b'.' | b' ')
}

/// Checks that decoded bytes are UTF-8 and hold no letter that a reader without regard to case takes
/// for another one which a rule tells apart: the console would take `ſ` for `s`, and `ς` for `σ`.
fn fold_unicode(text: &[u8]) -> Result<SmallVec<[u8; 112]>, PathFault> {
    let text = std::str::from_utf8(text).map_err(|_| PathFault::Ambiguous)?;
    let mut folded = SmallVec::new();
    let mut buffer = [0_u8; 4];
    for c in text.chars() {
        let folds = c.is_ascii() || (has_own_cases(c) && !c.is_control() && !c.is_whitespace());
        if !folds {
            return Err(PathFault::Ambiguous);
        }
        for lower in c.to_lowercase() {
            folded.extend_from_slice(lower.encode_utf8(&mut buffer).as_bytes());
        }
    }
    Ok(folded)
}

/// Whether the lower and the upper case of a letter belong to each other, and to no ASCII letter.
fn has_own_cases(c: char) -> bool {
    let (lower, upper) = (one(c.to_lowercase(), c), one(c.to_uppercase(), c));
    let is_pair =
        one(upper.to_lowercase(), upper) == lower && one(lower.to_uppercase(), lower) == upper;
    let mut cases = c.to_lowercase().chain(c.to_uppercase());
    is_pair && !cases.any(|case| case.is_ascii())
}

/// The other case of a letter if that is one letter, and the letter itself if it is several.
fn one(mut case: impl ExactSizeIterator<Item = char>, c: char) -> char {
    case.next().filter(|_| case.len() == 0).unwrap_or(c)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn agree(raw: &str) -> Result<(), TestCaseError> {
        if let Some(plain) = CanonicalPath::plain(raw.as_bytes()) {
            prop_assert_eq!(CanonicalPath::read(raw), Ok(plain), "{:?}", raw);
        }
        Ok(())
    }

    #[test]
    fn the_usual_paths_need_no_closer_look() {
        for raw in ["/", "/api/v3", "/API/v3/Users/", "/api/v3/a.b/c d/[x]{y}|'"] {
            assert!(CanonicalPath::plain(raw.as_bytes()).is_some(), "{raw}");
        }
        let long = format!("/api/v3/{}", "x".repeat(4_000));
        assert!(CanonicalPath::plain(long.as_bytes()).is_some());
        for byte in 0..=u8::MAX {
            let raw = format!("/a{}b/c", char::from(byte));
            agree(&raw).unwrap();
        }
    }

    proptest! {
        #[test]
        fn what_needs_no_closer_look_is_read_as_with_one(raw in "[/aZ0. %;\\\\~é]{0,12}") {
            agree(&raw)?;
        }

        #[test]
        fn nor_do_longer_ones(raw in "/[!-~ ]{0,200}") {
            agree(&raw)?;
        }
    }
}
