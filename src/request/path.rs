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
        self.0
            .split(|byte| *byte == b'/')
            .skip(1)
            .filter(|segment| !segment.is_empty())
    }

    /// Whether the path is `/api/v3` or below it.
    pub(crate) fn is_in_api(&self) -> bool {
        self.0
            .strip_prefix(b"/api/v3")
            .is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
    }
}

impl fmt::Debug for CanonicalPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

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
    matches!(text.last(), None | Some(b'/' | b'.' | b' '))
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
