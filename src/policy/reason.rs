//! Why a caller asks: a ticket, or a sentence.

use std::fmt;

use http::header::{HeaderMap, HeaderName};
use regex::{Regex, RegexBuilder};

/// The most characters of a reason.
pub const REASON_LENGTH: usize = 200;

/// The most bytes of one: what a record has room for.
const REASON_BYTES: usize = 512;

/// How callers say why they ask.
#[derive(Debug)]
pub struct Reasons {
    /// The header that says it.
    header: HeaderName,
    /// What all of it must be.
    pattern: Option<Regex>,
}

/// The reason that a request gives.
#[derive(Clone, Copy, Debug)]
pub enum Reason<'a> {
    /// None that can be taken, and why.
    Faulty(&'a HeaderName, NotAReason),
    /// This one.
    Given(&'a str),
    /// The gateway takes none.
    NotTaken,
}

/// What is wrong with a reason.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NotAReason {
    /// It is not there.
    Missing,
    /// Empty, of several lines, not UTF-8, or with characters that cannot be seen.
    NotText,
    /// Not what the operator wants to see.
    Pattern,
    /// Too long to be kept.
    TooLong,
    /// More than one.
    Twice,
}

/// A reason that cannot be taken, and where it was looked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ReasonFault {
    header: Option<HeaderName>,
    what: NotAReason,
}

impl Reasons {
    /// Takes reasons from a header; `pattern` is a regular expression that all of one must match.
    ///
    /// # Errors
    /// Refuses a pattern that cannot be understood, or is too large.
    pub fn new(header: HeaderName, pattern: Option<&str>) -> Result<Self, regex::Error> {
        let compile = |text: &str| RegexBuilder::new(text).size_limit(PATTERN_SIZE).build();
        let whole = |text: &str| {
            // By itself first: else `a)|(b` would not be held together by what is put around it.
            compile(text)?;
            compile(&format!(r"\A(?:{text})\z"))
        };
        let pattern = pattern.map(whole).transpose()?;
        Ok(Self { header, pattern })
    }

    /// The header that says it.
    pub fn header(&self) -> &HeaderName {
        &self.header
    }

    /// What all of a reason must match, as it was written.
    pub fn pattern(&self) -> Option<&str> {
        let whole = self.pattern.as_ref()?.as_str();
        whole.strip_prefix(r"\A(?:")?.strip_suffix(r")\z")
    }

    /// The reason that a request gives.
    pub fn read<'a>(&'a self, headers: &'a HeaderMap) -> Reason<'a> {
        let mut lines = headers.get_all(&self.header).iter();
        let read = match (lines.next(), lines.next()) {
            (None, _) => Err(NotAReason::Missing),
            (Some(_), Some(_)) => Err(NotAReason::Twice),
            (Some(line), None) => self.judge(line.as_bytes()),
        };
        match read {
            Ok(text) => Reason::Given(text),
            Err(what) => Reason::Faulty(&self.header, what),
        }
    }

    fn judge<'t>(&self, line: &'t [u8]) -> Result<&'t str, NotAReason> {
        let text = std::str::from_utf8(line).map_err(|_| NotAReason::NotText)?;
        if says_nothing(text) || text.contains(is_unseen) {
            return Err(NotAReason::NotText);
        }
        if text.len() > REASON_BYTES || text.chars().nth(REASON_LENGTH).is_some() {
            return Err(NotAReason::TooLong);
        }
        match &self.pattern {
            Some(pattern) if !pattern.is_match(text) => Err(NotAReason::Pattern),
            _ => Ok(text),
        }
    }
}

impl<'a> Reason<'a> {
    /// The reason, where there is one.
    pub fn given(self) -> Option<&'a str> {
        match self {
            Self::Given(text) => Some(text),
            Self::Faulty(..) | Self::NotTaken => None,
        }
    }

    /// Why there is none, for a request that needs one.
    pub(super) fn needed(self) -> Result<(), ReasonFault> {
        let (header, what) = match self {
            Self::Given(_) => return Ok(()),
            Self::Faulty(header, what) => (Some(header.clone()), what),
            Self::NotTaken => (None, NotAReason::Missing),
        };
        Err(ReasonFault { header, what })
    }

    /// Refuses what was sent as a reason but is none: it would be missing from the record.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn refuse_faulty(self) -> Result<(), ReasonFault> {
        match self {
            Self::Faulty(_, NotAReason::Missing) | Self::Given(_) | Self::NotTaken => Ok(()),
            Self::Faulty(..) => self.needed(),
        }
    }
}

impl fmt::Display for ReasonFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(header) = &self.header else {
            return f.write_str("the gateway has no header for reasons");
        };
        let what = match self.what {
            NotAReason::Missing => "is missing",
            NotAReason::NotText => "is empty, or not one line of UTF-8 text",
            NotAReason::Pattern => "does not have the form that is asked for",
            NotAReason::TooLong => "is longer than 200 characters or 512 bytes",
            NotAReason::Twice => "comes twice",
        };
        write!(f, "{header} {what}")
    }
}

/// Whether a reader of the log would see nothing of a text.
pub fn says_nothing(text: &str) -> bool {
    text.chars().all(|c| is_unseen(c) || is_blank(c))
}

