//! Path patterns of rules.

use std::fmt;

use crate::request::CanonicalPath;

/// A pattern over canonical paths: literal segments, `*` (or `{name}`) for any one segment, and a
/// final `**` for everything from there on, the path itself included.
///
/// In a rule that allows, no wildcard leads to a [`Road`](super::Road): what makes one must be
/// spelled out. A rule that denies reaches everywhere.
#[derive(Clone, Eq, PartialEq)]
pub struct PathPattern {
    segments: Vec<Segment>,
    rest: Rest,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Segment {
    Any,
    Literal(Box<str>),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Rest {
    Anything,
    Nothing,
}

/// Why a pattern cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PatternFault {
    /// `**` stands elsewhere than at the end.
    #[error("`**` may only be the last segment")]
    InnerRest,
    /// It is not a path.
    #[error(
        "a path pattern starts with / and has no empty or dot segments, no semicolon, no backslash and no encoded slash"
    )]
    NotAPath,
    /// It holds a query, a fragment or a blank, and would match nothing.
    #[error("a path pattern has no query, fragment or blank: those never take part in a decision")]
    NotOnlyAPath,
    /// It has too many segments.
    #[error("a path pattern has at most {SEGMENTS} segments")]
    TooDeep,
    /// A `*` within a segment.
    #[error("`*` stands for a whole segment: write /a/*/b, or /a/** for everything below /a")]
    PartialWildcard,
}

impl PathPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// Says what cannot be understood.
    pub fn parse(text: &str) -> Result<Self, PatternFault> {
        if text.contains(['?', '#', ' ']) {
            return Err(PatternFault::NotOnlyAPath);
        }
        let path = CanonicalPath::parse(text).map_err(|_| PatternFault::NotAPath)?;
        let mut segments = Vec::new();
        let mut rest = Rest::Nothing;
        for segment in path.segments() {
            if rest == Rest::Anything {
                return Err(PatternFault::InnerRest);
            }
            match segment {
                "**" => rest = Rest::Anything,
                "*" => segments.push(Segment::Any),
                name if name.starts_with('{') && name.ends_with('}') => segments.push(Segment::Any),
                part if part.contains('*') => return Err(PatternFault::PartialWildcard),
                literal => segments.push(Segment::Literal(literal.into())),
            }
        }
        if segments.len() > SEGMENTS {
            return Err(PatternFault::TooDeep);
        }
        Ok(Self { segments, rest })
    }

    /// The segments from the left, `None` for any one; [`Self::is_open`] says whether more may come.
    pub(super) fn steps(&self) -> impl Iterator<Item = Option<&str>> {
        self.segments.iter().map(|segment| match segment {
            Segment::Any => None,
            Segment::Literal(literal) => Some(&**literal),
        })
    }

    /// Whether it ends in `**`.
    pub(super) fn is_open(&self) -> bool {
        self.rest == Rest::Anything
    }

    /// The places of the segments that it spells out, a bit each, the first the lowest.
    pub(super) fn spelled(&self) -> u32 {
        let places = self.steps().zip(0_u32..);
        let literal = places.filter(|(step, _)| step.is_some());
        literal.fold(0, |places, (_, place)| places | 1 << place)
    }

    /// Whether it covers every path that another covers.
    pub(super) fn includes(&self, other: &Self) -> bool {
        let mut theirs = other.steps();
        let begins = self.steps().all(|own| match (own, theirs.next()) {
            (None, Some(_)) => true,
            (Some(own), Some(Some(their))) => own == their,
            _ => false,
        });
        begins && (self.is_open() || (theirs.next().is_none() && !other.is_open()))
    }

    /// Whether the pattern is about a path.
    pub fn covers(&self, path: &CanonicalPath) -> bool {
        let mut actual = path.segment_bytes();
        for expected in &self.segments {
            match (expected, actual.next()) {
                (Segment::Any, Some(_)) => {}
                (Segment::Literal(literal), Some(segment)) if literal.as_bytes() == segment => {}
                _ => return false,
            }
        }
        self.rest == Rest::Anything || actual.next().is_none()
    }
}

/// The most segments of a pattern; VSPC's own paths have less than a dozen.
const SEGMENTS: usize = 32;

impl fmt::Debug for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for segment in &self.segments {
            match segment {
                Segment::Any => f.write_str("/*")?,
                Segment::Literal(literal) => write!(f, "/{literal}")?,
            }
        }
        f.write_str(if self.rest == Rest::Anything {
            "/**"
        } else {
            ""
        })
    }
}
