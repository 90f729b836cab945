//! Path patterns of rules.

use std::fmt;

use crate::request::CanonicalPath;

/// A pattern over canonical paths: literal segments, `*` (or `{name}`) for any one segment, and a
/// final `**` for everything from there on, the path itself included.
///
/// In a rule that allows, a wildcard reaches outside `/api/v3` only where the pattern spells out the
/// first segment (two below `/api`): VSPC has roads there that act with the highest rights, and a
/// broad rule must not open them. A rule that denies reaches everywhere.
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
        Ok(Self { segments, rest })
    }

    /// Whether a rule that allows is about a path.
    pub fn allows(&self, path: &CanonicalPath) -> bool {
        // Outside the API, the part of the path that leads there must be spelled out.
        let spelled = match path.segment_bytes().next() {
            _ if path.is_in_api() => 0,
            Some(b"api") => 2,
            _ => 1,
        };
        let literal = |segment: &Segment| matches!(segment, Segment::Literal(_));
        let leads = self.segments.iter().take_while(|s| literal(s)).count();
        leads >= spelled && self.covers(path)
    }

    /// Whether the pattern is about a path, wherever that is: what a rule denies.
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