/// Whether a reader of the log would not see a character, or see something else: controls, ends of
/// lines and format characters (Unicode's Cf and what else it says to ignore).
fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}')
        || matches!(
            c,
            '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}'
        )
        || matches!(c, '\u{70f}' | '\u{890}' | '\u{891}' | '\u{8e2}')
        || matches!(c, '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}')
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(
            c,
            '\u{feff}' | '\u{fff0}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}'
        )
        || matches!(c, '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}')
        || matches!(c, '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Whether a character is seen only by the room that it takes, or by what it does to the one before
/// it: fine between others, and nothing by itself.
fn is_blank(c: char) -> bool {
    c.is_whitespace()
        || matches!(c, '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}')
        || matches!(c, '\u{2800}' | '\u{fe00}'..='\u{fe0f}')
}

/// The most memory of a compiled pattern.
const PATTERN_SIZE: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const TICKETS: &str = "^(INC|CHG)[0-9]{4,}$";

    fn read(pattern: Option<&str>, lines: &[&[u8]]) -> Result<String, NotAReason> {
        let header = HeaderName::from_static("x-audit-reason");
        let reasons = Reasons::new(header, pattern).unwrap();
        let mut headers = HeaderMap::new();
        for line in lines {
            let value = HeaderValue::from_bytes(line).unwrap();
            headers.append("x-audit-reason", value);
        }
        match reasons.read(&headers) {
            Reason::Given(text) => Ok(text.to_owned()),
            Reason::Faulty(_, what) => Err(what),
            Reason::NotTaken => unreachable!(),
        }
    }

    #[test]
    fn a_reason_is_one_line_of_visible_text() {
        let good = |line: &str| assert_eq!(read(None, &[line.as_bytes()]), Ok(line.to_owned()));
        good("INC0042");
        good("Störung beim Kunden, siehe Anruf");
        good(&"x".repeat(REASON_LENGTH));
        good(&"ü".repeat(REASON_LENGTH));
        assert_eq!(read(None, &[]), Err(NotAReason::Missing));
        assert_eq!(read(None, &[b"a", b"a"]), Err(NotAReason::Twice));
        for bad in [
            &b""[..],
            b" ",
            b"a\tb",
            b"\xff",
            b"a\xc2\x85b",
            "a\u{2028}b".as_bytes(),
            "a\u{202e}b".as_bytes(),
            "a\u{200b}b".as_bytes(),
            "a\u{ad}b".as_bytes(),
            "a\u{e0041}b".as_bytes(),
        ] {
            assert_eq!(read(None, &[bad]), Err(NotAReason::NotText), "{bad:?}");
        }
        for long in ["x".repeat(REASON_LENGTH + 1), "\u{10348}".repeat(129)] {
            let read = read(None, &[long.as_bytes()]);
            assert_eq!(read, Err(NotAReason::TooLong));
        }
    }

    #[test]
    fn what_cannot_be_seen_is_no_reason() {
        for blank in [
            "\u{3164}",
            "\u{2800}\u{2800}",
            "\u{a0}\u{3000}",
            "\u{115f}\u{1160}\u{ffa0}",
            "\u{fe0f}",
            "\u{200b}\u{200d}\u{feff}",
            "\u{ad}",
            "\u{34f}",
            "\u{61c}",
            "\u{180e}",
            "\u{e0020}",
            " \u{3164} ",
        ] {
            assert!(says_nothing(blank), "{blank:?}");
            let read = read(None, &[blank.as_bytes()]);
            assert_eq!(read, Err(NotAReason::NotText), "{blank:?}");
        }
        assert!(says_nothing(""));
        // Between what can be seen they are.
        for seen in ["\u{26a0}\u{fe0f} broken", "a\u{a0}b", "\u{1112}\u{1160}"] {
            assert!(!says_nothing(seen), "{seen:?}");
            assert!(read(None, &[seen.as_bytes()]).is_ok(), "{seen:?}");
        }
    }

    #[test]
    fn all_of_a_reason_matches_the_pattern() {
        assert!(read(Some(TICKETS), &[b"CHG12345"]).is_ok());
        for bad in [&b"INC123"[..], b"xINC1234", b"INC1234 ", b"inc1234"] {
            let read = read(Some(TICKETS), &[bad]);
            assert_eq!(read, Err(NotAReason::Pattern), "{bad:?}");
        }
        // Whether the pattern says so or not, and with each of its branches.
        for pattern in ["a|ab", "(?m)^ab$", "(?i)AB"] {
            assert!(read(Some(pattern), &[b"ab"]).is_ok(), "{pattern}");
            assert!(read(Some(pattern), &[b"abc"]).is_err(), "{pattern}");
            assert!(read(Some(pattern), &[b"xab"]).is_err(), "{pattern}");
        }
    }

    #[test]
    fn a_pattern_that_gets_out_of_its_bounds_is_refused() {
        for bad in ["a)|(b", "(", "(?x)a #", "a{1000}{1000}"] {
            let header = HeaderName::from_static("x-audit-reason");
            assert!(Reasons::new(header, Some(bad)).is_err(), "{bad}");
        }
    }
}
